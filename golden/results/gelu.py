"""GELU of residual-format values, from one table: ``t * Phi(t)`` for the normal distribution.

Input and result have 10 fractional bits. With ``h(u) = u * (1 - Phi(u))``, which is even in use and
small,

    gelu(t) = max(t, 0) - h(|t|)        (1)

``h`` is read from a table over ``0 <= u < 4``, 64 values with linear interpolation between them
(:mod:`golden.common.interpolation`), in 2**-14; beyond 4 it is zero, and the table ends in zero.
GELU is never below -0.16997, so that adding :data:`OFFSET`, 174 / 1024, makes the result unsigned;
the constant is folded into the bias of the layer that reads it (as in Wu et al., AdaLog,
arXiv 2407.12951).

    result = min(max(t, 0) - round(h(|t|) / 16) + 174, 32767)                        (2)

rounded half up, 0..32767, and the saturation takes effect for ``t`` beyond 31.8 only.

Error: at most 0.85 / 1024 from ``gelu(t) + 174 / 1024``, for every ``t`` below saturation.

Columns that carry massive activations are `coarse`: ``t`` has :data:`COARSE` fractional bits less
there, up to 512, and the result, which stays in that unit, leaves out the table's part:

    result = min(max(t, 0) + 174, 32767)                                             (3)

Error: ``h`` is at most 0.17, thus (3) at most 10.9 / 1024 from ``gelu(16 * t) / 16 + 174 / 1024``,
a hundredth, where a quantization step of such a column's site is larger.

Other functions have the same equations, with tables and offsets of their own:
:mod:`golden.results.curves`.

In hardware: magnitude and table, one multiplication of 6 by 11 bits, two additions; three stages.
"""

from math import erfc, sqrt

import numpy as np

from ..common.checks import integers
from ..common.formats import FixedFormat
from ..common.interpolation import Table
from ..common.jit import kernel, round_shift

INPUT = FixedFormat(16, frac=10)
RESULT = FixedFormat(15, signed=False, frac=10)
OFFSET = 174
"""What is added to the result, so that it is never negative."""

COARSE = 4
"""Fractional bits that input and result have less in coarse columns."""

INDEX_BITS = 6
TABLE_FRAC = 14  # fractional bits inside, before the one rounding to RESULT
END = 4 << INPUT.frac  # where the table ends, in units of the input


def _sample(index: int) -> int:
    """Return ``round(2**14 * h(index / 16))``; 0 at the end."""
    u = index / 16
    return round(2**TABLE_FRAC * u * erfc(u / sqrt(2)) / 2) if index < 1 << INDEX_BITS else 0


TABLE = Table(tuple(_sample(index) for index in range((1 << INDEX_BITS) + 1)),
              rest_bits=INPUT.frac + 2 - INDEX_BITS, index_bits=INDEX_BITS)

_VALUES = np.array(TABLE.values)
_SLOPES = np.array(TABLE.slopes)
_REST_BITS = TABLE.rest_bits
_REST = (1 << _REST_BITS) - 1
_DROP = TABLE_FRAC - RESULT.frac
_HIGH = RESULT.max


@kernel
def curve_kernel(t, coarse, values, slopes, wide, offset):
    """Return equation (2) or (3) of one value, with any table; for use inside other kernels."""
    u = abs(np.int64(t)) >> wide
    positive = max(np.int64(t), 0)
    index = u >> _REST_BITS
    if coarse or index >= values.size:
        return min(positive + offset, _HIGH)
    rise = round_shift(slopes[index] * (u & _REST), _REST_BITS)
    return positive - round_shift(values[index] + rise, _DROP) + offset


@kernel
def gelu_kernel(t, coarse=False):
    """Return GELU of one value, with the offset; for use inside other kernels."""
    return curve_kernel(t, coarse, _VALUES, _SLOPES, 0, OFFSET)


@kernel
def _gelu(t, coarse, out):
    for i in range(t.size):
        out[i] = gelu_kernel(t[i], coarse[i] != 0)


def gelu(t, coarse=None):
    """Return GELU, with the offset that makes it unsigned.

    Parameters
    ----------
    t : int array, shape (n,)
        Values in :data:`INPUT` (10 fractional bits).
    coarse : int array, shape (n,), optional
        1 for those of coarse columns, which have :data:`COARSE` fractional bits less.

    Returns
    -------
    int16 array, shape (n,)
        ``gelu(t) + 174 / 1024`` in :data:`RESULT` (10 fractional bits), 0..32767; by equation (3)
        where `coarse`.
    """
    t = integers("t", t, INPUT.min, INPUT.max, shape=(None,), dtype=np.int16)
    coarse = (np.zeros(t.shape, np.uint8) if coarse is None else
              integers("coarse", coarse, 0, 1, shape=t.shape, dtype=np.uint8))
    out = np.empty_like(t)
    _gelu(t, coarse, out)
    return out
