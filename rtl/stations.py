"""Test stations: a unit between beats of pattern words and single results.

A station maps pattern words to the operands of its unit exactly as :mod:`golden.self_test` does,
and turns what the unit gives into one number a cycle. All have the same interface, see
:class:`Station`.
"""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden import self_test
from golden.config import AcceleratorConfig
from golden.requant import OUT
from golden.self_test import WORD_BITS, Field

from .exp2 import Exp2
from .pattern import words_layout
from .requant import Requant
from .shapes import shape_of

__all__ = ["STATIONS", "Station"]


class Station(wiring.Component):
    """A unit under test.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Configuration of the unit.
    words : int
        Pattern words per beat.

    Members
    -------
    i : ``In(stream.Signature(words_layout(words)))``
        Pattern.
    o : ``Out(stream.Signature(WORD_BITS))``
        Results, in the order of :class:`golden.self_test.Check`, sign extended or cut to 32 bits.
    """

    def __init__(self, config: AcceleratorConfig, words: int):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(words_layout(words))),
            "o": Out(stream.Signature(WORD_BITS)),
        })

    def _field(self, field: Field) -> Value:
        """Return the number that `field` finds in the beat at the input."""
        bits = self.i.p[field.word][field.low:field.low + field.bits]
        return (bits.as_signed() if field.signed else bits) + field.offset


class _Serializer(wiring.Component):
    """Give the elements of each payload one after another, the first in the same cycle."""

    def __init__(self, shape, elements: int):
        self._elements = elements
        super().__init__({
            "i": In(stream.Signature(data.ArrayLayout(shape, elements))),
            "o": Out(stream.Signature(WORD_BITS)),
        })

    def elaborate(self, platform):
        m = Module()
        element = Signal(range(self._elements))
        last = element == self._elements - 1
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.payload.eq(self.i.p[element]),
            self.i.ready.eq(self.o.ready & last),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += element.eq(0)
            with m.If(~last):
                m.d.sync += element.eq(element + 1)
        return m


class Exp2Station(Station):
    """:class:`Exp2` on exponents of all sizes."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.exp2 = exp2 = Exp2()
        m.d.comb += [
            exp2.i.valid.eq(self.i.valid),
            exp2.i.payload.eq(self._field(self_test.EXP2_X)),
            self.i.ready.eq(exp2.i.ready),
            self.o.valid.eq(exp2.o.valid),
            self.o.payload.eq(exp2.o.payload.as_value()),
            exp2.o.ready.eq(self.o.ready),
        ]
        return m


class RequantStation(Station):
    """:class:`Requant` with constant limits."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.requant = requant = Requant(self._config)
        m.submodules.serializer = serializer = _Serializer(shape_of(OUT), self._config.lanes)
        m.d.comb += [
            requant.low.eq(self_test.REQUANT_LOW),
            requant.high.eq(self_test.REQUANT_HIGH),
            requant.i.valid.eq(self.i.valid),
            self.i.ready.eq(requant.i.ready),
        ]
        for lane in range(self._config.lanes):
            acc, mantissa, shift = map(self._field, self_test.requant_fields(lane))
            m.d.comb += [
                requant.i.p[lane].acc.eq(acc),
                requant.i.p[lane].multiplier.mantissa.eq(mantissa),
                requant.i.p[lane].multiplier.shift.eq(shift),
            ]
        wiring.connect(m, requant.o, serializer.i)
        wiring.connect(m, serializer.o, wiring.flipped(self.o))
        return m


STATIONS = {"exp2": Exp2Station, "requant": RequantStation}
"""Station of each check, by name."""
