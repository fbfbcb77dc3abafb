"""Multipliers, start values and biases of the results behind the array."""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import COLUMN
from golden.cycles.product_cycles import CONSTANT_WORDS

from ..common.checks import check_config
from ..common.exp2 import Exp2
from ..common.operands import TileMode, by_mode
from ..common.shapes import multiplier_layout, saturated, shape_of
from ..common.unit_splitter import UNIT_BITS
from .result_order import SIZE, RowOrder, word_shape

__all__ = ["BASE", "ResultConstants", "column_layout", "lane_constants_layout",
           "row_exponents_signature"]

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
    """What the accumulator of each lane of a beat is added to and multiplied by, and whether its
    column is coarse.
    """
    return data.ArrayLayout(data.StructLayout({
        "multiplier": multiplier_layout,
        "start": column_layout["start"].shape,
        "coarse": 1,
    }), config.lanes)


class ResultConstants(wiring.Component):
    """Give each beat of results its constants: those of its columns, or of its row.

    One :class:`Exp2` works for all: first the output multiplier, then column units as they come,
    or the exponents of the rows, again for each tile column, ahead of the beats. Units are kept in
    a ring of 16 words of ``config.lanes``: while the results of one tile column are drained, units
    of the next ones are taken, one per cycle while there is room, and not more than the run has.
    The constants of a word are there :attr:`LATENCY` cycles after its last unit was accepted.

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
    next_word : ``In(word_shape(config))``
        Word of columns of the beat of the next cycle.
    row_end : ``In(1)``
        The beat of this cycle leaves, and is the last of its row.
    valid : ``Out(1)``
        The constants of this cycle's beat are there.
    values : ``Out(lane_constants_layout(config))``
        While `valid`.
    multiplier_out : ``Out(multiplier_layout)``
        Of the whole run; there before the first `valid`.
    biased : ``In(1)``
        There are biases; as stable as `columns`.
    bias_word, bias_en : ``In(word_shape(config))``, ``In(1)``
        Read the biases of a word, that of a beat that has left.
    biases : ``Out(ArrayLayout(ACT16, lanes))``
        In the cycle after, until the next read; zero without `biased`.
    release : ``In(1)``
        This read of biases was the last in its tile column.
    """

    LATENCY = 3 + Exp2.LATENCY

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
            "next_word": In(word_shape(config)),
            "row_end": In(1),
            "valid": Out(1),
            "values": Out(lane_constants_layout(config)),
            "multiplier_out": Out(multiplier_layout),
            "biased": In(1),
            "bias_word": In(word_shape(config)),
            "bias_en": In(1),
            "biases": Out(data.ArrayLayout(shape_of(formats.ACT16), config.lanes)),
            "release": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.exp2 = exp2 = Exp2()
        unit = data.View(column_layout, self.units.payload)
        taken = Signal(SIZE.width + 1)  # columns whose units have been accepted
        filled = Signal.like(taken)  # columns whose multipliers are there
        accept = Signal()
        out_known = Signal()

        self._exponents(m, exp2, unit)
        m.d.comb += [
            accept.eq(self.units.valid & self.units.ready),
            exp2.o.ready.eq(~out_known | self.columns | self.row_end),
        ]
        m.d.sync += taken.eq(taken + accept)
        with m.If(exp2.o.valid & ~out_known):
            m.d.sync += [self.multiplier_out.eq(exp2.o.payload), out_known.eq(1)]

        fill = Signal()
        m.d.comb += fill.eq(exp2.o.valid & out_known & self.columns)
        m.d.sync += filled.eq(filled + fill)
        there = self._there(m, self._word(filled))
        multipliers = self._ring(m, "multipliers", filled, fill, exp2.o.payload, self.next_word)
        starts = self._ring(m, "starts", taken, accept, Cat(unit.start, unit.coarse),
                            self.next_word, zero=~self.columns)
        biases = self._ring(m, "biases", taken, accept, unit.bias, self.bias_word, self.bias_en,
                            zero=~self.biased)
        m.d.comb += self.biases.eq(biases)
        with m.If(self.columns):
            m.d.comb += self.valid.eq(there)
            for lane, value in enumerate(self.values):
                m.d.comb += value.multiplier.eq(multipliers[lane])
        with m.Else():
            m.d.comb += self.valid.eq(exp2.o.valid & out_known)
            for value in self.values:
                m.d.comb += value.multiplier.eq(exp2.o.payload)
        for value, start in zip(self.values, starts, strict=True):
            m.d.comb += [value.start.eq(start[:-1].as_signed()), value.coarse.eq(start[-1])]
        self._room(m, taken)
        return ResetInserter(self.start)(m)

    def _exponents(self, m, exp2, unit):
        """Feed the exponents: that of the output, then of columns or rows."""
        m.submodules.order = order = RowOrder(self._config)
        out_sent = Signal()

        # Stage e: exponents not yet saturated.
        e_valid = Signal()
        e_exponent = Signal(signed(BASE.width + 1))
        free = Signal()
        by_row = Signal()

        m.d.comb += [
            free.eq(~e_valid | exp2.i.ready),
            exp2.i.valid.eq(e_valid),
            exp2.i.payload.eq(saturated(e_exponent, formats.EXPONENT.min, formats.EXPONENT.max)),
            by_row.eq(self.active & out_sent & ~self.columns),
            order.by_tiles.eq(self.by_tiles),
            order.mode.eq(self.mode),
            order.m.eq(self.m),
            order.step.eq(by_row & free),
            self.row_exponents.address.eq(order.next_row),
        ]
        with m.If(free):
            m.d.sync += [
                e_valid.eq(by_row | (self.units.valid & self.units.ready)),
                e_exponent.eq(Mux(self.columns, self.base + unit.exponent,
                                  self.base - Mux(self.per_row, self.row_exponents.data, 0))),
            ]
            with m.If(~out_sent):
                m.d.sync += [
                    e_valid.eq(self.active),
                    e_exponent.eq(self.base_out),
                    out_sent.eq(self.active),
                ]
        self._may_take = out_sent & free

    def _word(self, column):
        return column[exact_log2(self._config.lanes):]

    def _there(self, m, filled):
        """Whether the ring held the constants of this cycle's word when they were read."""
        bits = exact_log2(_RING) + 1  # no word is further ahead than the ring is long
        there = Signal()
        m.d.sync += there.eq(filled[:bits] != self.next_word[:bits])
        return there

    def _ring(self, m, name, column, en, value, word, read_en=1, zero=None):
        """Keep `value` of one column; return those of all lanes of a word, a cycle later.

        If `zero` is given, they are zero where it is set.
        """
        bits = exact_log2(_RING)
        lane_bits = exact_log2(self._config.lanes)
        m.submodules[name] = ring = memory.Memory(
            shape=data.ArrayLayout(value.shape(), self._config.lanes), depth=_RING, init=[])
        write, read = ring.write_port(granularity=1), ring.read_port(domain="comb")
        result = Signal(ring.shape, name=f"{name}_read")
        m.d.comb += [
            write.addr.eq(self._word(column)[:bits]),
            write.en.eq(en << column[:lane_bits]),
            read.addr.eq(word[:bits]),
        ]
        with m.If(read_en):
            m.d.sync += result.eq(read.data)
        if zero is not None:
            with m.If(zero):
                m.d.sync += result.eq(0)
        for lane in range(self._config.lanes):
            m.d.comb += write.data[lane].eq(value)
        return result

    def _room(self, m, taken):
        """Accept units of the run while the ring has room."""
        bits = exact_log2(_RING) + 1
        released = Signal(bits)
        words = {mode: self._config.tile_cols(mode) // self._config.lanes for mode in Mode}
        masks = {mode: self._config.tile_cols(mode) - 1 for mode in Mode}
        complete = by_mode(self.mode, {mode: (taken & mask) == 0 for mode, mask in masks.items()})
        room = (self._word(taken)[:bits] - released)[:bits] != _RING
        with m.If(self.release):
            m.d.sync += released.eq(released + by_mode(self.mode, words))
        m.d.comb += self.units.ready.eq(self.active & self.columns & self._may_take & room
                                        & ~(complete & (taken >= self.n)))
