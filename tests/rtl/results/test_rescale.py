# amaranth: UnusedElaboratable=no

import random

from amaranth.hdl import Module
from amaranth.lib.wiring import Component

from golden.common.config import CORES
from golden.common.exp2 import exp2
from golden.common.formats import ACT16, MANTISSA
from golden.results.requant import requant
from rtl.results.rescale import Rescale
from tests.benches.simulate import simulate

CORNERS = [ACT16.min, ACT16.max, -1, 0, 1, 2, 3, -3]


RANGES = [(-128, 127), (0, 255), (-7, 7), (0, 15)]
EXPONENTS = [-9 * 1024 + 77, -5 * 1024, 0, 3 * 1024 + 500]
WHOLE = (ACT16.min, ACT16.max)


def check(cases):
    """Compare with golden, for each `(exponent, low, high, offset)` of `cases` in turn."""
    config = CORES["4x4"]
    fed, want = [], []
    for exponent, low, high, offset in cases:
        rng = random.Random(exponent)
        values = [*CORNERS, *(rng.randint(-1 << rng.randint(1, 15), (1 << rng.randint(1, 15)) - 1)
                              for _ in range(40))]
        mantissa, shift = (int(part[0]) for part in exp2([exponent]))
        fed.append((values, mantissa, shift, low, high, offset))
        want.append((requant([values], [mantissa] * len(values), [shift] * len(values),
                             low, high)[0] - 8 * offset).tolist())
    results = feed(config, fed)
    for case, got, expected in zip(cases, results, want, strict=True):
        assert got == expected, f"{case}: {got} != {expected} (expected)"


def feed(config, cases):
    """Return what comes out for each of `cases`: values, then what they are rescaled with."""
    dut = Rescale(config)
    m, lanes, results = wrapped(dut), config.lanes, []

    async def testbench(ctx):
        for values, mantissa, shift, low, high, offset in cases:
            ctx.set(dut.multiplier, {"mantissa": mantissa, "shift": shift})
            ctx.set(dut.low, low)
            ctx.set(dut.high, high)
            ctx.set(dut.offset, offset)
            await ctx.tick()
            beats, got = [values[n:n + lanes] for n in range(0, len(values), lanes)], []
            for cycle in range(len(beats) + Rescale.LATENCY):
                ctx.set(dut.i.valid, cycle < len(beats))
                ctx.set(dut.i.payload, beats[cycle] if cycle < len(beats) else [7] * lanes)
                assert ctx.get(dut.o.valid) == (cycle >= Rescale.LATENCY)
                if ctx.get(dut.o.valid):
                    got.extend(ctx.get(dut.o.payload))
                await ctx.tick()
            results.append(got)

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


def test_matches_golden():
    check([(exponent, low, high, offset)
           for exponent in EXPONENTS for low, high in RANGES for offset in (0, 1)])


def test_whole_range():
    check([(exponent, *WHOLE, 0) for exponent in (-1024, -48 << 10, (16 << 10) - 1)])


def test_one_leaves_values_as_they_are():
    mantissa, shift = (int(part[0]) for part in exp2([0]))
    assert mantissa == 1 << MANTISSA.frac
    case = (CORNERS, mantissa, shift, *WHOLE, 0)
    assert feed(CORES["4x4"], [case]) == [CORNERS]
