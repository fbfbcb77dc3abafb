"""I-ViT's integer non-linearities (Li and Gu, arXiv 2207.01405) in place of ours.

Weights and quantizers are those of our own static calibration (:mod:`sim.ptq.blockwise`), but for
what these functions take and give: scores and GELU's input have 8 bits, with scales of least
squared error, the residual stream 16, and probabilities 16, as in the published PyTorch code.
The published network is trained with them; here nothing is.
"""

import math
from collections.abc import Callable

import torch

from golden.common.formats import INT8
from golden.network.precision import Precision
from golden.network.shape import BLOCK_SITES
from golden.results import gelu

from .. import blockwise, export, fold, observers
from ..float_vit import FloatVit
from .harness import Harness, check, plain
from .quantizers import Uniform, nearest

LIMIT = 2**31 - 1
SOFTMAX_SHIFT, GELU_SHIFT = 15, 23
PROBABILITY_BITS, SIGMOID_BITS = 16, 8
NEWTON_STEPS = 10
OFFSET = gelu.OFFSET / gelu.RESULT.one


def shift_exp(codes: torch.Tensor, scale: float, shift: int) -> torch.Tensor:
    """Return ``exp(codes * scale)`` in units of ``scale / 2**shift``, int64."""
    step = math.floor(-1 / scale)
    codes = codes + (codes >> 1) - (codes >> 4)  # times log2(e)
    codes = codes.clamp_min(shift * step)
    whole = torch.div(codes, step, rounding_mode="floor")
    rest = codes - whole * step
    return ((rest - 2 * step) << (shift - whole)) >> 1


def shiftmax(codes: torch.Tensor, scale: float, bits: int = PROBABILITY_BITS) -> torch.Tensor:
    """Return the softmax of ``codes * scale`` in units of ``2**-(bits - 1)``, int64."""
    exps = shift_exp(codes - codes.amax(-1, keepdim=True), scale, SOFTMAX_SHIFT)
    return _share(exps, exps.sum(-1, keepdim=True), bits)


def shift_gelu(codes: torch.Tensor, scale: float) -> torch.Tensor:
    """Return ``x sigmoid(1.702 x)`` of ``x = codes * scale`` in units of ``scale / 128``, int64."""
    steep, largest = 1.702 * scale, codes.amax(-1, keepdim=True)
    exps = shift_exp(codes - largest, steep, GELU_SHIFT)
    total = exps + shift_exp(-largest, steep, GELU_SHIFT)
    return codes * _share(exps, total, SIGMOID_BITS)


def _share(part: torch.Tensor, total: torch.Tensor, bits: int) -> torch.Tensor:
    factor = torch.div(torch.tensor(LIMIT), total.clamp_max(LIMIT), rounding_mode="floor")
    return (part * factor) >> (31 - bits + 1)


def integer_norm(codes: torch.Tensor) -> torch.Tensor:
    """Return what LayerNorm makes of int64 codes, in units of ``sqrt(channels) / 2**30``."""
    channels = codes.shape[-1]
    total = codes.sum(-1, keepdim=True)
    centred = codes - torch.div(2 * total + channels, 2 * channels, rounding_mode="floor")
    square = centred.square().sum(-1, keepdim=True)
    root = torch.full_like(square, 2**16)
    for _ in range(NEWTON_STEPS):
        root = (root + torch.div(square, root, rounding_mode="floor")) >> 1
    return (centred * torch.div(torch.tensor(LIMIT), root, rounding_mode="floor")) >> 1


class Unsigned(Uniform):
    """Our quantizer of GELU's output: of its sum with an offset."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + OFFSET) - OFFSET


class IVit(Harness):
    """A network with I-ViT's functions; `unit` is that of the residual stream's integers."""

    def __init__(self, source: FloatVit, precision: Precision, unit: float):
        super().__init__(source, precision)
        self.unit = unit

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Apply I-LayerNorm; the bias is added in its unit, before the factor."""
        scale = self.shape.dim**0.5 / 2**30
        weight, bias = self.weights[name].double(), self.biases[name].double()
        y = integer_norm(nearest(x / self.unit).long())
        start = (bias / weight / scale).floor()
        return torch.where(weight == 0, bias, (y + start) * (scale * weight)).float()

    def softmax(self, index: int, scores: torch.Tensor) -> torch.Tensor:
        """Apply Shiftmax."""
        scale = float(self.quantizers[f"{index}_qk_out"].scale) * self.shape.head_dim**-0.5
        p = shiftmax(nearest(scores / scale).long(), scale)
        return p.float() * 2.0**(1 - PROBABILITY_BITS)

    def activation(self, index: int, t: torch.Tensor) -> torch.Tensor:
        """Apply ShiftGELU."""
        scale = float(self.quantizers[f"{index}_fc1_out"].scale)
        return shift_gelu(nearest(t / scale).long(), scale).float() * (scale * 2.0**-7)


class ChooseInputs:
    """Observer that gives scores and GELU's input the 8-bit scale of least squared error."""

    def __init__(self, net: IVit):
        self.net = net

    def __call__(self, name: str, x: torch.Tensor) -> None:
        if name.endswith(("_qk_out", "_fc1_out")):
            scale = 2.0**observers.mse(x.flatten(), INT8)
            self.net.quantizers[name] = Uniform.symmetric(scale, INT8.bits)


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain, some: int = 32) -> IVit:
    """Quantize a network; `some` of the images are for the scales of scores and GELU's input."""
    check(source, precision)
    folded = fold.fold(source, fold.observe(source, pixels, progress=progress))
    made = blockwise.calibrate(folded, precision, pixels, progress=progress)
    net = IVit(made.twin.source(), precision, 2.0**-export.point(float(made.ranges.residual.max())))
    for site, lam in zip(net.shape.site_names(), made.twin.scales.tolist(), strict=True):
        kind = site.rpartition(".")[2]
        fmt = precision.site(kind)
        maker = Unsigned if kind == BLOCK_SITES[-1] else Uniform
        net.quantizers[site.replace(".", "_")] = maker(2.0**lam, 0.0, fmt.min, fmt.max)
    with net.observed(ChooseInputs(net)):
        net(pixels[:some])
    return net
