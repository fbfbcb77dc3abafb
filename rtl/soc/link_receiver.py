"""From bytes of a line to requests, of which only the right ones pass."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer
from golden.soc.device import MOST_CONTENT
from golden.soc.link import CHECK_BYTES, ESCAPE, FLAG, REQUEST_BYTES, TOGGLE, Status

from ..common.operands import BYTE
from .link_layouts import buffer_write_signature, frame_layout
from .uart import line_layout

__all__ = ["FrameReceiver"]


class FrameReceiver(wiring.Component):
    """Take frames apart, as :class:`golden.soc.device.Device` does; their faults are frames, too.

    While a frame is offered, no byte is taken, and the payload stays.

    Parameters
    ----------
    pause : int
        Cycles without a byte after which a frame that has begun is given up.

    Members
    -------
    i : ``In(stream.Signature(line_layout))``
    o : ``Out(stream.Signature(frame_layout))``
    write : ``Out(buffer_write_signature)``
        Where the payload goes.
    """

    i: In(stream.Signature(line_layout))
    o: Out(stream.Signature(frame_layout))
    write: Out(buffer_write_signature)

    def __init__(self, pause: int):
        self._pause = integer("pause", pause, 1)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ETHERNET(BYTE).create()
        count = Signal(range(MOST_CONTENT + 1))  # bytes of content
        escaped, skipping = Signal(), Signal()
        byte, taken, plain, flag = Signal(BYTE), Signal(), Signal(), Signal()
        late, status = Signal(), Signal.like(self.o.p.status)
        inside = (count != 0) | escaped
        read = taken & ~skipping & ~self.i.p.error
        full = count == MOST_CONTENT
        m.d.comb += [
            self.i.ready.eq(~self.o.valid),
            taken.eq(self.i.valid & self.i.ready),
            byte.eq(Mux(escaped, self.i.p.byte ^ TOGGLE, self.i.p.byte)),
            flag.eq(self.i.p.byte == FLAG),
            plain.eq(read & ~flag & (escaped | (self.i.p.byte != ESCAPE))),
            crc.data.eq(byte),
            crc.valid.eq(plain),
            crc.start.eq(~inside),
            late.eq(self._late(m, inside)),
            status.eq(Mux(late, Status.TIMED_OUT, Mux(self.i.p.error, Status.LINE_ERROR, Mux(
                full & ~flag | (count < REQUEST_BYTES + CHECK_BYTES), Status.BAD_FRAME,
                Mux(crc.match_detected, Status.FINE, Status.BAD_CHECK))))),
        ]
        self._content(m, byte, plain & ~full, count)
        with m.If(read):
            m.d.sync += escaped.eq(~flag & ~plain)
        with m.If(plain):
            m.d.sync += count.eq(count + 1)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(taken & flag & ~self.i.p.error):
            m.d.sync += skipping.eq(0)
        with m.If((read & flag & inside) | (plain & full) | late
                  | (taken & self.i.p.error & ~skipping)):
            m.d.sync += [self.o.valid.eq(1), self.o.p.status.eq(status), count.eq(0),
                         escaped.eq(0), skipping.eq(late | self.i.p.error | ~flag),
                         self.o.p.size.eq(count - (REQUEST_BYTES + CHECK_BYTES))]
        return m

    def _late(self, m, inside):
        """Return whether nothing has come for too long."""
        left = Signal(range(self._pause + 1), init=self._pause)
        with m.If(self.i.valid | ~inside):
            m.d.sync += left.eq(self._pause)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return inside & (left == 0) & ~self.i.valid

    def _content(self, m, byte, plain, count):
        """Keep the last bytes, which may be the check, and lead those before to their places."""
        last, header = self.o.p.check, self.o.p.request.as_value()
        at = count - CHECK_BYTES
        payload = count >= REQUEST_BYTES + CHECK_BYTES
        m.d.comb += [
            self.write.enable.eq(plain & payload),
            self.write.address.eq(count - (REQUEST_BYTES + CHECK_BYTES)),
            self.write.data.eq(last[:BYTE]),
        ]
        with m.If(plain):
            m.d.sync += last.eq(Cat(last[BYTE:], byte))
            with m.If((at >= 0) & ~payload):
                m.d.sync += header.eq(Cat(header[BYTE:], last[:BYTE]))
