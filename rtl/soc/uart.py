"""Asynchronous serial transmitter and receiver."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import cdc, data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer

__all__ = ["UartReceiver", "UartTransmitter", "bit_time", "line_layout"]

_FRAME_BITS = 10  # start, 8 data bits, stop
_PARTS = 16  # of a cycle, which bits can be long

line_layout = data.StructLayout({"byte": 8, "error": 1})
"""What has come over a line: a byte, or that something has come that is none."""


def bit_time(clock_hz: int, baud: int) -> dict[str, int]:
    """Return `divisor` and `sixteenths` of a clock for a rate, the nearest there are.

    Raises
    ------
    ValueError
        If a bit would be shorter than a receiver needs.
    """
    integer("clock_hz", clock_hz, 1)
    integer("baud", baud, 1)
    parts = (2 * _PARTS * clock_hz + baud) // (2 * baud)
    if parts < UartReceiver.SHORTEST * _PARTS:
        raise ValueError(f"baud must be {clock_hz // UartReceiver.SHORTEST} or less at "
                         f"{clock_hz} Hz, not {baud}")
    divisor, sixteenths = divmod(parts, _PARTS)
    return {"divisor": divisor, "sixteenths": sixteenths}


class _BitTimer(wiring.Component):
    """Tell when bits end: `strobe` in the last cycle of each.

    Parameters
    ----------
    divisor, sixteenths : int
        A bit has that many cycles, and of 16 bits so many have one more.
    first : int
        Cycles of the first bit.

    Members
    -------
    begin : ``In(1)``
        The first bit begins in the next cycle.
    strobe : ``Out(1)``
    """

    begin: In(1)
    strobe: Out(1)

    def __init__(self, divisor: int, sixteenths: int, first: int):
        self._divisor, self._sixteenths, self._first = divisor, sixteenths, first
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self._divisor + 1))
        fraction = Signal(range(_PARTS))
        following = fraction + self._sixteenths
        m.d.comb += self.strobe.eq(left == 0)
        with m.If(self.begin):
            m.d.sync += [left.eq(self._first - 1), fraction.eq(0)]
        with m.Elif(self.strobe):
            m.d.sync += [left.eq(self._divisor - 1 + (following >= _PARTS)),
                         fraction.eq(following)]
        with m.Else():
            m.d.sync += left.eq(left - 1)
        return m


class UartTransmitter(wiring.Component):
    """Send bytes as 8N1 frames, least significant bit first, one every ten bits.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.
    sixteenths : int
        Of a cycle, that bits are longer on the average.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Bytes to send; accepted while the line is idle.
    tx : ``Out(1)``
        Line, high when idle.
    """

    i: In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, divisor: int, sixteenths: int = 0):
        self._divisor = integer("divisor", divisor, 1)
        self._sixteenths = integer("sixteenths", sixteenths, 0, _PARTS - 1)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.timer = timer = _BitTimer(self._divisor, self._sixteenths, self._divisor)
        frame = Signal(_FRAME_BITS, init=-1)
        bits = Signal(range(_FRAME_BITS + 1))  # left to send
        idle = bits == 0

        m.d.comb += [
            self.tx.eq(frame[0]),
            self.i.ready.eq(idle),
            timer.begin.eq(idle),
        ]
        with m.If(idle), m.If(self.i.valid):
            m.d.sync += [
                frame.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                bits.eq(_FRAME_BITS),
            ]
        with m.Elif(timer.strobe):
            m.d.sync += [
                frame.eq(Cat(frame[1:], Const(1, 1))),
                bits.eq(bits - 1),
            ]
        return m


class UartReceiver(wiring.Component):
    """Receive bytes of 8N1 frames, each bit sampled in its middle.

    The line is taken as what two of three cycles say, so that a glitch of a cycle is not seen; a
    start bit that has gone by its middle is none.

    Parameters
    ----------
    divisor, sixteenths : int
        As of :class:`UartTransmitter`; :attr:`SHORTEST` cycles per bit or more.

    Members
    -------
    rx : ``In(1)``
        Line, of any clock.
    o : ``Out(stream.Signature(line_layout))``
        Must be ready always: a byte for each frame; an error where the stop bit is missing, once
        until the line is high.
    """

    SHORTEST = 4

    rx: In(1, init=1)
    o: Out(stream.Signature(line_layout))

    def __init__(self, divisor: int, sixteenths: int = 0):
        self._divisor = integer("divisor", divisor, self.SHORTEST)
        self._sixteenths = integer("sixteenths", sixteenths, 0, _PARTS - 1)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.timer = timer = _BitTimer(self._divisor, self._sixteenths,
                                                 self._divisor // 2)
        sampled, line = Signal(init=1), Signal(init=1)
        m.submodules.synchronizer = cdc.FFSynchronizer(self.rx, sampled, init=1)
        before = Signal(2, init=0b11)
        first, second = before
        m.d.sync += [
            before.eq(Cat(sampled, first)),
            line.eq((sampled & first) | (sampled & second) | (first & second)),
        ]
        bits = Signal(range(_FRAME_BITS))
        with m.FSM():
            with m.State("idle"):
                m.d.comb += timer.begin.eq(1)
                with m.If(~line):
                    m.d.sync += bits.eq(0)
                    m.next = "frame"
            with m.State("frame"), m.If(timer.strobe):
                m.d.sync += bits.eq(bits + 1)
                with m.If(bits == _FRAME_BITS - 1):
                    m.d.comb += [self.o.valid.eq(1), self.o.p.error.eq(~line)]
                    m.next = "rest"
                with m.Elif(bits != 0):
                    m.d.sync += self.o.p.byte.eq(Cat(self.o.p.byte[1:], line))
                with m.If(line & ((bits == 0) | (bits == _FRAME_BITS - 1))):
                    m.next = "idle"
            with m.State("rest"), m.If(line):
                m.next = "idle"
        return m
