"""The SDRAM controller tells its chip nothing forbidden, and answers each request once, in order.

What is forbidden is said by :mod:`rtl.sdram.sdram_model`, which counts times apart from the
controller. It is followed from reset with a chip of few rows, whose times differ and
whose initialisation is short.
"""

import pytest
from amaranth.hdl import Array, Mux, Signal
from amaranth.lib.wiring import connect

from golden.common.config import AcceleratorConfig
from golden.sdram.sdram import Chip, Command, Violation
from rtl.sdram import sdram_model, sdram_upkeep
from rtl.sdram.sdram import Sdram, _Commands
from rtl.sdram.sdram_bank import Bank
from rtl.sdram.sdram_model import SdramModel
from rtl.sdram.sdram_pins import PinRegisters
from rtl.sdram.sdram_requests import Requests
from rtl.sdram.sdram_upkeep import Upkeep
from rtl.sdram.sdram_words import Words
from tests.prove.proof import Setting, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=4, bus_bytes=4)
HERTZ = 5_000_000  # 200 ns
CHIP = Chip("short", column_bits=5, row_bits=1, rcd_ns=400, rp_ns=400, ras_ns=600, rc_ns=1200,
            rrd_ns=1000, rfc_ns=800, wr_ns=400, cas2_hz=HERTZ, cas3_hz=HERTZ, init_us=1,
            refresh_ms=70)
ASKED = 6
"""More requests than ever await an answer."""
DEPTH = 44
"""From reset to what comes behind the second refresh of a run."""


@pytest.fixture(autouse=True)
def _fewer_refreshes(monkeypatch):
    """Initialise with one refresh; simulations have all of them."""
    for module in (sdram_model, sdram_upkeep):
        monkeypatch.setattr(module, "REFRESHES", 1)


def controller():
    """A controller and its chip, which gives any words; a user that keeps what it asks for."""
    one = Setting()
    m = one.m
    dut = one.unit(Sdram(CONFIG, CHIP, HERTZ))
    chip = one.unit(SdramModel(CHIP, dut.schedule), "chip")
    pads = one.unit(PinRegisters(), "pads")
    connect(m, dut.pins, pads.controller)
    connect(m, pads.pins, chip.pins)
    for violation in Violation:
        one.claim(violation.name, ~chip.violations[violation])

    request, response = dut.memory.request, dut.memory.response
    one.holds(request.valid, request.ready, request.payload)
    one.assume((request.p.address[:2] == 0) & (request.p.address >> CHIP.size_bits + 1 == 0))
    taken = request.valid & request.ready
    asked = one.count("requests without an answer", taken, response.valid, ASKED)
    told = dut.pins.told
    refreshed, may_restart = told.command == Command.REFRESH, Signal(init=1)
    with m.If(refreshed | dut.restart):
        m.d.sync += may_restart.eq(refreshed)
    one.assume(~dut.restart | (may_restart & (asked == 0) & ~request.valid))

    # Requests that the chip has not been told of, the oldest first, and those without an answer.
    column = (told.command == Command.READ) | (told.command == Command.WRITE)
    waiting = one.count("requests before their command", taken, column, 2)
    names = "addresses", "writes", "outsides"
    addresses, writes, outsides = (
        Array(Signal(bits, name=f"{name}_{at}") for at in range(ASKED + 1))
        for name, bits in zip(names, (32, 1, 1), strict=True))
    outside = (request.p.address >> CHIP.size_bits) != 0
    for queue, what, leaves, count in (
            (addresses, request.p.address, column, waiting),
            (writes, request.p.write & ~outside, column, waiting),
            (outsides, outside, response.valid, asked)):
        for at in range(ASKED):
            arrives = taken & (count - leaves == at)
            m.d.sync += queue[at].eq(Mux(arrives, what, Mux(leaves, queue[at + 1], queue[at])))
    bank, row, place = CHIP.place(addresses[0])
    rows = Array(Signal(CHIP.row_bits, name=f"row_{at}") for at in range(4))
    with m.If(told.command == Command.ACTIVATE):
        m.d.sync += rows[told.bank].eq(told.address)
    one.claim("each request is told in turn", ~column | (
        (told.bank == bank) & (told.address == place) & (rows[told.bank] == row)
        & ((told.command == Command.WRITE) == writes[0])))
    one.claim("an error beyond the chip only",
              ~response.valid | (response.p.error == outsides[0]))

    # None waits longer than a refresh, closing another row, and opening its own take.
    longest = 2 * dut.schedule.settle + dut.schedule.rc + CHIP.timing(HERTZ).rfc
    age = Signal(range(longest + 2))
    with m.If((waiting == 0) | column | ~dut.ready | dut.restart):
        m.d.sync += age.eq(0)
    with m.Elif(age != longest + 1):
        m.d.sync += age.eq(age + 1)
    one.claim("none waits for ever", age <= longest)
    one.cover("a row is closed for another one", (told.command == Command.PRECHARGE) & dut.ready
              & ~told.address[10])
    one.cover("a second refresh, rows having been open",
              refreshed & dut.ready & (sum(rows) != 0) & one.before(one.before(may_restart)))
    one.cover("one behind the other", column & one.before(one.before(column)))
    one.cover("beyond the chip", response.valid & response.p.error)
    return one


def test_nothing_forbidden_is_told_and_each_request_answered_once(tmp_path):
    assert proved(controller(), tmp_path, depth=DEPTH) == set()


def test_a_run_has_all_of_it(tmp_path):
    assert reached(controller(), tmp_path, depth=DEPTH) == set()


@pytest.mark.parametrize(("owner", "function", "old", "new", "broken"), [
    (Bank, "elaborate", "(self.activate, times.rcd)", "(self.activate, times.rcd - 1)", "RCD"),
    (_Commands, "elaborate", "(any_activate, times.timing.rrd)", "(any_activate, 2)", "RRD"),
    (_Commands, "elaborate", "(self.served & ~now.write, times.read_to_write)",
     "(self.served & ~now.write, times.burst)", "CONTENTION"),
    (Upkeep, "elaborate", "m.If(self.closable)", "m.If(1)", "RAS"),
    (Requests, "elaborate", "~self.valid | self.served", "1", "each request is told in turn"),
    (Words, "elaborate", "answers.eq(Cat(self.served, answers))",
     "answers.eq(Cat(self.served & ~self.outside, answers))", "an error beyond the chip only"),
])
def test_a_mutant_of_the_controller_is_found(owner, function, old, new, broken, tmp_path,
                                             monkeypatch):
    mutate(monkeypatch, owner, function, old, new)
    assert broken in proved(controller(), tmp_path, depth=DEPTH)
