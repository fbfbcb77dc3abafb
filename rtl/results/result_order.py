"""Order in which results arrive: by the tiles of the array, or row by row."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import FIELDS

from ..common.checks import check_config
from ..common.operands import TileMode, by_mode
from ..common.shapes import shape_of

__all__ = ["SIZE", "ResultOrder", "RowOrder", "word_shape"]

SIZE = shape_of(FIELDS["m"])
"""Rows and columns of a result, and where in it a beat is."""


def word_shape(config: AcceleratorConfig):
    """Column of a beat in words of ``config.lanes`` columns."""
    return unsigned(SIZE.width - exact_log2(config.lanes))


class RowOrder(wiring.Component):
    """Rows of a tile column, or of the whole result, again and again.

    Members
    -------
    start : ``In(1)``
        Row 0 in the next cycle.
    by_tiles, mode, m : ``In(1)``, ``In(TileMode)``, ``In(SIZE)``
        The run, stable from `start` on. With `by_tiles`, whole tiles: rows beyond `m` to the end
        of the last tile are part of the order.
    step : ``In(1)``
        The next row in the next cycle.
    row, next_row : ``Out(SIZE)``
        The row, and that of the next cycle.
    inside, next_inside : ``Out(1)``
        The row is below `m`; so is the one behind it. Not before the cycle after `start`.
    last : ``Out(1)``
        Row 0 is next. As `inside` out of a register.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "start": In(1),
            "by_tiles": In(1),
            "mode": In(TileMode),
            "m": In(SIZE),
            "step": In(1),
            "row": Out(SIZE),
            "next_row": Out(SIZE),
            "inside": Out(1), "next_inside": Out(1),
            "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        last_row = Signal(SIZE, reset_less=True)
        inside, last = Signal(reset_less=True), Signal(reset_less=True)
        masks = {mode: self._config.tile_rows(mode) - 1 for mode in Mode}

        def ends(row, final):
            """Whether row 0 comes behind a row, which may be the `final` one or behind it."""
            return final & (~self.by_tiles | by_mode(self.mode, {
                mode: (row & mask) == mask for mode, mask in masks.items()}))

        # When it is known late whether there is a step, all that follows from it is there.
        following = (self.row + 1)[:len(self.row)]
        first_ends = ends(Const(0, len(self.row)), last_row == 0)
        m.d.comb += [
            self.inside.eq(inside), self.last.eq(last),
            self.next_inside.eq(last | (self.row < last_row)),
            self.next_row.eq(Mux(self.step, Mux(last, 0, following), self.row)),
        ]
        m.d.sync += [
            last_row.eq(self.m - 1),
            self.row.eq(self.next_row),
        ]
        with m.If(self.step):
            m.d.sync += [
                inside.eq(self.next_inside),
                last.eq(Mux(last, first_ends, ends(following, following >= last_row))),
            ]
        with m.If(self.start):
            m.d.sync += [self.row.eq(0), inside.eq(1),
                         last.eq(ends(Const(0, len(self.row)), self.m == 1))]
        return m


class ResultOrder(wiring.Component):
    """Where in the result each beat of ``config.lanes`` columns is.

    Members
    -------
    start : ``In(1)``
        The first beat in the next cycle.
    by_tiles : ``In(1)``
        Order of :func:`golden.product.tiling.tiles`, in a tile by logical rows, in a row by
        columns, whole tiles; otherwise row by row, and no beats beyond `n`.
    mode, m, n : ``In(TileMode)``, ``In(SIZE)``, ``In(SIZE)``
        The run, stable from `start` on.
    step : ``In(1)``
        The next beat in the next cycle.
    row : ``Out(SIZE)``
    word : ``Out(word_shape(config))``
        First column of the beat over ``config.lanes``.
    next_word : ``Out(word_shape(config))``
        That of the beat behind it.
    inside : ``Out(1)``
        The row is below `m`, the first column below `n`.
    row_end : ``Out(1)``
        The next beat is of another row.
    column_end : ``Out(1)``
        The beat is the last of its tile column, or of the result.
    last : ``Out(1)``
        The beat is the last of the result.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "start": In(1),
            "by_tiles": In(1),
            "mode": In(TileMode),
            "m": In(SIZE),
            "n": In(SIZE),
            "step": In(1),
            "row": Out(SIZE),
            "word": Out(word_shape(config)),
            "next_word": Out(word_shape(config)),
            "inside": Out(1),
            "row_end": Out(1),
            "column_end": Out(1),
            "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = RowOrder(self._config)
        m.d.comb += [
            rows.start.eq(self.start),
            rows.by_tiles.eq(self.by_tiles),
            rows.mode.eq(self.mode),
            rows.m.eq(self.m),
            rows.step.eq(self.step & self.row_end),
            self.row.eq(rows.row),
        ]
        last_word = Signal(word_shape(self._config), reset_less=True)
        first_word = Signal.like(self.word)  # of the rows of this tile column
        following = self.word + 1
        masks = {mode: self._config.tile_cols(mode) // self._config.lanes - 1 for mode in Mode}
        tile_end = by_mode(self.mode, {mode: (self.word & mask) == mask
                                       for mode, mask in masks.items()})
        m.d.comb += [
            self.row_end.eq(Mux(self.by_tiles, tile_end, self.word == last_word)),
            self.column_end.eq(self.row_end & rows.last),
            self.last.eq(self.column_end & (self.word >= last_word)),
            self.next_word.eq(Mux(self.row_end & ~rows.last, first_word, following)),
        ]
        next_inside = (self.next_word <= last_word) & Mux(self.row_end, rows.next_inside,
                                                          rows.inside)
        with m.If(self.step):
            m.d.sync += [self.word.eq(self.next_word), self.inside.eq(next_inside)]
            with m.If(self.column_end):
                m.d.sync += first_word.eq(following)
        m.d.sync += last_word.eq((self.n - 1) >> exact_log2(self._config.lanes))
        with m.If(self.start):
            m.d.sync += [self.word.eq(0), first_word.eq(0), self.inside.eq(1)]
        return m
