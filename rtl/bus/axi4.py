"""Memory at AXI4: bursts of what a memory port asks for."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.soc.registers import PAGE_BITS
from golden.soc.system import ADDRESS_BITS

from ..common.checks import check_config
from ..common.operands import BYTE
from ..memory.memory_port import ADDRESS, memory_signature
from .axi import (
    CACHE,
    INCR,
    axi_read_signature,
    axi_signature,
    axi_write_signature,
    data_bytes_of,
)

__all__ = ["Axi4Master"]

MOST_BEATS = 256
"""Of a burst, by the specification."""


class Axi4Master(wiring.Component):
    """Put a memory port at AXI4.

    Bursts are as long as requests say that beats follow, up to `burst`, and never cross 4 KiB. Of
    a burst, beats may come before they are asked for; they wait, and are thrown away if something
    else is asked for. A request is put on the bus in the next cycle. What is read comes back a
    cycle after its beat, what is written a cycle after the response of its burst, one by one.

    Requests are carried out in order: reads wait for the responses of all writes, and writes for
    the beats of all reads. After an error nothing more is asked for: when all that was has been
    answered (of a burst that is being written, the rest goes without strobes), the requests that
    still come are answered with errors, until `clear`. An error in a beat that is thrown away is
    none.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the width of data.
    address_bits : int
        Width of addresses, 32 to 64.
    flight : int
        Most beats that are awaited or wait to be asked for; `burst` or more.
    burst : int
        Most beats of a burst, 1 to 256.

    Members
    -------
    memory : ``In(memory_signature(config))``
    bus : ``Out(axi_signature(address_bits, config.bus_bytes))``
    base : ``In(64)``
        Added to addresses; a multiple of 4 KiB, stable while anything is awaited.
    clear : ``In(1)``
        Ask again, after an error, and forget what waits; only while no answer is awaited.
    """

    def __init__(self, config: AcceleratorConfig, *, address_bits: int = 32, flight: int = 64,
                 burst: int = 16):
        check_config(config)
        self._burst = integer("burst", burst, 1, MOST_BEATS)
        self._flight = integer("flight", flight, burst)
        integer("address_bits", address_bits, *ADDRESS_BITS)
        self._bus_bytes, self._address_bits = data_bytes_of(config), address_bits
        super().__init__({
            "memory": In(memory_signature(config)),
            "bus": Out(axi_signature(address_bits, config.bus_bytes)),
            "base": In(max(ADDRESS_BITS)), "clear": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        request, response = self.memory.request, self.memory.response
        shape = self._bus_bytes, self._address_bits, self._flight, self._burst
        m.submodules.reads = reads = _Reads(*shape)
        m.submodules.writes = writes = _Writes(*shape)
        wiring.connect(m, reads.bus, wiring.flipped(self.bus.read))
        wiring.connect(m, writes.bus, wiring.flipped(self.bus.write))
        failed = Signal()  # an error has come that was not thrown away
        told = Signal()  # and has been answered
        own = Signal()  # a request is answered that the bus has not seen
        alone, wrong = Signal(), Signal()
        m.d.comb += [
            wrong.eq(failed | reads.error | writes.error),
            alone.eq(failed & reads.idle & writes.idle & ~own),
            request.ready.eq(Mux(request.p.write, writes.i.ready, reads.i.ready) | alone),
            response.valid.eq(reads.answered | writes.answered | own),
            response.p.data.eq(reads.data),
            response.p.error.eq(Mux(reads.answered, reads.bad, writes.bad) | own),
            reads.clear.eq(self.clear),
        ]
        for part, others, wanted in ((reads, writes, ~request.p.write),
                                     (writes, reads, request.p.write)):
            m.d.comb += [
                part.i.valid.eq(request.valid & wanted),
                part.i.p.address.eq(request.p.address),
                part.i.p.place.eq(self.base + request.p.address),
                part.i.p.length.eq(self._length(request.p)),
                part.i.p.data.eq(request.p.data),
                part.other.eq(request.valid & ~wanted),
                part.may.eq(others.idle & ~wrong),
                part.failed.eq(wrong),
            ]
        m.d.sync += own.eq(request.valid & alone)
        now = told | (response.valid & response.p.error)
        with m.If(self.clear):
            m.d.sync += [failed.eq(0), told.eq(0)]
        with m.Else():
            m.d.sync += [told.eq(now), failed.eq(Mux(reads.dropped, now, wrong))]
        return m

    def _length(self, request):
        """Return the length of a burst that begins with a request."""
        index = request.address[exact_log2(self._bus_bytes):PAGE_BITS]
        left = (1 << len(index)) - index  # beats of the page
        wanted = Mux(request.beats > self._burst, self._burst, request.beats)
        wanted = Mux(wanted == 0, 1, wanted)
        return Mux(left < wanted, left, wanted)


class _Half(wiring.Component):
    """What both halves of a master have.

    Members
    -------
    i : ``In(stream.Signature(asked))``
        A request: its `address`, its `place` on the bus, and the `length` of the burst that it
        would begin.
    other : ``In(1)``
        Something else is asked for than `i`.
    may : ``In(1)``
        A burst may begin.
    failed : ``In(1)``
        There was an error, or there is one now.
    answered, bad : ``Out(1)``
        A request is answered, with an error.
    error : ``Out(1)``
        An error comes.
    idle : ``Out(1)``
        Nothing is awaited, and nothing waits.
    """

    def __init__(self, bus_bytes, address_bits, flight, burst, bus, members):
        self._bus_bytes, self._flight, self._burst = bus_bytes, flight, burst
        asked = data.StructLayout({"address": ADDRESS, "place": address_bits,
                                   "length": range(burst + 1), "data": BYTE * bus_bytes})
        super().__init__({
            "i": In(stream.Signature(asked)), "other": In(1), "may": In(1), "failed": In(1),
            "answered": Out(1), "bad": Out(1), "error": Out(1), "idle": Out(1),
            "bus": Out(bus(address_bits, bus_bytes)), **members,
        })

    def _begin(self, m, channel, begins):
        """Put the burst that `i` begins on a channel of addresses."""
        def wire(name):
            return getattr(self.bus, channel + name)

        m.d.comb += [wire("size").eq(exact_log2(self._bus_bytes)), wire("burst").eq(INCR),
                     wire("cache").eq(CACHE)]
        with m.If(begins):
            m.d.sync += [wire("valid").eq(1), wire("addr").eq(self.i.p.place),
                         wire("len").eq(self.i.p.length - 1)]
        with m.Elif(wire("ready")):
            m.d.sync += wire("valid").eq(0)


class _Reads(_Half):
    """Read; of the last burst, beats wait for being asked for.

    Members
    -------
    clear : ``In(1)``
        Throw away what waits.
    data : ``Out(8 * bus_bytes)``
        Of the request that is answered.
    dropped : ``Out(1)``
        The last beat is thrown away of what has waited.
    """

    def __init__(self, bus_bytes, *shape):
        super().__init__(bus_bytes, *shape, axi_read_signature, {
            "clear": In(1), "data": Out(BYTE * bus_bytes), "dropped": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bus, asked = self.bus, self.i.p
        m.submodules.beats = beats = fifo.SyncFIFO(width=BYTE * self._bus_bytes + 1,
                                                   depth=self._flight)
        owed = Signal(range(self._flight + 1))  # beats to be answered
        ahead = Signal(range(self._burst + 1))  # beats behind them, not asked for
        following = Signal(ADDRESS)  # address of the first of these
        dropping, hit, begins, taken, drop = (Signal(name=name) for name in (
            "dropping", "hit", "begins", "taken", "drop"))
        room = owed <= self._flight - self._burst
        m.d.comb += [
            hit.eq((ahead != 0) & (asked.address == following) & ~dropping & ~self.clear),
            begins.eq(self.i.valid & (ahead == 0) & room & self.may
                      & (~bus.arvalid | bus.arready)),
            taken.eq((self.i.valid & hit) | begins),
            self.i.ready.eq(taken),
            bus.rready.eq(1),
            self.error.eq(bus.rvalid & bus.rresp.as_value()[1]),
            beats.w_en.eq(bus.rvalid),
            beats.w_data.eq(Cat(bus.rdata, bus.rresp.as_value()[1])),
            self.answered.eq(beats.r_rdy & (owed != 0)),
            drop.eq(beats.r_rdy & (owed == 0) & dropping),
            beats.r_en.eq(self.answered | drop),
            Cat(self.data, self.bad).eq(beats.r_data),
            self.dropped.eq(drop & (ahead == 1)),
            self.idle.eq((owed == 0) & (ahead == 0)),
        ]
        self._begin(m, "ar", begins)
        m.d.sync += owed.eq(owed + taken - self.answered)
        with m.If(taken):
            m.d.sync += [following.eq(asked.address + self._bus_bytes),
                         ahead.eq(Mux(begins, asked.length, ahead) - 1)]
        with m.Elif(drop):
            m.d.sync += ahead.eq(ahead - 1)
        with m.If(self.dropped):
            m.d.sync += dropping.eq(0)
        with m.Elif((ahead != 0) & (self.clear | self.other | (self.i.valid & ~hit))):
            m.d.sync += dropping.eq(1)
        return m


class _Writes(_Half):
    """Write; a burst that does not go on as it has begun is filled up without strobes."""

    def __init__(self, *shape):
        super().__init__(*shape, axi_write_signature, {})

    def elaborate(self, platform):
        m = Module()
        bus, asked = self.bus, self.i.p
        m.submodules.bursts = bursts = fifo.SyncFIFO(width=len(asked.length), depth=self._flight)
        awaited = Signal(range(self._flight + 1))  # requests without an answer
        left, given = Signal.like(asked.length), Signal.like(asked.length)  # beats of a burst
        following = Signal(ADDRESS)
        answers = Signal.like(asked.length)  # of a burst, still to be given
        first, begins, goes_on, fills, taken, last = (Signal(name=name) for name in (
            "first", "begins", "goes_on", "fills", "taken", "last"))
        free = ~bus.wvalid | bus.wready
        room = (awaited <= self._flight - self._burst) & bursts.w_rdy
        right = self.i.valid & (asked.address == following) & ~self.failed
        m.d.comb += [
            first.eq(left == 0),
            begins.eq(self.i.valid & first & free & room & self.may
                      & (~bus.awvalid | bus.awready)),
            goes_on.eq(~first & free & right),
            fills.eq(~first & free & ~right & (self.i.valid | self.other | self.failed)),
            taken.eq(begins | goes_on),
            self.i.ready.eq(taken),
            last.eq(Mux(first, asked.length == 1, left == 1)),
            bursts.w_en.eq((taken | fills) & last),
            bursts.w_data.eq(Mux(first, 0, given) + taken),
        ]
        self._begin(m, "aw", begins)
        with m.If(taken | fills):
            m.d.sync += [
                bus.wvalid.eq(1), bus.wdata.eq(asked.data), bus.wstrb.eq(taken.replicate(
                    self._bus_bytes)), bus.wlast.eq(last),
                left.eq(Mux(first, asked.length, left) - 1), given.eq(bursts.w_data),
            ]
        with m.Elif(bus.wready):
            m.d.sync += bus.wvalid.eq(0)
        with m.If(taken):
            m.d.sync += following.eq(asked.address + self._bus_bytes)

        responds = bus.bvalid & bus.bready
        m.d.comb += [
            bus.bready.eq((answers == 0) & bursts.r_rdy),
            bursts.r_en.eq(responds),
            self.error.eq(responds & bus.bresp.as_value()[1]),
            self.answered.eq(answers != 0),
            self.idle.eq(awaited == 0),
        ]
        m.d.sync += awaited.eq(awaited + taken - self.answered)
        with m.If(responds):
            m.d.sync += [answers.eq(bursts.r_data), self.bad.eq(bus.bresp.as_value()[1])]
        with m.Elif(self.answered):
            m.d.sync += answers.eq(answers - 1)
        return m
