"""Training of a quantized network against the float one, with straight-through gradients.

What may be trained: static scales, or a predictor's coefficients in their place; LayerNorms and
biases; the weights before they are rounded. The loss is the Kullback-Leibler divergence of the
class probabilities from the float network's, and, where that is asked for, the error of the
residual stream behind every block, which a few images say more of. No label is used.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from golden.common.formats import LAMBDA
from golden.network.precision import AnyPrecision

from .twin import Twin


@dataclass(frozen=True)
class Budget:
    """How a network is trained.

    Attributes
    ----------
    epochs, batch
        Passes over the images, images per step.
    scale_rate
        Highest learning rate (Adam) of scales, log2 units, and of a predictor's coefficients.
    affine_rate
        Of LayerNorms, biases, the embedding and places, for a network with 4 bits; 0 leaves them.
        What is to be made up for is half as large with each bit more, and so is the rate (of
        weights and activations, the fewer bits count).
    weight_rate
        Of weights, in units of the step that they are rounded to (of a layer's columns, the
        geometric mean); 0 leaves them.
    area
        Smallest share of an image's area that a crop keeps, 1 for whole images. Crops are
        stretched to the image's size.
    colour
        By how much brightness, contrast and saturation of an image are changed at most: 1 halves
        or doubles each; 0 leaves them.
    mix
        Share of the steps that see each image under a part of another.
    streams
        What the error of the residual streams (:func:`stream_error`) counts; 0 leaves it.
    seed
        Of the order and the augmentation of the images.
    """

    epochs: int = 2
    batch: int = 20
    scale_rate: float = 0.02
    affine_rate: float = 0.0
    weight_rate: float = 0.0
    area: float = 0.4
    colour: float = 0.0
    mix: float = 0.0
    streams: float = 0.0
    seed: int = 1


TRAINED = Budget(epochs=4, batch=10, scale_rate=0.005, affine_rate=3e-4, weight_rate=0.01,
                 area=0.4, colour=0.5, mix=0.25, streams=3.0)
"""Trains everything there is to train."""


_NARROW_BITS = 4
"""Widest activations and weights that are trained in bfloat16: its 8 bits of a number round as much
as quantization to 8 bits does.
"""


def _narrow(precision: AnyPrecision) -> bool:
    """Return whether products of bfloat16 are near enough, and the processor has them; others
    emulate them, tens of times slower than those of float32.
    """
    widest = max(max(one.weights, one.activations) for one in precision.each)
    return (widest <= _NARROW_BITS
            and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@torch.inference_mode()
def logits(twin: Twin, pixels: torch.Tensor, batch: int = 25) -> torch.Tensor:
    """Return the logits of a twin as it is, ``(images, classes)``."""
    return torch.cat([twin(part) for part in pixels.split(batch)])


class Training:
    """A run over some epochs; :meth:`state` and :meth:`load` continue it at any epoch.

    Parameters
    ----------
    twin
        What is trained, in place.
    reference
        The float network.
    pixels
        uint8 images ``(images, side, side, 3)``.
    """

    def __init__(self, twin: Twin, reference: Twin, pixels: torch.Tensor, budget: Budget):
        self.twin, self.budget, self.done = twin, budget, 0
        self._reference, self._pixels = reference, pixels
        groups = [{"params": [twin.scales, *(tap.coefficients for tap in twin.taps)],
                   "lr": budget.scale_rate}]
        if budget.affine_rate:
            norms = [value for name, value in twin.weights.items() if "norm" in name]
            affine = [twin.embedding, *norms, *twin.biases.values(), *twin.places.values()]
            bits = min(min(one.weights, one.activations) for one in twin.precision.each)
            groups.append({"params": affine, "lr": budget.affine_rate * 2.0**(4 - bits)})
        if budget.weight_rate:
            groups += [{"params": [twin.weights[name]],
                        "lr": budget.weight_rate * float(torch.exp2(lambdas.mean()))}
                       for name, lambdas in twin.weight_scales.items()
                       if name not in {"patch", "head"}]
        trained = {id(value) for group in groups for value in group["params"]}
        for value in twin.parameters():
            value.requires_grad_(id(value) in trained)
        self._rates = [group["lr"] for group in groups]
        self._adam = torch.optim.Adam(groups, betas=(0.9, 0.99))

    def state(self) -> dict:
        """Return what a checkpoint keeps."""
        return {"twin": self.twin.state_dict(), "adam": self._adam.state_dict(), "done": self.done}

    def load(self, state: dict) -> None:
        """Continue from what :meth:`state` returned."""
        self.twin.load_state_dict(state["twin"])
        self._adam.load_state_dict(state["adam"])
        self.done = state["done"]

    def epoch(self, progress: Callable = lambda steps, what: steps) -> float:
        """Train for one epoch; return the mean loss."""
        budget = self.budget
        draw = torch.Generator().manual_seed(budget.seed * 10_000 + self.done)
        batches = torch.randperm(len(self._pixels), generator=draw).split(budget.batch)
        total = 0.0
        self.twin.narrow = self._reference.narrow = _narrow(self.twin.precision)
        for step, batch in enumerate(progress(list(batches), f"Epoch {self.done + 1}")):
            pixels = augment(self._pixels[batch], budget, draw)
            done = (self.done * len(batches) + step) / (budget.epochs * len(batches))
            factor = min(1.0, 10 * done + 0.1) * 0.5 * (1 + math.cos(math.pi * done))
            for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
                group["lr"] = rate * factor
            wanted_streams, streams = ([], []) if budget.streams else (None, None)
            with torch.no_grad():
                wanted = self._reference(pixels, streams=wanted_streams).log_softmax(-1)
            found = self.twin(pixels, streams=streams).log_softmax(-1)
            loss = functional.kl_div(found, wanted, log_target=True, reduction="batchmean")
            if budget.streams:
                loss = loss + budget.streams * stream_error(streams, wanted_streams)
            self._adam.zero_grad(set_to_none=True)
            loss.backward()
            self._adam.step()
            total += loss.item() * len(batch)
        self.twin.narrow = self._reference.narrow = False
        self.done += 1
        return total / len(self._pixels)


def stream_error(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean squared error of residual streams behind blocks but the last, normalised as
    LayerNorm does: 2 of streams that have nothing in common.

    Behind the last block, tokens of which no class comes are free.
    """
    errors = [functional.mse_loss(*(functional.layer_norm(x, x.shape[-1:]) for x in pair))
              for pair in zip(found[:-1], wanted[:-1], strict=True)]
    return torch.stack(errors).mean() if errors else torch.zeros(())


def augment(pixels: torch.Tensor, budget: Budget, draw: torch.Generator) -> torch.Tensor:
    """Mirror, crop, recolour and mix uint8 images ``(images, side, side, 3)``."""
    side = pixels.shape[1]
    images = pixels.permute(0, 3, 1, 2).float()
    made = torch.empty_like(images)
    for index, image in enumerate(images):
        area, aspect, top, left, flip = torch.rand(5, generator=draw).tolist()
        area, aspect = budget.area + (1 - budget.area) * area, math.exp((aspect - 0.5) * 0.5)
        height, width = (min(side, max(1, round(side * math.sqrt(area * ratio))))
                         for ratio in (aspect, 1 / aspect))
        top, left = round(top * (side - height)), round(left * (side - width))
        part = image[None, :, top:top + height, left:left + width]
        made[index] = functional.interpolate(part, (side, side), mode="bicubic",
                                             align_corners=False)[0]
        if flip < 0.5:
            made[index] = made[index].flip(2)
    if budget.colour:
        made = recoloured(made, budget.colour, draw)
    if float(torch.rand((), generator=draw)) < budget.mix:
        share, top, left = torch.rand(3, generator=draw).tolist()
        length = round(side * math.sqrt(share))
        rows, columns = (slice(round(at * (side - length)), round(at * (side - length)) + length)
                         for at in (top, left))
        made[:, :, rows, columns] = made.flip(0)[:, :, rows, columns]
    return made.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def recoloured(images: torch.Tensor, most: float, draw: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast (about the mean grey) and saturation of images by factors of up
    to ``2**most``, each image by its own: ``(images, colours, side, side)``, values 0 to 255.
    """
    factors = torch.exp2(most * (2 * torch.rand((3, len(images), 1, 1, 1), generator=draw) - 1))
    bright, contrast, saturation = factors
    made = (images * bright).clamp_(0, 255)
    mean = _grey(made).mean((2, 3), keepdim=True)
    made = (mean + contrast * (made - mean)).clamp_(0, 255)
    grey = _grey(made)
    return grey + saturation * (made - grey)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Return the luma of RGB (ITU-R BT.601); of other images, the mean of their colours."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def snap(twin: Twin) -> None:
    """Put the scales on the grid, and predictors within the limits, that the hardware has."""
    with torch.no_grad():
        twin.scales.copy_(torch.floor(twin.scales * LAMBDA.one + 0.5) / LAMBDA.one)
    for tap in twin.taps:
        tap.limit()
