"""The AXI4 master keeps the rules of its channels, and carries each request out just once."""

from types import SimpleNamespace

import pytest
from amaranth.hdl import Array, Mux, Signal

from golden.common.config import AcceleratorConfig
from rtl.bus.axi import INCR
from rtl.bus.axi4 import Axi4Master, _Half, _Reads, _Writes
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=4, bus_bytes=4)
PAGE = 4096
BURST, FLIGHT = 2, 3
ASKED = FLIGHT + 2
"""More requests than ever await an answer."""
DEPTHS = {"rules": 9, "places": 8}
NEAR, FEW = 5, 4
"""Bits of addresses and of data, where it is followed what becomes of them."""


def surroundings(one):
    """A user that keeps what it asks for, and a memory that answers as AXI4 wants it.

    Returns the master, and what is known of the bus: the place of the beat that is read; the
    place of the word that is written; and which burst of words is `own`, has its address taken.
    """
    m = one.m
    dut = one.unit(Axi4Master(CONFIG, flight=FLIGHT, burst=BURST))
    request, response, read, write = (dut.memory.request, dut.memory.response, dut.bus.read,
                                      dut.bus.write)
    seen = SimpleNamespace(dut=dut, taken=request.valid & request.ready)
    one.holds(request.valid, request.ready, request.payload)
    one.assume(request.p.address[:2] == 0)
    seen.base = one.constant(64, "base")
    one.assume((dut.base == seen.base) & (seen.base[:12] == 0))
    seen.asked = one.count("requests without an answer", seen.taken, response.valid, ASKED)
    one.assume(~dut.clear | ((seen.asked == 0) & ~request.valid))

    # Bursts of reads, the oldest first.
    taken = read.arvalid & read.arready
    seen.bursts = bursts = Signal(range(FLIGHT + 1))
    places, lefts = (Array(Signal(bits, name=f"{name}_{at}") for at in range(FLIGHT + 1))
                     for name, bits in (("place", 32), ("left", 8)))
    beat = read.rvalid & read.rready
    ends = beat & (lefts[0] == 0)
    following = bursts - ends
    m.d.sync += bursts.eq(following + taken)
    for at in range(FLIGHT):
        arrives = taken & (following == at)
        m.d.sync += [
            places[at].eq(Mux(arrives, read.araddr, Mux(ends, places[at + 1], places[at]))),
            lefts[at].eq(Mux(arrives, read.arlen, Mux(ends, lefts[at + 1], lefts[at])))]
    with m.If(beat & ~ends):
        m.d.sync += [places[0].eq(places[0] + 4), lefts[0].eq(lefts[0] - 1)]
    seen.read_place = places[0]
    one.assume(~read.rvalid | ((bursts != 0) & (read.rlast == (lefts[0] == 0))))
    seen.beats = Signal(range(FLIGHT + BURST + 1))
    m.d.sync += seen.beats.eq(seen.beats + Mux(taken, read.arlen + 1, 0) - beat)

    # Bursts of writes; the words of one may be taken before its address.
    place, seen.length, seen.ahead = Signal(32), Signal(8), Signal(range(-1, 2))
    seen.index = Signal(8)
    seen.addressed, seen.word = write.awvalid & write.awready, write.wvalid & write.wready
    seen.ended = seen.word & write.wlast
    with m.If(seen.addressed):
        m.d.sync += [place.eq(write.awaddr), seen.length.eq(write.awlen)]
    m.d.sync += seen.ahead.eq(seen.ahead + seen.addressed - seen.ended)
    with m.If(seen.word):
        m.d.sync += seen.index.eq(Mux(write.wlast, 0, seen.index + 1))
    seen.own = seen.ahead == 1
    seen.write_place = Mux(seen.own, place, write.awaddr) + (seen.index << 2)
    arrived = Mux(seen.ahead == 1, seen.ended,
                  Mux(seen.ahead == 0, seen.ended & seen.addressed, seen.addressed))
    seen.responded = write.bvalid & write.bready
    seen.whole = Signal(range(-1, FLIGHT + 2))  # bursts with all words and their address
    m.d.sync += seen.whole.eq(seen.whole + arrived - seen.responded)
    one.holds(write.bvalid, write.bready, write.bresp)
    one.assume(~write.bvalid | (seen.whole > 0))
    return seen


def rules():
    """What AXI4 wants of a master, and that it stops at an error."""
    one = Setting()
    seen = surroundings(one)
    m, dut = one.m, seen.dut
    response, read, write = dut.memory.response, dut.bus.read, dut.bus.write
    read_error = read.rvalid & read.rresp.as_value()[1]
    write_error = seen.responded & write.bresp.as_value()[1]
    told = Signal()
    m.d.sync += told.eq((told | (response.valid & response.p.error)) & ~dut.clear)
    for channel, bus in (("ar", read), ("aw", write)):
        valid, ready, place, length, size, burst = (getattr(bus, channel + name) for name in (
            "valid", "ready", "addr", "len", "size", "burst"))
        one.held(f"{channel} held", valid, ready, place, length)
        one.claim(f"{channel} within 4 KiB", ~valid | (
            (place[2:12] + length < PAGE // 4) & (place[:2] == 0)))
        one.claim(f"{channel} as long as it may be", ~valid | (length < BURST))
        one.claim(f"{channel} of whole beats, in order", (size == 2) & (burst == INCR))
        begins = valid & ~one.before(valid & ~ready)
        one.claim(f"{channel}: no burst after an error was told", ~(begins & told))
        one.claim(f"{channel}: no burst right after an error",
                  ~(begins & one.before(read_error | write_error)))
    one.held("w held", write.wvalid, write.wready, write.wdata, write.wstrb, write.wlast)
    one.claim("r taken at once", read.rready)
    one.claim("no more beats are awaited than there is room for", seen.beats <= FLIGHT)
    one.claim("reads and writes not at once", ~read.arvalid & (seen.bursts == 0)
              | ~write.awvalid & ~write.wvalid & (seen.whole == 0))
    one.claim("an address no later than its words", ~write.wvalid | seen.own | (
        (seen.ahead == 0) & write.awvalid))
    one.claim("one burst of words at a time", ~seen.addressed | ~seen.own)
    one.claim("the last word is marked", ~write.wvalid | (
        write.wlast == (seen.index == Mux(seen.own, seen.length, write.awlen))))
    one.claim("no more bursts await a response than there is room for", seen.whole <= FLIGHT)
    one.claim("no answer to what was not asked", ~response.valid | (seen.asked != 0))
    one.cover("two bursts behind each other", seen.bursts == 2)
    one.cover("a burst of words", seen.ended & (seen.index == 1))
    one.cover("filled up", seen.word & ~write.wstrb.any())
    one.cover("an answer after an error", response.valid & ~response.p.error & one.before(told))
    return one


def places():
    """What becomes of one place of memory: it is written once at most, and its word is known."""
    one = Setting()
    seen = surroundings(one)
    m, dut = one.m, seen.dut
    request, response, read, write = (dut.memory.request, dut.memory.response, dut.bus.read,
                                      dut.bus.write)
    one.assume((request.p.address[NEAR:] == 0) & (seen.base == PAGE))
    one.assume((request.p.data[FEW:] == 0) & (read.rdata[FEW:] == 0))
    at, holds = one.constant(NEAR, "at"), one.constant(FEW, "holds")
    mine = request.p.address == at
    write_mine = seen.taken & mine & request.p.write
    one.assume(~write_mine | (request.p.data == holds))
    one.assume(~read.rvalid | (seen.read_place != PAGE + at) | (read.rdata == holds))

    # Requests, the oldest first.
    reads, mines = (Array(Signal(name=f"{name}_{slot}") for slot in range(ASKED + 1))
                    for name in ("reads", "mines"))
    following = seen.asked - response.valid
    for slot in range(ASKED):
        arrives = seen.taken & (following == slot)
        m.d.sync += [
            queue[slot].eq(Mux(arrives, what, Mux(response.valid, queue[slot + 1], queue[slot])))
            for queue, what in ((reads, ~request.p.write), (mines, mine))]
    fine = response.valid & ~response.p.error
    one.claim("what is read is of its place",
              ~fine | ~reads[0] | ~mines[0] | (response.p.data == holds))

    to_write, was_written = Signal(), Signal()
    strobes = seen.word & write.wstrb.any()
    now = strobes & (seen.write_place == PAGE + at)
    m.d.sync += [to_write.eq(to_write | write_mine), was_written.eq(was_written | now)]
    one.assume(~(to_write & write_mine))
    one.claim("what is written is of its place",
              ~strobes | (write.wstrb.all() & (~now | (write.wdata == holds))))
    one.claim("written once, if it was asked for", ~now | (to_write & ~was_written))
    one.claim("written before that is answered", ~fine | reads[0] | ~mines[0] | was_written)
    one.cover("the place is read", fine & reads[0] & mines[0])
    one.cover("the place is read in a burst", fine & reads[0] & mines[0]
              & one.before(fine & reads[0] & ~mines[0]))
    one.cover("the place is written", fine & ~reads[0] & mines[0])
    return one


@pytest.mark.parametrize("setting", [rules, places])
def test_keeps_the_rules_and_carries_each_request_out_once(setting, tmp_path):
    assert proved(setting(), tmp_path, depth=DEPTHS[setting.__name__]) == set()
    assert reached(setting(), tmp_path / "cover", depth=DEPTHS[setting.__name__]) == set()


@pytest.mark.parametrize(("owner", "function", "old", "new", "setting", "broken"), [
    (_Half, "_begin", 'm.d.sync += wire("valid").eq(0)', "pass", rules,
     "one burst of words at a time"),
    (_Half, "_begin", 'with m.If(begins):', 'with m.If(self.i.valid):', rules, "ar held"),
    (Axi4Master, "_length", "Mux(left < wanted, left, wanted)", "wanted", rules,
     "ar within 4 KiB"),
    (Axi4Master, "_length", "Mux(wanted == 0, 1, wanted)", "wanted", rules,
     "ar as long as it may be"),
    (Axi4Master, "elaborate", "wrong.eq(failed | reads.error | writes.error)",
     "wrong.eq(failed)", rules, "ar: no burst right after an error"),
    (Axi4Master, "elaborate", "part.may.eq(others.idle & ~wrong)", "part.may.eq(others.idle)",
     rules, "aw: no burst after an error was told"),
    (Axi4Master, "elaborate", "part.may.eq(others.idle & ~wrong)", "part.may.eq(~wrong)", rules,
     "reads and writes not at once"),
    (_Reads, "elaborate", "(ahead == 0) & room & self.may", "(ahead == 0) & self.may", rules,
     "no more beats are awaited than there is room for"),
    (_Writes, "elaborate", "last.eq(Mux(first, asked.length == 1, left == 1))",
     "last.eq(left == 1)", rules, "the last word is marked"),
    (_Writes, "elaborate", "free = ~bus.wvalid | bus.wready", "free = 1", rules, "w held"),
    (_Writes, "elaborate", "self.answered.eq(answers != 0)", "self.answered.eq(bus.bvalid)",
     rules, "no answer to what was not asked"),
    (_Reads, "elaborate", "(asked.address == following) & ~dropping", "~dropping", places,
     "what is read is of its place"),
    (_Writes, "elaborate", "wstrb.eq(taken.replicate(", "wstrb.eq((taken | fills).replicate(",
     places, "written once, if it was asked for"),
    (_Writes, "elaborate", "bus.wdata.eq(asked.data)", "bus.wdata.eq(0)", places,
     "what is written is of its place"),
    (_Writes, "elaborate", "self.answered.eq(answers != 0)",
     "self.answered.eq((answers != 0) | taken)", places, "written before that is answered"),
])
def test_a_mutant_is_found(owner, function, old, new, setting, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, owner, function, old, new)
    assert breaks(broken, setting(), tmp_path, depth=DEPTHS[setting.__name__])
