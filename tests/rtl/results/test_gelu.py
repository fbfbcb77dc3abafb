# amaranth: UnusedElaboratable=no

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.results.curves import CURVES, GELU, LENGTH, OFFSETS, SLOPE, Curve, curve_table
from golden.results.gelu import INPUT, gelu
from rtl.results.gelu import Gelu
from tests.benches.activation_table import load_table
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source
from tests.cases.configs import TEST_CONFIGS
from tests.cases.recorded import recorded

WIDE = AcceleratorConfig(64, 64, lanes=64)
EVERY = np.arange(INPUT.min, INPUT.max + 1)


def offered(values, coarse=0):
    return {"values": values, "coarse": coarse}


def check(config, values, *, coarse=0.0, idle=0.0, stall=0.0, curve=GELU):
    """Compare with golden; a share of the columns is coarse."""
    dut = Gelu(config)
    beats = np.resize(values, (-(-len(values) // config.lanes), config.lanes))
    flags = (np.random.default_rng(2).random(beats.shape) < coarse).astype(int)

    given = [offered(beat.tolist(), sum(flag << lane for lane, flag in enumerate(lanes.tolist())))
             for beat, lanes in zip(beats, flags, strict=True)]

    async def offer(ctx):
        await load_table(ctx, dut, curve)
        await source(dut.i, given, idle=idle)(ctx)

    simulate(dut, offer, sink(dut.o, expected(curve, beats, flags), list, stall=stall),
             monitors=[held(dut.o)])


def expected(curve, beats, flags):
    if curve is GELU:
        return [gelu(*beat).tolist() for beat in zip(beats, flags, strict=True)]
    return np.where(flags, *(curve_table(curve, each)[beats - INPUT.min]
                             for each in (True, False))).tolist()


@pytest.mark.parametrize("coarse", [0, 1])
def test_matches_golden_for_every_input(coarse):
    check(WIDE, EVERY, coarse=coarse)


@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_matches_golden_with_gaps_and_backpressure(name):
    values = np.random.default_rng(1).integers(-5000, 5000, 600)
    check(TEST_CONFIGS[name], values, coarse=0.3, idle=0.3, stall=0.3)


def test_matches_golden_on_recorded_activations():
    check(TEST_CONFIGS["8x16"], recorded().residual(0)[:20].ravel())


@pytest.mark.parametrize("name", sorted(CURVES.keys() - {"gelu"}))
def test_matches_golden_with_a_table_for_every_input(name):
    check(WIDE, EVERY, coarse=0.1, curve=CURVES[name])


def test_matches_golden_with_tables_at_their_limits():
    most = (OFFSETS.max << 4) + 7
    steep = tuple(min(index * SLOPE.max, (LENGTH - index) * -SLOPE.min, most)
                  for index in range(LENGTH))
    saw = tuple(most - SLOPE.max * (index % 2) if index < LENGTH - 8 else (LENGTH - index) * 900
                for index in range(LENGTH))
    for curve in (Curve(steep, OFFSETS.max), Curve(steep, OFFSETS.max, True),
                  Curve(saw, OFFSETS.max, True)):
        check(TEST_CONFIGS["8x16"], np.random.default_rng(1).integers(-9000, 9000, 4000),
              coarse=0.1, stall=0.1, curve=curve)


def test_a_table_takes_the_place_of_another():
    dut = Gelu(TEST_CONFIGS["8x16"])
    values = np.arange(-3000, 3000, 97)[:8]

    async def testbench(ctx):
        ctx.set(dut.o.ready, 1)
        for curve in (CURVES["silu"], CURVES["relu"], GELU):
            await load_table(ctx, dut, curve)
            ctx.set(dut.i.payload, offered(values.tolist()))
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            *_, got = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            assert list(got) == curve_table(curve)[values - INPUT.min].tolist()

    simulate(dut, testbench)


def test_latency_and_a_beat_every_cycle():
    dut = Gelu(TEST_CONFIGS["uneven"])
    values = [-300, 5, 3000, 32767]

    async def testbench(ctx):
        await load_table(ctx, dut, GELU)
        assert await latency(ctx, dut.i, dut.o, offered([5])) == Gelu.LATENCY
        await ctx.tick()
        got = []
        ctx.set(dut.i.valid, 1)
        for cycle in range(Gelu.LATENCY + len(values)):
            ctx.set(dut.i.payload, offered([values[min(cycle, len(values) - 1)]]))
            *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            got += list(payload) if valid else []
        assert got == gelu(values).tolist()

    simulate(dut, testbench)


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Gelu(8)
