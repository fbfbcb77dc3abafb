"""SmoothQuant (Xiao et al., arXiv 2211.10438): large channels moved into the weights behind them.

Behind each LayerNorm, channel ``j`` is divided by ``s[j] = max|x[j]|**a / max|w[j]|**(1 - a)`` with
``a = 1/2``, and its row of weights is multiplied by it (equation 4). What is quantized then is
symmetric, by the largest magnitude: weights per output, activations per tensor, static ("O3" of the
paper but for the weights, which have one scale for all there).
"""

from collections.abc import Callable

import torch

from golden.network.precision import Precision

from ..float_vit import FloatVit
from .harness import NORMS, Harness, calibrate, operand, plain
from .quantizers import SMALLEST, Uniform

MIGRATION = 0.5
"""``a``: how much of the difficulty goes into the weights."""


def divide_channels(net: Harness, name: str, factors: torch.Tensor) -> None:
    """Divide what a LayerNorm gives a layer, and multiply the layer's rows, without a change to the
    network.
    """
    index, layer = name.split("_")
    norm = f"{index}_{NORMS[layer]}"
    net.weights[norm].data = net.weights[norm] / factors
    net.biases[norm].data = net.biases[norm] / factors
    net.multiply_rows(name, factors)


def smoothing(largest: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the factors of channels whose largest magnitudes are `largest`, (channels,), before
    weights (channels, outputs).
    """
    rows = weight.abs().amax(1).clamp_min(SMALLEST)
    return (largest.clamp_min(SMALLEST)**MIGRATION / rows**(1 - MIGRATION)).clamp_min(SMALLEST)


def by_magnitude(x: torch.Tensor, bits: int, *, channels: bool = False) -> Uniform:
    """Return the symmetric quantizer of the largest magnitude, of a tensor or of each channel."""
    largest = x.abs().flatten(0, -2).amax(0) if channels else x.abs().amax()
    return Uniform.symmetric((largest / (2**(bits - 1) - 1)).clamp_min(SMALLEST), bits)


class _Largest:
    """Observer that keeps the largest magnitude of each channel behind LayerNorms."""

    def __init__(self):
        self.seen: dict[str, torch.Tensor] = {}

    def __call__(self, name: str, x: torch.Tensor) -> None:
        if operand(name) in NORMS:
            self.seen[name] = x.abs().flatten(0, -2).amax(0)


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net, largest = Harness(source, precision), _Largest()
    with net.observed(largest):
        net.run(pixels, progress, "Observing")
    for name, values in largest.seen.items():
        divide_channels(net, name, smoothing(values, net.weights[name]))
    net.round_weights(lambda weight, bits: by_magnitude(weight, bits, channels=True)(weight))

    calibrate(net, pixels, by_magnitude, progress)
    return net
