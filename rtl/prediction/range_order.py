"""Order in which the range unit visits its running extremes: as beats arrive, and at the end."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.prediction.range_unit import register_formats

from ..common.checks import check_config
from ..common.shapes import shape_of

__all__ = ["FlushOrder", "WatchOrder", "entry_shape", "range_shape_layout"]


def range_shape_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A run, as :meth:`golden.prediction.range_shape.RangeShape.registers` tells it the unit."""
    return data.StructLayout({name: shape_of(fmt)
                              for name, fmt in register_formats(config).items()})


def entry_shape(config: AcceleratorConfig):
    """Address of a running extreme."""
    return unsigned(max(1, ceil_log2(config.range_entries)))


class WatchOrder(wiring.Component):
    """Entry of each beat of a tensor, one per cycle; starts over behind the last one.

    The beats come by column tiles, within a tile by tokens, within a token by words.

    Members
    -------
    shape : ``In(range_shape_layout(config))``
        The run; stable from its first beat to its last.
    o : ``Out(stream)``
        ``entry`` of the beat, whether it is the ``first`` of that entry, whether it is the
        ``last_word`` of its token, and whether it is the ``last`` of the tensor. Always valid.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "shape": In(range_shape_layout(config)),
            "o": Out(stream.Signature(data.StructLayout({
                "entry": entry_shape(config), "first": 1, "last_word": 1, "last": 1,
            }), always_valid=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.ends = ends = _BeatEnds(self._config)
        shape, beat = self.shape, self.o.p

        group = Signal.like(beat.entry)
        group_word = Signal.like(shape.last_group_word)
        entry = Signal.like(beat.entry)

        # Where the rows of this tile begin, and the entry where the rows of this chunk do.
        start_group = Signal.like(group)
        start_group_word = Signal.like(group_word)
        row_entry = Signal.like(entry)

        group_end = Signal()
        next_group = Signal.like(group)
        next_group_word = Signal.like(group_word)
        next_row_entry = Signal.like(row_entry)
        m.d.comb += [
            ends.shape.eq(shape),
            ends.advance.eq(self.o.ready),
            beat.entry.eq(entry),
            beat.first.eq(ends.chunk_start & (group_word == 0)),
            beat.last_word.eq(ends.last_word),
            beat.last.eq(ends.tensor_end),
            group_end.eq(group_word == shape.last_group_word),
            next_group.eq(group + group_end),
            next_group_word.eq(Mux(group_end, 0, group_word + 1)),
            next_row_entry.eq(row_entry + Mux(ends.chunk_end, shape.chunk_entries, 0)),
        ]

        with m.If(self.o.ready):
            m.d.sync += [
                group.eq(next_group),
                group_word.eq(next_group_word),
                entry.eq(entry + group_end),
            ]
            with m.If(ends.row_end):
                m.d.sync += [
                    group.eq(start_group),
                    group_word.eq(start_group_word),
                    row_entry.eq(next_row_entry),
                    entry.eq(next_row_entry),
                ]
            with m.If(ends.tile_end):
                m.d.sync += [
                    *(register.eq(next_group)
                      for register in (group, start_group, row_entry, entry)),
                    *(register.eq(next_group_word) for register in (group_word, start_group_word)),
                ]
            with m.If(ends.tensor_end):
                m.d.sync += [register.eq(0) for register in (
                    group, start_group, row_entry, entry, group_word, start_group_word)]
        return m


class _BeatEnds(wiring.Component):
    """What ends with the present beat: the row of its token within the tile, and so on outwards."""

    def __init__(self, config: AcceleratorConfig):
        super().__init__({
            "shape": In(range_shape_layout(config)),
            "advance": In(1),
            "chunk_start": Out(1),  # the token is the first of its chunk
            "last_word": Out(1),  # the word is the last of its token
            "row_end": Out(1),
            "chunk_end": Out(1),  # with `row_end`: the token is the last of a full chunk
            "tile_end": Out(1),
            "tensor_end": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        token = Signal.like(shape.last_token)
        chunk_token = Signal.like(shape.last_chunk_token)
        word = Signal.like(shape.last_word)
        tile_word = Signal.like(shape.last_tile_word)
        tile_start = Signal.like(word)  # first word of this tile

        m.d.comb += [
            self.chunk_start.eq(chunk_token == 0),
            self.last_word.eq(word == shape.last_word),
            self.row_end.eq(self.last_word | (tile_word == shape.last_tile_word)),
            self.chunk_end.eq(chunk_token == shape.last_chunk_token),
            self.tile_end.eq(self.row_end & (token == shape.last_token)),
            self.tensor_end.eq(self.tile_end & self.last_word),
        ]
        with m.If(self.advance):
            m.d.sync += [
                word.eq(word + 1),
                tile_word.eq(tile_word + 1),
            ]
            with m.If(self.row_end):
                m.d.sync += [
                    word.eq(tile_start),
                    tile_word.eq(0),
                    token.eq(token + 1),
                    chunk_token.eq(Mux(self.chunk_end, 0, chunk_token + 1)),
                ]
            with m.If(self.tile_end):
                m.d.sync += [
                    word.eq(word + 1),
                    tile_start.eq(word + 1),
                    token.eq(0),
                    chunk_token.eq(0),
                ]
            with m.If(self.tensor_end):
                m.d.sync += [word.eq(0), tile_start.eq(0)]
        return m


class FlushOrder(wiring.Component):
    """Entries of a run, chunk after chunk of the first group or word, then of the next.

    Members
    -------
    shape : ``In(range_shape_layout(config))``
        The run; stable from the first entry to the last.
    o : ``Out(stream)``
        ``entry``, whether it is the ``first_chunk`` or the ``last_chunk`` of its group, and
        whether its group is the ``last``. Always valid; starts over behind the last entry.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "shape": In(range_shape_layout(config)),
            "o": Out(stream.Signature(data.StructLayout({
                "entry": entry_shape(config), "first_chunk": 1, "last_chunk": 1, "last": 1,
            }), always_valid=True)),
        })

    def elaborate(self, platform):
        m = Module()
        shape, visit = self.shape, self.o.p

        entry = Signal.like(visit.entry)
        group = Signal.like(visit.entry)
        chunk = Signal.like(shape.last_chunk)

        last_chunk = Signal()
        last_group = Signal()
        m.d.comb += [
            last_chunk.eq(chunk == shape.last_chunk),
            last_group.eq(group + 1 == shape.chunk_entries),
            visit.entry.eq(entry),
            visit.first_chunk.eq(chunk == 0),
            visit.last_chunk.eq(last_chunk),
            visit.last.eq(last_group),
        ]
        with m.If(self.o.ready):
            m.d.sync += [
                entry.eq(entry + shape.chunk_entries),
                chunk.eq(chunk + 1),
            ]
            with m.If(last_chunk):
                next_group = Mux(last_group, 0, group + 1)
                m.d.sync += [
                    entry.eq(next_group),
                    group.eq(next_group),
                    chunk.eq(0),
                ]
        return m
