"""Registers and memory at Wishbone B4, pipelined."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.soc.registers import SPACE_BITS, WORD_BITS, WORD_BYTES, Answer
from golden.soc.system import ADDRESS_BITS

from ..common.checks import check_config
from ..common.operands import BYTE
from ..memory.memory_port import memory_signature
from ..soc.registers import register_signature

__all__ = ["WishboneMaster", "WishboneSlave", "wishbone_signature"]


def wishbone_signature(address_bits: int, data_bytes: int) -> wiring.Signature:
    """Pipelined Wishbone B4, seen by who asks; `adr` counts in words of the data's width."""
    return wiring.Signature({
        "cyc": Out(1), "stb": Out(1), "we": Out(1),
        "adr": Out(address_bits - exact_log2(data_bytes)), "sel": Out(data_bytes),
        "dat_w": Out(BYTE * data_bytes), "dat_r": In(BYTE * data_bytes),
        "ack": In(1), "err": In(1), "stall": In(1),
    })


class WishboneSlave(wiring.Component):
    """Let Wishbone read and write registers, one per cycle.

    Each is answered in the next cycle. Where there is no register, one that cannot be written, or
    not all of its bytes shall be, the answer is `err`, and nothing is done.

    Parameters
    ----------
    address_bits : int
        Width of addresses in bytes.

    Members
    -------
    bus : ``In(wishbone_signature(address_bits, 4))``
    registers : ``Out(register_signature)``
    """

    def __init__(self, address_bits: int = 12):
        integer("address_bits", address_bits, SPACE_BITS, WORD_BITS)
        super().__init__({
            "bus": In(wishbone_signature(address_bits, WORD_BYTES)),
            "registers": Out(register_signature),
        })

    def elaborate(self, platform):
        m = Module()
        bus, port = self.bus, self.registers
        asked, allowed, asked_before, allowed_before = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [asked_before.eq(asked), allowed_before.eq(allowed)]
        fine = allowed_before & (port.answer == Answer.DONE)
        m.d.comb += [
            asked.eq(bus.cyc & bus.stb),
            allowed.eq(~bus.we | bus.sel.all()),
            port.enable.eq(asked & allowed),
            port.write.eq(bus.we),
            port.address.eq(Cat(Const(0, exact_log2(WORD_BYTES)), bus.adr)),
            port.data.eq(bus.dat_w),
            bus.dat_r.eq(port.value),
            bus.ack.eq(bus.cyc & asked_before & fine),
            bus.err.eq(bus.cyc & asked_before & ~fine),
        ]
        return m


class WishboneMaster(wiring.Component):
    """Put a memory port at Wishbone: a request per cycle as long as it is not stalled.

    A request comes to the bus a cycle after it is taken, its answer goes back at once. After an
    error nothing more is asked for: when all that was has been answered, the requests that still
    come are answered with errors, until `clear`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the width of data.
    address_bits : int
        Width of addresses in bytes, 32 to 64.
    flight : int
        Most requests that await their answers.

    Members
    -------
    memory : ``In(memory_signature(config))``
    bus : ``Out(wishbone_signature(address_bits, config.bus_bytes))``
    base : ``In(64)``
        Added to addresses.
    clear : ``In(1)``
        Ask again, after an error; only while no answer is awaited.
    """

    def __init__(self, config: AcceleratorConfig, *, address_bits: int = 32, flight: int = 64):
        check_config(config)
        self._flight = integer("flight", flight, 1)
        integer("address_bits", address_bits, *ADDRESS_BITS)
        self._bus_bytes = config.bus_bytes
        super().__init__({
            "memory": In(memory_signature(config)),
            "bus": Out(wishbone_signature(address_bits, config.bus_bytes)),
            "base": In(max(ADDRESS_BITS)), "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        bus, request, response = self.bus, self.memory.request, self.memory.response
        awaited = Signal(range(self._flight + 1))
        answered, asked = Signal(), Signal()
        failed, own = Signal(), Signal()  # `own`: a request is answered without the bus
        place = (self.base + request.p.address)[exact_log2(self._bus_bytes):]
        m.d.comb += [
            bus.cyc.eq(awaited != 0),
            bus.sel.eq(~Const(0, self._bus_bytes)),
            answered.eq(bus.cyc & (bus.ack | bus.err)),
            asked.eq(request.valid & request.ready & ~failed),
            response.valid.eq(answered | own),
            response.p.data.eq(bus.dat_r),
            response.p.error.eq(bus.err | own),
        ]
        with m.If(failed):
            m.d.comb += request.ready.eq((awaited == 0) & ~own)
        with m.Else():
            m.d.comb += request.ready.eq((~bus.stb | ~bus.stall) & (awaited != self._flight)
                                         & ~(answered & bus.err))
        m.d.sync += [
            awaited.eq(awaited + asked - answered),
            own.eq(request.valid & request.ready & failed),
            failed.eq((failed | (answered & bus.err)) & ~self.clear),
        ]
        with m.If(asked):
            m.d.sync += [bus.stb.eq(1), bus.we.eq(request.p.write), bus.adr.eq(place),
                         bus.dat_w.eq(request.p.data)]
        with m.Elif(~bus.stall):
            m.d.sync += bus.stb.eq(0)
        return m
