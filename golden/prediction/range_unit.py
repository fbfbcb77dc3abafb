"""Range unit: robust range of an activation tensor, by block-wise extreme averaging.

The tensor is split into chunks of whole tokens. Each chunk contributes its maximum and its minimum,
and these are averaged over the chunks, so that an outlier moves one chunk only; for the whole
tensor, for contiguous groups of channels, or for single channels (Li et al., arXiv 2606.21947).
A last chunk with fewer tokens counts like any other.

The mean is never divided out: ``log2(mean) = log2(max(sum, 1)) - log2(chunks)``, both logarithms by
:mod:`golden.common.log2`. The floor of 1 gives ranges that are zero, or lie on the other side of
zero, the smallest logarithm there is. A tensor without tokens has no chunks and all logarithms
zero.

What the hardware is told of a run, is fed, and takes is in :mod:`golden.prediction.range_shape`.
"""

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.formats import ACT16, IntFormat
from ..common.jit import kernel, round_shift, saturate
from ..common.log2 import HIGHEST, log2_kernel

DIFFERENCE = IntFormat(formats.LOG2.bits + 2)  # log2(sum) - log2(chunks) - mean
PRODUCT = IntFormat(DIFFERENCE.bits + formats.GAIN.bits)
DROP = formats.LOG2.frac + formats.GAIN.frac - formats.STATISTIC.frac

_LOW, _HIGH = ACT16.min, ACT16.max
_OUT_LOW, _OUT_HIGH = formats.STATISTIC.min, formats.STATISTIC.max


@kernel
def _log_ranges(x, chunk_tokens, groups, sums, out):
    # x: int64[tokens, channels], sums: int64[2 * groups], zero -> out: int64[2 * groups]
    size = x.shape[1] // groups
    chunks = 0
    for start in range(0, x.shape[0], chunk_tokens):
        stop = min(start + chunk_tokens, x.shape[0])
        chunks += 1
        for group in range(groups):
            high, low = _LOW, _HIGH
            for token in range(start, stop):
                for channel in range(group * size, (group + 1) * size):
                    high = max(high, x[token, channel])
                    low = min(low, x[token, channel])
            sums[2 * group] += high
            sums[2 * group + 1] -= low
    log_chunks = log2_kernel(max(chunks, 1))
    for i in range(sums.size):
        out[i] = log2_kernel(max(sums[i], 1)) - log_chunks


@kernel
def _normalise(logs, mean, gain, out):
    for i in range(logs.size):
        product = (logs[i] - mean[i]) * gain[i]
        out[i] = saturate(round_shift(product, DROP), _OUT_LOW, _OUT_HIGH)


def count_groups(groups, channels: int) -> int:
    """Return the number of groups, checked: it has to divide the channels."""
    groups = integer("groups", groups, 1)
    if channels % groups:
        raise ValueError(f"groups must divide the channels, but {groups} does not divide "
                         f"{channels}")
    return groups


def log_ranges(x, chunk_tokens: int, groups: int = 1):
    """Return the logarithms of the averaged extremes of an activation tensor.

    Parameters
    ----------
    x : int array, shape (tokens, channels)
        Activations in ``ACT16``; at least one channel.
    chunk_tokens : int
        Tokens per chunk, 1 or more; at most 65536 chunks.
    groups : int
        Contiguous groups of ``channels / groups`` channels: 1 for the whole tensor, `channels` for
        single channels.

    Returns
    -------
    int64 array, shape (2 * groups,)
        In ``LOG2``. ``2 * g``: log2 of the mean over chunks of the maximum of group `g`;
        ``2 * g + 1``: the same of minus the minimum. Means below ``1 / chunks`` count as that.
    """
    x = integers("x", x, ACT16.min, ACT16.max, shape=(None, None))
    integer("channels", x.shape[1], 1)
    chunk_tokens = integer("chunk_tokens", chunk_tokens, 1)
    integer("chunks", -(-x.shape[0] // chunk_tokens), 0, HIGHEST // ACT16.magnitude)
    groups = count_groups(groups, x.shape[1])
    out = np.empty(2 * groups, np.int64)
    _log_ranges(x, chunk_tokens, groups, np.zeros_like(out), out)
    return out


def statistics(x, chunk_tokens: int, groups: int, mean, gain):
    """Return the normalised statistics of an activation tensor.

    Parameters
    ----------
    x, chunk_tokens, groups
        As for :func:`log_ranges`.
    mean : int array, shape (2 * groups,)
        Mean of each logarithm, in ``LOG2``.
    gain : int array, shape (2 * groups,)
        Reciprocal of its standard deviation, in ``GAIN``.

    Returns
    -------
    int64 array, shape (2 * groups,)
        ``clip(floor((log - mean) * gain / 2**5 + 1/2))``, in ``STATISTIC``.
    """
    logs = log_ranges(x, chunk_tokens, groups)
    mean = integers("mean", mean, formats.LOG2.min, formats.LOG2.max, shape=logs.shape)
    gain = integers("gain", gain, 0, formats.GAIN.max, shape=logs.shape)
    out = np.empty_like(logs)
    _normalise(logs, mean, gain, out)
    return out


def sum_format(config: AcceleratorConfig) -> IntFormat:
    """Format of a sum of chunk maxima, or of negated chunk minima."""
    chunks = min(config.range_entries, config.max_tokens)
    return IntFormat((chunks * ACT16.magnitude).bit_length() + 1)


def _up(bits: int) -> IntFormat:
    return IntFormat(bits, signed=False)


REGISTERS: dict[str, IntFormat] = {
    "last_token": _up(16),
    "last_chunk_token": _up(16),
    "last_word": _up(16),
    "last_tile_word": _up(16),
    "last_group_word": _up(16),
    "last_lane": _up(8),
    "last_chunk": _up(16),
    "chunk_entries": _up(16),
    "per_channel": _up(1),
    "log2_chunks": formats.LOG2,
}
"""What an instruction tells the hardware of a run, :meth:`.RangeShape.registers`: as many bits as
the largest configuration needs."""


def register_formats(config: AcceleratorConfig) -> dict[str, IntFormat]:
    """Formats of :data:`REGISTERS` in the hardware of a configuration, none of them wider.

    Raises
    ------
    ValueError
        If one would have to be.
    """
    def up_to(limit: int) -> IntFormat:
        return _up(max(limit.bit_length(), 1))

    last_token = up_to(config.max_tokens - 1)
    last_word = up_to(-(-config.max_channels // config.lanes) - 1)
    needed = {
        "last_token": last_token,
        "last_chunk_token": last_token,
        "last_word": last_word,
        "last_tile_word": last_word,
        "last_group_word": last_word,
        "last_lane": up_to(config.lanes - 1),
        "last_chunk": up_to(min(config.range_entries, config.max_tokens) - 1),
        "chunk_entries": up_to(config.range_entries),
        "per_channel": up_to(1),
        "log2_chunks": formats.LOG2,
    }
    for name, fmt in REGISTERS.items():
        if needed[name].bits > fmt.bits:
            raise ValueError(f"{name} must fit {fmt.bits} bits, not {needed[name].bits}")
    return {name: needed[name] for name in REGISTERS}
