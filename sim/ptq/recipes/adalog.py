"""AdaLog (Wu et al., arXiv 2407.12951): logarithms of an adaptive base, found progressively.

Probabilities and GELU's output, with what makes it positive added, are quantized to powers of
``2**(-q / 37)`` with the `q` of the product's least error. Everything else is asymmetric: weights
per output, queries, keys and values per head, inputs of layers as a whole after RepQ-ViT's
reparameterisation of those behind a LayerNorm. Scales and zero points minimise the squared error
of the product with the exact operands' result, in a progressive search (FPCS): the best of a
coarse grid are kept and looked at more closely.

* Zero points are sought around the one of the range, which with 8 bits reaches ranges that the
  published 16 around the middle do not; `q` from 1 on, not 10, which 8 bits need.
* Channels behind a LayerNorm get RepQ-ViT's percentiles before they are reparameterised.
* Fewer steps than published by default: 1 round instead of 3, 3 steps instead of 6, of which the
  later ones refine 4 candidates instead of 16, and results at every fifth token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from golden.network.precision import Precision

from ..float_vit import LAYERS, FloatVit
from .harness import NORMS, Harness, plain, reparameterise
from .ptq4vit import LEAST
from .quantizers import AdaLog, Uniform, affine, percentile
from .search import Product, Record, best, errors, heads, pick, whole

EXPONENTS = range(1, 139)
"""Values of `q`."""

COARSE = 6
"""Distance of the values of `q` that are tried first."""

LOW_SHARE = 0.9
"""Share of the values within the smallest range tried; the largest holds them all."""


@dataclass(frozen=True)
class Options:
    """How thorough the search is.

    Attributes
    ----------
    rounds, steps
        Of both operands in turns; of each progressive search.
    scales, zeros
        Size of the coarse grid.
    keep, fine
        Candidates kept after a step, and how many take the place of each.
    stride
        Results are compared at every so many tokens.
    """

    rounds: int = 1
    steps: int = 3
    scales: int = 8
    zeros: int = 16
    keep: int = 4
    fine: int = 4
    stride: int = 5


DEFAULT = Options()


def coarse_grid(flat: torch.Tensor, bits: int, options: Options) -> torch.Tensor:
    """Return candidates ``(count, groups, 2)`` for values ``(n, groups)``: scale, zero point."""
    ordered = flat.sort(0).values
    last = len(ordered) - 1
    inner = ordered[round((1 - LOW_SHARE) * last)], ordered[round(LOW_SHARE * last)]
    (small, _), (large, zero) = (affine(*ends, bits) for ends in (inner, (ordered[0], ordered[-1])))
    part = torch.linspace(0, 1, options.scales)[:, None]
    scales = small + part * (large - small)
    zeros = (torch.arange(options.zeros) - options.zeros // 2)[:, None] + zero
    return torch.stack((scales.repeat(options.zeros, 1),
                        zeros.repeat_interleave(options.scales, 0)), 2)


def progressive(candidates: torch.Tensor, make: Callable, errors_of: Callable,
                options: Options) -> nn.Module:
    """Return the quantizer that FPCS finds from a coarse grid."""
    spread = candidates[1, :, 0] - candidates[0, :, 0]
    for _ in range(options.steps - 1):
        found = errors(candidates, make, errors_of)
        kept = pick(candidates, found.topk(options.keep, 0, largest=False).indices)
        near = (torch.arange(options.fine + 1) / options.fine - 0.5)[:, None] * spread
        scales = (kept[:, None, :, 0] + near).clamp_min(1e-8)
        zeros = kept[:, None, :, 1].expand_as(scales)
        candidates = torch.stack((scales, zeros), 3).flatten(0, 1)
        spread = spread / options.fine
    return best(candidates, make, errors_of)


class Affine:
    """Make asymmetric quantizers of ``(groups, 2)`` scales and zero points, of the given shape."""

    def __init__(self, bits: int, *shape: int):
        self.bits, self.shape = bits, shape

    def __call__(self, parameters: torch.Tensor) -> Uniform:
        scale, zero = (part.reshape(self.shape) for part in parameters.unbind(1))
        return Uniform.asymmetric(scale, zero, self.bits)


class _Logs:
    """Make AdaLog quantizers of ``(1, 1)`` values of `q`."""

    def __init__(self, bits: int, scale: float, shift: float):
        self.bits, self.scale, self.shift = bits, scale, shift

    def __call__(self, parameters):
        return AdaLog(int(parameters), self.scale, self.bits, self.shift)


class _Scales:
    """Make AdaLog quantizers of ``(1, 1)`` scales."""

    def __init__(self, bits: int, q: int, shift: float):
        self.bits, self.q, self.shift = bits, q, shift

    def __call__(self, parameters):
        return AdaLog(self.q, float(parameters), self.bits, self.shift)


class ColumnErrors:
    """Squared errors of a layer's columns by the moments of its inputs, less a constant.

    With exact inputs `x` and quantized ones `z`: ``|z (w + e) - x w|**2`` is
    ``e^T Z e + 2 e^T (Z w - C w)`` and what `e` does not change, ``Z = z^T z``, ``C = z^T x``.
    """

    def __init__(self, exact: torch.Tensor, quantized: torch.Tensor, weight: torch.Tensor):
        x, z = exact.flatten(0, -2), quantized.flatten(0, -2)
        self.weight, self.square = weight, z.T @ z
        self.slope = 2 * (z.T @ ((z - x) @ weight))

    def __call__(self, quantizer: nn.Module) -> torch.Tensor:
        error = quantizer(self.weight) - self.weight
        return (error * (self.square @ error + self.slope)).sum(0)


def search_base(product: Product, right: torch.Tensor, make: Callable) -> nn.Module:
    """Return the logarithmic quantizer of a left operand, of the best `q`."""
    errors_of = partial(product.of_left, right, whole)
    tried = torch.tensor(EXPONENTS[::COARSE])[:, None, None]
    middle = best(tried, make, errors_of).q
    near = [q for q in range(middle - COARSE + 1, middle + COARSE) if q in EXPONENTS]
    return best(torch.tensor(near)[:, None, None], make, errors_of)


class _Search:
    def __init__(self, net: Harness, options: Options):
        self.net, self.options = net, options
        self.seen: dict[str, torch.Tensor] = {}

    def block(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Quantize a block that is fed `x`, and return what the exact one gives."""
        record = Record(self.options.stride)
        with self.net.observed(record):
            result = self.net.block(index, x)
        self.seen = record.seen
        self.scores(index)
        self.values(index)
        for layer in LAYERS:
            self.layer(f"{index}_{layer}")
        return result

    def scores(self, index: int) -> None:
        """Quantize queries and keys."""
        q, k = f"{index}_q", f"{index}_k"
        product = Product(self.seen[q], self.seen[k].transpose(-1, -2))
        make = Affine(self.net.bits(q), -1, 1, 1)
        grids = [self._heads(self.seen[name]) for name in (q, k)]
        left, right = (self._widest(grid, make) for grid in grids)
        for _ in range(self.options.rounds):
            left = progressive(grids[0], make, partial(
                product.of_left, right(product.right), heads), self.options)
            right = progressive(grids[1], make, partial(
                product.of_right, left(product.left), heads), self.options)
        self.net.quantizers[q], self.net.quantizers[k] = left, right

    def values(self, index: int) -> None:
        """Quantize probabilities and values."""
        p, v = f"{index}_p", f"{index}_v"
        bits = self.net.bits(p)
        product, make = Product(self.seen[p], self.seen[v]), Affine(bits, -1, 1, 1)
        grid = self._heads(self.seen[v])
        right = self._widest(grid, make)
        for _ in range(self.options.rounds):
            left = search_base(product, right(product.right), _Logs(bits, 1.0, 0.0))
            right = progressive(grid, make, partial(
                product.of_right, left(product.left), heads), self.options)
        self.net.quantizers[p], self.net.quantizers[v] = left, right

    def layer(self, name: str) -> None:
        """Quantize a layer's inputs and weights."""
        net, options, x = self.net, self.options, self.seen[name]
        kind = name.rpartition("_")[2]
        if kind in NORMS:
            net.quantizers[name] = percentile(x, net.bits(name), channels=True)
            x = self._reparameterise(name, kind, x)
        weight = net.weights[name].data
        product = Product(x, weight)
        weight_bits = net.weight_bits(name)
        grid, make = coarse_grid(weight, weight_bits, options), Affine(weight_bits, -1)
        rounded = progressive(grid, make, ColumnErrors(x, x, weight), options)
        for _ in range(options.rounds):
            chosen = (self._gelu if kind == "fc2" else self._inputs)(name, product, rounded(weight))
            rounded = progressive(grid, make, ColumnErrors(x, chosen(x), weight), options)
        net.quantizers[name] = chosen
        net.weights[name].data = rounded(weight)

    def _reparameterise(self, name, kind, x):
        old = self.net.quantizers[name]
        reparameterise(self.net, int(name.rpartition("_")[0]), kind)
        new = self.net.quantizers[name]
        return ((x / old.scale + old.zero) - new.zero) * new.scale

    def _inputs(self, name, product, weight):
        bits = self.net.bits(name)
        grid = coarse_grid(product.left.flatten()[:, None], bits, self.options)
        return progressive(grid, Affine(bits), partial(product.of_left, weight, whole),
                           self.options)

    def _gelu(self, name, product, weight):
        bits, errors_of = self.net.bits(name), partial(product.of_left, weight, whole)
        positive = product.left[product.left > 0].sort().values
        ends = (float(positive[round(share * (len(positive) - 1))]) + LEAST
                for share in (LOW_SHARE, 1.0))
        scales = torch.linspace(*ends, 2 * self.options.scales)[:, None, None]
        chosen = AdaLog(AdaLog.BASE, float(scales[-1]), bits, LEAST)
        for _ in range(2):
            chosen = search_base(product, weight, _Logs(bits, chosen.scale, LEAST))
            chosen = best(scales, _Scales(bits, chosen.q, LEAST), errors_of)
        return chosen

    def _heads(self, x):
        flat = x.transpose(1, 3).flatten(0, 2)  # the heads last
        return coarse_grid(flat, self.net.precision.activations, self.options)

    def _widest(self, grid, make):
        return make(grid[(self.options.zeros // 2 + 1) * self.options.scales - 1])


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain, options: Options = DEFAULT) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)
    search = _Search(net, options)
    x = net.embed(pixels)
    for index in progress(list(range(net.shape.depth)), "Searching"):
        x = search.block(index, x)
    record = Record(options.stride)
    with net.observed(record):
        net.classify(x)
    search.seen = record.seen
    search.layer("head")
    net.round_weights(partial(_own_search, options), ["patch"])
    return net


def _own_search(options: Options, weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Round weights with the search that looks at the weights only."""
    make, eye = Affine(bits, -1), torch.eye(len(weight))
    return progressive(coarse_grid(weight, bits, options), make,
                       ColumnErrors(eye, eye, weight), options)(weight)
