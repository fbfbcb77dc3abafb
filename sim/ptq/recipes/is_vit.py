"""I&S-ViT (Zhong et al., arXiv 2311.10126): probabilities shifted before their logarithm is taken.

``-log2(p + shift)`` is quantized uniformly (equations 6 and 7), with the shift of :data:`SHIFTS`
that loses least. Everything else is RepQ-ViT's, which is where I&S-ViT's second stage arrives; its
optimisation of weights and scales in three stages is left out.
"""

from collections.abc import Callable

import torch
from torch import nn

from golden.network.precision import Precision

from ..float_vit import FloatVit
from . import repq_vit
from .harness import Harness, operand, plain
from .quantizers import Uniform, affine

SHIFTS = tuple(2.0**(-half / 2) for half in range(6, 41))
"""Shifts that are tried: 2**-3 to 2**-20."""


class ShiftLog(nn.Module):
    """``2**-u(-log2(p + shift)) - shift`` with a uniform quantizer `u` that covers ``0..1``."""

    def __init__(self, shift: float, bits: int):
        super().__init__()
        self.shift = shift
        ends = -torch.log2(torch.tensor([1.0 + shift, shift]))
        self.uniform = Uniform.asymmetric(*affine(ends[0], ends[1], bits), bits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp2(-self.uniform(-torch.log2(x + self.shift))) - self.shift


def shifted_log(x: torch.Tensor, bits: int) -> ShiftLog:
    """Return the quantizer of probabilities of least squared error."""
    flat = x.flatten()
    tried = [ShiftLog(shift, bits) for shift in SHIFTS]
    return min(tried, key=lambda one: float((one(flat) - flat).square_().mean()))


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net = repq_vit.make(source, precision, pixels, progress)

    def choose(name: str, x: torch.Tensor) -> None:
        if operand(name) == "p":
            net.quantizers[name] = shifted_log(x, net.bits(name))

    with net.observed(choose):
        net.run(pixels, progress, "Shifting")
    return net
