# amaranth: UnusedElaboratable=no

import dataclasses
import re

import pytest

from golden.selftest import self_test, stations
from golden.selftest.pattern import stimulus
from rtl.boards import BOARDS
from rtl.results import requant as rtl_requant
from rtl.selftest.pattern import PatternGenerator
from rtl.selftest.self_test import SelfTest
from rtl.selftest.stations import STATIONS
from tests.benches.simulate import simulate
from tests.benches.streams import sink
from tests.benches.terminal import terminal
from tests.cases.configs import TEST_CONFIGS

DIVISOR = 1
PAUSE = 100
SMALL = BOARDS["icebreaker"].config


def printed(config, *, rounds=1):
    """Return the text of the first rounds, and the outcome shown behind them."""
    dut = SelfTest(config, divisor=DIVISOR, pause=PAUSE)
    count = rounds * len(self_test.report(config))
    received = bytearray()
    outcome = {}

    async def show(ctx):
        await terminal(dut.tx, DIVISOR, received, count=count)(ctx)
        outcome.update(passed=ctx.get(dut.passed), failed=ctx.get(dut.failed))

    simulate(dut, show, max_cycles=60_000)
    return received.decode(), outcome


def verdicts(text):
    """Return the last word of each printed line that has a verdict."""
    return {line.split()[0]: line.split()[-1] for line in text.splitlines()[2:]}


def test_prints_what_golden_expects_round_after_round():
    text, outcome = printed(SMALL, rounds=2)
    assert text == 2 * self_test.report(SMALL)
    assert outcome == {"passed": 1, "failed": 0}


def test_several_lanes_and_columns_print_what_golden_expects():
    config = TEST_CONFIGS["two-lanes"]
    assert printed(config)[0] == self_test.report(config)


def test_a_wrong_expectation_prints_fail(monkeypatch):
    def mutated(config, checks=stations.checks):
        first, *others = checks(config)
        results = (*first.results[:-1], first.results[-1] ^ 1)
        return (dataclasses.replace(first, results=results), *others)

    expected = self_test.report(SMALL)
    monkeypatch.setattr(stations, "checks", mutated)
    text, outcome = printed(SMALL)
    assert text == re.sub(r"^((range|result) .*)PASS", r"\1FAIL", expected, flags=re.MULTILINE)
    assert outcome == {"passed": 0, "failed": 1}


def test_a_wrong_unit_prints_fail(monkeypatch):
    monkeypatch.setattr(rtl_requant, "round_shift", lambda value, bits: value >> bits)
    text, _ = printed(SMALL)
    wrong = {name for name, verdict in verdicts(text).items() if verdict == "FAIL"}
    assert wrong == {"requant", "result"}


def test_every_check_has_a_station():
    assert set(STATIONS) == set(stations.CHECKS)


def test_pattern_is_the_sequence_of_golden_and_restarts():
    dut = PatternGenerator(3)
    expected = [list(beat) for beat in stimulus(3, 50)]

    async def testbench(ctx):
        await sink(dut.o, expected, list, stall=0.3)(ctx)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        await sink(dut.o, expected, list)(ctx)

    simulate(dut, testbench)


def test_refuses_wrong_arguments():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        SelfTest(8, divisor=2, pause=2)
    with pytest.raises(ValueError, match="pause must be 1 or more, not 0"):
        SelfTest(TEST_CONFIGS["two-lanes"], divisor=2, pause=0)
    with pytest.raises(ValueError, match="divisor must be 1 or more, not 0"):
        SelfTest(TEST_CONFIGS["two-lanes"], divisor=0, pause=2)
    with pytest.raises(ValueError, match="words must be 1 or more, not 0"):
        PatternGenerator(0)
