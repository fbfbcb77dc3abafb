# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component

from golden.common.config import CORES
from golden.common.exp2 import exp2
from golden.common.formats import ACT16, MANTISSA
from golden.results.requant import requant
from rtl.results.rescale import Rescale
from tests.benches.simulate import simulate

CORNERS = [ACT16.min, ACT16.max, -1, 0, 1, 2, 3, -3]


def check(exponent, low, high, offset=0):
    config = CORES["4x4"]
    rng = random.Random(exponent)
    values = [*CORNERS, *(rng.randint(-1 << rng.randint(1, 15), (1 << rng.randint(1, 15)) - 1)
                          for _ in range(40))]
    mantissa, shift = (int(part[0]) for part in exp2([exponent]))
    want = (requant([values], [mantissa] * len(values), [shift] * len(values), low, high)[0]
            - 8 * offset).tolist()
    results = feed(config, values, mantissa, shift, low, high, offset)
    assert results == want, f"{results} != {want} (expected)"


def feed(config, values, mantissa, shift, low, high, offset):
    dut = Rescale(config)
    m, lanes, results = wrapped(dut), config.lanes, []

    async def testbench(ctx):
        ctx.set(dut.multiplier, {"mantissa": mantissa, "shift": shift})
        ctx.set(dut.low, low)
        ctx.set(dut.high, high)
        ctx.set(dut.offset, offset)
        await ctx.tick()
        beats = [values[n:n + lanes] for n in range(0, len(values), lanes)]
        for cycle in range(len(beats) + Rescale.LATENCY):
            ctx.set(dut.i.valid, cycle < len(beats))
            ctx.set(dut.i.payload, beats[cycle] if cycle < len(beats) else [7] * lanes)
            assert ctx.get(dut.o.valid) == (cycle >= Rescale.LATENCY)
            if ctx.get(dut.o.valid):
                results.extend(ctx.get(dut.o.payload))
            await ctx.tick()

    simulate(m, testbench)
    return results


def wrapped(dut):
    """`dut` without ports, as the simulator wants one that is always ready."""
    class Top(Component):
        def elaborate(self, platform):
            m = Module()
            m.submodules.dut = dut
            return m

    return Top({})


@pytest.mark.parametrize(("low", "high"), [(-128, 127), (0, 255), (-7, 7), (0, 15)])
@pytest.mark.parametrize("exponent", [-9 * 1024 + 77, -5 * 1024, 0, 3 * 1024 + 500])
def test_matches_golden(exponent, low, high):
    check(exponent, low, high)
    check(exponent, low, high, offset=1)


@pytest.mark.parametrize("exponent", [-1024, -48 << 10, (16 << 10) - 1])
def test_whole_range(exponent):
    check(exponent, ACT16.min, ACT16.max)


def test_one_leaves_values_as_they_are():
    mantissa, shift = (int(part[0]) for part in exp2([0]))
    assert mantissa == 1 << MANTISSA.frac
    assert feed(CORES["4x4"], CORNERS, mantissa, shift, ACT16.min, ACT16.max, 0) == CORNERS
