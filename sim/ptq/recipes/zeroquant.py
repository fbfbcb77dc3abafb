"""ZeroQuant (Yao et al., arXiv 2206.01861): weights by groups, activations token by token.

Each :data:`GROUP` inputs of an output have a scale of their own, by the largest magnitude. Each
token of what enters a layer, each query, key and row of probabilities is quantized by its own
minimum and maximum, when it comes: nothing is calibrated. Values are summed over tokens, and have
one scale for all of an image. The layer-by-layer distillation of the paper is left out.
"""

from collections.abc import Callable

import torch
from torch import nn

from golden.network.precision import Precision

from ..float_vit import LAYERS, FloatVit
from .harness import OPERANDS, Harness, plain
from .quantizers import Uniform, affine
from .smoothquant import by_magnitude

GROUP = 64
"""Inputs of a group."""


class Dynamic(nn.Module):
    """Asymmetric quantizer of the range of what it gets, of each row or of each image."""

    def __init__(self, bits: int, *, rows: bool):
        super().__init__()
        self.bits, self.rows = bits, rows

    @property
    def low(self) -> int:
        """The least code."""
        return 0

    @property
    def high(self) -> int:
        """The largest code."""
        return 2**self.bits - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        over = -1 if self.rows else tuple(range(1, x.ndim))
        return Uniform.asymmetric(*affine(x.amin(over, keepdim=True), x.amax(over, keepdim=True),
                                          self.bits), self.bits)(x)


def by_groups(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return weights (inputs, outputs) rounded group by group."""
    return torch.cat([by_magnitude(part, bits, channels=True)(part)
                      for part in weight.split(GROUP)])


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network; `pixels` are not looked at."""
    net = Harness(source, precision)
    net.round_weights(by_groups)
    points = [f"{index}_{kind}" for index in range(net.shape.depth) for kind in OPERANDS]
    for name in progress([*points, "head"], "Placing quantizers"):
        kind = name.rpartition("_")[2]
        net.quantizers[name] = Dynamic(net.bits(name), rows=kind in (*LAYERS, "q", "k", "p",
                                                                      "head"))
    return net
