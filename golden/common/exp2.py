"""Powers of two in fixed point: the one table behind every scale and every softmax exponential.

``2**x`` for ``x`` in :data:`~golden.common.formats.EXPONENT` is given as ``mantissa / 2**shift``
with ``mantissa`` in :data:`~golden.common.formats.MANTISSA`, 32768..65535, and ``shift`` 0..63. The
fraction of ``x`` goes through a 32-entry table with linear interpolation, its integer part moves
the shift.

Error: at most :data:`ERROR` relative to the exact power, for every ``x`` within :data:`LOWEST` to
:data:`HIGHEST`, which is -48 <= x < 16; beyond, ``x`` is clamped.
"""

from fractions import Fraction

import numpy as np

from . import formats
from .checks import integers
from .interpolation import INDEX_BITS, Table
from .jit import kernel, round_shift, saturate

_FRAC = formats.EXPONENT.frac
_MANTISSA_FRAC = formats.MANTISSA.frac
LOWEST = (_MANTISSA_FRAC - formats.SHIFT.max) << _FRAC
HIGHEST = ((_MANTISSA_FRAC + 1) << _FRAC) - 1

ERROR = Fraction(9, 100_000)
"""Largest relative error of ``mantissa / 2**shift``."""


def _sample(index: int) -> int:
    """Return ``round(2**15 * 2**(index / 32))``, by exact integer comparison."""
    count = 1 << INDEX_BITS
    target = 1 << (count * (_MANTISSA_FRAC + 1) + index)  # (2 * 2**15 * 2**(index / 32)) ** 32
    low, high = 1 << _MANTISSA_FRAC, 1 << (_MANTISSA_FRAC + 1)
    while low < high:  # largest n with n - 1/2 <= 2**15 * 2**(index / 32)
        middle = (low + high + 1) // 2
        if (2 * middle - 1) ** count <= target:
            low = middle
        else:
            high = middle - 1
    return low


TABLE = Table(tuple(_sample(index) for index in range((1 << INDEX_BITS) + 1)),
              rest_bits=_FRAC - INDEX_BITS)

_VALUES = np.array(TABLE.values)
_SLOPES = np.array(TABLE.slopes)
_REST_BITS = TABLE.rest_bits
_REST_MASK = (1 << _REST_BITS) - 1
_INDEX_MASK = (1 << INDEX_BITS) - 1


@kernel
def exp2_kernel(x):
    """Return mantissa and shift of one exponent; for use inside other kernels."""
    x = saturate(x, LOWEST, HIGHEST)
    index = (x >> _REST_BITS) & _INDEX_MASK
    mantissa = _VALUES[index] + round_shift(_SLOPES[index] * (x & _REST_MASK), _REST_BITS)
    return mantissa, _MANTISSA_FRAC - (x >> _FRAC)


@kernel
def _exp2(x, mantissa, shift):
    for i in range(x.size):
        mantissa[i], shift[i] = exp2_kernel(x[i])


def exp2(x):
    """Return ``2**x`` as mantissas and shifts.

    Parameters
    ----------
    x : int array, shape (n,)
        Exponents in ``EXPONENT``, 10 fractional bits.

    Returns
    -------
    mantissa, shift : int64 arrays, shape (n,)
        ``2**(x / 1024)`` is ``mantissa / 2**shift`` within 9e-5 relative.
    """
    x = integers("x", x, formats.EXPONENT.min, formats.EXPONENT.max, shape=(None,))
    mantissa, shift = np.empty_like(x), np.empty_like(x)
    _exp2(x, mantissa, shift)
    return mantissa, shift
