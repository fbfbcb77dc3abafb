"""Quantizers of the integer model, applied to float arrays, and their MSE-optimal scales.

Scales are given as ``lam``, the LAMBDA integer of ``log2(scale)``. All arithmetic is float64 and
sequential, so that a result does not depend on the number of threads.
"""

import math

import numpy as np

from golden.common.formats import LAMBDA, IntFormat
from golden.common.jit import kernel

_RANGE = 6 * LAMBDA.one  # search from the scale that just covers the array down to 1/64 of it
_STEPS = (LAMBDA.one // 16, LAMBDA.one // 128, 1)


def scale(lam: int) -> float:
    """Return ``2**lam`` of a LAMBDA integer."""
    return 2.0 ** (lam / LAMBDA.one)


def quantize(x: np.ndarray, lam: int, fmt: IntFormat) -> np.ndarray:
    """Return ``clip(floor(x / 2**lam + 1/2))`` in the smallest dtype that holds `fmt`."""
    q = np.clip(np.floor(x * scale(-lam) + 0.5), fmt.min, fmt.max)
    return q.astype(np.min_scalar_type(fmt.min if fmt.signed else fmt.max))


def encode(x: np.ndarray, lam: int, codebook: tuple[int, ...]) -> np.ndarray:
    """Return the code of the entry nearest to ``x / 2**lam``, uint8; halfway, the larger entry.

    `codebook` falls from code to code.
    """
    levels = np.array(codebook, float)
    rising = ((levels[1:] + levels[:-1]) / 2)[::-1]
    below = np.searchsorted(rising, x * scale(-lam), side="right")
    return (len(codebook) - 1 - below).astype(np.uint8)


@kernel
def _uniform_error(x, inverse, step, low, high):
    total = 0.0
    for value in x:
        q = min(max(math.floor(value * inverse + 0.5), low), high)
        total += (q * step - value) ** 2
    return total


@kernel
def _codebook_error(x, inverse, step, levels):
    total = 0.0
    for value in x:
        scaled = value * inverse
        code = levels.size - 1
        while code > 0 and 2 * scaled >= levels[code] + levels[code - 1]:
            code -= 1
        total += (levels[code] * step - value) ** 2
    return total


def _search(error, x: np.ndarray, largest: float) -> int:
    """Return the `lam` of least `error(lam)`, the larger one of equals.

    Three passes of falling step over the whole range, then around the best so far: exact where
    the error has one minimum, and in any case deterministic.
    """
    extreme = float(np.max(np.abs(x), initial=0.0))
    if extreme == 0:
        return 0
    top = math.ceil(LAMBDA.one * math.log2(extreme / largest))
    low, high = top - _RANGE, top
    for step in _STEPS:
        candidates = [min(max(lam, LAMBDA.min), LAMBDA.max) for lam in range(high, low - 1, -step)]
        best = min(candidates, key=error)
        low, high = best - step, best + step
    return best


def mse_lambda(x: np.ndarray, fmt: IntFormat) -> int:
    """Return the `lam` at which :func:`quantize` loses least of `x` in the mean square."""
    x = np.ascontiguousarray(x, float).ravel()
    return _search(lambda lam: _uniform_error(x, scale(-lam), scale(lam), fmt.min, fmt.max),
                   x, fmt.max)


def mse_lambda_codebook(x: np.ndarray, codebook: tuple[int, ...]) -> int:
    """Return the `lam` at which :func:`encode` loses least of `x` in the mean square."""
    x = np.ascontiguousarray(x, float).ravel()
    levels = np.array(codebook, float)
    return _search(lambda lam: _codebook_error(x, scale(-lam), scale(lam), levels),
                   x, codebook[0])
