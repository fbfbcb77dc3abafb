"""Multipliers, start values and biases of the results behind the array."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import COLUMN
from golden.cycles.product_cycles import CONSTANT_WORDS, CONSTANTS, ROW_CONSTANTS

from ..common.checks import check_config
from ..common.exp2 import Exp2
from ..common.operands import TileMode, by_mode
from ..common.shapes import multiplier_layout, saturated, shape_of
from ..common.unit_splitter import UNIT_BITS
from .result_order import SIZE, RowOrder, word_shape

__all__ = ["BASE", "ResultConstants", "column_layout", "lane_biases_layout",
           "lane_constants_layout", "row_exponents_signature"]

BASE = signed(24)
"""An exponent with 10 fractional bits, lambdas of the scale file added to it."""

_RING = CONSTANT_WORDS  # four tile columns of the widest mode at least

column_layout = data.StructLayout({name: shape_of(fmt) for name, fmt in COLUMN.items()})
"""A column unit, :data:`golden.core.isa.COLUMN`."""

row_exponents_signature = wiring.Signature({
    "address": Out(SIZE),
    "data": In(shape_of(formats.LOG2)),
})
"""Read port of the row exponents: `data` is that of the `address` of the cycle before."""


def lane_constants_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """What the accumulator of each lane of a beat is added to, and multiplied by then."""
    return data.ArrayLayout(data.StructLayout({
        "multiplier": multiplier_layout,
        "start": column_layout["start"].shape,
    }), config.lanes)


def lane_biases_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """What the result of each lane of a beat is added to, and whether its column is coarse."""
    return data.ArrayLayout(data.StructLayout({
        "bias": column_layout["bias"].shape,
        "coarse": 1,
    }), config.lanes)


class ResultConstants(wiring.Component):
    """Give each beat of results its constants: those of its columns, or of its row.

    One :class:`Exp2` works for all: first the output multiplier, then column units as they come,
    or the exponents of the rows, again for each tile column, ahead of the beats. Constants are kept
    in a ring of 16 words of ``config.lanes``, a row having a word of its own: while the results of
    one tile column are drained, units of the next ones are taken, one per cycle while there is
    room, and not more than the run has. The constants of a word are there :attr:`LATENCY` cycles
    after its last unit was accepted, those of the first row :attr:`ROWS` cycles after `start`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: gives lanes and tiles.

    Members
    -------
    start : ``In(1)``
        Forget everything; the run begins in the next cycle.
    active : ``In(1)``
        Units and row exponents may be taken.
    columns : ``In(1)``
        The constants are those of columns; otherwise start and bias are zero, no column is coarse,
        and columns share the multiplier of the row.
    per_row : ``In(1)``
        Row exponents are taken off `base`; not together with `columns`.
    by_tiles, mode, m, n
        The run, as for :class:`.result_order.ResultOrder`.
    base, base_out : ``In(BASE)``
        Exponents of the two multipliers. All of these are stable from `start` on.
    units : ``In(stream.Signature(64))``
        Units of ``column_layout``, whole tile columns.
    row_exponents : ``Out(row_exponents_signature)``
        That of row 0 is read with `start`, too.
    word, next_word : ``In(word_shape(config))``
        Words of columns of the next beat, and of the one behind it.
    step, row_end : ``In(1)``
        The next beat leaves in this cycle; it is the last of its row.
    valid : ``Out(1)``
        The constants of the next beat are there.
    values : ``Out(lane_constants_layout(config))``
        While `valid`, in the same cycle as `word`.
    multiplier_out : ``Out(multiplier_layout)``
        Of the whole run; there before the first `valid`.
    biased : ``In(1)``
        There are biases; as stable as `columns`.
    bias_word : ``In(word_shape(config))``
        Word of a beat that has left.
    biases : ``Out(lane_biases_layout(config))``
        Of the `bias_word` of the cycle before; all zero without `biased`.
    release : ``In(1)``
        `bias_word` is that of the last beat of its tile column.
    """

    LATENCY = CONSTANTS
    ROWS = ROW_CONSTANTS

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "start": In(1),
            "active": In(1),
            "columns": In(1),
            "per_row": In(1),
            "by_tiles": In(1),
            "mode": In(TileMode),
            "m": In(SIZE),
            "n": In(SIZE),
            "base": In(BASE),
            "base_out": In(BASE),
            "units": In(stream.Signature(UNIT_BITS)),
            "row_exponents": Out(row_exponents_signature),
            "word": In(word_shape(config)),
            "next_word": In(word_shape(config)),
            "step": In(1),
            "row_end": In(1),
            "valid": Out(1),
            "values": Out(lane_constants_layout(config)),
            "multiplier_out": Out(multiplier_layout),
            "biased": In(1),
            "bias_word": In(word_shape(config)),
            "biases": Out(lane_biases_layout(config)),
            "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.exp2 = exp2 = Exp2()
        lanes, bits = self._config.lanes, exact_log2(_RING)
        unit = data.View(column_layout, self.units.payload)
        taken = Signal(SIZE.width + 1)  # columns whose exponents have gone in; a row has `lanes`
        filled = Signal.like(taken)  # columns whose multipliers are there
        released = Signal(bits + 1)  # words that are no longer needed
        accept, by_row, fill, out_known = Signal(), Signal(), Signal(), Signal()
        by = Mux(self.columns, 1, lanes)
        more = accept | by_row
        # What holds of `taken` is worked out for both that it can be in the next cycle.
        room, complete = Signal(init=1), Signal()
        next_released = Signal.like(released)
        choices = [(self._room(each, next_released), self._complete(each))
                   for each in (taken, taken + by)]
        m.d.sync += [known.eq(Mux(more, after, before)) for known, before, after in zip(
            (room, complete), *choices, strict=True)]
        m.d.comb += [
            accept.eq(self.units.valid & self.units.ready),
            by_row.eq(self.active & room & ~self.columns),
            self.units.ready.eq(self.active & room & self.columns & ~complete),
            exp2.o.ready.eq(1),
            fill.eq(exp2.o.valid & out_known),
        ]
        self._exponents(m, exp2, unit, accept, by_row)
        m.d.sync += out_known.eq(out_known | exp2.o.valid)
        with m.If(exp2.o.valid & ~out_known):
            m.d.sync += self.multiplier_out.eq(exp2.o.payload)
        with m.If(more):
            m.d.sync += taken.eq(taken + by)
        with m.If(fill):
            m.d.sync += filled.eq(filled + by)
        self._release(m, released, next_released)
        m.d.sync += released.eq(next_released)

        # The rows go through the ring one after the other, as their beats leave.
        place = Mux(self.columns, self.word[:bits + 1], released)
        behind = Mux(self.columns, self.next_word[:bits + 1], (released + self.row_end)[:bits + 1])
        # What is valid in the next cycle is worked out for all that can become of this one.
        there = [[self._word(count)[:bits + 1] != each for count in (filled, filled + by)]
                 for each in (place, behind)]
        m.d.sync += self.valid.eq(Mux(self.step, *(Mux(fill, after, before)
                                                   for before, after in reversed(there))))
        multipliers = self._ring(m, "multipliers", filled, fill, exp2.o.payload, place)
        starts = self._ring(m, "starts", taken, accept, unit.start, place)
        biases = self._ring(m, "biases", taken, accept, Cat(unit.bias, unit.coarse),
                            self.bias_word)
        for value, multiplier, start in zip(self.values, multipliers, starts, strict=True):
            m.d.comb += [value.multiplier.eq(multiplier),
                         value.start.eq(Mux(self.columns, start, 0))]
        m.d.sync += self.biases.eq(Mux(self.biased, biases.as_value(), 0))
        return ResetInserter(self.start)(m)

    def _exponents(self, m, exp2, unit, accept, by_row):
        """Feed the exponents: that of the output, then of columns or rows."""
        m.submodules.order = order = RowOrder(self._config)
        # Stage e: exponents not yet saturated; that of the output is there when the run begins.
        e_valid = Signal(init=1)
        e_exponent = Signal(signed(BASE.width + 1), reset_less=True)
        m.d.comb += [
            exp2.i.valid.eq(e_valid),
            exp2.i.payload.eq(saturated(e_exponent, formats.EXPONENT.min, formats.EXPONENT.max)),
            order.start.eq(self.start),
            order.by_tiles.eq(self.by_tiles),
            order.mode.eq(self.mode),
            order.m.eq(self.m),
            order.step.eq(by_row),
            self.row_exponents.address.eq(Mux(self.active, order.next_row, 0)),
        ]
        m.d.sync += [
            e_valid.eq(accept | by_row),
            e_exponent.eq(Mux(self.columns, self.base + unit.exponent,
                              self.base - Mux(self.per_row, self.row_exponents.data, 0))),
        ]
        with m.If(~self.active):
            m.d.sync += e_exponent.eq(self.base_out)

    def _word(self, column):
        return column[exact_log2(self._config.lanes):]

    def _ring(self, m, name, column, en, value, word):
        """Keep `value` of one column, or of all those of a row; return those of a word."""
        bits, lanes = exact_log2(_RING), self._config.lanes
        lane = column[:exact_log2(lanes)]
        m.submodules[name] = ring = memory.Memory(
            shape=data.ArrayLayout(value.shape(), lanes), depth=_RING, init=[])
        write, read = ring.write_port(granularity=1), ring.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self._word(column)[:bits]),
            write.en.eq(Mux(self.columns, en << lane, en.replicate(lanes))),
            *(each.eq(value) for each in write.data),
            read.addr.eq(word[:bits]),
        ]
        return read.data

    def _room(self, taken, released):
        """Return whether the ring has a word that neither holds."""
        bits = len(released)
        return (self._word(taken)[:bits] - released)[:bits] != _RING

    def _release(self, m, released, following):
        """Count words that are no longer needed: tile columns behind their biases, rows."""
        words = {mode: self._config.tile_cols(mode) // self._config.lanes for mode in Mode}
        m.d.comb += following.eq(released)
        with m.If(self.columns & self.release):
            m.d.comb += following.eq(released + by_mode(self.mode, words))
        with m.If(~self.columns & self.step & self.row_end):
            m.d.comb += following.eq(released + 1)

    def _complete(self, taken):
        """Return whether the run has no more units than those taken."""
        masks = {mode: self._config.tile_cols(mode) - 1 for mode in Mode}
        whole = by_mode(self.mode, {mode: (taken & mask) == 0 for mode, mask in masks.items()})
        return whole & (taken >= self.n)


assert ResultConstants.LATENCY == 2 + Exp2.LATENCY
assert ResultConstants.ROWS == ResultConstants.LATENCY + 1
