"""PTQ4ViT (Yuan et al., arXiv 2111.12293): twin uniform quantizers, Hessian-guided search.

Symmetric scales: of weights per tensor (queries, keys and values apart), of queries, keys,
probabilities and values per head. Each minimises the squared error of its product's result, every
element weighted by its squared gradient, as do the twins' ranges.

* The gradients are those of the divergence of the quantized network's prediction from the float
  one's. At the float network they vanish (the published code takes what rounding leaves of
  them); here labels are drawn from the float prediction, whose squared gradients have the
  divergence's second derivatives as their mean.
* Fewer steps than the paper's by default: 50 candidates for a scale instead of 100, 2 rounds
  instead of 3, and results at every fifth token: minutes instead of hours for DeiT-Tiny on two
  cores.
* The patch embedding's scales are its largest magnitudes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from golden.network.precision import Precision

from ..float_vit import LAYERS, FloatVit
from . import fq_vit
from .harness import Harness, plain
from .quantizers import Uniform, nearest
from .search import Columns, PerHead, PerPart, Product, Record, best, heads, whole

LOWEST, HIGHEST = 0.01, 1.2
"""Scales tried, over the one that clips nothing."""

SPLITS = 20
"""Halvings of the range of small probabilities that are tried."""

LEAST = 0.16997124254703522
"""The magnitude of GELU's least value."""


@dataclass(frozen=True)
class Options:
    """How thorough the search is.

    Attributes
    ----------
    candidates, rounds
        Scales tried, and how often in turns.
    stride
        Results are compared at every so many tokens.
    batch
        Images at a time for the gradients.
    """

    candidates: int = 50
    rounds: int = 2
    stride: int = 5
    batch: int = 4


DEFAULT = Options()


class TwinSoftmax(nn.Module):
    """Probabilities below `split` in steps of ``split / n``, others of ``1 / n``; n codes each."""

    def __init__(self, split: torch.Tensor, bits: int):
        super().__init__()
        self.register_buffer("split", split)
        self.top = 2**(bits - 1) - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = torch.where(x < self.split, self.split, 1.0) / self.top
        return nearest(x / step).clamp_(0, self.top).mul_(step)


class TwinGelu(nn.Module):
    """GELU's values: negative ones in steps that just hold the least, others of `scale`."""

    def __init__(self, scale: torch.Tensor, bits: int):
        super().__init__()
        self.register_buffer("scale", scale)
        self.half = 2**(bits - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = torch.where(x < 0, LEAST / self.half, self.scale)
        return nearest(x / step).clamp_(-self.half, self.half - 1).mul_(step)


class _PerHeadTwin:
    def __init__(self, bits: int):
        self.bits = bits

    def __call__(self, parameters):
        return TwinSoftmax(parameters[:, :, None], self.bits)


class _Whole:
    """Make quantizers of ``(1, 1)`` scales."""

    def __init__(self, kind: Callable, bits: int):
        self.kind, self.bits = kind, bits

    def __call__(self, parameters):
        return self.kind(parameters[0, 0], self.bits)


class _Gradients(Record):
    """Record that also collects the gradients of results."""

    def __init__(self, stride: int):
        super().__init__(stride)
        self.results: dict[str, torch.Tensor] = {}

    def __call__(self, name, x):
        if name.endswith("_out"):
            x.retain_grad()
            self.results[name] = x
        else:
            super().__call__(name, x.detach())


@torch.enable_grad()
def record(net: Harness, pixels: torch.Tensor, options: Options,
           progress: Callable = plain) -> tuple[dict, dict]:
    """Return the operands and the gradients of results, by their points."""
    operands: dict[str, list] = {}
    gradients: dict[str, list] = {}
    draw = torch.Generator().manual_seed(0)
    net.embedding.requires_grad_(True)
    for part in progress(pixels.split(options.batch), "Differentiating"):
        seen = _Gradients(options.stride)
        with net.observed(seen):
            logits = net(part)
        labels = logits.detach().softmax(-1).multinomial(1, generator=draw)[:, 0]
        functional.cross_entropy(logits, labels, reduction="sum").backward()
        for name, x in seen.seen.items():
            operands.setdefault(name, []).append(x)
        for name, x in seen.results.items():
            gradients.setdefault(name, []).append(seen.thin(name, x.grad).clone())
    net.embedding.requires_grad_(False)
    net.embedding.grad = None
    return ({name: torch.cat(parts) for name, parts in operands.items()},
            {name: torch.cat(parts) for name, parts in gradients.items()})


class _Search:
    def __init__(self, net: Harness, operands: dict, gradients: dict, options: Options):
        self.net, self.operands, self.gradients, self.options = net, operands, gradients, options
        steps = torch.arange(options.candidates) / options.candidates
        self.steps = LOWEST + (HIGHEST - LOWEST) * steps

    def scales(self, reach: torch.Tensor, bits: int) -> torch.Tensor:
        """Return candidates for scales of groups with the given largest magnitudes."""
        return self.steps[:, None, None] * (reach[:, None] / (2**(bits - 1) - 0.5))

    def alternate(self, product: Product, left: tuple, right: tuple) -> tuple:
        """Return quantizers of both operands; each is given by candidates, maker and groups."""
        (tried, make, add), (tried_right, make_right, add_right) = left, right
        chosen, other = make(tried[-1]), make_right(tried_right[-1])
        for _ in range(self.options.rounds):
            other = best(tried_right, make_right,
                         partial(product.of_right, chosen(product.left), add_right))
            chosen = best(tried, make, partial(product.of_left, other(product.right), add))
        return chosen, other

    def linear(self, name: str) -> None:
        """Quantize a layer's inputs and weights."""
        net, x, weight = self.net, self.operands[name], self.net.weights[name].data
        bits, weight_bits = net.bits(name), net.weight_bits(name)
        parts = 3 if name.endswith("qkv") else 1
        kind, size = ((TwinGelu, x) if name.endswith("fc2") else (Uniform.symmetric, x.abs()))
        left = self.scales(size.max()[None], bits), _Whole(kind, bits), whole
        reach = weight.abs().amax(0).reshape(parts, -1).amax(1)
        right = (self.scales(reach, weight_bits), PerPart(weight_bits, weight.shape[1]),
                 Columns(parts))
        product = Product(x, weight, self.gradients[f"{name}_out"])
        net.quantizers[name], rounded = self.alternate(product, left, right)
        net.weights[name].data = rounded(weight)

    def heads(self, a: str, b: str, result: str) -> None:
        """Quantize the operands of a product without weights."""
        x, y = self.operands[a], self.operands[b]
        bits = self.net.bits(a)
        if a.endswith("_p"):
            splits = 2.0**-torch.arange(SPLITS)
            left = splits[:, None, None].expand(-1, x.shape[1], 1), _PerHeadTwin(bits), heads
        else:
            left = self.scales(x.abs().amax((0, 2, 3)), bits), PerHead(bits), heads
        right = self.scales(y.abs().amax((0, 2, 3)), bits), PerHead(bits), heads
        transpose = b.endswith("_k")
        product = Product(x, y.transpose(-1, -2) if transpose else y, self.gradients[result])
        self.net.quantizers[a], self.net.quantizers[b] = self.alternate(product, left, right)


@torch.inference_mode(False)  # gradients are needed even where the caller wants none
@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain, options: Options = DEFAULT) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)
    search = _Search(net, *record(net, pixels, options, progress), options)
    for index in progress(list(range(net.shape.depth)), "Searching"):
        search.heads(f"{index}_q", f"{index}_k", f"{index}_qk_out")
        search.heads(f"{index}_p", f"{index}_v", f"{index}_pv_out")
        for layer in LAYERS:
            search.linear(f"{index}_{layer}")
    search.linear("head")
    net.round_weights(fq_vit.round_weight, ["patch"])
    return net
