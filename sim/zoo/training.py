"""What :mod:`sim.train` does with tensors: initial weights, augmentation, steps, evaluation.

The model is timm's and is evaluated as such. Training runs the same layers through
:func:`forward`, which computes in a narrower type and only for the patches that a step keeps.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..inputs.torchvision_compat import timm

_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0)), ((1, 1), (1, -1), (-1, -1), (-1, 1))


def patches(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Cut ``[n, side, side, 3]`` into ``[n, patches, 3 * size**2]``, in timm's order."""
    n, side, _, colours = pixels.shape
    grid = side // size
    cut = pixels.reshape(n, grid, size, grid, size, colours).permute(0, 1, 3, 5, 2, 4)
    return cut.reshape(n, grid * grid, colours * size * size)


def normalise(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Return 8-bit pixels ``[..., 3]`` as the model wants them."""
    return (pixels.float() / 255 - mean) / std


def build(architecture: dict, pixels: torch.Tensor, seed: int) -> torch.nn.Module:
    """Build a model with initial weights that suit small images.

    The position embedding holds sines and cosines of the row and the column. The queries of a
    head are turned against its keys, so that a patch first looks at the neighbour in one
    direction. The patch embedding whitens the patches of `pixels`, which are normalised. The two
    share the channels: each has a subspace of its own, in a random orthonormal basis. Branches of
    the blocks start at zero.
    """
    torch.manual_seed(seed)
    model = timm.models.vision_transformer.VisionTransformer(**architecture)
    width, heads = model.embed_dim, len(model.blocks) and model.blocks[0].attn.num_heads
    size, (grid, _) = model.patch_embed.patch_size[0], model.patch_embed.grid_size
    head = width // heads
    basis = torch.linalg.qr(torch.randn(width, width)).Q
    places, contents = basis[:, :head], basis[:, head:]

    frequencies = math.pi * (torch.arange(head // 4) + 0.5) / (head // 4)
    angles = torch.arange(grid)[:, None] * frequencies
    waves = torch.stack((angles.cos(), angles.sin()), -1).flatten(1)  # [grid, head / 2]
    rows, columns = waves.repeat_interleave(grid, 0), waves.repeat(grid, 1)
    place = torch.cat((rows, columns), 1) * math.sqrt(72 / head)  # of norm 6
    cut = patches(pixels, size).flatten(0, 1)
    values, vectors = torch.linalg.eigh(cut.T @ cut / len(cut))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = min(len(values), width - head)
    whiten = (vectors / (values + 0.01).sqrt())[:, :kept].T
    with torch.no_grad():
        model.pos_embed[0, 1:] = place @ places.T
        model.pos_embed[0, 0] = 0
        model.patch_embed.proj.weight.copy_(
            (contents[:, :kept] @ whiten).view_as(model.patch_embed.proj.weight))
        model.patch_embed.proj.bias.zero_()
        model.cls_token.copy_(6 * functional.normalize(torch.randn(width), dim=0))
        for index, block in enumerate(model.blocks):
            sharp = 0.75 if index < 2 * len(model.blocks) / 3 else 0.5
            attention = block.attn
            for number in range(heads):
                one = slice(number * head, (number + 1) * head)
                offset = _NEIGHBOURS[index % 2][number % 4]
                turned = _turn(places, frequencies, offset)
                attention.qkv.weight[:width][one] = sharp * turned.T
                attention.qkv.weight[width:2 * width][one] = sharp * places.T
            attention.qkv.weight[:2 * width].add_(torch.randn(2 * width, width), alpha=0.02)
            values = torch.linalg.qr(torch.randn(width, width)).Q
            attention.qkv.weight[2 * width:] = 0.5 * values
            attention.proj.weight.zero_()
            hidden = torch.linalg.qr(torch.randn(block.mlp.fc1.out_features, width)).Q
            block.mlp.fc1.weight.copy_(hidden)
            block.mlp.fc2.weight.zero_()
    return model


def _turn(places: torch.Tensor, frequencies: torch.Tensor, offset: tuple[int, int]) -> torch.Tensor:
    """Turn the waves' subspace so that a place becomes the place `offset` further on."""
    blocks = []
    for distance in offset:
        for angle in frequencies * distance:
            cos, sin = angle.cos(), angle.sin()
            blocks.append(torch.stack((torch.stack((cos, -sin)), torch.stack((sin, cos)))))
    return places @ torch.block_diag(*blocks).T


def forward(model: torch.nn.Module, cut: torch.Tensor, kept: torch.Tensor | None,
            dtype: torch.dtype) -> torch.Tensor:
    """Return the logits of patches ``[n, m, values]``, whose places are ``kept[n, m]`` or all."""
    def linear(layer, x):
        return functional.linear(x, layer.weight.to(dtype), layer.bias.to(dtype))

    def norm(layer, x):
        return functional.layer_norm(x, layer.normalized_shape, layer.weight.to(dtype),
                                     layer.bias.to(dtype), layer.eps)

    project = model.patch_embed.proj
    place = model.pos_embed[0, 1:].to(dtype)
    x = functional.linear(cut.to(dtype), project.weight.flatten(1).to(dtype),
                          project.bias.to(dtype))
    x = x + (place if kept is None else place[kept])
    first = (model.cls_token[0] + model.pos_embed[0, :1]).to(dtype)
    x = torch.cat((first.expand(len(x), 1, -1), x), 1)
    for block in model.blocks:
        attention = block.attn
        n, m, width = x.shape
        qkv = linear(attention.qkv, norm(block.norm1, x))
        q, k, v = qkv.view(n, m, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        mix = ((q * attention.scale) @ k.transpose(-1, -2)).softmax(-1) @ v
        x = x + linear(attention.proj, mix.transpose(1, 2).reshape(n, m, width))
        hidden = functional.gelu(linear(block.mlp.fc1, norm(block.norm2, x)))
        x = x + linear(block.mlp.fc2, hidden)
    return linear(model.head, norm(model.norm, x[:, 0])).float()


def _orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Return about the nearest semi-orthogonal matrices; ``[n, r, c]`` with ``r <= c``.

    Five steps of the Newton-Schulz iteration of Muon (Jordan et al., 2024).
    """
    x = matrices.bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.float()


class Muon:
    """Muon for the matrices of the blocks: steps of equal length in all directions."""

    def __init__(self, model: torch.nn.Module, *, decay: float, momentum: float = 0.95):
        self._decay, self._momentum = decay, momentum
        width = model.embed_dim
        attentions = [block.attn for block in model.blocks]
        self._groups = (
            [(layer.weight, False) for attention in attentions
             for layer in (attention.qkv, attention.proj)],
            [(layer.weight, wide) for block in model.blocks
             for layer, wide in ((block.mlp.fc1, True), (block.mlp.fc2, False))],
        )
        hidden = model.blocks[0].mlp.fc1.out_features
        self._shapes = (width, width), (width, hidden)
        self.buffers = [torch.zeros(sum(self._count(p, shape) for p, _ in group), *shape)
                        for group, shape in zip(self._groups, self._shapes, strict=True)]

    @staticmethod
    def _count(parameter: torch.Tensor, shape: tuple[int, int]) -> int:
        return parameter.numel() // math.prod(shape)

    def parameters(self) -> list[torch.nn.Parameter]:
        """Return the parameters that are stepped here."""
        return [parameter for group in self._groups for parameter, _ in group]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the parameters from their gradients."""
        for group, shape, buffer in zip(self._groups, self._shapes, self.buffers, strict=True):
            gradients = torch.cat([(p.grad.T if turned else p.grad).reshape(-1, *shape)
                                   for p, turned in group])
            buffer.lerp_(gradients, 1 - self._momentum)
            steps = _orthogonal(gradients.lerp_(buffer, self._momentum))
            counts = [self._count(p, shape) for p, _ in group]
            for (p, turned), change in zip(group, steps.split(counts), strict=True):
                if turned:
                    change = change[0].T * math.sqrt(p.shape[0] / p.shape[1])
                p.mul_(1 - rate * self._decay).add_(change.reshape(p.shape), alpha=-rate)


@dataclass
class Trainer:
    """A model in training.

    Attributes
    ----------
    model
        timm's VisionTransformer, in float32.
    recipe
        A :class:`sim.train.Recipe`.
    mean, std
        Per colour, of the training pixels as 0..1.
    """

    model: torch.nn.Module
    recipe: object
    mean: torch.Tensor
    std: torch.Tensor
    dtype: torch.dtype = torch.bfloat16
    compiled: bool = False

    def __post_init__(self):
        self.muon = Muon(self.model, decay=self.recipe.matrix_decay)
        matrices = {id(p) for p in self.muon.parameters()}
        rest = [p for p in self.model.parameters() if id(p) not in matrices]
        self.adam = torch.optim.AdamW(rest, lr=self.recipe.rate, betas=(0.9, 0.98),
                                      weight_decay=0.0, fused=True)
        self._loss = torch.compile(self._loss_of, dynamic=False) if self.compiled else self._loss_of

    def _loss_of(self, cut, kept, labels):
        logits = forward(self.model, cut, kept, self.dtype)
        return functional.cross_entropy(logits, labels, label_smoothing=self.recipe.smoothing)

    def state(self) -> dict:
        """Return what a checkpoint keeps of the model and the optimizers."""
        return {"model": self.model.state_dict(), "muon": self.muon.buffers,
                "adam": self.adam.state_dict()}

    def load(self, state: dict) -> None:
        """Continue from what :meth:`state` returned."""
        self.model.load_state_dict(state["model"])
        for mine, stored in zip(self.muon.buffers, state["muon"], strict=True):
            mine.copy_(stored)
        self.adam.load_state_dict(state["adam"])

    def epoch(self, number: int, padded: torch.Tensor, labels: torch.Tensor,
              progress: Callable = lambda steps, what: steps) -> tuple[int, float]:
        """Train for one epoch, counted from 0; return the patches kept and the mean loss.

        The same epoch draws the same images whether or not the run was interrupted before it.
        """
        recipe = self.recipe
        draw = torch.Generator().manual_seed(recipe.seed * 10_000 + number)
        places = self.model.patch_embed.num_patches
        full = number >= recipe.epochs - recipe.full_epochs
        count = places if full else max(1, round(places * recipe.keep))
        order = torch.randperm(len(labels), generator=draw)
        batches = list(order.split(recipe.batch))
        if len(batches) > 1 and len(batches[-1]) < recipe.batch:
            batches.pop()
        total = 0.0
        for step, batch in enumerate(progress(batches, f"Epoch {number + 1}")):
            factor = self._factor((number * len(batches) + step)
                                  / (recipe.epochs * len(batches)))
            pixels = augment(padded[batch], recipe.padding, draw)
            cut = patches(pixels, self.model.patch_embed.patch_size[0])
            kept = None
            if not full:
                kept = torch.rand(len(batch), places, generator=draw).argsort(1)[:, :count]
                cut = cut.gather(1, kept[..., None].expand(-1, -1, cut.shape[2]))
            area = cut.shape[2] // 3
            cut = normalise_patches(cut, self.mean, self.std, area)
            loss = self._loss(cut, kept, labels[batch])
            self.model.zero_grad(set_to_none=True)
            loss.backward()
            for group in self.adam.param_groups:
                group["lr"] = recipe.rate * factor
            self.adam.step()
            self.muon.step(recipe.matrix_rate * factor)
            total += loss.item()
        return count, total / len(batches)

    @staticmethod
    def _factor(done: float, warm: float = 0.03) -> float:
        """Return the share of the highest rate: up to it at `warm`, then down to 0."""
        return min((done + 1e-3) / warm, (1 - done) / (1 - warm))


def normalise_patches(cut: torch.Tensor, mean: torch.Tensor, std: torch.Tensor,
                      area: int) -> torch.Tensor:
    """Normalise 8-bit patches ``[..., 3 * area]``, colour by colour."""
    return ((cut.float() / 255 - mean.repeat_interleave(area)) / std.repeat_interleave(area))


def pad(pixels: np.ndarray, padding: int) -> torch.Tensor:
    """Mirror the edges of 8-bit images ``[n, side, side, 3]``."""
    around = (padding, padding)
    return torch.from_numpy(np.pad(pixels, ((0, 0), around, around, (0, 0)), "reflect"))


def augment(padded: torch.Tensor, padding: int, draw: torch.Generator) -> torch.Tensor:
    """Crop each padded image somewhere, and mirror every other one or so."""
    n, side = len(padded), padded.shape[1] - 2 * padding
    span = torch.arange(side)
    top, left = torch.randint(2 * padding + 1, (2, n, 1), generator=draw)
    flip = torch.rand(n, 1, generator=draw) < 0.5
    rows, columns = top + span, left + torch.where(flip, side - 1 - span, span)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def batches(count: int, size: int) -> Iterator[slice]:
    """Split `count` items into runs of `size`, the last one perhaps shorter."""
    return (slice(a, min(b, count)) for a, b in itertools.pairwise(range(0, count + size, size)))


@torch.inference_mode()
def accuracy(model: torch.nn.Module, pixels: np.ndarray, labels: np.ndarray, mean: torch.Tensor,
             std: torch.Tensor, progress: Callable = lambda steps, what: steps) -> float:
    """Return the share of images that the model, as it is, puts into the right class."""
    model.eval()
    right = 0
    for part in progress(list(batches(len(labels), 250)), "Testing"):
        inputs = normalise(torch.from_numpy(pixels[part]), mean, std).permute(0, 3, 1, 2)
        found = model(inputs.contiguous()).argmax(1).numpy()
        right += int((found == labels[part]).sum())
    return right / len(labels)
