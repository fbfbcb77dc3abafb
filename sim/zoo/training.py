"""What :mod:`sim.train` does with tensors: the model's layers, steps, evaluation.

The model is timm's and is evaluated as such. Training runs the same layers through
:func:`forward`, which computes in a narrower type and only for the patches that a step keeps.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from .muon import Muon
from .training_images import augment, normalise, normalise_patches, patches


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
