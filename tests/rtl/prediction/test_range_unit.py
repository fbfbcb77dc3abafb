# amaranth: UnusedElaboratable=no

from dataclasses import dataclass

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.common.formats import GAIN, LOG2, STATISTIC
from golden.prediction.range_shape import RangeShape, beats, range_cycles
from golden.prediction.range_unit import log_ranges, statistics
from rtl.prediction import extremes as rtl_extremes
from rtl.prediction import normalise as rtl_normalise
from rtl.prediction.range_unit import RangeUnit
from tests.benches.simulate import simulate
from tests.benches.streams import held, sink, source
from tests.benches.verilate import run_cocotb
from tests.cases.configs import TEST_CONFIGS, VERILOG_CONFIGS
from tests.cases.recorded import recorded

CONFIGS = {**TEST_CONFIGS, "2x6": AcceleratorConfig(2, 6, lanes=3, range_entries=64)}


@dataclass(frozen=True)
class Run:
    """One tensor for the range unit, with its normalisation."""

    shape: RangeShape
    x: np.ndarray
    mean: np.ndarray
    gain: np.ndarray

    def beats(self, config):
        """Beats, with junk where the golden model pads: the hardware must ignore it."""
        words = beats(self.x, self.shape, config)
        padding = beats(np.ones_like(self.x), self.shape, config) == 0
        junk = np.random.default_rng(3).choice([-32768, 32767], words.shape)
        return np.where(padding, junk, words).tolist()

    def normalisation(self):
        return [{"mean": mean, "gain": gain}
                for mean, gain in zip(self.mean.tolist(), self.gain.tolist(), strict=True)]

    def expected(self):
        values = statistics(self.x, self.shape.chunk_tokens, self.shape.groups, self.mean,
                            self.gain).tolist()
        return [{"value": value, "last": int(index == len(values) - 1)}
                for index, value in enumerate(values)]


def run(shape, x, seed=1):
    """Normalise the statistics of `x` so that most of them do not saturate."""
    rng = np.random.default_rng(seed)
    logs = log_ranges(x, shape.chunk_tokens, shape.groups)
    mean = np.clip(logs + rng.integers(-900, 900, logs.shape), LOG2.min, LOG2.max)
    return Run(shape, x, mean, rng.integers(1, 5 * GAIN.one, logs.shape))


def tensor(shape, seed=1):
    """Return activations of which each channel has its own range and place; some are extreme."""
    rng = np.random.default_rng(seed)
    size = (shape.tokens, shape.channels)
    spread = 2.0 ** rng.uniform(1, 14, shape.channels)
    x = rng.normal(rng.uniform(-1, 1, shape.channels) * spread, spread, size).round()
    x = np.where(rng.random(size) < 0.02, rng.choice([-1e9, 1e9], size), x)
    return np.clip(x, -32768, 32767).astype(np.int16)


def shapes(lanes):
    """Runs of every kind, small."""
    n = lanes
    return [
        RangeShape(7, 5 * n, 3),  # whole tensor, ragged last chunk
        RangeShape(7, 3 * n - n // 2, 3, 1, 2),  # ragged last word and column tile
        RangeShape(1, max(1, n - 1), 1),  # one beat
        RangeShape(6, 2 * n, 4, 2),  # entries come back every other beat
        RangeShape(9, 3 * n, 2, 3),  # and every third
        RangeShape(9, 4 * n, 20, 2, 3),  # column tiles cut a group; one chunk
        RangeShape(10, 6 * n, 4, 3, 1),  # groups of two words in tiles of one
        RangeShape(5, 2 * n + 1, 2, 2 * n + 1),  # single channels, ragged last word
        RangeShape(6, 4 * n, 1, 4 * n, 3),  # and column tiles; a chunk per token
        RangeShape(40, n, 2, n),  # more chunks than statistics
    ]


def random_runs(config):
    return [run(shape, tensor(shape, seed), seed)
            for seed, shape in enumerate(shapes(config.lanes))]


def fits(shape, config):
    try:
        shape.check(config)
    except ValueError:
        return False
    return True


def recorded_runs(config):
    """Recorded residual streams, split in every way that `config` has room for.

    Narrow configurations get the first tokens only, about as many beats as wide ones.
    """
    images = len(recorded().images)
    tokens = min(197, 5000 * config.lanes // 192)
    splits = [(13, 1, None), (13, 1, 4), (4, 8, 4), (2, 96, 2), (2, 192, None), (2, 192, 4)]
    runs = [RangeShape(tokens, 192, -(-tokens // chunks), groups, tile_words)
            for chunks, groups, tile_words in splits]
    return [run(shape, recorded().residual(index % images)[:tokens])
            for index, shape in enumerate(runs) if fits(shape, config)]


def feed(dut, config, runs, *, idle=0.0):
    """Return a testbench that sends one tensor after another, as soon as each is accepted."""
    async def testbench(ctx):
        for item in runs:
            while not ctx.get(dut.i.ready):
                await ctx.tick()
            ctx.set(dut.shape, item.shape.registers(config))
            await source(dut.i, item.beats(config), idle=idle)(ctx)

    return testbench


def check(config, runs, *, idle=0.0, stall=0.0, monitors=()):
    dut = RangeUnit(config)
    normalisation = [entry for item in runs for entry in item.normalisation()]
    expected = [statistic for item in runs for statistic in item.expected()]
    inside = np.mean([abs(statistic["value"]) < STATISTIC.max for statistic in expected])
    assert inside > 0.6, "statistics should not saturate most of the time"
    simulate(dut, feed(dut, config, runs, idle=idle),
             source(dut.normalisation, normalisation, idle=idle, seed=5),
             sink(dut.o, expected, lambda p: {"value": p.value, "last": p.last}, stall=stall),
             monitors=[held(dut.o), *(monitor(dut) for monitor in monitors)])


@pytest.mark.parametrize("name", CONFIGS)
def test_matches_golden(name):
    check(CONFIGS[name], random_runs(CONFIGS[name]), idle=0.3, stall=0.3)


def timeline(spans, waits):
    """Return a monitor that notes the first and last cycle of each run, and refused beats."""
    def monitor(dut):
        async def watch(ctx):
            cycle, running = 0, False
            while True:
                _, _, beat, ready, given, taken, statistic = await ctx.tick().sample(
                    dut.i.valid, dut.i.ready, dut.o.valid, dut.o.ready, dut.o.payload)
                if beat and ready and not running:
                    running = True
                    spans.append(cycle)
                if beat and not ready:
                    waits.append(cycle)
                if given and taken and statistic.last:
                    running = False
                    spans[-1] = (spans[-1], cycle)
                cycle += 1

        return watch

    return monitor


@pytest.mark.parametrize("name", CONFIGS)
def test_takes_the_stated_cycles_and_never_refuses_a_beat(name):
    config = CONFIGS[name]
    runs = random_runs(config)
    spans, waits = [], []
    check(config, runs, monitors=[timeline(spans, waits)])
    assert [stop - start + 1 for start, stop in spans] == [
        range_cycles(item.shape, config) for item in runs]
    assert not waits
    for (_, stop), (start, _) in zip(spans, spans[1:], strict=False):
        assert start == stop + 1, "the next tensor begins in the cycle after"


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(rtl_normalise, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], random_runs(CONFIGS["two-lanes"]))


def test_flipped_bit_of_an_extreme_is_noticed(monkeypatch):
    extend = rtl_extremes._extend

    def mutant(extremes, *arguments):
        high, *others = extend(extremes, *arguments)
        return [extremes.high.eq(high.rhs ^ 1), *others]

    monkeypatch.setattr(rtl_extremes, "_extend", mutant)
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], random_runs(CONFIGS["two-lanes"]))


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        RangeUnit(8)


@pytest.mark.verilator
@pytest.mark.parametrize("name", VERILOG_CONFIGS)
def test_verilog_matches_golden(name, tmp_path):
    run_cocotb(RangeUnit(TEST_CONFIGS[name]), testbench="tests.rtl.prediction.tb_range_unit",
               build_dir=tmp_path, env={"TB_CONFIG": name})
