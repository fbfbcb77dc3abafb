"""Registers at AXI4-Lite and Wishbone: one access and one answer for each that is asked for."""

import pytest
from amaranth.hdl import Signal

from golden.soc.registers import Answer
from rtl.bus.axi_lite import AxiLiteSlave
from rtl.bus.wishbone import WishboneSlave
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
AXI_DEPTH, WISHBONE_DEPTH = 12, 3
MOST = 2  # of a kind: one waits, another one has its answer on the bus


def axi_lite():
    """A host that keeps what it offers."""
    one = Setting()
    dut = one.unit(AxiLiteSlave())
    bus, port = dut.bus, dut.registers
    one.holds(bus.awvalid, bus.awready, bus.awaddr)
    one.holds(bus.wvalid, bus.wready, bus.wdata, bus.wstrb)
    one.holds(bus.arvalid, bus.arready, bus.araddr)
    one.held("b held", bus.bvalid, bus.bready, bus.bresp)
    one.held("r held", bus.rvalid, bus.rready, bus.rresp, bus.rdata)
    answered = bus.bvalid & bus.bready
    counts = [one.count(f"{name} without a response", valid & ready, down, MOST)
              for name, valid, ready, down in (
                  ("addresses", bus.awvalid, bus.awready, answered),
                  ("words", bus.wvalid, bus.wready, answered),
                  ("reads", bus.arvalid, bus.arready, bus.rvalid & bus.rready))]
    one.claim("no response before both halves",
              ~bus.bvalid | ((counts[0] != 0) & (counts[1] != 0)))
    one.claim("no value unasked", ~bus.rvalid | (counts[2] != 0))

    # The data that comes with the access that it is asked for.
    reads = port.enable & ~port.write
    one.count("reads of a register without a value", reads, bus.rvalid & bus.rready, 1)
    last = Signal(32)
    with one.m.If(bus.wvalid & bus.wready):
        one.m.d.sync += last.eq(bus.wdata)
    whole = Signal()
    with one.m.If(bus.wvalid & bus.wready):
        one.m.d.sync += whole.eq(bus.wstrb.all())
    one.claim("what is written was sent whole",
              ~(port.enable & port.write) | ((port.data == last) & whole))
    saw = one.before(reads)
    value, answer = one.before(port.value), one.before(port.answer)
    one.claim("the value of the register", ~one.before(saw) | (
        bus.rvalid & (bus.rdata == value) & (bus.rresp.as_value()[1] == (answer != Answer.DONE))))
    one.cover("a write and a read", answered & bus.rvalid & bus.rready)
    return one


def wishbone():
    """A host that asks as it likes, and keeps the cycle until it is answered."""
    one = Setting()
    dut = one.unit(WishboneSlave())
    bus, port = dut.bus, dut.registers
    asked = bus.cyc & bus.stb
    waits = one.before(asked)
    one.assume(~waits | bus.cyc)
    one.claim("an answer in the next cycle, else none", (bus.ack | bus.err) == waits)
    one.claim("one kind of answer", ~(bus.ack & bus.err))
    one.claim("never stalls", ~bus.stall)
    fine = ~bus.we | bus.sel.all()
    one.claim("an access for each allowed", port.enable == (asked & fine))
    one.claim("of what was asked", ~port.enable | ((port.write == bus.we) & (
        port.address == bus.adr << 2) & (port.data == bus.dat_w)))
    one.claim("ack where it was done",
              ~waits | (bus.ack == (one.before(fine) & (port.answer == Answer.DONE))))
    one.claim("the value of the register", ~bus.ack | (bus.dat_r == port.value))
    one.cover("two answers behind each other", bus.ack & one.before(bus.ack))
    return one


def test_axi_lite_answers_each_access_once(tmp_path):
    assert proved(axi_lite(), tmp_path, depth=AXI_DEPTH) == set()
    assert reached(axi_lite(), tmp_path / "cover", depth=AXI_DEPTH) == set()


def test_wishbone_answers_each_access_once(tmp_path):
    assert proved(wishbone(), tmp_path, depth=WISHBONE_DEPTH, induction=True) == set()
    assert reached(wishbone(), tmp_path / "cover", depth=6) == set()


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("with m.Elif(ready)", "with m.Else()", "b held"),
    ("(saw, bus.rvalid, bus.rready,", "(saw, bus.rvalid, 1,", "r held"),
    ("has_read & ~bus.rvalid & ~saw", "has_read & ~saw",
     "reads of a register without a value within 1"),
    ("has_address & has_data & ~bus.bvalid", "has_address & ~bus.bvalid",
     "no response before both halves"),
    ("m.d.sync += [has_read.eq(0), last.eq(0)]", "m.d.sync += last.eq(0)", "no value unasked"),
    ("read | (write & whole)", "read | write", "what is written was sent whole"),
    ("bus.rdata.eq(port.value)", "bus.rdata.eq(port.data)", "the value of the register"),
])
def test_a_mutant_of_axi_lite_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, AxiLiteSlave, "elaborate", old, new)
    assert breaks(broken, axi_lite(), tmp_path, depth=AXI_DEPTH)


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("bus.ack.eq(bus.cyc & asked_before & fine)", "bus.ack.eq(bus.cyc & fine)",
     "an answer in the next cycle, else none"),
    ("bus.cyc & asked_before & ~fine", "bus.cyc & asked_before", "one kind of answer"),
    ("bus.dat_r.eq(port.value),", "bus.dat_r.eq(port.value), bus.stall.eq(asked_before),",
     "never stalls"),
    ("port.enable.eq(asked & allowed)", "port.enable.eq(asked)", "an access for each allowed"),
    ("port.data.eq(bus.dat_w)", "port.data.eq(bus.adr)", "of what was asked"),
    ("fine = allowed_before & (", "fine = (", "ack where it was done"),
    ("bus.dat_r.eq(port.value)", "bus.dat_r.eq(port.data)", "the value of the register"),
])
def test_a_mutant_of_wishbone_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, WishboneSlave, "elaborate", old, new)
    assert breaks(broken, wishbone(), tmp_path, depth=6)
