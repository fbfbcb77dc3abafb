"""Attention of a Vision Transformer: queries, keys and values to mixed values.

Kernels of :mod:`golden.network.vit`, which says what they compute; heads are computed in parallel.
"""

import numpy as np
from numba import prange

from ..common.exp2 import exp2_kernel
from ..common.jit import kernel, saturate
from ..product.gemm_kernels import COLS, GROUP, ROWS, WIDE, multiply_share, pack_panels
from ..results.requant import requant_kernel
from ..rows.softmax import softmax_codes_kernel, softmax_kernel
from .vit_layers import HIGH, LOW, SIGNED_MASK, UNSIGNED_MASK

NO_PLACES = np.empty(0, np.int16)


@kernel(parallel=True)
def split(y, mantissa, shift, low, high, out):
    # queries, keys or values: (images, tokens, dim) to (images, heads, tokens, head_dim)
    images, heads, tokens, size = out.shape
    for index in prange(images * tokens):
        image, token = index // tokens, index % tokens
        factor, bits = mantissa[image], shift[image]
        for head in range(heads):
            for c in range(size):
                out[image, head, token, c] = requant_kernel(y[image, token, head * size + c],
                                                            factor, bits, low, high)


@kernel
def _score_row(acc, mantissa, shift, places, out):
    # places: one for each key, or none
    for key in range(out.size):
        out[key] = requant_kernel(acc[key], mantissa, shift, LOW, HIGH)
    for key in range(places.size):
        out[key] = saturate(np.int64(out[key]) + places[key], LOW, HIGH)


@kernel(parallel=True)
def attend(operands, mantissa, shift, places, step, factor, code_shift, table, codes, keep, ends,
           unit, mixed, before, row_scale, scores, probabilities):
    # Attention of each head of each image, or of each window of the images, which are one after
    # the other. `places`, (heads, tokens, tokens), is added to scores unless it is empty. Values of
    # the keys up to each of `ends` are mixed at once: if there is one, `mixed` has the sums; else
    # the sum of all, requantized by `unit` of each image. What parts have made `before` others,
    # `scores` and `probabilities` are filled if `keep`.
    _, images, heads, tokens, size = operands.shape
    wide_keys, wide_size = -(-tokens // COLS) * COLS, -(-size // COLS) * COLS
    zeros = np.zeros(max(wide_keys, wide_size), np.int32)
    high_rows = -(-tokens // ROWS) * ROWS
    for index in prange(images * heads):
        image, head = index // heads, index % heads
        queries, keys, values = (operands[0, image, head], operands[1, image, head],
                                 operands[2, image, head])
        key_words = -(-size // GROUP)
        turned = np.zeros((1, GROUP * key_words, wide_keys), np.int8)
        for token in range(tokens):
            for c in range(size):
                turned[0, c, token] = keys[token, c]
        key_panels = np.empty((1, wide_keys // COLS, key_words + 1, COLS), np.int32)
        pack_panels(turned, key_panels)
        acc = np.empty((1, tokens, tokens), np.int32)
        multiply_share(queries.reshape(1, tokens, size), SIGNED_MASK, table[:0], key_panels, zeros,
                       np.empty((1, high_rows, GROUP * key_words), WIDE), 0, 1, acc)

        weights = np.empty((1, tokens, tokens), np.uint8)
        row = np.empty(tokens, np.int16)
        for token in range(tokens):
            added = places[head, token] if places.size else NO_PLACES
            _score_row(acc[0, token], mantissa[image], shift[image], added, row)
            if keep:
                scores[image, head, token] = row
            if step:
                row_scale[image, head, token] = softmax_codes_kernel(
                    row, step, factor, code_shift, codes, weights[0, token])
            else:
                row_scale[image, head, token] = softmax_kernel(row, weights[0, token])
        if keep:
            probabilities[image, head] = weights[0]

        result = np.empty((1, tokens, size), np.int32)
        first = 0
        for part in range(ends.size):
            count = ends[part] - first
            value_words = -(-count // GROUP)
            padded = np.zeros((1, GROUP * value_words, wide_size), np.int8)
            padded[0, :count, :size] = values[first:ends[part]]
            value_panels = np.empty((1, wide_size // COLS, value_words + 1, COLS), np.int32)
            pack_panels(padded, value_panels)
            taken = np.ascontiguousarray(weights[:, :, first:ends[part]])
            multiply_share(taken.view(np.int8), UNSIGNED_MASK, table, value_panels, zeros,
                           np.empty((1, high_rows, GROUP * value_words), WIDE), 0, 1, result)
            for token in range(tokens):
                place = mixed[image, token, head * size:(head + 1) * size]
                if ends.size == 1:
                    place[:] = result[0, token]
                    continue
                multiplier, bits = exp2_kernel(unit[image] - row_scale[image, head, token])
                for c in range(size):
                    value = requant_kernel(result[0, token, c], multiplier, bits, LOW, HIGH)
                    if part:
                        value = saturate(value + place[c], LOW, HIGH)
                    place[c] = value
                if keep and part < ends.size - 1:
                    before[part, image, token, head * size:(head + 1) * size] = place
            first = ends[part]


@kernel(parallel=True)
def quantize_mixed(mixed, row_scale, exponent, low, high, out):
    images, heads, tokens = row_scale.shape
    size = mixed.shape[2] // heads
    for index in prange(images * tokens):
        image, token = index // tokens, index % tokens
        for head in range(heads):
            factor, bits = exp2_kernel(exponent[image] - row_scale[image, head, token])
            for c in range(head * size, (head + 1) * size):
                out[image, token, c] = requant_kernel(mixed[image, token, c], factor, bits, low,
                                                      high)
