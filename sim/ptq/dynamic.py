"""Scales chosen image by image from the very values that are to be quantized.

Just in time, hardware would need a pass over each tensor before it can be quantized; the oracle
also knows the error of every scale. Both are what predicted scales are measured against.

All rules take values ``float32 (images, n)`` and give lambda, log2 of the scale in units of
``1 / 1024``, for each image.
"""

import math
from collections.abc import Callable

import numpy as np

from golden.common.formats import LAMBDA, IntFormat
from golden.common.jit import kernel
from golden.network.network import Network
from golden.network.precision import site_format

BINS = 1024
SHARE = 0.9999
"""Of the values that the percentile rule keeps on either side."""

_TRIES = np.arange(0, 4 * LAMBDA.one, LAMBDA.one // 32)  # below the scale that covers all


def _covering(low: np.ndarray, high: np.ndarray, fmt: IntFormat) -> np.ndarray:
    scale = np.maximum(high / fmt.max, low / fmt.min if fmt.min else 0.0)
    lambdas = np.ceil(LAMBDA.one * np.log2(np.maximum(scale, 2.0**-24)))
    return np.clip(lambdas, LAMBDA.min, LAMBDA.max).astype(np.int64)


def minmax(x: np.ndarray, fmt: IntFormat) -> np.ndarray:
    """Return the smallest scale at which nothing is clipped."""
    return _covering(x.min(1), x.max(1), fmt)


def percentile(x: np.ndarray, fmt: IntFormat) -> np.ndarray:
    """Return the smallest scale at which :data:`SHARE` of the values is kept on either side."""
    last = x.shape[1] - 1
    places = round((1 - SHARE) * last), round(SHARE * last)
    ordered = np.partition(x, places, axis=1)
    return _covering(ordered[:, places[0]], ordered[:, places[1]], fmt)


@kernel(nogil=True)
def _least_error(x, scales, lowest, highest, bins):
    # the index of the scale of least squared error over the histogram of one image
    low, high = x.min(), x.max()
    width = max((high - low) / bins, 1e-30)
    count = np.zeros(bins, np.int64)
    for value in x:
        count[min(int((value - low) / width), bins - 1)] += 1
    best, least = 0, np.inf
    for index, scale in enumerate(scales):
        error = 0.0
        for place in range(bins):
            if count[place]:
                centre = low + (place + 0.5) * width
                held = min(max(math.floor(centre / scale + 0.5), lowest), highest) * scale
                error += count[place] * (held - centre) ** 2
        if error < least:
            best, least = index, error
    return best


def mse(x: np.ndarray, fmt: IntFormat) -> np.ndarray:
    """Return the scale of least squared error, from a histogram of :data:`BINS` bins.

    In steps of 1/32 in the log2 domain, down to 1/16 of the scale that covers all values.
    """
    top = minmax(x, fmt)
    lambdas = np.empty(len(x), np.int64)
    for image, values in enumerate(x):
        tries = np.maximum(top[image] - _TRIES, LAMBDA.min)
        lambdas[image] = tries[_least_error(values, np.exp2(tries / LAMBDA.one), fmt.min, fmt.max,
                                            BINS)]
    return lambdas


RULES = {"minmax": minmax, "percentile": percentile, "mse": mse}


def chooser(network: Network, rule: str) -> Callable:
    """Return what :meth:`golden.network.vit.Vit.run` takes as `choose`, by the name of a rule."""
    give = RULES[rule]

    def choose(site, tensor, unit):
        real = tensor * np.exp2(unit / LAMBDA.one).astype(np.float32)
        return give(np.ascontiguousarray(real, np.float32).reshape(len(tensor), -1),
                    site_format(network.shape, network.precision, site))

    return choose
