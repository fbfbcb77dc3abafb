"""What layers' being narrow costs by the curvature of the loss, nothing of it measured.

HAWQ-V2 (Dong et al., arXiv 1911.03852): where the gradient is zero, a change ``d`` of `n` weights
costs about ``1/2 * trace(H) / n * |d|**2`` with the Hessian ``H`` of the loss; of activations it is
the same (section 3.3 there). The loss is the divergence of the class probabilities from the float
network's own, whose Hessian at the float network is Fisher's information: its trace is the mean
squared gradient of the log likelihood of a class that is drawn with its probability. So a backward
pass for each image, one class drawn for it, takes the place of Hutchinson's products.
"""

from collections.abc import Callable, Sequence

import torch

from golden.common.formats import LAMBDA, IntFormat
from golden.network.precision import ATTENTION, Precision

from .. import blockwise, observers, rounding
from ..float_vit import FloatVit
from ..twin import Twin, quantize
from .gains import Gain, layers_of

_SEED = 1


class Curvature:
    """Traces of a float network, and what rounding moves.

    Parameters
    ----------
    source
        The network, in the coordinates in which it is quantized.
    pixels : uint8 tensor, shape (images, side, side, 3)
        Calibration images.
    options
        Of the calibration: how scales are chosen.
    """

    def __init__(self, source: FloatVit, pixels: torch.Tensor,
                 options: blockwise.Options = blockwise.DEFAULT):
        self.twin, self._pixels, self._options = Twin(source, Precision(8, 8)), pixels, options
        self.twin.active = False
        self.of_weights = dict.fromkeys(self._names(), 0.0)
        self.of_sites: dict[int, float] = {}

    def _names(self) -> list[str]:
        return [f"{block}_{layer}" for block, layer in layers_of(self.twin.shape)
                if layer != ATTENTION]

    def trace(self, progress: Callable = lambda steps, what: steps) -> None:
        """Find the traces over the number of values, of each layer's weights and each site."""
        draw, twin = torch.Generator().manual_seed(_SEED), self.twin
        for image in progress(list(self._pixels.split(1)), "Taking traces"):
            seen: dict[int, torch.Tensor] = {}

            def observe(site, values, seen=seen):
                values.retain_grad()
                seen[site] = values

            likely = twin(image, observe=observe).log_softmax(-1)
            drawn = torch.multinomial(likely.detach().exp(), 1, generator=draw)
            twin.zero_grad(set_to_none=True)
            likely.gather(1, drawn).sum().backward()
            for name in self.of_weights:
                self.of_weights[name] += self._mean_square(twin.weights[name].grad)
            for site, values in seen.items():
                self.of_sites[site] = self.of_sites.get(site, 0.0) + self._mean_square(values.grad)
        twin.zero_grad(set_to_none=True)

    def _mean_square(self, slope: torch.Tensor) -> float:
        return float(slope.double().square().mean()) / len(self._pixels)

    @torch.no_grad()
    def errors(self, formats: Callable[[int], set[IntFormat]]) -> dict:
        """Return the squared errors of an image's values at each site in each of its formats."""
        found = {}

        def observe(site, values):
            for fmt in formats(site):
                lam = observers.OBSERVERS[self._options.observer](values.flatten(), fmt)
                lam = torch.full((len(values),), round(lam * LAMBDA.one) / LAMBDA.one)
                error = quantize(values, lam, fmt) - values
                found[site, fmt] = float(error.double().square().sum()) / len(values)

        self.twin(self._pixels, observe=observe)
        return found

    @torch.no_grad()
    def weight_error(self, name: str, fmt: IntFormat) -> float:
        """Return the squared error of a layer's weights, each rounded to the nearest."""
        weight = self.twin.weights[name].double()
        rounded = rounding.nearest(weight, rounding.column_scales(weight, fmt), fmt).value
        return float((rounded - weight).square().sum())


def sites_of(layer: str) -> Sequence[str]:
    """Return the kinds of the sites whose widths are those of a layer."""
    return ("q", "k", "v") if layer == ATTENTION else (layer,)


def measure(curvature: Curvature, precisions: Sequence[Precision],
            progress: Callable = lambda steps, what: steps) -> list[Gain]:
    """Return what layers gain by widths other than the narrowest, as
    :func:`sim.ptq.widths.mixing.measure` does.
    """
    curvature.trace(progress)
    shape = curvature.twin.shape
    wanted: dict[int, set[IntFormat]] = {}
    for block, layer in layers_of(shape):
        for kind in sites_of(layer):
            wanted[shape.site(block, kind)] = {one.site(kind) for one in precisions}
    errors = curvature.errors(lambda site: wanted.get(site, set()))

    def cost(block: int, layer: str, precision: Precision) -> float:
        total = 0.0
        for kind in sites_of(layer):
            site = shape.site(block, kind)
            total += curvature.of_sites[site] * errors[site, precision.site(kind)]
        if layer != ATTENTION:
            name = f"{block}_{layer}"
            total += curvature.of_weights[name] * curvature.weight_error(name, precision.weight)
        return total / 2

    narrow, *wider = precisions
    found = []
    for block, layer in progress(layers_of(shape), "Weighing layers"):
        least = cost(block, layer, narrow)
        found += [Gain(block, layer, one, least - cost(block, layer, one)) for one in wider]
    return found
