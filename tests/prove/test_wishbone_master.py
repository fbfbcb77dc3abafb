"""The Wishbone master asks once for each request, in order, and not at all after an error."""

import pytest
from amaranth.hdl import Signal

from golden.common.config import AcceleratorConfig
from rtl.bus.wishbone import WishboneMaster
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=4, bus_bytes=4)
FLIGHT = 3
DEPTH = 10


def setting():
    """A user that keeps what it asks for; a slave that answers what it was asked, in any cycle."""
    one = Setting()
    m = one.m
    dut = one.unit(WishboneMaster(CONFIG, flight=FLIGHT))
    request, response, bus = dut.memory.request, dut.memory.response, dut.bus
    one.holds(request.valid, request.ready, request.payload)
    one.assume(dut.base == one.constant(64, "base"))
    taken = request.valid & request.ready
    begun = bus.cyc & bus.stb & ~bus.stall
    answered = bus.ack | bus.err
    one.assume(~(bus.ack & bus.err))
    on_bus = Signal(range(FLIGHT + 1))
    m.d.sync += on_bus.eq(on_bus + begun - answered)
    one.assume(~answered | (on_bus + begun != 0))
    unanswered = one.count("requests without an answer", taken, response.valid, FLIGHT + 1)
    one.assume(~dut.clear | ((unanswered == 0) & ~request.valid))

    # After an error has come, until `clear`, nothing more is asked for.
    failed = Signal()
    m.d.sync += failed.eq((failed | bus.err) & ~dut.clear)
    offered = bus.stb & ~one.before(bus.stb & bus.stall)
    one.claim("nothing is asked for after an error", ~(failed & offered))
    one.held("held until it is taken", bus.stb, ~bus.stall, bus.we, bus.adr, bus.sel, bus.dat_w)
    one.claim("a cycle around all of it", bus.cyc | (~bus.stb & (on_bus == 0)))
    one.claim("no more on the bus than may be", on_bus + bus.stb <= FLIGHT)
    one.claim("whole beats", bus.sel.all())

    # What was taken in the cycle before is on the bus in this one.
    fresh = one.before(taken & ~failed & ~bus.err)
    one.claim("asked for in the next cycle, and only then", fresh == offered)
    place = one.before((dut.base + request.p.address)[2:])
    one.claim("asked for as it was", ~offered | (
        (bus.adr == place[:len(bus.adr)]) & (bus.we == one.before(request.p.write))
        & (bus.dat_w == one.before(request.p.data))))
    one.claim("answers come at once", ~answered | (
        response.valid & (response.p.error == bus.err) & (response.p.data == bus.dat_r)))
    one.claim("what was not asked for is an error", ~response.valid | answered | (
        response.p.error & failed))
    one.claim("each after the ones before it", ~response.valid | answered | (on_bus + bus.stb == 0))
    one.claim("taken wherever there is room", ~request.valid | request.ready | (
        bus.stb & bus.stall) | (on_bus + bus.stb == FLIGHT) | failed | bus.err)
    one.cover("full", on_bus == FLIGHT)
    cleared = Signal()
    m.d.sync += cleared.eq(cleared | (failed & dut.clear))
    one.cover("asked again, once an error is cleared", cleared & bus.ack)
    one.cover("answered as it is asked", begun & answered & (on_bus == 0))
    return one


def test_asks_once_in_order_and_not_after_an_error(tmp_path):
    assert proved(setting(), tmp_path, depth=DEPTH) == set()
    assert reached(setting(), tmp_path / "cover", depth=DEPTH) == set()


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("asked.eq(request.valid & request.ready & ~failed)", "asked.eq(request.valid & request.ready)",
     "nothing is asked for after an error"),
    ("(~bus.stb | ~bus.stall) & (awaited", "(awaited", "held until it is taken"),
    ("bus.cyc.eq(awaited != 0)", "bus.cyc.eq(awaited > 1)", "a cycle around all of it"),
    ("& (awaited != self._flight)", "", "requests without an answer within 4"),
    ("bus.sel.eq(~Const(0, self._bus_bytes))", "bus.sel.eq(1)", "whole beats"),
    ("with m.Elif(~bus.stall):", "with m.Elif(0):", "asked for in the next cycle, and only then"),
    ("self.base + request.p.address", "self.base | request.p.address", "asked for as it was"),
    ("response.p.error.eq(bus.err | own)", "response.p.error.eq(own)", "answers come at once"),
    ("response.valid.eq(answered | own)", "response.valid.eq(answered | own | bus.cyc)",
     "what was not asked for is an error"),
    ("request.ready.eq((awaited == 0) & ~own)", "request.ready.eq(1)",
     "each after the ones before it"),
    ("(awaited != self._flight)", "(awaited == 0)", "taken wherever there is room"),
])
def test_a_mutant_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, WishboneMaster, "elaborate", old, new)
    assert breaks(broken, setting(), tmp_path, depth=DEPTH)
