# amaranth: UnusedElaboratable=no

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.results import gelu as golden_gelu
from golden.results.curves import CURVES, GELU, LENGTH, OFFSETS, SLOPE, Curve, curve_table
from golden.results.gelu import INPUT, gelu
from rtl.results import gelu as rtl_gelu
from rtl.results.gelu import Gelu
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source
from tests.cases.configs import TEST_CONFIGS
from tests.cases.recorded import recorded

WIDE = AcceleratorConfig(64, 64, lanes=64)
EVERY = np.arange(INPUT.min, INPUT.max + 1)


def offered(values, coarse=0):
    return {"values": values, "coarse": coarse}


async def load(ctx, dut, curve):
    """Load a table, from its end."""
    for index in reversed(range(LENGTH)):
        ctx.set(dut.entry, {"valid": 1, "index": index, "value": curve.values[index],
                            "slope": curve.table.slopes[index]})
        await ctx.tick()
    ctx.set(dut.entry.valid, 0)
    ctx.set(dut.curve, {"wide": curve.wide, "offset": curve.offset})


def check(config, values, *, coarse=0.0, idle=0.0, stall=0.0, curves=()):
    """Compare with golden; a share of the columns is coarse. With `curves` do so with each of
    them, loaded one after the other, and with GELU behind each.
    """
    dut = Gelu(config)
    beats = np.resize(values, (-(-len(values) // config.lanes), config.lanes))
    flags = (np.random.default_rng(2).random(beats.shape) < coarse).astype(int)

    def expected(curve):
        if curve is GELU:
            return [gelu(*beat).tolist() for beat in zip(beats, flags, strict=True)]
        return np.where(flags, *(curve_table(curve, each)[beats - INPUT.min]
                                 for each in (True, False))).tolist()

    given = [offered(beat.tolist(), sum(flag << lane for lane, flag in enumerate(lanes.tolist())))
             for beat, lanes in zip(beats, flags, strict=True)]
    if not curves:
        simulate(dut, source(dut.i, given, idle=idle),
                 sink(dut.o, expected(GELU), list, stall=stall), monitors=[held(dut.o)])
        return

    async def testbench(ctx):
        for curve in curves:
            await load(ctx, dut, curve)
            for each in (curve, GELU):
                ctx.set(dut.loaded, each is curve)
                await ctx.tick()
                await stream_through(ctx, dut, given, expected(each))

    simulate(dut, testbench)


async def stream_through(ctx, dut, given, expected):
    """Offer a payload in every cycle, and compare what comes."""
    got = []
    ctx.set(dut.o.ready, 1)
    for cycle in range(len(given) + Gelu.LATENCY):
        ctx.set(dut.i.valid, cycle < len(given))
        ctx.set(dut.i.payload, given[min(cycle, len(given) - 1)])
        *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
        got += [list(payload)] if valid else []
    ctx.set(dut.i.valid, 0)
    *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
    got += [list(payload)] if valid else []
    for index, (found, wanted) in enumerate(zip(got, expected, strict=True)):
        assert found == wanted, f"payload {index}: got {found}, expected {wanted}"


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
    check(WIDE, EVERY, coarse=0.1, curves=[CURVES[name]])


def test_matches_golden_with_tables_at_their_limits():
    most = (OFFSETS.max << 4) + 7
    steep = tuple(min(index * SLOPE.max, (LENGTH - index) * -SLOPE.min, most)
                  for index in range(LENGTH))
    saw = tuple(most - SLOPE.max * (index % 2) if index < LENGTH - 8 else (LENGTH - index) * 900
                for index in range(LENGTH))
    check(TEST_CONFIGS["8x16"], np.random.default_rng(1).integers(-9000, 9000, 4000), coarse=0.1,
          curves=[Curve(steep, OFFSETS.max), Curve(steep, OFFSETS.max, True),
                  Curve(saw, OFFSETS.max, True),
                  CURVES["relu"], CURVES["silu"]])


def test_latency_and_a_beat_every_cycle():
    dut = Gelu(TEST_CONFIGS["uneven"])
    values = [-300, 5, 3000, 32767]

    async def testbench(ctx):
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


@pytest.mark.parametrize("sample", [1, 20, 40])
def test_flipped_table_bit_is_noticed(sample, monkeypatch):
    samples = list(golden_gelu.TABLE.samples)
    samples[sample] ^= 1
    table = dataclasses.replace(golden_gelu.TABLE, samples=tuple(samples))
    monkeypatch.setattr(rtl_gelu, "gelu", SimpleNamespace(**vars(golden_gelu) | {"TABLE": table}))
    with pytest.raises(AssertionError, match="expected"):
        check(WIDE, EVERY[abs(EVERY) < golden_gelu.END + 64])


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Gelu(8)
