"""Layers of a Vision Transformer on the tokens of some images, but for attention.

Kernels of :mod:`golden.network.vit`, which says what they compute; rows are computed in parallel.
Images come first; `mantissa` and `shift` are multipliers as :func:`multiplier` makes them, and
results are written to `out`.
"""

import numpy as np
from numba import get_num_threads, prange

from ..common import formats
from ..common.exp2 import exp2_kernel
from ..common.jit import kernel, saturate
from ..product.gemm_kernels import COLS, GROUP, ROWS, WIDE, multiply, words
from ..product.mac_array import prepare_weights
from ..results.requant import requant_kernel
from ..rows.layernorm import affine_kernel, row_kernel
from .network import Linear, Norm, parts_of
from .shape import VitShape

LOW, HIGH = formats.ACT16.min, formats.ACT16.max
SIGNED_MASK, UNSIGNED_MASK = -1, formats.UINT8.max
"""What is kept of operand bytes that are sign-extended."""

NO_TABLE = np.empty(0, np.int16)
"""Operands of codes, where activations are operands themselves."""


@kernel(parallel=True)
def _multipliers(scales, exponent, mantissa, shift):
    # of each image and column
    for image in prange(scales.size):
        for col in range(exponent.size):
            mantissa[image, col], shift[image, col] = exp2_kernel(scales[image] + exponent[col])


@kernel(parallel=True)
def layer_norm(x, shifts, gamma, beta, epsilon, shares, out):
    rows, channels = x.shape
    for share in prange(shares):
        normalized = np.empty(channels, np.int16)
        for row in range(rows * share // shares, rows * (share + 1) // shares):
            row_kernel(x[row], shifts, epsilon, normalized)
            affine_kernel(normalized, gamma, beta, out[row])


@kernel(parallel=True)
def quantize(x, mantissa, shift, low, high, out):
    # one multiplier per image
    images, rows, channels = x.shape
    for index in prange(images * rows):
        image, row = index // rows, index % rows
        factor, bits = mantissa[image], shift[image]
        for c in range(channels):
            out[image, row, c] = requant_kernel(x[image, row, c], factor, bits, low, high)


@kernel(parallel=True)
def rescale(acc, mantissa, shift, bias, out):
    images, rows, channels = acc.shape
    for index in prange(images * rows):
        image, row = index // rows, index % rows
        for c in range(channels):
            value = requant_kernel(acc[image, row, c], mantissa[image, c], shift[image, c],
                                   LOW, HIGH)
            out[image, row, c] = saturate(value + bias[c], LOW, HIGH)


@kernel(parallel=True)
def rescale_add(acc, mantissa, shift, bias, residual, out):
    # bias: of each column; residual: of the shape of acc, or the same for all images
    images, rows, channels = acc.shape
    for index in prange(images * rows):
        image, row = index // rows, index % rows
        other = image % residual.shape[0]
        for c in range(channels):
            value = requant_kernel(acc[image, row, c], mantissa[image, c], shift[image, c],
                                   LOW, HIGH)
            value += np.int64(bias[c]) + np.int64(residual[other, row, c])
            out[image, row, c] = saturate(value, LOW, HIGH)


@kernel(parallel=True)
def gelu_rows(x, table, out):
    for row in prange(x.shape[0]):
        for c in range(x.shape[1]):
            out[row, c] = table[x[row, c] + (HIGH + 1)]


def multiplier(scales, exponent):
    """Multipliers ``2**(scales[image] + exponent[col])``, (images, cols)."""
    mantissa = np.empty((scales.size, exponent.size), np.int64)
    shift = np.empty_like(mantissa)
    _multipliers(scales, exponent.astype(np.int64), mantissa, shift)
    return mantissa, shift


def normalized(x, norm: Norm, shifts, epsilon: int):
    """LayerNorm of (images, tokens, channels), int32."""
    out = np.empty(x.shape, np.int32)
    layer_norm(x.reshape(-1, x.shape[2]), shifts, norm.gamma, norm.beta, epsilon,
               4 * get_num_threads(), out.reshape(-1, x.shape[2]))
    return out


def patches(pixels: np.ndarray, shape: VitShape) -> np.ndarray:
    """Cut images into the rows that the patch embedding multiplies.

    uint8 (images, side, side, colours) to uint8 (images, patches, values): patches by row and
    column, values by row, column and colour.
    """
    images, grid, side = len(pixels), shape.grid, shape.patch
    cut = pixels.reshape(images, grid, side, grid, side, shape.colours).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cut.reshape(images, grid * grid, shape.patch_values))


def merged(x: np.ndarray, grid: int) -> np.ndarray:
    """Put patches of a grid in line that become one: (images, grid**2, dim) to (images,
    (grid / 2)**2, 4 * dim), by row and column.
    """
    images, _, dim = x.shape
    cut = x.reshape(images, grid // 2, 2, grid // 2, 2, dim).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cut.reshape(images, (grid // 2)**2, 4 * dim))


def added(parts, a, lambdas, residual, watch=None):
    """Multiply by a layer of several products, of parts of the inputs each, and add them, one
    after the other, to the residual stream: int16 (images, rows, outputs).

    Each sum is requantized with a scale of each image, and saturates with the bias, which the
    first has. `residual` is of that shape, or the same for all images. `watch` gets the number of
    each part but the last, and what it has made.
    """
    first = 0
    for index, product in enumerate(parts):
        if index and watch is not None:
            watch(index - 1, residual)
        acc = product(np.ascontiguousarray(a[..., first:first + product.inputs]))
        mantissa, shift = multiplier(lambdas, product.layer.exponent)
        out = np.empty(acc.shape, np.int16)
        rescale_add(acc, mantissa, shift, product.layer.bias, residual, out)
        residual, first = out, first + product.inputs
    return residual


def products_of(layer: Linear, mode, parts) -> list["Product"]:
    """Return the products of a layer for :func:`added`, of parts of its inputs."""
    return [Product(part, mode) for part in parts_of(layer, parts)]


class Product:
    """Weights of a layer laid out for the kernels."""

    def __init__(self, layer: Linear, mode):
        self.layer, self.inputs = layer, len(layer.weight)
        self._panels = prepare_weights(layer.weight, mode).panels
        self._start = np.zeros(self._panels.shape[1] * COLS, np.int32)

    def __call__(self, a):
        """Multiply (images, rows, inputs) by the weights: int32 (images, rows, outputs)."""
        images, rows, inputs = a.shape
        outputs = self.layer.bias.size
        out = np.empty((1, images * rows, outputs), np.int32)
        wide = np.empty((1, -(-images * rows // ROWS) * ROWS, GROUP * words(inputs)), WIDE)
        mask = SIGNED_MASK if a.dtype == np.int8 else UNSIGNED_MASK
        multiply(a.reshape(1, images * rows, inputs).view(np.int8), mask, NO_TABLE, self._panels,
                 self._start, wide, get_num_threads(), out)
        return out.reshape(images, rows, outputs)
