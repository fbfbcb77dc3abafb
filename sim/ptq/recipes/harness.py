"""A Vision Transformer whose values pass through named points, where recipes quantize or watch.

Points of block ``i``, in order; those before a product are its operands::

    i_qkv  i_qkv_out  i_q  i_k  i_qk_out  i_p  i_v  i_pv_out  i_proj  i_proj_out  i_sum1
    i_fc1  i_fc1_out  i_fc2  i_fc2_out  i_sum2

and ``head``, ``head_out`` behind them. Queries, keys, values and probabilities are
``(images, heads, tokens, channels)``.
"""

import contextlib
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from golden.network.precision import HEAD, AnyPrecision, Precision

from ..float_vit import LAYERS, FloatVit
from ..twin import Twin
from .quantizers import percentile, percentile_log

OPERANDS = ("qkv", "q", "k", "p", "v", "proj", "fc1", "fc2")
"""Points of a block that enter matrix products."""

NORMS = {"qkv": "norm1", "fc1": "norm2"}
"""Layers right behind a LayerNorm, and its name."""


def plain(steps, what: str):
    """Iterate over steps, and say nothing."""
    return steps


def check(source: FloatVit, precision: AnyPrecision) -> None:
    """Raise a ValueError for networks and widths that no recipe is for."""
    shape = source.shape
    if not isinstance(precision, Precision):
        raise ValueError("recipes know one precision for all blocks")
    if shape.in_windows or shape.rel_pos_bias or not shape.classified:
        raise ValueError("recipes know neither windows nor merges nor the mean of tokens nor "
                         "relative positions")
    if shape.activation != "gelu":
        raise ValueError(f"recipes know GELU alone, not {shape.activation}")
    if source.qk_norm:
        raise ValueError("recipes know no norms of queries and keys")


class Harness(Twin):
    """A float network with a quantizer at any of its points.

    Attributes
    ----------
    quantizers
        By the name of the point.
    """

    def __init__(self, source: FloatVit, precision: AnyPrecision):
        check(source, precision)
        super().__init__(source, precision)
        self.requires_grad_(False)
        self.quantizers = nn.ModuleDict()
        self._observe = None

    @contextlib.contextmanager
    def observed(self, observe: Callable):
        """Call `observe` with the name and the values of each point, before it quantizes."""
        self._observe = observe
        try:
            yield
        finally:
            self._observe = None

    def bits(self, name: str) -> int:
        """Return the width of a point's activations."""
        return (HEAD if name.startswith("head") else self.precision).activations

    def weight_bits(self, name: str) -> int:
        """Return the width of a layer's weights."""
        return (HEAD if name in {"patch", "head"} else self.precision).weights

    def layers(self) -> list[str]:
        """Return the names of the layers with weights, in order."""
        return ["patch", *(f"{index}_{layer}" for index in range(self.shape.depth)
                           for layer in LAYERS), "head"]

    def point(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Pass values through a point."""
        if self._observe is not None:
            self._observe(name, x)
        return self.quantizers[name](x) if name in self.quantizers else x

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Multiply the operands of a layer by its weights."""
        return self.point(f"{name}_out", super().linear(name, self.point(name, x)))

    def softmax(self, index: int, scores: torch.Tensor) -> torch.Tensor:
        """Return a block's probabilities, before they are quantized."""
        return scores.softmax(-1)

    def attention(self, index: int, y: torch.Tensor) -> torch.Tensor:
        """Mix the values of ``y (images, tokens, 3 * dim)``."""
        n, tokens, _ = y.shape
        q, k, v = (part.reshape(n, tokens, self.shape.heads, -1).transpose(1, 2)
                   for part in y.split(self.shape.dim, 2))
        q, k = self.point(f"{index}_q", q), self.point(f"{index}_k", k)
        scores = self.point(f"{index}_qk_out", q @ k.transpose(-1, -2))
        p = self.softmax(index, scores * self.shape.head_dim**-0.5)
        p, v = self.point(f"{index}_p", p), self.point(f"{index}_v", v)
        mixed = self.point(f"{index}_pv_out", p @ v)
        return mixed.transpose(1, 2).reshape(n, tokens, -1)

    def activation(self, index: int, t: torch.Tensor) -> torch.Tensor:
        """Return a block's GELU."""
        return functional.gelu(t)

    def block(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Run one block."""
        y = self.linear(f"{index}_qkv", self.norm(f"{index}_norm1", x))
        x = x + self.linear(f"{index}_proj", self.attention(index, y))
        x = self.point(f"{index}_sum1", x)
        t = self.linear(f"{index}_fc1", self.norm(f"{index}_norm2", x))
        x = x + self.linear(f"{index}_fc2", self.activation(index, t))
        return self.point(f"{index}_sum2", x)

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(images, classes)``."""
        return self.linear("head", self.classified(x, self.scales.expand(len(x), -1)))[:, 0]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the logits ``(images, classes)`` of pixels ``uint8 (images, side, side, 3)``."""
        return self.run(pixels)

    def run(self, pixels: torch.Tensor, progress: Callable = plain,
            what: str = "Running") -> torch.Tensor:
        """Return the logits; `progress` takes the blocks as steps."""
        x = self.embed(pixels)
        for index in progress(list(range(self.shape.depth)), what):
            x = self.block(index, x)
        return self.classify(x)

    def multiply_rows(self, name: str, factor: torch.Tensor) -> None:
        """Multiply the rows of a layer's weights."""
        self.weights[name].data = self.weights[name] * factor[:, None]

    def round_weights(self, rounding: Callable, layers: list[str] | None = None) -> None:
        """Replace weights by ``rounding(weights, bits)``."""
        for name in self.layers() if layers is None else layers:
            self.weights[name].data = rounding(self.weights[name], self.weight_bits(name))


def operand(name: str) -> str | None:
    """Return what a point is to a matrix product: one of :data:`OPERANDS`, ``head`` or None."""
    kind = name.rpartition("_")[2]
    return kind if kind in OPERANDS or name == "head" else None


def calibrate(net: Harness, pixels: torch.Tensor, choose: Callable, progress: Callable) -> None:
    """Give each operand the quantizer ``choose(values, bits)``, one for all channels, as it passes.
    """
    def observe(name: str, x: torch.Tensor) -> None:
        if operand(name) is not None:
            net.quantizers[name] = choose(x, net.bits(name))

    with net.observed(observe):
        net.run(pixels, progress, "Calibrating")


class ChooseByPercentile:
    """Observer that gives each operand a quantizer by RepQ-ViT's percentiles as it passes.

    Probabilities get the log-sqrt2 quantizer; what LayerNorms give, one quantizer per channel.
    """

    def __init__(self, net: Harness):
        self.net = net

    def __call__(self, name: str, x: torch.Tensor) -> None:
        kind, bits = operand(name), self.net.bits(name)
        if kind == "p":
            self.net.quantizers[name] = percentile_log(x, bits)
        elif kind is not None:
            self.net.quantizers[name] = percentile(x, bits, channels=kind in NORMS)


def reparameterise(net: Harness, index: int, layer: str) -> None:
    """Turn a layer's quantizer per channel into one for all, without a change to the network.

    Factors and offsets of the channels go into the LayerNorm before the layer and, inverted,
    into its weights and bias (RepQ-ViT, equations 6 to 8). The zero point is rounded.
    """
    name, norm = f"{index}_{layer}", f"{index}_{NORMS[layer]}"
    old = net.quantizers[name]
    scale, zero = old.scale.mean(), torch.floor(old.zero.mean() + 0.5)
    factor = old.scale / scale
    offset = zero * scale - old.zero * old.scale / factor
    net.weights[norm].data = net.weights[norm] / factor
    net.biases[norm].data = net.biases[norm] / factor - offset
    net.multiply_rows(name, factor)
    net.biases[name].data = net.biases[name] + offset @ net.weights[name]
    net.quantizers[name] = type(old)(scale, zero, old.low, old.high)
