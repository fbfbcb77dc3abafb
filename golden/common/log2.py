"""Base-2 logarithm of a positive integer in fixed point.

The leading one gives the integer part; the five bits below it index a 32-entry table and the ten
after those interpolate. Bits further down are dropped: they weigh less than 2**-15.

Error: at most 0.75 / 1024, for every integer up to :data:`HIGHEST`, which is 2**31.
"""

import numpy as np

from . import formats
from .checks import integers
from .interpolation import INDEX_BITS, Table
from .jit import kernel, round_shift

REST_BITS = 10
FRAC = 15  # fractional bits inside, before the one rounding to LOG2
HIGHEST = 1 << (formats.LOG2.max >> formats.LOG2.frac)  # highest power of two that LOG2 holds


def _sample(index: int) -> int:
    """Return ``round(2**15 * log2(1 + index / 32))``, by exact integer comparison."""
    count = 1 << INDEX_BITS
    power = (count + index) ** (2 << FRAC)  # (x * 32) ** (2 * 2**15), compared as 2 * n - 1
    # largest n with 2**(2 * n - 1) <= x ** (2 * 2**15)
    exponent = power.bit_length() - 1 - INDEX_BITS * (2 << FRAC)
    return (exponent + 1) // 2


TABLE = Table(tuple(_sample(index) for index in range((1 << INDEX_BITS) + 1)),
              rest_bits=REST_BITS)

_VALUES = np.array(TABLE.values)
_SLOPES = np.array(TABLE.slopes)
_REST_MASK = (1 << REST_BITS) - 1
_INDEX_MASK = (1 << INDEX_BITS) - 1
_FRACTION_BITS = INDEX_BITS + REST_BITS
_DROP = FRAC - formats.LOG2.frac


@kernel
def log2_kernel(value):
    """Return log2 of one positive integer, in ``LOG2``; for use inside other kernels."""
    exponent = 0
    while value >> (exponent + 1):
        exponent += 1
    if exponent >= _FRACTION_BITS:
        fraction = value >> (exponent - _FRACTION_BITS)
    else:
        fraction = value << (_FRACTION_BITS - exponent)
    index = (fraction >> REST_BITS) & _INDEX_MASK
    rise = round_shift(_SLOPES[index] * (fraction & _REST_MASK), REST_BITS)
    return round_shift((exponent << FRAC) + _VALUES[index] + rise, _DROP)


@kernel
def _log2(value, out):
    for i in range(value.size):
        out[i] = log2_kernel(value[i])


def log2(value):
    """Return the base-2 logarithm of positive integers.

    Parameters
    ----------
    value : int array, shape (n,)
        1 to :data:`HIGHEST`.

    Returns
    -------
    int64 array, shape (n,)
        ``log2(value)`` in ``LOG2`` (10 fractional bits), within 0.75 units of the last place.
    """
    value = integers("value", value, 1, HIGHEST, shape=(None,))
    out = np.empty_like(value)
    _log2(value, out)
    return out
