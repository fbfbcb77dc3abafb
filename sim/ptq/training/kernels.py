"""What training spends its time on beside matrix products, in one pass over memory each.

PyTorch goes over an array once for every operation; here the operations on an element follow each
other. Same results as with PyTorch's (:mod:`.quantizers` has them for other devices), but for the
order in which numbers are summed. Each image, or each row, is summed by one thread, so that results
do not depend on how many there are.
"""

import numpy as np
from numba import prange

from golden.common.jit import kernel

_SUMS = {"reassoc", "nsz"}
"""Sums may be taken in any order, of which the compiler makes one."""

LOG2E = np.float32(np.log2(np.e))
ONE = np.float32(1)
HALF = np.float32(0.5)


@kernel(parallel=True)
def rounded(x, scale, low, high):
    """Round to a grid, and clamp.

    Parameters
    ----------
    x : float32 array, shape (images, n)
    scale : float32 array, shape (images,)
        Step of the grid.
    low, high : float32
        Of the grid.

    Returns
    -------
    float32 array, shape (images, n)
    """
    made = np.empty_like(x)
    for image in prange(len(x)):
        step = scale[image]
        for at in range(x.shape[1]):
            code = np.floor(x[image, at] / step + HALF)
            made[image, at] = min(max(code, low), high) * step
    return made


@kernel(parallel=True, fastmath=_SUMS)
def rounded_gradients(x, grad, scale, low, high):
    """Return the gradients of :func:`rounded`: straight through for `x` ``(images, n)``, and LSQ's
    for each scale ``(images,)`` (Esser et al., arXiv 1902.08153).
    """
    made, slopes = np.empty_like(x), np.empty(len(x), np.float32)
    for image in prange(len(x)):
        step, slope = scale[image], np.float32(0)
        for at in range(x.shape[1]):
            value, passed = x[image, at] / step, grad[image, at]
            code = np.floor(value + HALF)
            held = min(max(code, low), high)
            inside = ONE if code == held else np.float32(0)
            made[image, at] = inside * passed
            slope += (held - value * inside) * passed
        slopes[image] = slope
    return made, slopes


@kernel(parallel=True)
def exponents(scores):
    """Return the logarithms to base 2 of exponentials over the largest one of their row: 0 or
    less, float32 (rows, n).
    """
    made = np.empty_like(scores)
    for row in prange(len(scores)):
        largest = scores[row].max()
        for at in range(scores.shape[1]):
            made[row, at] = (scores[row, at] - largest) * LOG2E
    return made


@kernel(parallel=True, fastmath=_SUMS)
def shares(exponentials, most):
    """Round exponentials (rows, n), at most 1, to codes of up to `most`, float32.

    Returns
    -------
    shares : float32 array, shape (rows, n)
        Of the sum of the row's codes.
    totals : float32 array, shape (rows,)
        These sums.
    """
    made, totals = np.empty_like(exponentials), np.empty(len(exponentials), np.float32)
    for row in prange(len(exponentials)):
        total = np.float32(0)
        for at in range(exponentials.shape[1]):
            code = np.floor(exponentials[row, at] * most + HALF)
            made[row, at] = code
            total += code
        totals[row] = total
        for at in range(exponentials.shape[1]):
            made[row, at] /= total
    return made, totals


@kernel(parallel=True, fastmath=_SUMS)
def score_gradients(exponentials, made, totals, grad, most):
    """Return the gradients for scores (rows, n) of the shares `made` of their exponentials; the
    rounding passes them straight through.
    """
    result = np.empty_like(grad)
    for row in prange(len(grad)):
        mean = np.float32(0)
        for at in range(grad.shape[1]):
            mean += grad[row, at] * made[row, at]
        factor = most / totals[row]
        for at in range(grad.shape[1]):
            result[row, at] = (grad[row, at] - mean) * exponentials[row, at] * factor
    return result
