"""Static channel profiles: offsets and factors per channel, folded into the layers around a site.

None changes the float network. A site's values become ``(x - o_c) / r_c``:

* LayerNorm outputs (``qkv``, ``fc1``, ``merge``): both, as RepQ-ViT does (Li et al., arXiv
  2212.08254); factors go into LayerNorm and the rows of the weights behind it.
* Queries and keys: the factor of one is the inverse of the other's; keys have an offset, which
  softmax does not see. Where they have LayerNorms, both go into these, the same for all heads.
* Values and ``proj``: both, as rows of probabilities sum to 1.
* Hidden units that would leave the 16 bits of GELU: a power of two, made up for in the rows of
  ``fc2`` (massive activations, Sun et al., arXiv 2402.17762).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from golden.network.precision import Precision
from golden.network.shape import BLOCK_SITES, MERGE_SITE, VitShape
from golden.results import gelu

from .float_vit import FloatVit, offset_of
from .twin import LIMIT, Twin


@dataclass(frozen=True)
class Strength:
    """How far a profile goes: 0 leaves channels as they are, 1 gives all the same range."""

    norm: float = 1.0
    query_key: float = 0.5
    value: float = 0.5


DEFAULT = Strength()

HEADROOM = 1.5
"""How far beyond the largest value seen in calibration a hidden unit that is not coarse reaches."""


class ChannelRanges:
    """Robust ranges of the channels of every site: means over images of extremes; and the largest
    values of all.
    """

    def __init__(self, sites: int):
        self.low, self.high, self.count = [0.0] * sites, [0.0] * sites, [0] * sites
        self.largest = [torch.tensor(-math.inf)] * sites

    def __call__(self, site: int, x: torch.Tensor) -> None:
        """Take in ``x (images, tokens, channels)``."""
        self.low[site] = self.low[site] + x.amin(1).double().sum(0)
        self.high[site] = self.high[site] + x.amax(1).double().sum(0)
        self.count[site] += len(x)
        self.largest[site] = torch.maximum(self.largest[site], x.amax((0, 1)))

    def state(self) -> dict:
        """Return plain values for a checkpoint."""
        return {"low": self.low, "high": self.high, "count": self.count,
                "largest": self.largest}

    @classmethod
    def load(cls, state: dict) -> "ChannelRanges":
        """Return what :meth:`state` was taken of."""
        made = cls(len(state["count"]))
        for name, values in state.items():
            setattr(made, name, values)
        return made

    def middle(self, site: int) -> torch.Tensor:
        """Return the middle of each channel's range."""
        return (self.low[site] + self.high[site]) / (2 * self.count[site])

    def half(self, site: int) -> torch.Tensor:
        """Return half the width of each channel's range."""
        return ((self.high[site] - self.low[site]) / (2 * self.count[site])).clamp_min(1e-6)

    def reach(self, site: int) -> torch.Tensor:
        """Return the largest magnitude of each channel."""
        return torch.maximum(self.high[site], -self.low[site]).div(self.count[site]).clamp_min(1e-6)


@torch.inference_mode()
def observe(source: FloatVit, pixels: torch.Tensor, batch: int = 16,
            progress: Callable = lambda steps, what: steps) -> ChannelRanges:
    """Run the float network and return the channels' ranges at every site."""
    twin = Twin(source, Precision(8, 8))
    twin.active = False
    ranges = ChannelRanges(source.shape.sites)
    for part in progress(pixels.split(batch), "Observing"):
        twin(part, observe=ranges)
    return ranges


def fold(source: FloatVit, ranges: ChannelRanges, strength: Strength = DEFAULT) -> FloatVit:
    """Return the same network in the coordinates of its channel profiles."""
    made, shape = source.copy(), source.shape
    for block, merge in zip(shape.merges, made.merges, strict=True):
        site = shape.site(block, MERGE_SITE)
        _fold_norm(merge["norm"], merge["merge"], ranges.middle(site),
                   _factor(ranges.half(site), strength.norm))
    for index, block in enumerate(made.blocks):
        dim = shape.blocks[index].dim
        site = {name: shape.site(index, name) for name in BLOCK_SITES}
        for norm, layer in (("norm1", "qkv"), ("norm2", "fc1")):
            name = "qkv" if layer == "qkv" else "fc1"
            offset = ranges.middle(site[name])
            factor = _factor(ranges.half(site[name]), strength.norm)
            _fold_norm(block[norm], block[layer], offset, factor)
        qkv, proj = block["qkv"], block["proj"]
        q, k, v = (slice(part * dim, (part + 1) * dim) for part in range(3))
        offset, half, reach = (ranges.middle(site["k"]), ranges.half(site["k"]),
                               ranges.reach(site["q"]))
        if "q_norm" in block:
            _fold_heads(block, *(part.unflatten(0, (shape.blocks[index].heads, -1))
                                 for part in (offset, half, reach)), 0.5 * strength.query_key)
        else:
            qkv.bias[k] -= offset
            factor = _factor(reach / half, 0.5 * strength.query_key)
            _scale_columns(qkv, q, 1 / factor)
            _scale_columns(qkv, k, factor)
        offset = ranges.middle(site["v"])
        qkv.bias[v] -= offset
        proj.bias += offset @ proj.weight
        factor = _factor(ranges.half(site["v"]), strength.value)
        _scale_columns(qkv, v, 1 / factor)
        proj.weight *= factor[:, None]
    made.coarse = _coarse(shape, ranges)
    if made.coarse is not None:
        for index, block in enumerate(made.blocks):
            coarse = made.coarse_units(index)
            if coarse is not None:
                block["fc2"].weight *= torch.exp2(gelu.COARSE * coarse.double())[:, None]
    return made


def _coarse(shape: VitShape, ranges: ChannelRanges) -> torch.Tensor | None:
    """Return which hidden units are to be coarse, as :attr:`FloatVit.coarse` has them."""
    offset = offset_of(shape)
    coarse = torch.zeros(shape.depth, shape.blocks[-1].hidden, dtype=torch.uint8)
    for index, block in enumerate(shape.blocks):
        largest = ranges.largest[shape.site(index, "fc2")]
        coarse[index, :block.hidden] = (largest - offset) * HEADROOM > LIMIT - offset
    return coarse if coarse.any() else None


def _factor(width: torch.Tensor, strength: float) -> torch.Tensor:
    """Return ``width**strength`` with a geometric mean of 1."""
    logs = width.log()
    return torch.exp(strength * (logs - logs.mean()))


def _fold_norm(norm, layer, offset, factor):
    layer.bias += offset @ layer.weight
    layer.weight *= factor[:, None]
    norm.weight /= factor
    norm.bias.sub_(offset).div_(factor)


def _fold_heads(block, offset, half, reach, strength):
    # offset and half width of keys, reach of queries: (heads, channels)
    queries, keys = block["q_norm"], block["k_norm"]
    factor = _factor(reach.amax(0) / half.amax(0), strength)
    keys.bias -= offset.mean(0)
    for norm, times in ((queries, 1 / factor), (keys, factor)):
        norm.weight *= times
        norm.bias *= times


def _scale_columns(layer, columns, factor):
    layer.weight[:, columns] *= factor
    layer.bias[columns] *= factor
