"""Registers at AXI4-Lite."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer
from golden.soc.registers import SPACE_BITS, WORD_BITS, WORD_BYTES, Answer

from ..soc.registers import register_signature
from .axi import Resp

__all__ = ["AxiLiteSlave", "axi_lite_signature"]


def axi_lite_signature(address_bits: int) -> wiring.Signature:
    """AXI4-Lite with 32 bits of data, seen by who asks; names as in the specification."""
    return wiring.Signature({
        "awaddr": Out(address_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
        "wdata": Out(WORD_BITS), "wstrb": Out(WORD_BYTES), "wvalid": Out(1), "wready": In(1),
        "bresp": In(Resp), "bvalid": In(1), "bready": Out(1),
        "araddr": Out(address_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
        "rdata": In(WORD_BITS), "rresp": In(Resp), "rvalid": In(1), "rready": Out(1),
    })


class AxiLiteSlave(wiring.Component):
    """Let AXI4-Lite read and write registers, one at a time, in turn where both are asked for.

    A response comes three cycles after what is asked for. Where there is no register, one that
    cannot be written, or not all of its bytes shall be, it is SLVERR, and nothing is done. The
    low two bits of addresses are ignored.

    Parameters
    ----------
    address_bits : int
        Width of addresses, 12 or more by convention.

    Members
    -------
    bus : ``In(axi_lite_signature(address_bits))``
    registers : ``Out(register_signature)``
    """

    def __init__(self, address_bits: int = 12):
        integer("address_bits", address_bits, SPACE_BITS, WORD_BITS)
        super().__init__({
            "bus": In(axi_lite_signature(address_bits)),
            "registers": Out(register_signature),
        })

    def elaborate(self, platform):
        m = Module()
        bus, port = self.bus, self.registers
        # What has come, and is kept until it is done.
        to_write, to_read = Signal.like(bus.awaddr), Signal.like(bus.araddr)
        data, whole = Signal(WORD_BITS), Signal()
        has_address = _kept(m, "aw", bus.awvalid, bus.awready, to_write.eq(bus.awaddr))
        has_data = _kept(m, "w", bus.wvalid, bus.wready, data.eq(bus.wdata),
                         whole.eq(bus.wstrb.all()))
        has_read = _kept(m, "ar", bus.arvalid, bus.arready, to_read.eq(bus.araddr))

        write, read = Signal(), Signal()  # in this cycle
        wrote, saw, last, refused = Signal(), Signal(), Signal(), Signal()
        may_write = has_address & has_data & ~bus.bvalid & ~wrote
        may_read = has_read & ~bus.rvalid & ~saw
        m.d.comb += [
            write.eq(may_write & ~(may_read & last)),
            read.eq(may_read & ~write),
            port.enable.eq(read | (write & whole)),
            port.write.eq(write),
            port.address.eq(Cat(Const(0, 2), Mux(write, to_write, to_read)[2:])),
            port.data.eq(data),
        ]
        m.d.sync += [wrote.eq(write), saw.eq(read), refused.eq(write & ~whole)]
        with m.If(write):
            m.d.sync += [has_address.eq(0), has_data.eq(0), last.eq(1)]
        with m.If(read):
            m.d.sync += [has_read.eq(0), last.eq(0)]

        resp = Mux((port.answer == Answer.DONE) & ~refused, Resp.OKAY, Resp.SLVERR)
        for came, valid, ready, kept in (
                (wrote, bus.bvalid, bus.bready, [bus.bresp.eq(resp)]),
                (saw, bus.rvalid, bus.rready, [bus.rresp.eq(resp), bus.rdata.eq(port.value)])):
            with m.If(came):
                m.d.sync += [valid.eq(1), *kept]
            with m.Elif(ready):
                m.d.sync += valid.eq(0)
        return m


def _kept(m, name, valid, ready, *kept):
    """Take what comes on a channel; return whether it is there."""
    there = Signal(name=f"{name}_there")
    m.d.comb += ready.eq(~there)
    with m.If(valid & ready):
        m.d.sync += [there.eq(1), *kept]
    return there
