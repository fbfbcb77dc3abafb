"""Layers of a network that have widths, and what they gain by wider ones."""

from dataclasses import dataclass

from golden.network.precision import ATTENTION, Precision
from golden.network.shape import MERGE_SITE, VitShape

LAYERS = ("qkv", ATTENTION, "proj", "fc1", "fc2")
"""Layers of a block; a merge is one more, before them."""


@dataclass(frozen=True)
class Gain:
    """What a layer gains by other widths than the narrowest.

    Attributes
    ----------
    block, layer, precision
        Which, and its widths.
    gain
        How much lower the divergence is than with the narrowest.
    """

    block: int
    layer: str
    precision: Precision
    gain: float


def layers_of(shape: VitShape) -> list[tuple[int, str]]:
    """Return all layers of all blocks that have widths, in order."""
    return [(block, layer) for block in range(shape.depth)
            for layer in ((MERGE_SITE,) if block in shape.merges else ()) + LAYERS]
