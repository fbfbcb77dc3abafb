# amaranth: UnusedElaboratable=no
"""The model of a chip takes what is legal just so, and names what is not."""

from dataclasses import replace

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.sdram.sdram import ALL_BANKS, CHIPS, Command, Schedule, Timing, Violation, mode
from rtl.sdram.sdram_model import SdramModel, WordMemory
from rtl.sdram.sdram_pins import pins_signature
from tests.benches.sdram_system import names
from tests.benches.simulate import simulate

CHIP = replace(CHIPS["MT48LC16M16A2"], row_bits=2)
T = Timing(rcd=4, rp=3, ras=8, rc=13, rrd=3, rfc=9, wr=3, mrd=4, cas=3, interval=120, init=10)
BURST = 2
ACTIVATE, PRECHARGE, READ, WRITE, REFRESH, MODE, STOP = (Command[name] for name in (
    "ACTIVATE", "PRECHARGE", "READ", "WRITE", "REFRESH", "MODE", "STOP"))
SET = mode(T.cas, BURST)

START = [(T.init, PRECHARGE, 0, ALL_BANKS),
         *[(T.init + T.rp + T.rfc * count, REFRESH, 0, 0) for count in range(8)],
         (T.init + T.rp + T.rfc * 8, MODE, 0, SET)]
"""Cycle, command, bank and address of an initialisation that loses no cycle."""

BEGIN = START[-1][0] + T.mrd


class Chip(wiring.Component):
    """A model with its words."""

    def __init__(self, capture):
        self._schedule = Schedule(T, BURST, capture)
        super().__init__({"pins": In(pins_signature()), "violations": Out(len(Violation))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.model = model = SdramModel(CHIP, self._schedule)
        m.submodules.words = words = WordMemory(CHIP)
        connect(m, model.words, words.words)
        connect(m, flipped(self.pins), model.pins)
        m.d.comb += self.violations.eq(model.violations)
        return m


def told(script, *, start=START, undriven=(), driven=(), capture=1, pins=None, data=None):
    """Tell a chip a script, and return the names of the violations, and the words by cycle.

    `script` counts from the end of `start`. Words are driven where they are written, but not in
    `undriven`, and in `driven`; `pins` are other pins by cycle, `data` words.
    """
    dut = Chip(capture)
    by_cycle = {cycle: rest for cycle, *rest in start}
    by_cycle |= {BEGIN + cycle: rest for cycle, *rest in script}
    writes = {cycle + word for cycle, (command, *_) in by_cycle.items() if command is WRITE
              for word in range(BURST)}
    drives = writes - {BEGIN + cycle for cycle in undriven} | {BEGIN + cycle for cycle in driven}
    found, words = [], {}

    async def testbench(ctx):
        for cycle in range(max(by_cycle) + 8):
            command, bank, address = by_cycle.get(cycle, (Command.NOP, 0, 0))
            ctx.set(dut.pins.told, {"command": command, "bank": bank, "address": address})
            ctx.set(dut.pins.driven, cycle in drives)
            ctx.set(dut.pins.write, (data or {}).get(cycle - BEGIN, 0))
            for name, value in {"cke": 1, "masks": 0,
                                **(pins or {}).get(cycle - BEGIN, {})}.items():
                ctx.set(getattr(dut.pins, name), value)
            words[cycle - BEGIN] = ctx.get(dut.pins.read)
            await ctx.tick()
        found.extend(names(ctx.get(dut.violations)))

    simulate(dut, testbench)
    return found, words


OPEN = (0, ACTIVATE, 0, 1)
READ_AT, WRITE_AT = T.ras, T.ras
"""Long after ACTIVATE."""

TIMES = {
    "RCD": lambda less: [OPEN, (T.rcd - less, READ, 0, 0)],
    "RCD of a write": lambda less: [OPEN, (T.rcd - less, WRITE, 0, 0)],
    "RCD of the last bank": lambda less: [(0, ACTIVATE, 3, 1), (T.rcd - less, READ, 3, 0)],
    "RP": lambda less: [OPEN, (20, PRECHARGE, 0, 0), (20 + T.rp - less, ACTIVATE, 0, 0)],
    "RP to a refresh": lambda less: [
        OPEN, (20, PRECHARGE, 0, ALL_BANKS), (20 + T.rp - less, REFRESH, 0, 0)],
    "RP to a mode": lambda less: [
        OPEN, (20, PRECHARGE, 0, 0), (20 + T.rp - less, MODE, 0, SET)],
    "RAS": lambda less: [OPEN, (T.ras - less, PRECHARGE, 0, 0)],
    "RAS of all": lambda less: [(0, ACTIVATE, 2, 1), (T.ras - less, PRECHARGE, 0, ALL_BANKS)],
    "RC": lambda less: [OPEN, (T.ras, PRECHARGE, 0, 0), (T.rc - less, ACTIVATE, 0, 1)],
    "RC to a refresh": lambda less: [OPEN, (T.ras, PRECHARGE, 0, 0), (T.rc - less, REFRESH, 0, 0)],
    "RRD": lambda less: [OPEN, (T.rrd - less, ACTIVATE, 1, 1)],
    "RFC": lambda less: [(0, REFRESH, 0, 0), (T.rfc - less, ACTIVATE, 0, 1)],
    "RFC to the next": lambda less: [(0, REFRESH, 0, 0), (T.rfc - less, REFRESH, 0, 0)],
    "WR": lambda less: [OPEN, (WRITE_AT, WRITE, 0, 0),
                        (WRITE_AT + BURST - 1 + T.wr - less, PRECHARGE, 0, 0)],
    "MRD": lambda less: [(0, MODE, 0, SET), (T.mrd - less, ACTIVATE, 0, 1)],
    "REFRESH_LATE": lambda less: [(0, REFRESH, 0, 0), (T.interval + less, REFRESH, 0, 0)],
    "CUT": lambda less: [OPEN, (READ_AT, READ, 0, 0), (READ_AT + BURST - less, READ, 0, 4)],
    "CUT by a precharge": lambda less: [
        OPEN, (READ_AT, READ, 0, 0), (READ_AT + BURST - less, PRECHARGE, 0, 0)],
}


@pytest.mark.parametrize("case", TIMES)
def test_a_time_that_is_too_short_is_named(case):
    assert told(TIMES[case](0))[0] == []
    assert told(TIMES[case](1))[0] == [case.partition(" ")[0]]


@pytest.mark.parametrize("capture", [0, 1])
def test_pins_driven_by_both_are_named(capture):
    start, earliest = [OPEN, (READ_AT, READ, 0, 0)], READ_AT + T.cas + BURST + capture
    assert told([*start, (earliest, WRITE, 0, 0)], capture=capture)[0] == []
    for cycle in range(earliest - BURST - 1, earliest):
        assert told([*start, (earliest + 9, WRITE, 0, 0)], driven=[cycle],
                    capture=capture)[0] == ["CONTENTION"]
    assert told([*start, (earliest + 9, WRITE, 0, 0)], driven=[earliest - BURST - 2],
                capture=capture)[0] == ["CONTENTION"]


OPENED = [OPEN, (READ_AT, READ, 0, 0)]

WRONG = {
    "INITIALISATION: too early": {"script": [], "start": [(T.init - 1, *START[0][1:]), *START[1:]]},
    "INITIALISATION: not closed": {"script": [], "start": START[1:]},
    "INITIALISATION: no mode": {"script": [OPEN], "start": START[:-1]},
    "INITIALISATION: a refresh less": {"script": [OPEN], "start": [START[0], *START[2:]]},
    "MODE: another latency": {"script": [(0, MODE, 0, mode(2, BURST))]},
    "MODE: another burst": {"script": [(0, MODE, 0, mode(T.cas, 4))]},
    "MODE: a bank is open": {"script": [OPEN, (20, MODE, 0, SET)]},
    "ACTIVATE_OPEN": {"script": [OPEN, (20, ACTIVATE, 0, 1)]},
    "COLUMN_CLOSED: read": {"script": [OPEN, (20, READ, 1, 0)]},
    "COLUMN_CLOSED: after a refresh": {"script": [
        OPEN, (20, PRECHARGE, 1, ALL_BANKS), (30, REFRESH, 0, 0), (50, READ, 0, 0)]},
    "REFRESH_OPEN": {"script": [OPEN, (20, REFRESH, 0, 0)]},
    "UNDRIVEN: first": {"script": [OPEN, (20, WRITE, 0, 0)], "undriven": [20]},
    "UNDRIVEN: last": {"script": [OPEN, (20, WRITE, 0, 0)], "undriven": [20 + BURST - 1]},
    "UNKNOWN: stop": {"script": [OPEN, (20, STOP, 0, 0)]},
    "UNKNOWN: closed by a read": {"script": [OPEN, (20, READ, 0, ALL_BANKS)]},
    "UNKNOWN: masked": {"script": OPENED, "pins": {READ_AT: {"masks": 1}}},
    "UNKNOWN: no clock": {"script": OPENED, "pins": {READ_AT: {"cke": 0}}},
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_not_allowed_is_named(case):
    assert told(**WRONG[case])[0] == [case.partition(":")[0]]


def test_all_violations_are_shown_to_be_found():
    shown = {case.partition(" ")[0].rstrip(":") for case in (*TIMES, *WRONG)} | {"CONTENTION"}
    assert shown == {violation.name for violation in Violation}


@pytest.mark.parametrize("capture", [0, 1])
def test_words_come_after_the_cas_latency(capture):
    again = WRITE_AT + 10
    found, words = told([OPEN, (WRITE_AT, WRITE, 0, 6), (again, READ, 0, 6)], capture=capture,
                        data={WRITE_AT: 0x1234, WRITE_AT + 1: 0x5678})
    assert found == []
    first = again + T.cas - 1 + capture
    assert [words[first + word] for word in range(BURST)] == [0x1234, 0x5678]
    assert {0x1234, 0x5678}.isdisjoint(words[cycle] for cycle in words
                                       if not first <= cycle < first + BURST)
