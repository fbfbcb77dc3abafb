"""Cuts units of the stream into the numbers they hold."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.common.checks import integer
from golden.core.isa import UNIT_BYTES

from .operands import BYTE

__all__ = ["UNIT_BITS", "UnitSplitter", "units_for"]

UNIT_BITS = BYTE * UNIT_BYTES
"""Bits of a unit of the stream, :data:`golden.core.isa.UNIT_BYTES`."""


def units_for(count: Value, each: int) -> Value:
    """Units that hold `count` numbers, `each` of them to a unit, a power of two."""
    return (count + each - 1) >> exact_log2(each)


class UnitSplitter(wiring.Component):
    """Give the parts of each unit, from the lowest bits up.

    Latency of one cycle, throughput of one part per cycle.

    Parameters
    ----------
    width : int
        Bits of a part; divides those of a unit.

    Members
    -------
    i : ``In(stream.Signature(64))``
    o : ``Out(stream.Signature(width))``
    clear : ``In(1)``
        Forget the parts that are left.
    """

    def __init__(self, width: int):
        integer("width", width, 1, UNIT_BITS)
        if UNIT_BITS % width:
            raise ValueError(f"width must divide {UNIT_BITS}, but {width} does not")
        self._parts = UNIT_BITS // width
        super().__init__({
            "i": In(stream.Signature(UNIT_BITS)),
            "o": Out(stream.Signature(width)),
            "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        unit, left = Signal(UNIT_BITS), Signal(range(self._parts + 1))
        width = UNIT_BITS // self._parts
        taken = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(left != 0),
            self.o.payload.eq(unit[:width]),
            self.i.ready.eq((left == 0) | ((left == 1) & taken)),
        ]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), unit.eq(unit >> width)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [left.eq(self._parts), unit.eq(self.i.payload)]
        with m.If(self.clear):
            m.d.sync += left.eq(0)
        return m
