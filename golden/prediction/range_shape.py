"""One run of the range unit, :mod:`golden.prediction.range_unit`: registers, beats and cycles."""

from dataclasses import dataclass

import numpy as np

from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.formats import ACT16
from ..common.log2 import log2
from .range_unit import count_groups

LATENCY = 15
"""Cycles of a run besides beats, flush and the maximum over the lanes; see :func:`range_cycles`."""


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
        count_groups(self.groups, self.channels)
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
        """Return what the hardware is told of this run.

        In the formats of :func:`golden.prediction.range_unit.register_formats`.

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
