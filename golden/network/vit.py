"""A whole Vision Transformer in integers, from 8-bit pixels to 16-bit logits.

With ``lambda[s]`` of an image at site `s`, ``point`` of the network, ``m / 2**s = 2**x`` as
:mod:`golden.common.exp2` gives it and ``requant`` as in :mod:`golden.results.requant`, one block of
`x` (int16, the residual stream) does, for each token or row of attention:

    u    = layer_norm(x)                                          32 bits, 10 + g fractional
    qkv  = requant(u, -lambda[qkv] - (10 + g))                    to the site's format
    y    = requant(qkv @ weight, lambda[qkv] + exponent) + bias   16 bits, qkv_point fractional
    q    = requant(y, -lambda[q] - qkv_point)                     and so k and v
    s    = requant(q @ k.T, lambda[q] + lambda[k] + score_exponent + 10)     Q6.10, log2
    a, r = softmax(s)                                             operands or codes, exponent
    proj = requant(a @ v, lambda[v] - r - lambda[proj])           to the site's format
    x    = requant(proj @ weight, lambda[proj] + exponent) + bias + x
    fc1  = requant(layer_norm(x), ...)                            as above
    t    = requant(fc1 @ weight, lambda[fc1] + exponent) + bias   16 bits, 10 fractional
    fc2  = requant(gelu(t), -lambda[fc2] - 10)                    to the site's format, unsigned
    x    = requant(fc2 @ weight, lambda[fc2] + exponent) + bias + x

``requant`` to 16 bits saturates; bias and residual are added to that, and the sum saturates once.
The patch embedding does the same with pixels (lambda 0) and the embedding in the place of bias and
residual; the head takes the normalised class token. Channels of `x` that are `coarse` have less
fractional bits than the others (:mod:`golden.rows.layernorm`): the exponents, biases and embeddings
that make them have, too, so that only ``layer_norm`` knows. Scales are static, or taken from the
residual stream at a tap (:mod:`golden.prediction.range_unit`, :mod:`golden.prediction.scale_unit`),
image by image.

Rows are computed in parallel; results do not depend on it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import get_num_threads

from ..common import formats
from ..common.checks import integers
from ..prediction import range_unit, scale_unit
from ..product.mac_array import CODES
from ..results import gelu
from ..rows import layernorm, softmax
from .attention import attend, quantize_mixed, split
from .network import GELU_POINT, HEAD, Network, Norm
from .vit_layers import (
    NO_TABLE,
    Product,
    gelu_rows,
    layer_norm,
    multiplier,
    patches,
    quantize,
    rescale,
    rescale_add,
)

Watch = Callable[[str, np.ndarray], None]
Choose = Callable[[int, np.ndarray, np.ndarray], np.ndarray | None]

_ONE = formats.LAMBDA.one


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """What a network made of some images.

    Attributes
    ----------
    logits : int16 array, shape (images, classes)
        With the network's `logit_point` fractional bits.
    scales : int16 array, shape (images, sites)
        lambda of each image at each site.
    """

    logits: np.ndarray
    scales: np.ndarray


class Vit:
    """A network ready to run.

    Parameters
    ----------
    network
        Its weights are laid out once, here.
    """

    def __init__(self, network: Network):
        self.network = network
        precision = network.precision
        self._patch = Product(network.patch, HEAD.mode)
        self._head = Product(network.head, HEAD.mode)
        self._products = [{name: Product(getattr(block, name), precision.mode)
                           for name in ("qkv", "proj", "fc1", "fc2")}
                          for block in network.blocks]
        self._formats = {name: precision.site(name)
                         for name in ("qkv", "q", "k", "v", "proj", "fc1", "fc2", "head")}
        self._gelu = gelu.gelu_table()
        self._shifts = layernorm.shifts_of(network.coarse, network.shape.dim)

    def run(self, pixels, *, scales=None, choose: Choose | None = None,
            watch: Watch | None = None) -> Inference:
        """Classify images.

        Parameters
        ----------
        pixels : uint8 array, shape (images, side, side, 3)
            As an image file holds them: red, green, blue.
        scales : int array, shape (images, sites), optional
            lambda of each site, in place of static and predicted ones.
        choose : callable, optional
            Called for every site with its index, what is about to be quantized (an integer array,
            images first; queries, keys and values as ``(images, tokens, dim)``), and the log2 of
            its unit with 10 fractional bits (an integer array that broadcasts to it); returns
            lambda of each image, or None to leave it.
        watch : callable, optional
            Called with the name and the integers of each tensor as it is made, like
            ``3.fc1``, which it may keep.

        Returns
        -------
        Inference

        Raises
        ------
        TypeError, ValueError
            If an argument is of another type or shape, or out of range.
        """
        network, shape = self.network, self.network.shape
        pixels = integers("pixels", pixels, 0, formats.UINT8.max, dtype=np.uint8,
                          shape=(None, shape.image, shape.image, 3))
        images = len(pixels)
        if scales is None:
            lambdas = np.tile(network.scales.astype(np.int64), (images, 1))
            taps = network.taps
        else:
            lambdas = integers("scales", scales, formats.LAMBDA.min, formats.LAMBDA.max,
                               shape=(images, shape.sites)).copy()
            taps = ()
        watch = watch or _ignore
        state = _State(self, lambdas, choose, watch)

        acc = self._patch(patches(pixels, shape))
        mantissa, shift = multiplier(np.zeros(images, np.int64), network.patch.exponent)
        x = np.empty((images, shape.tokens, shape.dim), np.int16)
        x[:, 0] = network.embedding[0]
        embedded = np.empty_like(x[:, 1:])
        places = network.embedding[None, 1:]
        rescale_add(acc, mantissa, shift, network.patch.bias, places, embedded)
        x[:, 1:] = embedded
        watch("embedding", x)
        for index in range(shape.depth + 1):
            for tap in taps:
                if tap.after == index:
                    lambdas[:, tap.sites] = predict(x, tap)
            if index < shape.depth:
                x = state.block(index, x)
        logits = state.head(x)
        watch("logits", logits)
        return Inference(logits, lambdas.astype(np.int16))


def predict(x, tap) -> np.ndarray:
    """Return lambda of a tap's sites, (images, sites), from the residual stream ``x``."""
    u = np.stack([range_unit.statistics(image, tap.chunk_tokens, tap.groups, tap.mean, tap.gain)
                  for image in x])
    return scale_unit.predict_batch(u, tap.predictor)


def _point(norm: Norm) -> int:
    """Fractional bits of a LayerNorm's result."""
    return layernorm.NORMALIZED.frac + norm.point


class _State:
    """One run: the scales of its images, and who watches."""

    def __init__(self, vit: Vit, lambdas, choose: Choose | None, watch: Watch):
        self._vit = vit
        self._network = vit.network
        self._lambdas = lambdas
        self._choose = choose
        self._watch = watch

    def _scale(self, site: int, tensor, unit):
        """Return lambda of each image at a site whose values are to be `tensor`."""
        if self._choose is not None:
            chosen = self._choose(site, tensor, np.asarray(unit, np.int64))
            if chosen is not None:
                self._lambdas[:, site] = integers(
                    f"lambda of site {site}", chosen, formats.LAMBDA.min, formats.LAMBDA.max,
                    shape=(len(tensor),))
        return self._lambdas[:, site]

    def _quantized(self, site: int, name: str, tensor, point: int):
        """Quantize a tensor with `point` fractional bits to a site."""
        fmt = self._vit._formats[name]
        lambdas = self._scale(site, tensor, -point * _ONE)
        mantissa, shift = multiplier(-lambdas - point * _ONE, np.zeros(1, np.int64))
        out = np.empty(tensor.shape, np.int8 if fmt.signed else np.uint8)
        quantize(tensor, mantissa[:, 0], shift[:, 0], fmt.min, fmt.max, out)
        return out

    def _norm(self, x, norm: Norm):
        """LayerNorm, int32."""
        out = np.empty(x.shape, np.int32)
        layer_norm(x.reshape(-1, x.shape[2]), self._vit._shifts, norm.gamma, norm.beta,
                   self._network.epsilon, 4 * get_num_threads(), out.reshape(-1, x.shape[2]))
        return out

    def _linear(self, product: Product, a, site: int, residual=None):
        """Multiply, requantize to 16 bits, add the bias and the residual."""
        acc = product(a)
        mantissa, shift = multiplier(self._lambdas[:, site], product.layer.exponent)
        out = np.empty(acc.shape, np.int16)
        if residual is None:
            rescale(acc, mantissa, shift, product.layer.bias, out)
        else:
            rescale_add(acc, mantissa, shift, product.layer.bias, residual, out)
        return out

    def block(self, index: int, x):
        """Run one block on the residual stream (images, tokens, dim)."""
        block, products = self._network.blocks[index], self._vit._products[index]
        sites = {name: self._network.shape.site(index, name)
                 for name in ("qkv", "q", "k", "v", "proj", "fc1", "fc2")}

        def watch(name, tensor):
            self._watch(f"{index}.{name}", tensor)
            return tensor

        u = watch("norm1", self._norm(x, block.norm1))
        a = watch("qkv", self._quantized(sites["qkv"], "qkv", u, _point(block.norm1)))
        y = watch("y", self._linear(products["qkv"], a, sites["qkv"]))
        mixed, row_scale = self._attention(index, y, sites, watch)
        a = watch("proj", self._mixed(mixed, row_scale, sites))
        x = watch("attended", self._linear(products["proj"], a, sites["proj"], x))
        u = watch("norm2", self._norm(x, block.norm2))
        a = watch("fc1", self._quantized(sites["fc1"], "fc1", u, _point(block.norm2)))
        t = watch("t", self._linear(products["fc1"], a, sites["fc1"]))
        g = np.empty_like(t)
        gelu_rows(t.reshape(-1, t.shape[2]), self._vit._gelu, g.reshape(-1, t.shape[2]))
        watch("gelu", g)
        a = watch("fc2", self._quantized(sites["fc2"], "fc2", g, GELU_POINT))
        return watch("x", self._linear(products["fc2"], a, sites["fc2"], x))

    def _attention(self, index: int, y, sites, watch):
        """Mix the values: int32 (images, tokens, dim), exponents (images, heads, tokens)."""
        network, shape = self._network, self._network.shape
        images, tokens, _ = y.shape
        lambdas, point = self._lambdas, network.qkv_point * _ONE
        names = ("q", "k", "v")
        if self._choose is not None:
            for name, part in zip(names, np.split(y, 3, axis=2), strict=True):
                self._scale(sites[name], part, -point)
        scales = np.concatenate([lambdas[:, sites[name]] for name in names])
        mantissa, shift = multiplier(-scales - point, np.zeros(1, np.int64))
        low, high = (np.array([getattr(self._vit._formats[name], end) for name in names])
                     for end in ("min", "max"))
        operands = np.empty((3, images, shape.heads, tokens, shape.head_dim), np.int8)
        split(y, mantissa.reshape(3, images), shift.reshape(3, images), low, high, operands)
        for name, part in zip(names, operands, strict=True):
            watch(name, part)

        mantissa, shift = multiplier(lambdas[:, sites["q"]] + lambdas[:, sites["k"]],
                                      np.array([network.score_exponent + 10 * _ONE]))
        step = network.blocks[index].step
        codes = softmax.codebook(step) if step else np.zeros(CODES, np.uint8)
        factor, code_shift = softmax.reciprocal(step) if step else (0, 0)
        table = codes.astype(np.int16) if step else NO_TABLE
        keep = self._watch is not _ignore
        size = (images, shape.heads, tokens, tokens) if keep else (0, 0, 0, 0)
        scores, probabilities = np.empty(size, np.int16), np.empty(size, np.uint8)
        mixed = np.empty((images, tokens, shape.dim), np.int32)
        row_scale = np.empty((images, shape.heads, tokens), np.int32)
        attend(operands, mantissa[:, 0], shift[:, 0], step, factor, code_shift, table, codes,
                keep, mixed, row_scale, scores, probabilities)
        if keep:
            watch("scores", scores)
            watch("probs", probabilities)
            watch("row_scale", row_scale)
        watch("mixed", mixed)
        return mixed, row_scale

    def _mixed(self, mixed, row_scale, sites):
        """Quantize the mixed values to the site before the projection."""
        fmt, values = self._vit._formats["proj"], self._lambdas[:, sites["v"]]
        if self._choose is not None:
            unit = values[:, None, None] - row_scale.transpose(0, 2, 1)
            self._scale(sites["proj"], mixed, np.repeat(unit, self._network.shape.head_dim, axis=2))
        exponent = values - self._lambdas[:, sites["proj"]]
        out = np.empty(mixed.shape, np.int8)
        quantize_mixed(mixed, row_scale, exponent, fmt.min, fmt.max, out)
        return out

    def head(self, x):
        """Classify the class token of the residual stream."""
        site = self._network.shape.sites - 1
        first = np.ascontiguousarray(x[:, :1])
        u = self._norm(first, self._network.norm)
        self._watch("norm", u)
        a = self._quantized(site, "head", u, _point(self._network.norm))
        self._watch("head", a)
        return self._linear(self._vit._head, a, site)[:, 0]


def _ignore(name, tensor):
    """Watch nothing."""
