# amaranth: UnusedElaboratable=no

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.results import gelu as golden_gelu
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


def check(config, values, *, coarse=0.0, idle=0.0, stall=0.0):
    """Compare with golden; a share of the columns is coarse."""
    dut = Gelu(config)
    beats = np.resize(values, (-(-len(values) // config.lanes), config.lanes))
    flags = (np.random.default_rng(2).random(beats.shape) < coarse).astype(int)
    expected = [gelu(*beat).tolist() for beat in zip(beats, flags, strict=True)]
    given = [offered(beat.tolist(), sum(flag << lane for lane, flag in enumerate(lanes.tolist())))
             for beat, lanes in zip(beats, flags, strict=True)]
    simulate(dut, source(dut.i, given, idle=idle), sink(dut.o, expected, list, stall=stall),
             monitors=[held(dut.o)])


@pytest.mark.parametrize("coarse", [0, 1])
def test_matches_golden_for_every_input(coarse):
    check(WIDE, EVERY, coarse=coarse)


@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_matches_golden_with_gaps_and_backpressure(name):
    values = np.random.default_rng(1).integers(-5000, 5000, 600)
    check(TEST_CONFIGS[name], values, coarse=0.3, idle=0.3, stall=0.3)


def test_matches_golden_on_recorded_activations():
    check(TEST_CONFIGS["8x16"], recorded().residual(0)[:20].ravel())


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
