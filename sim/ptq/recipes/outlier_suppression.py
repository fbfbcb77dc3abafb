"""Outlier Suppression+ (Wei et al., arXiv 2304.09145): channels shifted, and large ones scaled.

Behind each LayerNorm, the middle of every channel's range is taken off, and given back by the bias
of the layer (equation 2); then channels beyond a threshold ``t`` are divided by ``s[j] = max(1,
max|x[j]| / t)``, and their rows multiplied (equation 6), with the `t` of :data:`STEPS` that changes
the layer's quantized product least. Asymmetric quantizers by RepQ-ViT's percentiles, per tensor
for activations and per output for weights; the token-wise clipping of the paper's code is left out.
"""

from collections.abc import Callable

import torch

from golden.network.precision import Precision

from ..float_vit import FloatVit
from .harness import NORMS, Harness, calibrate, plain
from .quantizers import SMALLEST, covering, percentile, round_weight
from .search import Record
from .smoothquant import divide_channels

STEPS = 20
"""Thresholds that are tried, equal parts of the largest magnitude."""

_STRIDE = 4  # every fourth token judges a threshold


def shift(net: Harness, name: str, x: torch.Tensor) -> torch.Tensor:
    """Take the middle of each channel off what enters a layer, without a change to the network;
    return the middles.
    """
    index, layer = name.split("_")
    norm = f"{index}_{NORMS[layer]}"
    rows = x.flatten(0, -2)
    middle = (rows.amax(0) + rows.amin(0)) / 2
    net.biases[norm].data = net.biases[norm] - middle
    net.biases[name].data = net.biases[name] + middle @ net.weights[name]
    return middle


def scaling(x: torch.Tensor, weight: torch.Tensor, bits: int, weight_bits: int) -> torch.Tensor:
    """Return the factors that change the quantized product of `x`, shifted, and weights least."""
    largest = x.abs().flatten(0, -2).amax(0)
    wanted, tried = x @ weight, []
    for step in range(STEPS, 0, -1):
        threshold = (largest.max() * step / STEPS).clamp_min(SMALLEST)
        factors = (largest / threshold).clamp_min(1.0)
        scaled = x / factors
        rows = round_weight(weight * factors[:, None], weight_bits)
        error = (covering(scaled, bits)(scaled) @ rows - wanted).square().mean()
        tried.append((float(error), -step, factors))
    return min(tried, key=lambda one: one[:2])[2]


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)
    x = net.embed(pixels)
    for index in progress(list(range(net.shape.depth)), "Scaling"):
        record = Record(1)
        with net.observed(record):
            x = net.block(index, x)
        for name in (f"{index}_{layer}" for layer in NORMS):
            seen = record.seen[name]
            seen = (seen - shift(net, name, seen))[:, ::_STRIDE]
            divide_channels(net, name, scaling(seen, net.weights[name], net.bits(name),
                                               net.weight_bits(name)))
    net.round_weights(round_weight)

    calibrate(net, pixels, percentile, progress)
    return net
