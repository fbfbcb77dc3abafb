"""Asynchronous serial transmitter."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer

__all__ = ["UartTransmitter"]

_FRAME_BITS = 10  # start, 8 data bits, stop


class UartTransmitter(wiring.Component):
    """Send bytes as 8N1 frames, least significant bit first, one every ``10 * divisor`` cycles.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Bytes to send; accepted while the line is idle.
    tx : ``Out(1)``
        Line, high when idle.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, divisor: int):
        self._divisor = integer("divisor", divisor, 1)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        frame = Signal(_FRAME_BITS, init=-1)
        bits = Signal(range(_FRAME_BITS + 1))  # left to send
        timer = Signal(range(self._divisor))
        idle = bits == 0

        m.d.comb += [
            self.tx.eq(frame[0]),
            self.i.ready.eq(idle),
        ]
        with m.If(idle), m.If(self.i.valid):
            m.d.sync += [
                frame.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                bits.eq(_FRAME_BITS),
                timer.eq(self._divisor - 1),
            ]
        with m.Elif(timer == 0):
            m.d.sync += [
                frame.eq(Cat(frame[1:], Const(1, 1))),
                bits.eq(bits - 1),
                timer.eq(self._divisor - 1),
            ]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m
