"""RepQ-ViT (Li et al., arXiv 2212.08254): quantize per channel first, then reparameterise.

Asymmetric scales by percentiles, per tensor for activations and per output for weights;
log-sqrt2 for probabilities. LayerNorm's outputs are quantized per channel, which is then folded
into LayerNorm and the weights behind it. The one difference from the published code is that the
zero point after the folding is rounded to an integer.
"""

from collections.abc import Callable

import torch

from golden.network.precision import Precision

from ..float_vit import FloatVit
from .harness import NORMS, ChooseByPercentile, Harness, plain, reparameterise
from .quantizers import round_weight


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)
    exact = {name: net.weights[name].data for name in net.layers()}
    net.round_weights(round_weight)
    with net.observed(ChooseByPercentile(net)):
        net.run(pixels, progress, "Calibrating")
    for index in range(net.shape.depth):
        for layer in NORMS:
            name = f"{index}_{layer}"
            net.weights[name].data = exact[name]
            reparameterise(net, index, layer)
            net.round_weights(round_weight, [name])
    return net
