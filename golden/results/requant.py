"""Requantizer: from accumulators to a narrower format, one multiplier per column.

``y = clamp(floor(acc * mantissa / 2**shift + 1/2), low, high)``: exact product, one rounding
(half up), one saturation. The clamp limits are those of the site's format, or tighter ones (3 and 6
bit activations are stored as 4 and 8 bit).
"""

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..common.jit import inlined, kernel, round_shift, saturate

PRODUCT = formats.IntFormat(formats.ACC.bits + formats.MANTISSA.bits)
OUT = formats.ACT16  # the widest result


@inlined
def requant_kernel(acc, mantissa, shift, low, high):
    """Requantize one value: :func:`requant` without its checks, in any format."""
    return saturate(round_shift(acc * mantissa, shift), low, high)


@kernel
def _requant(acc, mantissa, shift, low, high, out):
    for row in range(acc.shape[0]):
        for col in range(acc.shape[1]):
            out[row, col] = requant_kernel(acc[row, col], mantissa[col], shift[col], low, high)


def requant(acc, mantissa, shift, low: int, high: int):
    """Rescale accumulators, one scale per column.

    Parameters
    ----------
    acc : int array, shape (rows, cols)
        Accumulators in ``ACC``.
    mantissa, shift : int arrays, shape (cols,)
        Multipliers ``mantissa / 2**shift`` as :func:`golden.common.exp2.exp2` gives them:
        ``MANTISSA`` codes (0..65535) and ``SHIFT`` (0..63).
    low, high : int
        Clamp limits, within ``ACT16``.

    Returns
    -------
    int16 array, shape (rows, cols)
        ``clip(floor(acc * mantissa / 2**shift + 1/2), low, high)``.
    """
    acc = integers("acc", acc, formats.ACC.min, formats.ACC.max, shape=(None, None))
    cols = acc.shape[1]
    mantissa = integers("mantissa", mantissa, 0, formats.MANTISSA.max, shape=(cols,))
    shift = integers("shift", shift, 0, formats.SHIFT.max, shape=(cols,))
    low = integer("low", low, OUT.min, OUT.max)
    high = integer("high", high, low, OUT.max)
    out = np.empty(acc.shape, np.int16)
    _requant(acc, mantissa, shift, low, high, out)
    return out
