"""A bank of the SDRAM controller keeps the times of its chip.

They are counted apart from it by :mod:`rtl.sdram.sdram_model`.
"""

import pytest

from golden.sdram.sdram import CHIPS, Schedule
from rtl.sdram import sdram_model
from rtl.sdram.sdram_bank import Bank
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
BUS_BYTES = 4
REAL_HERTZ = 100_000_000
FAST = "IS42S16160G", 133_000_000
"""Where tRC is longer than tRAS and tRP together, as it is not at 100 MHz."""
FAST_DEPTH = 24


def bank(name, hertz):
    """A bank that is told what it says that it may be told, and ages counted apart."""
    one = Setting()
    times = Schedule.of(CHIPS[name], hertz, BUS_BYTES)
    dut, ages = one.unit(Bank(times, 2)), one.unit(sdram_model._Bank(times), "ages")
    one.assume(~dut.activate | (dut.activate_now & ~dut.opened))
    one.assume(~dut.precharge | dut.precharge_now)
    one.assume(~(dut.read | dut.write) | (dut.column_now & dut.opened))
    one.assume(~dut.refresh | (dut.activate_now & ~dut.opened))
    commands = [dut.activate, dut.precharge, dut.read, dut.write, dut.refresh]
    one.assume(sum(commands) <= 1)
    written = dut.write
    for _ in range(times.burst - 1):
        written = dut.write | one.before(written)
    one.m.d.comb += [
        ages.activate.eq(dut.activate), ages.column.eq(dut.read | dut.write),
        ages.precharge.eq(dut.precharge), ages.written.eq(written),
        ages.refresh.eq(dut.refresh), ages.mode.eq(0), ages.other.eq(0),
    ]
    one.claim("opened", dut.opened == ages.opened)
    for at, violation in enumerate(sdram_model._Bank.CHECKS):
        one.claim(violation.name, ~ages.violations[at])
    one.cover("all of it", dut.precharge & dut.opened & one.before(one.before(
        one.before(dut.read))))
    return one


def longest(name, hertz):
    """Cycles after which no command counts any more."""
    times = Schedule.of(CHIPS[name], hertz, BUS_BYTES)
    return max(times.settle, times.timing.rc) + 1


@pytest.mark.parametrize("name", CHIPS)
def test_a_bank_keeps_its_times_for_ever(name, tmp_path):
    depth = longest(name, REAL_HERTZ)
    assert proved(bank(name, REAL_HERTZ), tmp_path, depth=depth, induction=True) == set()
    assert reached(bank(name, REAL_HERTZ), tmp_path / "cover", depth=2 * depth) == set()


def test_a_bank_keeps_a_long_time_from_row_to_row(tmp_path):
    assert proved(bank(*FAST), tmp_path, depth=FAST_DEPTH) == set()


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("(self.activate, times.rcd)", "(self.activate, times.rcd - 1)", "RCD"),
    ("(self.activate, times.ras)", "(self.activate, times.ras - 1)", "RAS"),
    ("(self.activate, times.rc)", "(self.activate, times.rc - 1)", "RC"),
    ("(self.precharge, times.rp)", "(self.precharge, times.rp - 1)", "RP"),
    ("(self.write, times.write_to_precharge)", "(self.write, times.burst)", "WR"),
    ("m.d.sync += self.opened.eq(0)", "pass", "opened"),
])
def test_a_mutant_of_a_bank_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, Bank, "elaborate", old, new)
    assert breaks(broken, bank(*FAST), tmp_path, depth=FAST_DEPTH)
