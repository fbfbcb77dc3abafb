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
The patch embedding does the same with pixels (lambda 0) and the embedding in the place of bias
and residual; the head takes the normalised class token. Scales are static, or taken from the
residual stream at a tap (:mod:`golden.prediction.range_unit`, :mod:`golden.prediction.scale_unit`),
image by image.

Rows are computed in parallel; results do not depend on it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import get_num_threads, prange

from ..common import formats
from ..common.checks import integers
from ..common.exp2 import exp2_kernel
from ..common.jit import kernel, round_shift, saturate
from ..prediction import range_unit, scale_unit
from ..product.gemm_kernels import COLS, ROWS, multiply, multiply_share, pack_panels
from ..product.mac_array import CODES, prepare_weights
from ..results import gelu
from ..rows import layernorm, softmax
from ..rows.layernorm import affine_kernel, normalize_kernel
from ..rows.softmax import softmax_codes_kernel, softmax_kernel
from .network import GELU_POINT, HEAD, Linear, Network, Norm, VitShape

Watch = Callable[[str, np.ndarray], None]
Choose = Callable[[int, np.ndarray, np.ndarray], np.ndarray | None]

_LOW, _HIGH = formats.ACT16.min, formats.ACT16.max
_ONE = formats.LAMBDA.one
_NO_TABLE = np.empty(0, np.int16)
_SIGNED, _UNSIGNED = -1, formats.UINT8.max  # masks of operands


@kernel(parallel=True)
def _multipliers(scales, exponent, mantissa, shift):
    # of each image and column
    for image in prange(scales.size):
        for col in range(exponent.size):
            mantissa[image, col], shift[image, col] = exp2_kernel(scales[image] + exponent[col])


@kernel(parallel=True)
def _layer_norm(x, gamma, beta, epsilon, shares, out):
    rows, channels = x.shape
    for share in prange(shares):
        normalized = np.empty(channels, np.int16)
        for row in range(rows * share // shares, rows * (share + 1) // shares):
            normalize_kernel(x[row], epsilon, normalized)
            affine_kernel(normalized, gamma, beta, out[row])


@kernel(parallel=True)
def _quantize(x, mantissa, shift, low, high, out):
    # one multiplier per image
    images, rows, channels = x.shape
    for index in prange(images * rows):
        image, row = index // rows, index % rows
        factor, bits = mantissa[image], shift[image]
        for c in range(channels):
            out[image, row, c] = saturate(round_shift(x[image, row, c] * factor, bits), low, high)


@kernel(parallel=True)
def _rescale(acc, mantissa, shift, bias, out):
    images, rows, channels = acc.shape
    for index in prange(images * rows):
        image, row = index // rows, index % rows
        for c in range(channels):
            product = acc[image, row, c] * mantissa[image, c]
            value = saturate(round_shift(product, shift[image, c]), _LOW, _HIGH)
            out[image, row, c] = saturate(value + bias[c], _LOW, _HIGH)


@kernel(parallel=True)
def _rescale_add(acc, mantissa, shift, bias, residual, out):
    # bias: of each column; residual: of the shape of acc, or the same for all images
    images, rows, channels = acc.shape
    for index in prange(images * rows):
        image, row = index // rows, index % rows
        other = image % residual.shape[0]
        for c in range(channels):
            product = acc[image, row, c] * mantissa[image, c]
            value = saturate(round_shift(product, shift[image, c]), _LOW, _HIGH)
            value += np.int64(bias[c]) + np.int64(residual[other, row, c])
            out[image, row, c] = saturate(value, _LOW, _HIGH)


@kernel(parallel=True)
def _gelu(x, table, out):
    for row in prange(x.shape[0]):
        for c in range(x.shape[1]):
            out[row, c] = table[x[row, c] + (_HIGH + 1)]


@kernel(parallel=True)
def _split(y, mantissa, shift, low, high, out):
    # (images, tokens, 3 * dim) to (3, images, heads, tokens, head_dim)
    three, images, heads, tokens, size = out.shape
    for index in prange(images * tokens):
        image, token = index // tokens, index % tokens
        for part in range(three):
            factor, bits = mantissa[part, image], shift[part, image]
            for head in range(heads):
                for c in range(size):
                    value = y[image, token, (part * heads + head) * size + c] * factor
                    out[part, image, head, token, c] = saturate(
                        round_shift(value, bits), low[part], high[part])


@kernel
def _score_row(acc, mantissa, shift, out):
    for key in range(out.size):
        out[key] = saturate(round_shift(acc[key] * mantissa, shift), _LOW, _HIGH)


@kernel(parallel=True)
def _attend(operands, mantissa, shift, step, factor, code_shift, table, codes, keep,
            mixed, row_scale, scores, probabilities):
    # Attention of each head of each image. `scores` and `probabilities` are filled if `keep`.
    _, images, heads, tokens, size = operands.shape
    wide_keys, wide_size = -(-tokens // COLS) * COLS, -(-size // COLS) * COLS
    zeros = np.zeros(max(wide_keys, wide_size), np.int32)
    high_rows = -(-tokens // ROWS) * ROWS
    for index in prange(images * heads):
        image, head = index // heads, index % heads
        queries, keys, values = (operands[0, image, head], operands[1, image, head],
                                 operands[2, image, head])
        turned = np.zeros((1, 2 * -(-size // 2), wide_keys), np.int8)
        for token in range(tokens):
            for c in range(size):
                turned[0, c, token] = keys[token, c]
        key_panels = np.empty((1, wide_keys // COLS, turned.shape[1] // 2, COLS), np.int32)
        pack_panels(turned, key_panels)
        acc = np.empty((1, tokens, tokens), np.int32)
        multiply_share(queries.reshape(1, tokens, size), _SIGNED, table[:0], key_panels, zeros,
                       np.zeros((1, high_rows, turned.shape[1]), np.int16), 0, 1, acc)

        weights = np.empty((1, tokens, tokens), np.uint8)
        row = np.empty(tokens, np.int16)
        for token in range(tokens):
            _score_row(acc[0, token], mantissa[image], shift[image], row)
            if keep:
                scores[image, head, token] = row
            if step:
                row_scale[image, head, token] = softmax_codes_kernel(
                    row, step, factor, code_shift, codes, weights[0, token])
            else:
                row_scale[image, head, token] = softmax_kernel(row, weights[0, token])
        if keep:
            probabilities[image, head] = weights[0]

        padded = np.zeros((1, 2 * -(-tokens // 2), wide_size), np.int8)
        padded[0, :tokens, :size] = values
        value_panels = np.empty((1, wide_size // COLS, padded.shape[1] // 2, COLS), np.int32)
        pack_panels(padded, value_panels)
        result = np.empty((1, tokens, size), np.int32)
        multiply_share(weights.view(np.int8), _UNSIGNED, table, value_panels, zeros,
                       np.zeros((1, high_rows, padded.shape[1]), np.int16), 0, 1, result)
        for token in range(tokens):
            for c in range(size):
                mixed[image, token, head * size + c] = result[0, token, c]


@kernel(parallel=True)
def _quantize_mixed(mixed, row_scale, exponent, low, high, out):
    images, heads, tokens = row_scale.shape
    size = mixed.shape[2] // heads
    for index in prange(images * tokens):
        image, token = index // tokens, index % tokens
        for head in range(heads):
            factor, bits = exp2_kernel(exponent[image] - row_scale[image, head, token])
            for c in range(head * size, (head + 1) * size):
                product = mixed[image, token, c] * factor
                out[image, token, c] = saturate(round_shift(product, bits), low, high)


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


def patches(pixels: np.ndarray, shape: VitShape) -> np.ndarray:
    """Cut images into the rows that the patch embedding multiplies.

    uint8 (images, side, side, 3) to uint8 (images, patches, values): patches by row and column,
    values by row, column and colour.
    """
    images, grid, side = len(pixels), shape.grid, shape.patch
    cut = pixels.reshape(images, grid, side, grid, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cut.reshape(images, grid * grid, shape.patch_values))


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
        self._patch = _Product(network.patch, HEAD.mode)
        self._head = _Product(network.head, HEAD.mode)
        self._products = [{name: _Product(getattr(block, name), precision.mode)
                           for name in ("qkv", "proj", "fc1", "fc2")}
                          for block in network.blocks]
        self._formats = {name: precision.site(name)
                         for name in ("qkv", "q", "k", "v", "proj", "fc1", "fc2", "head")}
        self._gelu = gelu.gelu_table()

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
        mantissa, shift = _multiplier(np.zeros(images, np.int64), network.patch.exponent)
        x = np.empty((images, shape.tokens, shape.dim), np.int16)
        x[:, 0] = network.embedding[0]
        embedded = np.empty_like(x[:, 1:])
        places = network.embedding[None, 1:]
        _rescale_add(acc, mantissa, shift, network.patch.bias, places, embedded)
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


def _multiplier(scales, exponent):
    """Multipliers ``2**(scales[image] + exponent[col])``, (images, cols)."""
    mantissa = np.empty((scales.size, exponent.size), np.int64)
    shift = np.empty_like(mantissa)
    _multipliers(scales, exponent.astype(np.int64), mantissa, shift)
    return mantissa, shift


def _point(norm: Norm) -> int:
    """Fractional bits of a LayerNorm's result."""
    return layernorm.NORMALIZED.frac + norm.point


class _Product:
    """Weights of a layer laid out for the kernels."""

    def __init__(self, layer: Linear, mode):
        self.layer = layer
        self._panels = prepare_weights(layer.weight, mode).panels
        self._start = np.zeros(self._panels.shape[1] * COLS, np.int32)

    def __call__(self, a):
        """Multiply (images, rows, inputs) by the weights: int32 (images, rows, outputs)."""
        images, rows, inputs = a.shape
        outputs = self.layer.bias.size
        out = np.empty((1, images * rows, outputs), np.int32)
        wide = np.zeros((1, -(-images * rows // ROWS) * ROWS, 2 * self._panels.shape[2]), np.int16)
        mask = _SIGNED if a.dtype == np.int8 else _UNSIGNED
        multiply(a.reshape(1, images * rows, inputs).view(np.int8), mask, _NO_TABLE, self._panels,
                 self._start, wide, get_num_threads(), out)
        return out.reshape(images, rows, outputs)


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
        mantissa, shift = _multiplier(-lambdas - point * _ONE, np.zeros(1, np.int64))
        out = np.empty(tensor.shape, np.int8 if fmt.signed else np.uint8)
        _quantize(tensor, mantissa[:, 0], shift[:, 0], fmt.min, fmt.max, out)
        return out

    def _norm(self, x, norm: Norm):
        """LayerNorm, int32."""
        out = np.empty(x.shape, np.int32)
        _layer_norm(x.reshape(-1, x.shape[2]), norm.gamma, norm.beta, self._network.epsilon,
                    4 * get_num_threads(), out.reshape(-1, x.shape[2]))
        return out

    def _linear(self, product: _Product, a, site: int, residual=None):
        """Multiply, requantize to 16 bits, add the bias and the residual."""
        acc = product(a)
        mantissa, shift = _multiplier(self._lambdas[:, site], product.layer.exponent)
        out = np.empty(acc.shape, np.int16)
        if residual is None:
            _rescale(acc, mantissa, shift, product.layer.bias, out)
        else:
            _rescale_add(acc, mantissa, shift, product.layer.bias, residual, out)
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
        _gelu(t.reshape(-1, t.shape[2]), self._vit._gelu, g.reshape(-1, t.shape[2]))
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
        mantissa, shift = _multiplier(-scales - point, np.zeros(1, np.int64))
        low, high = (np.array([getattr(self._vit._formats[name], end) for name in names])
                     for end in ("min", "max"))
        operands = np.empty((3, images, shape.heads, tokens, shape.head_dim), np.int8)
        _split(y, mantissa.reshape(3, images), shift.reshape(3, images), low, high, operands)
        for name, part in zip(names, operands, strict=True):
            watch(name, part)

        mantissa, shift = _multiplier(lambdas[:, sites["q"]] + lambdas[:, sites["k"]],
                                      np.array([network.score_exponent + 10 * _ONE]))
        step = network.blocks[index].step
        codes = softmax.codebook(step) if step else np.zeros(CODES, np.uint8)
        factor, code_shift = softmax.reciprocal(step) if step else (0, 0)
        table = codes.astype(np.int16) if step else _NO_TABLE
        keep = self._watch is not _ignore
        size = (images, shape.heads, tokens, tokens) if keep else (0, 0, 0, 0)
        scores, probabilities = np.empty(size, np.int16), np.empty(size, np.uint8)
        mixed = np.empty((images, tokens, shape.dim), np.int32)
        row_scale = np.empty((images, shape.heads, tokens), np.int32)
        _attend(operands, mantissa[:, 0], shift[:, 0], step, factor, code_shift, table, codes,
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
        _quantize_mixed(mixed, row_scale, exponent, fmt.min, fmt.max, out)
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
