"""Range unit: robust range of an activation tensor, by block-wise extreme averaging.

The tensor is split into chunks of whole tokens. Each chunk contributes its maximum and its minimum,
and these are averaged over the chunks, so that an outlier moves one chunk only; for the whole
tensor, for contiguous groups of channels, or for single channels (Li et al., arXiv 2606.21947).
A last chunk with fewer tokens counts like any other.

The mean is never divided out: ``log2(mean) = log2(max(sum, 1)) - log2(chunks)``, both logarithms by
:mod:`golden.common.log2`. The floor of 1 gives ranges that are zero, or lie on the other side of
zero, the smallest logarithm there is. A tensor without tokens has no chunks and all logarithms
zero.

:class:`RangeShape` is one run of the hardware, :func:`beats` its input, :func:`range_cycles` its
cost.
"""

from dataclasses import dataclass

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.formats import ACT16, IntFormat
from ..common.jit import kernel, round_shift, saturate
from ..common.log2 import HIGHEST, log2, log2_kernel

LATENCY = 15
"""Cycles of a run besides beats, flush and the maximum over the lanes; see :func:`range_cycles`."""

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


def _count_groups(groups, channels: int) -> int:
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
    groups = _count_groups(groups, x.shape[1])
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
"""What an instruction tells the hardware of a run, :meth:`RangeShape.registers`: as many bits as
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


@dataclass(frozen=True, slots=True)
class RangeShape:
    """One run of the range unit: a tensor, how it is split, and the order in which it arrives.

    Attributes
    ----------
    tokens, channels
        Shape of the tensor. A tensor without tokens has statistics, but no beats: the hardware
        refuses it.
    chunk_tokens
        Tokens per chunk.
    groups
        Contiguous groups of channels that have statistics of their own.
    tile_words
        Words (``config.lanes`` channels each) per column tile. The tensor arrives by column
        tiles; within a tile by tokens, within a token by words. None: one tile, token by token.
    """

    tokens: int
    channels: int
    chunk_tokens: int
    groups: int = 1
    tile_words: int | None = None

    def __post_init__(self):
        integer("tokens", self.tokens, 0)
        integer("channels", self.channels, 1)
        integer("chunk_tokens", self.chunk_tokens, 1)
        _count_groups(self.groups, self.channels)
        if self.tile_words is not None:
            integer("tile_words", self.tile_words, 1)

    @property
    def chunks(self) -> int:
        """Chunks, a ragged last one included."""
        return -(-self.tokens // self.chunk_tokens)

    @property
    def group_channels(self) -> int:
        """Channels per group."""
        return self.channels // self.groups

    @property
    def per_channel(self) -> bool:
        """Whether every channel is a group of its own."""
        return self.group_channels == 1

    @property
    def statistics(self) -> int:
        """Statistics of a run: two per group."""
        return 2 * self.groups

    def words(self, config: AcceleratorConfig) -> int:
        """Beats per token; the last one may be ragged."""
        return -(-self.channels // config.lanes)

    def chunk_entries(self, config: AcceleratorConfig) -> int:
        """Running extremes per chunk: one per group, or per word of single channels."""
        return self.words(config) if self.per_channel else self.groups

    def entries(self, config: AcceleratorConfig) -> int:
        """Running extremes of a run."""
        return self.chunks * self.chunk_entries(config)

    def check(self, config: AcceleratorConfig):
        """Refuse a run that the range unit of `config` has no room for.

        Raises
        ------
        ValueError
            If the tensor, the entries or the statistics exceed the configuration's limits, the
            tensor has no tokens, or groups of several channels do not consist of whole words.
        """
        integer("tokens", self.tokens, 1, config.max_tokens)
        integer("channels", self.channels, 1, config.max_channels)
        size = self.group_channels
        if self.groups > 1 and not self.per_channel and size % config.lanes:
            raise ValueError(f"a group must be one channel, a multiple of {config.lanes} channels "
                             f"or the whole tensor, not {size} channels")
        if self.entries(config) > config.range_entries:
            raise ValueError(f"chunks x groups must be within {config.range_entries} entries, not "
                             f"{self.chunks} x {self.chunk_entries(config)}")
        if self.statistics > config.max_statistics:
            raise ValueError(f"statistics must be within {config.max_statistics}, "
                             f"not {self.statistics}")

    def registers(self, config: AcceleratorConfig) -> dict[str, int]:
        """Return what the hardware is told of this run, in :func:`register_formats`.

        Raises
        ------
        ValueError
            As :meth:`check`.
        """
        self.check(config)
        words = self.words(config)
        group_words = 1 if self.per_channel else words // self.groups
        return {
            "last_token": self.tokens - 1,
            "last_chunk_token": min(self.chunk_tokens, self.tokens) - 1,
            "last_word": words - 1,
            "last_tile_word": min(self.tile_words or words, words) - 1,
            "last_group_word": group_words - 1,
            "last_lane": (self.channels - 1) % config.lanes,
            "last_chunk": self.chunks - 1,
            "chunk_entries": self.chunk_entries(config),
            "per_channel": int(self.per_channel),
            "log2_chunks": int(log2([self.chunks])[0]),
        }


def beats(x, shape: RangeShape, config: AcceleratorConfig):
    """Return a tensor as the beats of a run, in their order.

    Parameters
    ----------
    x : int array, shape (tokens, channels)
        Activations in ``ACT16``.

    Returns
    -------
    int16 array, shape (tokens * words, lanes)
        Lanes beyond the last channel are zero; the hardware ignores them.
    """
    shape.check(config)
    x = integers("x", x, ACT16.min, ACT16.max, shape=(shape.tokens, shape.channels))
    words = shape.words(config)
    padded = np.zeros((shape.tokens, words, config.lanes), np.int16)
    padded.reshape(shape.tokens, -1)[:, :shape.channels] = x
    step = shape.tile_words or words
    return np.concatenate([padded[:, start:start + step].reshape(-1, config.lanes)
                           for start in range(0, words, step)])


def range_cycles(shape: RangeShape, config: AcceleratorConfig) -> int:
    """Cycles of a run without stalls, from the first beat to the last statistic, both included.

    The beats, during which nothing but watching happens; then, overlapped, one cycle per entry to
    sum the chunks and one per statistic to give it; and the latency of the pipeline, to which the
    maximum over the lanes of a group adds. The next tensor can begin in the cycle after.
    """
    shape.check(config)
    words = shape.words(config)
    last_lanes = (shape.channels - 1) % config.lanes + 1
    given, last_given = (2 * config.lanes, 2 * last_lanes) if shape.per_channel else (2, 2)
    flush = (shape.chunk_entries(config) - 1) * max(shape.chunks, given) + shape.chunks + last_given
    reduction = 0 if shape.per_channel else (config.lanes - 1).bit_length()
    return shape.tokens * words + flush + LATENCY + reduction
