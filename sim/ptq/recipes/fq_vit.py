"""FQ-ViT (Lin et al., arXiv 2111.13824): everything quantized, by minimum and maximum.

Every result is quantized, the residual stream too: there each channel has a power-of-two factor
(PTF), with which LayerNorm computes in integers. Softmax is I-BERT's integer exponential with
a log2 result (LIS); GELU is float. Weights are symmetric per output.

Probabilities have as many bits as other activations. The published network quantizes the
embedding before the position is added and with the patch embedding's bias; here the bias is a part
of the position. Both have 8 bits, as has the sum.
"""

from collections.abc import Callable

import torch
from torch import nn

from golden.network.precision import HEAD, Precision

from ..float_vit import FloatVit
from .harness import Harness, plain
from .quantizers import SMALLEST, Uniform, affine, nearest

FACTORS = 4
"""Exponents that a channel of the residual stream can have: 0..3."""

EXP = (0.35815147, 0.96963238, 1.0)
"""I-BERT's ``a x**2 + b x + c`` for the exponential on ``-log(2)..0``."""

SHIFT = 30
"""Powers of two between the largest exponential and the smallest that is not cut off."""

UNQUANTIZED = ("_q", "_k", "_v", "_p", "fc1_out")
"""Points without a quantizer: parts of one that has, what softmax quantizes, GELU's input."""


def exponentials(codes: torch.Tensor, scale: float) -> torch.Tensor:
    """Return I-BERT's integer exponentials of ``codes * scale``, int64, for codes of 0 or less."""
    a, b, c = EXP
    step = int(-0.6931 // scale)
    linear, constant = int(b / a // scale), int(c / a // scale**2)
    codes = codes.clamp_min(SHIFT * step)
    whole = torch.div(codes, step, rounding_mode="floor")
    rest = codes - step * whole
    return (rest * (rest + linear) + constant).clamp_min(0) << (SHIFT - whole)


def log_int_softmax(codes: torch.Tensor, scale: float, bits: int) -> torch.Tensor:
    """Return powers of two near the softmax of ``codes * scale``, int64 codes."""
    exps = exponentials(codes - codes.amax(-1, keepdim=True), scale)
    total = exps.sum(-1, keepdim=True).double()
    inverse = torch.round(total / exps)  # infinite for an exponential of 0
    code = torch.log2(inverse).floor()
    code += inverse - torch.exp2(code) >= torch.exp2(code - 1)
    return torch.where(code < 2**bits, torch.exp2(-code), 0.0).float()


def integer_norm(codes: torch.Tensor, unit: float, weight: torch.Tensor, bias: torch.Tensor,
                 out: float) -> torch.Tensor:
    """Return the LayerNorm of ``codes * unit`` as integers times `out`, with 8-bit factors."""
    codes, channels = codes.double(), codes.shape[-1]
    total = codes.sum(-1, keepdim=True)
    deviation = (channels * codes.square().sum(-1, keepdim=True) - total.square()).sqrt()
    inverse = channels / deviation.clamp_min(1)  # of the deviation in units
    factor = inverse * weight.double() / out
    size = factor.abs().clamp_min(2.0**-31)
    shift = (7 - torch.log2(size).floor()).clamp(0, 31)
    mantissa = (size * torch.exp2(shift)).floor().clamp_max(255) * factor.sign()
    mean = total / channels
    start = ((bias.double() / out - mean * factor) * torch.exp2(shift)).round()
    return (((mantissa * codes + start) * torch.exp2(-shift)).round() * out).float()


def power_of_two_factors(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor,
                         bits: int) -> Uniform:
    """Return the quantizer of a residual stream ``x (..., channels)`` of a range.

    Each channel's scale is the range's, divided by 8 and multiplied by the power of two that
    leaves the least squared error in the channel.
    """
    scale, zero = affine(low, high, bits)
    tried = scale * 2.0 ** (torch.arange(FACTORS) - FACTORS + 1)
    flat = x.flatten(0, -2)
    error = torch.stack([(Uniform.asymmetric(one, zero, bits)(flat) - flat).square().mean(0)
                         for one in tried])
    return Uniform.asymmetric(tried[error.argmin(0)], zero, bits)


def round_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return weights ``(inputs, outputs)`` rounded within the largest magnitude of an output."""
    reach = weight.abs().amax(0) / (2**(bits - 1) - 0.5)
    return Uniform.symmetric(reach.clamp_min(SMALLEST), bits)(weight)


class FqVit(Harness):
    """A network with FQ-ViT's LayerNorm and softmax where their quantizers are set."""

    def bits(self, name: str) -> int:
        """Return the width of a point's activations."""
        return HEAD.activations if name.startswith("embed") else super().bits(name)

    def embedded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels into tokens."""
        x = super().embedded(pixels)
        first = self.shape.prefix
        patches = torch.cat((torch.zeros_like(x[:, :first]),
                             x[:, first:] - self.embedding[first:]), 1)
        position = self.point("embed_position", self.embedding[None])
        return self.point("embed_sum", self.point("embed_out", patches) + position)

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Apply a LayerNorm to codes of the residual stream."""
        if name == "norm_pre":  # those networks have none: as it is
            return super().norm(name, x)
        block, _, which = name.rpartition("_")
        before, after = {
            "norm": (f"{self.shape.depth - 1}_sum2", "head"),
            "norm1": (f"{int(block or 0) - 1}_sum2" if block != "0" else "embed_sum",
                      f"{block}_qkv"),
            "norm2": (f"{block}_sum1", f"{block}_fc1")}[which]
        if before not in self.quantizers:
            return super().norm(name, x)
        unit = self.quantizers[before].scale.min()
        return integer_norm(nearest(x / unit), float(unit), self.weights[name],
                            self.biases[name], float(self.quantizers[after].scale))

    def softmax(self, index: int, scores: torch.Tensor) -> torch.Tensor:
        """Return powers of two, if scores are quantized."""
        name = f"{index}_qk_out"
        if name not in self.quantizers:
            return super().softmax(index, scores)
        scale = float(self.quantizers[name].scale) * self.shape.head_dim**-0.5
        return log_int_softmax(nearest(scores / scale).long(), scale, self.bits(f"{index}_p"))


class Ranges:
    """Observer of the smallest and the largest value of every point."""

    def __init__(self):
        self.low: dict[str, torch.Tensor] = {}
        self.high: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, x: torch.Tensor) -> None:
        self.low[name] = torch.minimum(self.low.get(name, x.amin()), x.amin())
        self.high[name] = torch.maximum(self.high.get(name, x.amax()), x.amax())


class Factors:
    """Observer that makes the quantizers of residual streams, from ranges seen before."""

    def __init__(self, net: FqVit, ranges: Ranges):
        self.net, self.ranges, self.made = net, ranges, nn.ModuleDict()

    def __call__(self, name: str, x: torch.Tensor) -> None:
        if name.rpartition("_")[2].startswith("sum"):
            self.made[name] = power_of_two_factors(x, self.ranges.low[name],
                                                   self.ranges.high[name], self.net.bits(name))


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain, batch: int = 32) -> FqVit:
    """Quantize a network; ranges come from all images, PTF from the first `batch` of them."""
    net, ranges = FqVit(source, precision), Ranges()
    with net.observed(ranges):
        for part in progress(pixels.split(batch), "Observing"):
            net(part)
    factors = Factors(net, ranges)
    with net.observed(factors):
        net(pixels[:batch])
    for name in ranges.low:
        bits = net.bits(name)
        if name in factors.made:
            net.quantizers[name] = factors.made[name]
        elif not name.endswith(UNQUANTIZED):
            net.quantizers[name] = Uniform.asymmetric(
                *affine(ranges.low[name], ranges.high[name], bits), bits)
    net.round_weights(round_weight)
    return net
