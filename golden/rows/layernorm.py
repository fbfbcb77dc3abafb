"""LayerNorm of rows of residuals: exact sums, and a reciprocal square root from a table.

A row ``x`` of ``C`` channels has any binary point: the mean falls out and the scale cancels. Few
channels of many ViTs carry massive activations, hundreds of times the others, and always the same
ones (Sun et al., Massive Activations in Large Language Models, COLM 2024): a channel that is
`coarse` has :data:`COARSE` fractional bits less than the others, ``X[c] = x[c] * 2**COARSE``; of
the others, ``X[c] = x[c]``. With the exact sums ``S1 = sum(X)`` and ``S2 = sum(X**2)``

    V = C * S2 - S1**2 + epsilon        (1)  C**2 times the variance, an integer of 61 bits
    D[c] = C * X[c] - S1                (2)  C times the deviation, an integer of 32 bits
    n[c] = D[c] / sqrt(V)               (3)

Only the root is approximate. An even shift brings ``V`` to ``1 <= V / 4**e < 4``; the parity of the
leading one and the five bits below it address 2 x 32 values, the ten bits after those interpolate
between them (:mod:`golden.common.interpolation`), bits further down are dropped. This gives ``r``
in :data:`ROOT`, ``r / 2**15 = 2**e / sqrt(V)`` within :data:`ROOT_ERROR` relative. Rows of more
than :data:`LONG` channels may have larger ``n``: of them ``e`` is taken to be one more, so that
``s`` and ``n`` are half as large, with 10 and 9 fractional bits (:func:`fraction_of`). So

    s[c] = round(D[c] * 2**11 / 2**e)   (4)  18 bits, :data:`SCALED`
    n[c] = round(s[c] * r / 2**16)      (5)  16 bits, :data:`NORMALIZED`

both rounded half up. ``|n| <= sqrt(C - 1)`` for any row, below 32 and for long ones below 46, so
that neither needs to saturate, and the product keeps within 32 bits. ``V = 0`` (equal channels and
no epsilon) gives ``n = 0``.

Error of ``n``: at most ``(0.75 + 0.14 * |n|) / 1024`` from (3) without rounding, in long rows
``(0.75 + 0.07 * |n|) / 512``.

The affine is ``n * gamma + beta``, saturated to ``ACC``; ``gamma`` has a binary point ``g`` of its
own, ``beta`` and the result have 10 + g, in long rows 9 + g. The result goes to the requantizer
(:mod:`golden.results.requant`) like the accumulators of a matrix product.

In hardware a row passes twice: first into the sums (``x * x`` takes one multiplier a lane), then
through three multipliers in line, for (2), (5) and the affine. Between the passes one multiplier
makes (1) in six steps and another interpolates, while other rows pass: :func:`cycles`.
"""

from fractions import Fraction
from math import isqrt

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.formats import FixedFormat, IntFormat
from ..common.interpolation import INDEX_BITS, Table
from ..common.jit import kernel, round_shift, saturate

HIGHEST_CHANNELS = 2048

LONG = 1024
"""Rows of more channels have a fractional bit less in ``n``."""

COARSE = 4
"""Fractional bits that a coarse channel of the residual stream has less than the others."""

NORMALIZED = FixedFormat(16, frac=10)
SCALED = FixedFormat(18, frac=11)  # deviation over 2**e: magnitude below 64
ROOT = FixedFormat(16, signed=False, frac=15)  # 1/2 < r <= 1
EPSILON = IntFormat(48, signed=False)
GAMMA = formats.ACT16
BETA = formats.ACC
CHANNELS = IntFormat(HIGHEST_CHANNELS.bit_length(), signed=False)
VALUE = IntFormat(formats.ACT16.bits + COARSE)  # X
SUM = IntFormat(27 + COARSE)  # S1
SQUARES = IntFormat(42 + 2 * COARSE, signed=False)  # S2
VARIANCE = IntFormat(53 + 2 * COARSE, signed=False)  # C**2 * variance + epsilon
DEVIATION = IntFormat(28 + COARSE)  # C times the deviation

ROOT_ERROR = Fraction(135, 1_000_000)
"""Largest relative error of the reciprocal square root."""

REST_BITS = 10

INTERVAL = 6
"""Fewest cycles from one row to the next in hardware: the products that make (1)."""

LATENCY = 32
"""Cycles of a run besides words and the sums over the lanes; see :func:`cycles`."""


def _sample(index: int, octave: int) -> int:
    """Return ``round(2**15 / sqrt(2**octave * (1 + index / 32)))``, exactly."""
    quotient = (4 << (2 * ROOT.frac + INDEX_BITS)) // (((1 << INDEX_BITS) + index) << octave)
    return (isqrt(quotient) + 1) // 2


TABLES = tuple(Table(tuple(_sample(index, octave) for index in range((1 << INDEX_BITS) + 1)),
                     rest_bits=REST_BITS) for octave in range(2))
"""Reciprocal square root over 1..2 and over 2..4; read as one of 64 entries."""

_VALUES = np.array(TABLES[0].values + TABLES[1].values)
_SLOPES = np.array(TABLES[0].slopes + TABLES[1].slopes)
_REST_MASK = (1 << REST_BITS) - 1
_INDEX_MASK = (1 << INDEX_BITS) - 1
_FRACTION_BITS = INDEX_BITS + REST_BITS
_SCALED_FRAC = SCALED.frac
_DROP = SCALED.frac + ROOT.frac - NORMALIZED.frac
_HALF = 1 << (_DROP - 1)
_LOW, _HIGH = formats.ACC.min, formats.ACC.max
_LONG = LONG


def fraction_of(channels: int) -> int:
    """Return the fractional bits of ``n`` in rows of so many channels."""
    return NORMALIZED.frac - (channels > LONG)


def highest_channels(config: AcceleratorConfig) -> int:
    """Return how many channels the rows of a core's LayerNorm may have."""
    return min(config.max_channels, HIGHEST_CHANNELS)


def epsilon_units(epsilon, channels: int, fraction: int) -> int:
    """Return LayerNorm's epsilon in the units of (1), rounded half up.

    Parameters
    ----------
    epsilon : float, str or Fraction
        What is added to the variance of real values, such as ``"1e-6"``; a float counts with
        its exact binary value.
    channels : int
        Channels of a row, 1 to 2048.
    fraction : int
        Binary point of the residuals: ``x`` stands for ``x / 2**fraction``, where it is not
        coarse.

    Returns
    -------
    int
        ``round(epsilon * channels**2 * 4**fraction)``, in :data:`EPSILON`.
    """
    channels = integer("channels", channels, 1, HIGHEST_CHANNELS)
    fraction = integer("fraction", fraction, -64, 64)
    exact = Fraction(epsilon) * channels**2 * Fraction(4)**fraction
    units = (2 * exact + 1) // 2
    if units not in EPSILON:
        raise ValueError(f"epsilon must be within {EPSILON.min}..{EPSILON.max} in units of "
                         f"4**-{fraction} / {channels}**2, not {units}")
    return int(units)


@kernel
def _leading_one(value):
    # position of the leading one of a positive integer of up to 63 bits
    position = 0
    for step in (32, 16, 8, 4, 2, 1):
        if value >> step:
            value >>= step
            position += step
    return position


@kernel
def root_kernel(variance):
    """Return ``r`` and ``e`` of one positive integer; for use inside other kernels."""
    leading = _leading_one(variance)
    if leading >= _FRACTION_BITS:
        fraction = variance >> (leading - _FRACTION_BITS)
    else:
        fraction = variance << (_FRACTION_BITS - leading)
    index = ((leading & 1) << INDEX_BITS) | ((fraction >> REST_BITS) & _INDEX_MASK)
    rise = round_shift(_SLOPES[index] * (fraction & _REST_MASK), REST_BITS)
    return _VALUES[index] + rise, leading >> 1


@kernel
def normalize_kernel(x, epsilon, out):
    """Normalise one row without coarse channels; for use inside other kernels.

    `x` is int16[channels] of 1..2048 channels, `epsilon` an integer in ``EPSILON``, and `out`,
    int16[channels], takes ``n`` in ``NORMALIZED``.
    """
    # All of 32 bits but S2 and V, so that the loops fill vector registers. Roundings add half and
    # shift: nothing here reaches 32 bits, see above.
    sum1 = np.int32(0)
    sum2 = np.int64(0)
    for c in range(x.size):
        value = np.int32(x[c])
        sum1 = np.int32(sum1 + value)
        sum2 += np.int32(value * value)
    channels = np.int32(x.size)
    variance = channels * sum2 - np.int64(sum1) * np.int64(sum1) + epsilon  # (1)
    if variance == 0:
        out[:] = 0
        return
    root, exponent = root_kernel(variance)
    exponent += int(x.size > _LONG)
    root = np.int32(root)
    half = np.int32(_HALF)
    left = np.int32(max(_SCALED_FRAC - exponent, 0))
    right = np.int32(max(exponent - _SCALED_FRAC, 0))
    right_half = np.int32((1 << right) >> 1)
    if left > 0:
        for c in range(x.size):
            deviation = np.int32(np.int32(channels * np.int32(x[c])) - sum1)  # (2)
            scaled = np.int32(deviation << left)  # (4)
            out[c] = np.int32(np.int32(scaled * root) + half) >> _DROP  # (5)
    else:
        for c in range(x.size):
            deviation = np.int32(np.int32(channels * np.int32(x[c])) - sum1)  # (2)
            scaled = np.int32(np.int32(deviation + right_half) >> right)  # (4)
            out[c] = np.int32(np.int32(scaled * root) + half) >> _DROP  # (5)


@kernel
def normalize_coarse_kernel(x, shifts, epsilon, out):
    """Normalise one row as :func:`normalize_kernel` does; for use inside other kernels.

    `shifts` is int64[channels]: :data:`COARSE` for channels that are coarse, 0 for the others.
    """
    sum1, sum2 = np.int64(0), np.int64(0)
    for c in range(x.size):
        value = np.int64(x[c]) << shifts[c]
        sum1 += value
        sum2 += value * value
    variance = x.size * sum2 - sum1 * sum1 + epsilon  # (1)
    if variance == 0:
        out[:] = 0
        return
    root, exponent = root_kernel(variance)
    exponent += int(x.size > _LONG)
    left, right = max(_SCALED_FRAC - exponent, 0), max(exponent - _SCALED_FRAC, 0)
    for c in range(x.size):
        deviation = x.size * (np.int64(x[c]) << shifts[c]) - sum1  # (2)
        scaled = round_shift(deviation << left, right)  # (4)
        out[c] = round_shift(scaled * root, _DROP)  # (5)


@kernel
def affine_kernel(normalized, gamma, beta, out):
    """Apply the affine to one row; for use inside other kernels.

    `normalized` and `gamma` are int16[channels], `beta` int32[channels], and `out`,
    int32[channels], takes the accumulators.
    """
    for c in range(normalized.size):
        acc = np.int64(np.int32(normalized[c]) * np.int32(gamma[c])) + np.int64(beta[c])
        out[c] = saturate(acc, _LOW, _HIGH)


@kernel
def row_kernel(x, shifts, epsilon, out):
    """Normalise one row, of which channels are coarse if `shifts` has any elements."""
    if shifts.size:
        normalize_coarse_kernel(x, shifts, epsilon, out)
    else:
        normalize_kernel(x, epsilon, out)


@kernel
def _normalize(x, shifts, epsilon, out):
    for row in range(x.shape[0]):
        row_kernel(x[row], shifts, epsilon, out[row])


@kernel
def _layer_norm(x, shifts, gamma, beta, epsilon, out):
    normalized = np.empty(x.shape[1], np.int16)
    for row in range(x.shape[0]):
        row_kernel(x[row], shifts, epsilon, normalized)
        affine_kernel(normalized, gamma, beta, out[row])


def shifts_of(coarse, channels: int) -> np.ndarray:
    """Return what kernels take as `shifts`: none if no channel is coarse.

    Parameters
    ----------
    coarse : int array, shape (channels,), or None
        0 or 1; 1 marks the coarse channels.
    channels
        Of a row.
    """
    if coarse is None:
        return np.empty(0, np.int64)
    coarse = integers("coarse", coarse, 0, 1, shape=(channels,), dtype=np.int64)
    return coarse * COARSE if coarse.any() else np.empty(0, np.int64)


def _checked(x, epsilon):
    x = integers("x", x, formats.ACT16.min, formats.ACT16.max, shape=(None, None), dtype=np.int16)
    if not 1 <= x.shape[1] <= HIGHEST_CHANNELS:
        raise ValueError(f"x must have 1 to {HIGHEST_CHANNELS} channels, not {x.shape[1]}")
    return x, integer("epsilon", epsilon, EPSILON.min, EPSILON.max)


def normalize(x, epsilon: int, coarse=None):
    """Bring every row to mean 0 and variance 1.

    Parameters
    ----------
    x : int array, shape (rows, channels)
        Residuals in ``ACT16``, with any binary point; 1 to 2048 channels.
    epsilon : int
        In the units of (1), as :func:`epsilon_units` gives it.
    coarse : int array, shape (channels,), optional
        1 for channels that are coarse, 0 for the others.

    Returns
    -------
    int16 array, shape (rows, channels)
        ``n`` in ``NORMALIZED``, with :func:`fraction_of` its fractional bits.
    """
    x, epsilon = _checked(x, epsilon)
    out = np.empty(x.shape, np.int16)
    _normalize(x, shifts_of(coarse, x.shape[1]), epsilon, out)
    return out


def layer_norm(x, gamma, beta, epsilon: int, coarse=None):
    """Normalise every row and apply the affine.

    Parameters
    ----------
    x : int array, shape (rows, channels)
        Residuals in ``ACT16``, with any binary point; 1 to 2048 channels.
    gamma : int array, shape (channels,)
        Factors, 16 bits, with a binary point ``g`` of the layer.
    beta : int array, shape (channels,)
        Offsets in ``ACC``, with g more than :func:`fraction_of` fractional bits.
    epsilon : int
        In the units of (1), as :func:`epsilon_units` gives it.
    coarse : int array, shape (channels,), optional
        1 for channels that are coarse, 0 for the others.

    Returns
    -------
    int32 array, shape (rows, channels)
        ``clip(n * gamma + beta)`` in ``ACC``, with the fractional bits of `beta`, and `n` as
        :func:`normalize` gives it.
    """
    x, epsilon = _checked(x, epsilon)
    channels = x.shape[1]
    gamma = integers("gamma", gamma, GAMMA.min, GAMMA.max, shape=(channels,), dtype=np.int16)
    beta = integers("beta", beta, BETA.min, BETA.max, shape=(channels,), dtype=np.int32)
    out = np.empty(x.shape, np.int32)
    _layer_norm(x, shifts_of(coarse, channels), gamma, beta, epsilon, out)
    return out


def cycles(rows: int, channels: int, config: AcceleratorConfig) -> int:
    """Cycles of a run without stalls, from the first word taken to the last one given.

    Both included. Rows follow each other every ``channels / config.lanes`` words, but not faster
    than :data:`INTERVAL`. The last row passes twice, and between its passes it waits for its sums
    over the lanes, a cycle per level of their tree, and for its root.
    """
    rows = integer("rows", rows, 1)
    channels = integer("channels", channels, 1, HIGHEST_CHANNELS)
    if channels % config.lanes:
        raise ValueError(f"channels must be a multiple of {config.lanes} lanes, not {channels}")
    words = channels // config.lanes
    levels = (config.lanes - 1).bit_length()
    return (rows - 1) * max(words, INTERVAL) + 2 * words + LATENCY + levels
