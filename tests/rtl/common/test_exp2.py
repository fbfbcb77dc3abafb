# amaranth: UnusedElaboratable=no

import random

import pytest

from golden.common import exp2 as golden_exp2
from golden.common import formats
from golden.common.exp2 import exp2
from rtl.common import exp2 as rtl_exp2
from rtl.common.exp2 import Exp2
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source


def exponents(count, seed=1):
    rng = random.Random(seed)
    ends = [golden_exp2.LOWEST, golden_exp2.HIGHEST]
    corners = [formats.EXPONENT.min, formats.EXPONENT.max, -1, 0, 1, 1023, 1024,
               *ends, ends[0] - 1, ends[1] + 1]
    return corners + [rng.randint(*ends) for _ in range(count)]


def check(*, idle=0.0, stall=0.0):
    dut = Exp2()
    xs = exponents(300)
    expected = [{"mantissa": int(m), "shift": int(s)} for m, s in zip(*exp2(xs), strict=True)]
    simulate(dut, source(dut.i, xs, idle=idle),
             sink(dut.o, expected,
                  lambda p: {"mantissa": p.mantissa, "shift": p.shift}, stall=stall),
             monitors=[held(dut.o)])


@pytest.mark.parametrize(("idle", "stall"), [(0, 0), (0.5, 0.0), (0.2, 0.5)])
def test_matches_golden(idle, stall):
    check(idle=idle, stall=stall)


def test_latency():
    dut = Exp2()

    async def testbench(ctx):
        assert await latency(ctx, dut.i, dut.o, 0) == Exp2.LATENCY

    simulate(dut, testbench)


def test_flipped_table_bit_is_noticed(monkeypatch):
    samples = list(golden_exp2.TABLE.samples)
    samples[7] ^= 1

    class Mutant:
        TABLE = type(golden_exp2.TABLE)(tuple(samples), golden_exp2.TABLE.rest_bits)
        LOWEST, HIGHEST = golden_exp2.LOWEST, golden_exp2.HIGHEST

    monkeypatch.setattr(rtl_exp2, "exp2", Mutant)
    with pytest.raises(AssertionError, match="expected"):
        check()
