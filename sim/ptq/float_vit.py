"""The float side of a quantized network: its weights as one plain structure.

Weights are ``(inputs, outputs)``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch.nn import functional

from golden.network.shape import VitShape
from golden.results import gelu
from golden.results.curves import CURVES

LAYERS = ("qkv", "proj", "fc1", "fc2")
"""Matrix products of a block that have weights."""

HEAD_NORMS = ("q_norm", "k_norm")
"""LayerNorms of queries and of keys, which a block may have."""

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "quick_gelu": lambda t: t * torch.sigmoid(1.702 * t),
    "silu": functional.silu,
    "relu": functional.relu,
}
"""What is between the layers of an MLP, by the names of :data:`golden.results.curves.CURVES`."""


def offset_of(shape: VitShape) -> float:
    """Return what is added to the results of a network's activation, so that none is negative."""
    return CURVES[shape.activation].offset / gelu.RESULT.one


@dataclass
class Affine:
    """Weights ``(inputs, outputs)`` and biases of a layer, or ``(channels,)`` of a LayerNorm."""

    weight: torch.Tensor
    bias: torch.Tensor

    def copy(self) -> "Affine":
        """Return a layer whose tensors are its own."""
        return Affine(self.weight.clone(), self.bias.clone())


@dataclass
class FloatVit:
    """A Vision Transformer's weights, float64.

    Attributes
    ----------
    shape, epsilon
        Sizes; what LayerNorm adds to the variance.
    patch
        Patch embedding for raw pixels 0..255, by row, column and colour; its bias is zero.
    embedding
        ``(tokens, dim)``: position, and tokens of the prefix or bias of the patch embedding.
    blocks
        For each block ``norm1``, ``qkv``, ``proj``, ``norm2``, ``fc1``, ``fc2``; where queries and
        keys are normalised, ``q_norm`` and ``k_norm``, of ``head_dim`` channels each.
    norm, head
        The last LayerNorm; the classifier of ``shape.classified_dim`` inputs.
    coarse : uint8 tensor, shape (depth, hidden), or None
        1 for hidden units whose values are taken ``2**COARSE`` times smaller behind GELU
        (:data:`golden.results.gelu.COARSE`), which their weights in ``fc2`` make up for; None if
        there are none. As wide as the widest block; :meth:`coarse_units` gives those of one.
    norm_pre
        A LayerNorm of the embedded tokens, before the blocks; None if there is none.
    places
        For each block what is added to scores before softmax, ``(heads, keys, keys)``, by query
        and key of a whole window; None if nothing is.
    merges
        For each of ``shape.merges`` its ``norm`` and its ``merge``, of patches row by row.
    """

    shape: VitShape
    epsilon: float
    patch: Affine
    embedding: torch.Tensor
    blocks: list[dict[str, Affine]]
    norm: Affine
    head: Affine
    coarse: torch.Tensor | None = None
    norm_pre: Affine | None = None
    places: list[torch.Tensor] | None = None
    merges: list[dict[str, Affine]] = field(default_factory=list)

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys have LayerNorms."""
        return any(name in block for block in self.blocks for name in HEAD_NORMS)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor by name, like ``blocks.3.fc1.weight``."""
        found = {"embedding": self.embedding}
        parts = {"patch": self.patch, "norm": self.norm, "head": self.head}
        if self.norm_pre is not None:
            parts["norm_pre"] = self.norm_pre
        for kind, layers in (("blocks", self.blocks), ("merges", self.merges)):
            for index, one in enumerate(layers):
                parts |= {f"{kind}.{index}.{name}": part for name, part in one.items()}
        for name, part in parts.items():
            found[f"{name}.weight"], found[f"{name}.bias"] = part.weight, part.bias
        for index, places in enumerate(self.places or ()):
            found[f"blocks.{index}.places"] = places
        return found

    def copy(self) -> "FloatVit":
        """Return a network whose tensors are its own."""
        def copies(layers):
            return [{name: part.copy() for name, part in one.items()} for one in layers]

        return replace(self, patch=self.patch.copy(), embedding=self.embedding.clone(),
                       blocks=copies(self.blocks), norm=self.norm.copy(), head=self.head.copy(),
                       norm_pre=self.norm_pre and self.norm_pre.copy(),
                       places=self.places and [places.clone() for places in self.places],
                       merges=copies(self.merges))

    def coarse_units(self, index: int) -> torch.Tensor | None:
        """Return which hidden units of a block are coarse, uint8 (hidden,); None if none is."""
        return coarse_units(self.coarse, self.shape, index)


def coarse_units(coarse: torch.Tensor | None, shape: VitShape, index: int) -> torch.Tensor | None:
    """Return those of :attr:`FloatVit.coarse` that are of a block; None if none is coarse."""
    if coarse is None or not coarse[index].any():
        return None
    return coarse[index, :shape.blocks[index].hidden]
