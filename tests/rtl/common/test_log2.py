# amaranth: UnusedElaboratable=no

import random

import pytest

from golden.common.log2 import HIGHEST, log2
from rtl.common import log2 as rtl_log2
from rtl.common.log2 import Log2
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source


def payloads(bits, count, seed=1):
    """Return integers of every length up to `bits`, ends of each length included."""
    rng = random.Random(seed)
    ends = [end for length in range(1, bits + 1) for end in (1 << (length - 1), (1 << length) - 1)]
    values = [0, *ends, *(rng.getrandbits(rng.randint(1, bits)) for _ in range(count))]
    return [{"value": min(value, HIGHEST), "last": rng.randrange(2)} for value in values]


def check(bits=25, *, idle=0.0, stall=0.0):
    dut = Log2(bits)
    beats = payloads(bits, 300)
    logs = log2([max(beat["value"], 1) for beat in beats])
    expected = [{"value": int(log), "last": beat["last"]}
                for log, beat in zip(logs, beats, strict=True)]
    simulate(dut, source(dut.i, beats, idle=idle),
             sink(dut.o, expected, lambda p: {"value": p.value, "last": p.last}, stall=stall),
             monitors=[held(dut.o)])


@pytest.mark.parametrize("bits", [1, 16, 25, 31, 32])
def test_matches_golden_and_takes_zero_as_one(bits):
    check(bits)


@pytest.mark.parametrize(("idle", "stall"), [(0.5, 0.0), (0.2, 0.5)])
def test_matches_golden_with_gaps_and_backpressure(idle, stall):
    check(idle=idle, stall=stall)


def test_latency():
    dut = Log2(25)

    async def testbench(ctx):
        assert await latency(ctx, dut.i, dut.o, {"value": 9, "last": 0}) == Log2.LATENCY

    simulate(dut, testbench)


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(rtl_log2, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check()


def test_refuses_wrong_width():
    with pytest.raises(ValueError, match=r"bits must be within 1\.\.32, not 33"):
        Log2(33)
