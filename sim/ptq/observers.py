"""Observers: the scale of a quantizer from the values it is to hold.

All give log2 of the scale of a :class:`~golden.common.formats.IntFormat`.
"""

import math

import torch

from golden.common.formats import IntFormat

BINS = 4096
_SHRINK = torch.arange(0, 6, 1 / 32)  # log2 of the largest scale over the ones tried


def minmax(x: torch.Tensor, fmt: IntFormat) -> float:
    """Return the smallest scale at which nothing is clipped."""
    return _covering(float(x.min()), float(x.max()), fmt)


def percentile(x: torch.Tensor, fmt: IntFormat, share: float = 0.9999) -> float:
    """Return the smallest scale at which no more than ``1 - share`` is clipped at either end."""
    values = x.flatten().sort().values
    last = len(values) - 1
    return _covering(float(values[round((1 - share) * last)]), float(values[round(share * last)]),
                     fmt)


def _covering(low: float, high: float, fmt: IntFormat) -> float:
    scale = max(high / fmt.max, low / fmt.min if fmt.min else 0.0, 2.0**-24)
    return math.log2(scale)


def mse(x: torch.Tensor, fmt: IntFormat) -> float:
    """Return the scale of least mean squared error.

    Searches a histogram of :data:`BINS` bins, in steps of 1/32 in the log2 domain.
    """
    low, high = float(x.min()), float(x.max())
    if high <= low:
        return minmax(x, fmt)
    count = torch.histc(x.float(), BINS, low, high)
    centre = low + (torch.arange(BINS) + 0.5) * ((high - low) / BINS)
    kept = count > 0
    count, centre = count[kept], centre[kept]
    lams = minmax(x, fmt) - _SHRINK
    scale = torch.exp2(lams)[:, None]
    held = torch.floor(centre / scale + 0.5).clamp(fmt.min, fmt.max) * scale
    error = ((held - centre).square() * count).sum(1)
    return float(lams[error.argmin()])


OBSERVERS = {"minmax": minmax, "percentile": percentile, "mse": mse}
