"""IGQ-ViT (Moon et al., CVPR 2024): channels choose their quantizer in every image.

An input of a layer has 8 quantizers; each channel of an image takes the one whose range is nearest
to the channel's own. Rows of probabilities do likewise by their largest. The ranges are found by
expectation maximisation on the calibration images. Weights are asymmetric per output.

There is no published code. Left out is the choice of the number of groups per layer; queries, keys
and values, of which little is said, have one range each, by percentiles, as in RepQ-ViT, as
has the head's input, which is one token.
"""

from collections.abc import Callable

import torch
from torch import nn

from golden.network.precision import Precision

from ..float_vit import LAYERS, FloatVit
from .harness import ChooseByPercentile, Harness, operand, plain
from .quantizers import affine, nearest, round_weight

GROUPS = 8
STEPS = 50


def _nearest_centre(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return (points[..., None, :] - centres).square().sum(-1).argmin(-1)


def cluster(points: torch.Tensor, groups: int = GROUPS) -> torch.Tensor:
    """Return the centres of groups of points ``(n, values)``.

    They start as the means of equal numbers of points, in the order of their sizes; a centre
    without points stays where it is.
    """
    order = points.abs().amax(1).argsort(stable=True)
    centres = torch.stack([part.mean(0) for part in points[order].tensor_split(groups)
                           if len(part)])
    chosen = None
    for _ in range(STEPS):
        before, chosen = chosen, _nearest_centre(points, centres)
        if before is not None and torch.equal(before, chosen):
            break
        count = torch.bincount(chosen, minlength=len(centres))[:, None]
        total = torch.zeros_like(centres).index_add_(0, chosen, points)
        centres = torch.where(count > 0, total / count.clamp_min(1), centres)
    return centres


class ChannelGroups(nn.Module):
    """Quantizer of ``(images, tokens, channels)`` with ranges ``(groups, 2)`` to choose from."""

    def __init__(self, ranges: torch.Tensor, bits: int):
        super().__init__()
        self.register_buffer("ranges", ranges)
        self.bits = bits

    def choose(self, x: torch.Tensor) -> torch.Tensor:
        """Return the group of each channel, ``(images, channels)``."""
        return _nearest_centre(ranges_of(x), self.ranges)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scales, zeros = affine(self.ranges[:, 0], self.ranges[:, 1], self.bits)
        group = self.choose(x)[:, None]
        scale, zero = scales[group], zeros[group]
        codes = (nearest(x / scale) + zero).clamp_(0, 2**self.bits - 1)
        return codes.sub_(zero).mul_(scale)


class TokenGroups(nn.Module):
    """Quantizer of rows of probabilities with largest values ``(groups, 1)`` to choose from."""

    def __init__(self, largest: torch.Tensor, bits: int):
        super().__init__()
        self.register_buffer("largest", largest)
        self.top = 2**bits - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        group = _nearest_centre(x.amax(-1, keepdim=True), self.largest)
        scale = self.largest[:, 0][group][..., None] / self.top
        return nearest(x / scale).clamp_(0, self.top).mul_(scale)


def ranges_of(x: torch.Tensor) -> torch.Tensor:
    """Return the ranges ``(images, channels, 2)`` of ``x (images, tokens, channels)``."""
    return torch.stack((x.amin(1), x.amax(1)), -1)


class ChooseGroups(ChooseByPercentile):
    """Observer that gives inputs of layers and probabilities their groups as they pass."""

    def __call__(self, name: str, x: torch.Tensor) -> None:
        kind, bits = operand(name), self.net.bits(name)
        if kind == "p":
            points = x.amax(-1).flatten()[:, None]
            self.net.quantizers[name] = TokenGroups(cluster(points), bits)
        elif kind in LAYERS:
            points = ranges_of(x).flatten(0, 1)
            self.net.quantizers[name] = ChannelGroups(cluster(points), bits)
        else:
            super().__call__(name, x)


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)
    net.round_weights(round_weight)
    with net.observed(ChooseGroups(net)):
        net.run(pixels, progress, "Calibrating")
    return net
