"""From responses to bytes of a line."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

from golden.soc.link import BLOCK, CHECK_BYTES, ESCAPE, FLAG, RESPONSE_BYTES, TOGGLE

from ..common.operands import BYTE
from .link_layouts import buffer_read_signature, response_layout

__all__ = ["FrameSender"]


class FrameSender(wiring.Component):
    """Send responses as frames, a byte every third cycle where nothing holds it up.

    Members
    -------
    i : ``In(stream.Signature(response_layout))``
        Taken with the last byte of its frame, until when the payload must stay.
    read : ``Out(buffer_read_signature)``
        Where the payload is.
    o : ``Out(stream.Signature(8))``
    """

    i: In(stream.Signature(response_layout))
    read: Out(buffer_read_signature)
    o: Out(stream.Signature(BYTE))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC32_ETHERNET(BYTE).create()
        at = Signal(range(BLOCK))  # byte of the present part
        byte, escaped, content, advance = Signal(BYTE), Signal(), Signal(), Signal()
        # Bytes go through a register: those of the payload come late in their cycle.
        came, fetched = Signal(), Signal()
        special = (byte == FLAG) | (byte == ESCAPE)
        sent = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.payload.eq(Mux(~content, FLAG, Mux(escaped, byte ^ TOGGLE,
                                                      Mux(special, ESCAPE, byte)))),
            advance.eq(sent & content & (escaped | ~special)),
            crc.data.eq(byte),
            self.read.address.eq(at),
        ]
        with m.If(sent & content):
            m.d.sync += escaped.eq(~advance)
        with m.If(advance):
            m.d.sync += at.eq(at + 1)

        def part(source, count, following):
            m.d.comb += [self.o.valid.eq(fetched), content.eq(1)]
            m.d.sync += [came.eq(~advance), byte.eq(source), fetched.eq(came & ~advance)]
            with m.If(advance & (at == count - 1)):
                m.d.sync += at.eq(0)
                m.next = following

        with m.FSM():
            with m.State("open"):
                m.d.comb += [self.o.valid.eq(self.i.valid), crc.start.eq(1)]
                with m.If(sent):
                    m.next = "header"
            with m.State("header"):
                m.d.comb += crc.valid.eq(advance)
                part(self.i.payload.as_value().word_select(at[:2], BYTE), RESPONSE_BYTES,
                     "payload")
                with m.If(advance & (at == RESPONSE_BYTES - 1) & (self.i.p.length == 0)):
                    m.next = "check"
            with m.State("payload"):
                m.d.comb += crc.valid.eq(advance)
                part(self.read.data, self.i.p.length, "check")
            with m.State("check"):
                part(crc.crc.word_select(at[:2], BYTE), CHECK_BYTES, "close")
            with m.State("close"):
                m.d.comb += [self.o.valid.eq(1), self.i.ready.eq(self.o.ready)]
                with m.If(sent):
                    m.next = "open"
        return m
