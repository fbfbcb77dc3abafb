"""GPTQ alone (Frantar et al., arXiv 2210.17323): each rounding error made up for by later rows.

Layer after layer, from the moments of its inputs in the network quantized so far
(:func:`sim.ptq.rounding.gptq`). Weights are symmetric per output, by the largest magnitude.
Activations, which GPTQ leaves in float, have RepQ-ViT's percentiles per tensor, nothing is folded.
"""

from collections.abc import Callable

import torch

from golden.common.formats import LAMBDA, IntFormat
from golden.network.precision import Precision

from .. import rounding
from ..float_vit import LAYERS, FloatVit
from .harness import Harness, calibrate, plain
from .quantizers import SMALLEST, percentile, round_weight


def rounded(weight: torch.Tensor, moments: torch.Tensor, bits: int) -> torch.Tensor:
    """Return weights (inputs, outputs) rounded for inputs of some second moments."""
    fmt = IntFormat(bits, symmetric=True)
    largest = weight.double().abs().amax(0).clamp_min(SMALLEST)
    lambdas = torch.ceil(torch.log2(largest / fmt.max) * LAMBDA.one).long()
    return rounding.gptq(weight, moments, lambdas, fmt).value.float()


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)

    calibrate(net, pixels, percentile, progress)
    net.round_weights(round_weight, ["patch"])
    x = net.embed(pixels)
    for index in progress(list(range(net.shape.depth)), "Rounding"):
        for layer in LAYERS:
            name = f"{index}_{layer}"
            with net.observed(_Moments(net, name)):
                net.block(index, x)
        x = net.block(index, x)
    with net.observed(_Moments(net, "head")):
        net.classify(x)
    return net


class _Moments:
    """Observer that rounds a layer as soon as its inputs are there: quantized, as it gets them."""

    def __init__(self, net: Harness, name: str):
        self.net, self.name = net, name

    def __call__(self, name: str, x: torch.Tensor) -> None:
        if name == self.name:
            rows = self.net.quantizers[name](x).flatten(0, -2)
            moments = (rows.T @ rows).double() / len(rows)
            self.net.weights[name].data = rounded(self.net.weights[name], moments,
                                                  self.net.weight_bits(name))
