"""Softmax of rows of scores: unnormalised 8-bit exponentials or 4-bit codes, and one exponent.

Scores are logarithms to base 2 with 10 fractional bits (``log2(e) / sqrt(d)`` is folded into the
multiplier that made them), so that ``probability = 2**(s / 1024) / sum(2**(s / 1024))``. Each is
taken relative to the largest of its row, ``d = max(s) - s``, 0..65535. What is stored is an
operand ``a`` of 0..255, 255 for the largest, and the row exponent ``lambda``:

    probability = a / 2**(lambda / 1024)    lambda = log2(sum(a))                    (1)

There is no divider: after the product with the values, the exponent is taken off that of the
requantization (:mod:`golden.results.requant`), row by row. ``lambda`` is that of
:mod:`golden.common.log2`, within 0.75 / 1024, so that the probabilities of a row sum to 1 within
5.1e-4.

:func:`softmax` stores the operands themselves, by the table of :mod:`golden.common.exp2`:

    a = round(2**((8186 - d) / 1024))                                                (2)

where 8186 / 1024 is log2(255). An operand is within 0.55 of the exact power, 0.0022 of the largest,
so that a probability ``p`` among ``K`` is off by at most

    0.0022 * (1 + (K - 1) * p) * 255 / sum(a) + 5.1e-4

Keys below 1 / 510 of the largest count for nothing, and where there are many the others take their
share: up to 0.07 in DeiT-Tiny's recorded scores, below 0.006 in five of nine heads.

:func:`softmax_codes` stores 4 bits, the rounded distance in steps of ``step / 1024``; the array
looks the operand up as it reads (``Activation.CODE`` of :mod:`golden.product.mac_array`):

    code = min(15, round(d / step))                                                  (3)
    a = codebook[code],  codebook[c] = round(255 * 2**(-c * step / 1024)), codebook[15] = 0

``step`` 1024 is the log2 quantizer (Lin et al., FQ-ViT, arXiv 2111.13824), 512 the log sqrt(2)
quantizer (Li et al., RepQ-ViT, arXiv 2212.08254), others an adaptive base (Wu et al., AdaLog,
arXiv 2407.12951).

All roundings are half up. In hardware a row passes twice: first for its largest score (while it is
written), then through (2), the table and one shift, or through (3), one multiplication by
:func:`reciprocal`; the sum and its logarithm follow the last key. What the hardware is told of a
run, and what the run costs, is in :mod:`golden.rows.softmax_run`.
"""

from math import isqrt

import numpy as np

from ..common import exp2, formats
from ..common.checks import integer, integers
from ..common.formats import FixedFormat, IntFormat
from ..common.jit import kernel, round_shift
from ..common.log2 import log2_kernel

SCORE = FixedFormat(16, frac=formats.LAMBDA.frac)
HIGHEST_KEYS = 4096
OPERAND = formats.UINT8
TOP = 8186
"""``log2(255)`` with 10 fractional bits, rounded."""

STEP = IntFormat(11, signed=False)
"""Format of a step; zero is none."""

RECIPROCAL = IntFormat(16, signed=False)

CODES = formats.CODE.max + 1

_LAST_CODE = formats.CODE.max


@kernel
def exponential_kernel(x):
    """Return ``round(2**((x + 8186) / 1024))`` of one score relative to the largest, ``x <= 0``."""
    mantissa, shift = exp2.exp2_kernel(x + TOP)
    return round_shift(mantissa, shift)


def _exponentials():
    # exponential_kernel of 0, -1, ... down to the first zero: read instead of computed, for speed
    x = TOP - np.arange(TOP + 2 * SCORE.one)
    index = (x & (SCORE.one - 1)) >> exp2.TABLE.rest_bits
    rest = x & ((1 << exp2.TABLE.rest_bits) - 1)
    rise = round_shift.py_func(np.array(exp2.TABLE.slopes)[index] * rest, exp2.TABLE.rest_bits)
    mantissa = np.array(exp2.TABLE.values)[index] + rise
    result = round_shift.py_func(mantissa, formats.MANTISSA.frac - (x >> SCORE.frac))
    return result[:np.flatnonzero(result)[-1] + 2].astype(np.uint8)


_EXPONENTIALS = _exponentials()
_LAST = _EXPONENTIALS.size - 1


def codebook(step: int):
    """Return the operand of each code.

    Parameters
    ----------
    step : int
        Distance of neighbouring codes, 1 to 2047, in units of 2**-10 in the log2 domain.

    Returns
    -------
    uint8 array, shape (16,)
        ``round(255 * 2**(-code * step / 1024))``, exactly, and 0 for code 15.
    """
    step = integer("step", step, 1, STEP.max)
    entries = np.zeros(CODES, np.uint8)
    for code in range(_LAST_CODE):
        root = (2 * OPERAND.max) ** SCORE.one >> (code * step)
        for _ in range(SCORE.frac):
            root = isqrt(root)  # in the end floor(2 * 255 * 2**(-code * step / 1024))
        entries[code] = (root + 1) // 2
    return entries


def reciprocal(step: int) -> tuple[int, int]:
    """Return the factor and the shift that divide by a step.

    ``(min(d, 15 * step) + step // 2) * factor >> shift`` equals ``min(15, round(d / step))`` for
    every `d` of 0 or more; operands of 15 and 16 bits, product below 2**31.

    Parameters
    ----------
    step : int
        1 to 2047.

    Returns
    -------
    factor, shift : int
        ``factor = ceil(2**shift / step)``, 32768..65535, in :data:`RECIPROCAL`; `shift` 15..26.
    """
    # The factor is less than 1 too large, which adds less than a / 2**shift to the quotient of a.
    # With 2**shift >= 2**15 * step and a < 16 * step < 2**15 that is less than 1 / step.
    step = integer("step", step, 1, STEP.max)
    shift = RECIPROCAL.bits - 1 + (step - 1).bit_length()
    return -(-(1 << shift) // step), shift


@kernel
def _largest(scores):
    largest = scores[0]
    for key in range(1, scores.size):
        if scores[key] > largest:
            largest = scores[key]
    return np.int32(largest)


@kernel
def softmax_kernel(scores, out):
    """Turn one row into exponentials and return its ``lambda``; for use inside other kernels.

    `scores` is int16[keys] of 1..4096 keys; `out`, uint8[keys], takes ``a`` of (2).
    """
    largest = _largest(scores)
    total = np.int64(0)
    for key in range(scores.size):
        exponential = _EXPONENTIALS[min(largest - scores[key], _LAST)]
        out[key] = exponential
        total += exponential
    return log2_kernel(total)


@kernel
def softmax_codes_kernel(scores, step, factor, shift, operands, out):
    """Turn one row into codes and return its ``lambda``; for use inside other kernels.

    `scores` is int16[keys] of 1..4096 keys, `factor` and `shift` are ``reciprocal(step)``,
    `operands` is ``codebook(step)``; `out`, uint8[keys], takes the codes of (3).
    """
    largest = _largest(scores)
    step = np.int32(step)
    factor = np.int32(factor)
    shift = np.int32(shift)
    end = np.int32(_LAST_CODE * step)
    half = np.int32(step >> 1)
    for key in range(scores.size):
        distance = min(np.int32(largest - np.int32(scores[key])), end)
        out[key] = np.int32(np.int32(distance + half) * factor) >> shift
    total = np.int64(0)
    for key in range(scores.size):
        total += operands[out[key]]
    return log2_kernel(total)


@kernel
def _softmax(scores, out, exponent):
    for row in range(scores.shape[0]):
        exponent[row] = softmax_kernel(scores[row], out[row])


@kernel
def _softmax_codes(scores, step, factor, shift, operands, out, exponent):
    for row in range(scores.shape[0]):
        exponent[row] = softmax_codes_kernel(scores[row], step, factor, shift, operands, out[row])


def _checked(scores):
    scores = integers("scores", scores, SCORE.min, SCORE.max, shape=(None, None), dtype=np.int16)
    if not 1 <= scores.shape[1] <= HIGHEST_KEYS:
        raise ValueError(f"scores must have 1 to {HIGHEST_KEYS} keys, not {scores.shape[1]}")
    return scores


def softmax(scores):
    """Return the exponentials of every row, and its exponent.

    Parameters
    ----------
    scores : int array, shape (rows, keys)
        Logarithms to base 2 in :data:`SCORE` (10 fractional bits); 1 to 4096 keys.

    Returns
    -------
    a : uint8 array, shape (rows, keys)
        Operands, 255 for the largest score of a row.
    exponent : int32 array, shape (rows,)
        ``lambda`` with 10 fractional bits: a probability is ``a / 2**(lambda / 1024)``.
    """
    scores = _checked(scores)
    out, exponent = np.empty(scores.shape, np.uint8), np.empty(scores.shape[0], np.int32)
    _softmax(scores, out, exponent)
    return out, exponent


def softmax_codes(scores, step: int):
    """Return the 4-bit codes of every row, and its exponent.

    Parameters
    ----------
    scores : int array, shape (rows, keys)
        Logarithms to base 2 in :data:`SCORE` (10 fractional bits); 1 to 4096 keys.
    step : int
        Distance of neighbouring codes, 1 to 2047, in units of 2**-10.

    Returns
    -------
    codes : uint8 array, shape (rows, keys)
        0..15, 0 for the largest score of a row; operands are ``codebook(step)[codes]``.
    exponent : int32 array, shape (rows,)
        ``lambda`` with 10 fractional bits: a probability is ``operand / 2**(lambda / 1024)``.
    """
    scores = _checked(scores)
    operands = codebook(step)
    out, exponent = np.empty(scores.shape, np.uint8), np.empty(scores.shape[0], np.int32)
    _softmax_codes(scores, step, *reciprocal(step), operands, out, exponent)
    return out, exponent
