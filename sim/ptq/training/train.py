"""Training of a quantized network against the float one, with straight-through gradients.

What may be trained: static scales, or a predictor's coefficients in their place; LayerNorms and
biases; the weights before they are rounded. The loss is the Kullback-Leibler divergence of the
class probabilities from the float network's, and, where that is asked for, the error of the
residual stream behind every block, which a few images say more of. No label is used.
"""

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from golden.common.formats import LAMBDA
from golden.network.precision import AnyPrecision

from ..twin import Twin
from .augmentation import augment
from .budget import Budget

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


def snap(twin: Twin) -> None:
    """Put the scales on the grid, and predictors within the limits, that the hardware has."""
    with torch.no_grad():
        twin.scales.copy_(torch.floor(twin.scales * LAMBDA.one + 0.5) / LAMBDA.one)
    for tap in twin.taps:
        tap.limit()
