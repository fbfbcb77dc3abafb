"""A unit alone on an FPGA: registers around it, and four pins, so that only its own paths count."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, In, Out

__all__ = ["Alone"]

_FAN_IN = 4


class Alone(wiring.Component):
    """A unit whose inputs come from a shift register and whose outputs go into registers.

    What the registers of the outputs hold is folded into one bit, `_FAN_IN` to one in each cycle,
    so that nothing is optimised away and nothing in it is as slow as the unit.

    Parameters
    ----------
    unit
        Component with the clock domain ``sync``.

    Members
    -------
    serial_in, serial_out : ``In(1)``, ``Out(1)``
        Pins, beside clock and reset.
    """

    serial_in: In(1)
    serial_out: Out(1)

    def __init__(self, unit: wiring.Component):
        self._unit = unit
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self._unit
        inputs, outputs = [], []
        for _, member, value in unit.signature.flatten(unit):
            if not isinstance(Value.cast(value), Const):  # what is always ready
                (inputs if member.flow is Flow.In else outputs).append(value)
        chain = Signal(sum(len(Cat(value)) for value in inputs), reset_less=True)
        m.d.sync += chain.eq(Cat(self.serial_in, chain))
        m.d.comb += Cat(inputs).eq(chain)
        level = Signal(len(Cat(outputs)), name="captured", reset_less=True)
        m.d.sync += level.eq(Cat(outputs))
        while len(level) > 1:
            folded = Signal(-(-len(level) // _FAN_IN), reset_less=True)
            m.d.sync += folded.eq(Cat(level[at:at + _FAN_IN].xor()
                                      for at in range(0, len(level), _FAN_IN)))
            level = folded
        m.d.comb += self.serial_out.eq(level)
        return m
