# amaranth: UnusedElaboratable=no

from dataclasses import dataclass, field

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACC, ACT16
from golden.rows.layernorm import (
    BETA,
    COARSE,
    EPSILON,
    GAMMA,
    INTERVAL,
    ROOT,
    SQUARES,
    SUM,
    VALUE,
    VARIANCE,
    cycles,
    epsilon_units,
    fraction_of,
    layer_norm,
    normalize,
    root_kernel,
)
from rtl.rows import norm_lanes, norm_root
from rtl.rows.layernorm import LayerNorm
from rtl.rows.norm_lanes import Affine, Normalize
from rtl.rows.norm_root import Root, Variance
from rtl.rows.norm_rows import RowBuffer
from rtl.rows.norm_sums import RowSums
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source
from tests.cases.configs import TEST_CONFIGS
from tests.cases.recorded import recorded

CONFIGS = {**TEST_CONFIGS, "2x6": AcceleratorConfig(2, 6, lanes=3)}
WIDE = AcceleratorConfig(16, 32, lanes=32)
LOW, HIGH = ACT16.min, ACT16.max


@dataclass(frozen=True)
class Run:
    """The rows of one layer, with its constants."""

    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: int
    coarse: np.ndarray

    @property
    def channels(self):
        return self.x.shape[1]

    def registers(self, config):
        return {"channels": self.channels, "last_word": self.channels // config.lanes - 1,
                "epsilon": self.epsilon}

    def constants(self):
        columns = (self.gamma.tolist(), self.beta.tolist(), self.coarse.tolist())
        return [dict(zip(("gamma", "beta", "coarse"), channel, strict=True))
                for channel in zip(*columns, strict=True)]

    def words(self, config):
        return self.x.reshape(-1, config.lanes).tolist()

    def expected(self, config):
        values = layer_norm(self.x, self.gamma, self.beta, self.epsilon, self.coarse)
        words = self.channels // config.lanes
        return [(word, int(index % words == words - 1))
                for index, word in enumerate(values.reshape(-1, config.lanes).tolist())]


def run(x, epsilon=0, seed=1, share=0.0):
    """Normalise `x` with an affine that saturates now and then, in the first channel above all.

    A share of the channels is coarse.
    """
    rng = np.random.default_rng(seed)
    channels = x.shape[1]
    gamma = rng.integers(GAMMA.min, GAMMA.max + 1, channels)
    beta = rng.normal(0, 2.0**28, channels).round().clip(BETA.min, BETA.max).astype(np.int64)
    gamma[0], beta[0] = rng.choice([GAMMA.min, GAMMA.max]), rng.choice([BETA.min, BETA.max])
    return Run(x, gamma, beta, epsilon, (rng.random(channels) < share).astype(int))


def random_rows(channels, count, seed=1):
    """Return rows of which each has a spread and a mean of its own."""
    rng = np.random.default_rng(seed)
    spread = np.exp2(rng.uniform(0, 14.5, (count, 1)))
    mean = rng.uniform(-1, 1, (count, 1)) * (HIGH - 2 * spread).clip(0)
    return rng.normal(mean, spread, (count, channels)).round().clip(LOW, HIGH).astype(np.int64)


def corner_rows(channels):
    """Return equal channels, full range alternating, ramps and single outliers, both ways."""
    rows = [np.full(channels, value) for value in (LOW, -1, 0, 1, HIGH)]
    rows.append(np.where(np.arange(channels) % 2, LOW, HIGH))
    rows.append(np.linspace(LOW, HIGH, channels).astype(int))
    for place, base, outlier in ((0, HIGH, LOW), (-1, LOW, HIGH), (channels // 2, 0, 1)):
        row = np.full(channels, base)
        row[place] = outlier
        rows.append(row)
    return np.array([*rows, *(-1 - row for row in rows)])


def random_runs(config):
    """Runs of short and long rows, one of a single row, with all sizes of epsilon."""
    lanes = config.lanes
    return [run(random_rows(words * lanes, count, seed), epsilon, seed, share)
            for seed, (words, count, epsilon, share) in enumerate([
                (1, 12, 0, 0),
                (2, 9, 1_000_003, 0.3),
                (INTERVAL, 1, EPSILON.max, 0),
                (INTERVAL + 1, 6, 1 << 30, 0.05),
                (20, 4, 1, 0.5),
                (3, 9, 7, 1),
                (4, 5, 1 << 20, 0),
            ])]


@dataclass
class Timeline:
    """What a monitor sees: cycles of each run, words refused in between, words given in all."""

    lengths: list[int]
    spans: list[int] = field(default_factory=list)
    refused: int = 0
    given: int = 0

    def monitor(self, dut):
        async def watch(ctx):
            cycle, start, end = 0, None, 0
            while True:
                _, _, offered, ready, valid, taken = await ctx.tick().sample(
                    dut.i.valid, dut.i.ready, dut.o.valid, dut.o.ready)
                if start is None and offered and ready:
                    start, end = cycle, self.given + self.lengths[len(self.spans)]
                self.refused += start is not None and offered and not ready
                self.given += valid and taken
                if start is not None and self.given == end:
                    self.spans.append(cycle - start + 1)
                    start = None
                cycle += 1

        return watch


def feed(dut, config, runs, timeline, *, idle=0.0):
    """Return a testbench that gives every run once the results of the last have been taken.

    A word and a constant too many are offered after the last constant and must not be taken.
    """
    async def testbench(ctx):
        given = 0
        for item in runs:
            while timeline.given < given:
                await ctx.tick()
            words, constants = item.words(config), item.constants()
            given += len(words)
            ctx.set(dut.shape, item.registers(config))
            ctx.set(dut.load, 1)
            await source(dut.constants, constants, idle=idle, seed=5)(ctx)
            ctx.set(dut.constants.valid, 1)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            assert not ctx.get(dut.constants.ready)
            assert not ctx.get(dut.i.ready)
            ctx.set(dut.constants.valid, 0)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.load, 0)
            await source(dut.i, words, idle=idle)(ctx)

    return testbench


def check(config, runs, *, idle=0.0, stall=0.0):
    """Compare with golden; return the timeline."""
    dut = LayerNorm(config)
    timeline = Timeline([len(item.words(config)) for item in runs])
    expected = [word for item in runs for word in item.expected(config)]
    saturated = np.mean(np.isin([values for values, _ in expected], [ACC.min, ACC.max]))
    assert saturated < 0.4, "accumulators should not saturate most of the time"
    simulate(dut, feed(dut, config, runs, timeline, idle=idle),
             sink(dut.o, expected, lambda p: (list(p.values), p.last), stall=stall),
             monitors=[held(dut.o), timeline.monitor(dut)])
    return timeline


@pytest.mark.parametrize("name", CONFIGS)
def test_matches_golden(name):
    check(CONFIGS[name], random_runs(CONFIGS[name]), idle=0.3, stall=0.3)


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.7), (0.7, 0.0)])
def test_matches_golden_where_one_side_is_slow(idle, stall):
    check(CONFIGS["2x6"], random_runs(CONFIGS["2x6"]), idle=idle, stall=stall)


def test_corner_rows_match_golden():
    config = CONFIGS["two-lanes"]
    runs = [run(corner_rows(channels), epsilon, share=share)
            for channels, epsilon, share in ((2, 0, 0), (16, 0, 0.2), (16, EPSILON.max, 0.5),
                                             (64, 0, 0.1), (16, 0, 1))]
    assert not normalize(runs[0].x[:5], 0).any(), "equal channels have no variance"
    check(config, runs)


@pytest.mark.parametrize(("name", "channels", "share"), [
    ("uneven", 1024, 1), ("2x6", 1023, 0.01), ("2x6", 1026, 0.01), ("8x16", 1024, 1),
    ("8x16", 1032, 0.01), ("8x16", 1536, 0), ("8x16", 2048, 0), ("8x16", 2048, 1)])
def test_longest_rows_match_golden(name, channels, share):
    rows = corner_rows(channels)[[0, 4, 5, 7]]  # sums and results as large as they get
    assert rows[0].sum() == channels * LOW  # of all channels that there can be, SUM.min
    largest = np.sqrt(channels - 1) * 2**fraction_of(channels)
    assert np.abs(normalize(rows, 0)).max() == pytest.approx(largest, rel=2e-4)
    assert rows.min() << COARSE == VALUE.min
    timeline = check(CONFIGS[name], [run(rows, share=share)])
    assert timeline.spans == [cycles(4, channels, CONFIGS[name])]
    assert not timeline.refused


def test_recorded_residuals_match_golden():
    data = recorded()
    runs = [run(data.residual(image)[:40], epsilon_units("1e-6", 192, data.frac), image)
            for image in range(2)]
    check(CONFIGS["8x16"], runs, idle=0.1, stall=0.1)


@pytest.mark.parametrize("config", [*CONFIGS.values(), pytest.param(WIDE, marks=pytest.mark.long)],
                         ids=[*CONFIGS, "wide"])
def test_takes_the_stated_cycles(config):
    runs = random_runs(config)
    timeline = check(config, runs)
    assert timeline.spans == [cycles(*item.x.shape, config) for item in runs]


def test_never_refuses_a_word_of_rows_that_are_long_enough():
    config = CONFIGS["two-lanes"]
    words = (INTERVAL, INTERVAL + 1, 40)
    timeline = check(config, [run(random_rows(config.lanes * n, 8)) for n in words])
    assert not timeline.refused
    assert check(config, [run(random_rows(config.lanes * (INTERVAL - 1), 30))]).refused


@pytest.mark.parametrize(("dut", "i", "value", "stages"), [
    (RowSums(1), "i", {"last": 1}, RowSums(1).latency),
    (RowSums(5), "i", {"last": 1}, RowSums(5).latency),
    (Variance(), "i", {}, Variance.LATENCY),
    (Root(), "i", {}, Root.LATENCY),
    (RowBuffer(CONFIGS["two-lanes"]), "scales", {}, RowBuffer.LATENCY),
    (Normalize(CONFIGS["two-lanes"]), "i", {}, Normalize.LATENCY),
    (Affine(CONFIGS["two-lanes"]), "i", {}, Affine.LATENCY),
], ids=lambda value: type(value).__name__ if hasattr(value, "signature") else None)
def test_latency(dut, i, value, stages):
    async def testbench(ctx):
        assert await latency(ctx, getattr(dut, i), dut.o, value) == stages

    simulate(dut, testbench)


def test_variance_is_exact_at_its_limits():
    rng = np.random.default_rng(1)
    top = 1 << (SQUARES.bits - 1)
    sums = [(0, 0), (SUM.min, top), (SUM.min, top - 1 + (1 << 10)), (HIGH << 10, HIGH**2 << 10),
            (1 << 17, 1 << 30), (-(1 << 17), 1 << 24), ((1 << 17) - 1, 1 << 34), (-1, 1), (0, top)]
    sums += [(total, int(rng.integers(total**2 >> 11, top) + 1))
             for total in rng.integers(SUM.min, SUM.max, 20).tolist()]
    for channels, epsilon in ((2048, 0), (2048, EPSILON.max), (2048, 0x5555_1234_5678)):
        dut = Variance()

        async def constants(ctx, dut=dut, channels=channels, epsilon=epsilon):
            ctx.set(dut.channels, channels)
            ctx.set(dut.epsilon, epsilon)

        expected = [(total, (channels * squares - total**2 + epsilon) % (VARIANCE.max + 1))
                    for total, squares in sums]
        simulate(dut, constants,
                 source(dut.i, [{"sum": total, "squares": squares} for total, squares in sums]),
                 sink(dut.o, expected, lambda p: (p.sum, p.variance), stall=0.2))


def test_root_matches_golden_wherever_the_leading_one_is():
    rng = np.random.default_rng(2)
    variances = [VARIANCE.max]
    for leading in range(VARIANCE.bits):
        variances += (rng.integers(0, 1 << leading, 12) + (1 << leading)).tolist()
    expected = [tuple(map(int, root_kernel(variance))) for variance in variances]
    assert max(root for root, _ in expected) == ROOT.one
    dut = Root()
    simulate(dut, source(dut.i, [{"variance": variance} for variance in variances], idle=0.1),
             sink(dut.o, expected, lambda p: (p.root, p.exponent), stall=0.1),
             monitors=[held(dut.o)])


def test_buffer_refuses_words_while_full_and_loses_none():
    config = CONFIGS["8x16"]
    dut = RowBuffer(config)
    row = 100
    words = random_rows(config.lanes, 8 * row).tolist()

    async def scales(ctx):
        ctx.set(dut.last_word, row - 1)
        for _ in range(7 * row):
            await ctx.tick()
        assert not ctx.get(dut.i.ready)
        await source(dut.scales, [{"sum": number} for number in range(8)], idle=0.5)(ctx)

    coarse = np.random.default_rng(1).integers(0, 1 << config.lanes, len(words)).tolist()
    given = [{"values": word, "coarse": flags} for word, flags in zip(words, coarse, strict=True)]
    expected = [(word, flags, index // row, index % row, int(index % row == row - 1))
                for index, (word, flags) in enumerate(zip(words, coarse, strict=True))]
    simulate(dut, scales, source(dut.i, given),
             sink(dut.o, expected, lambda p: (list(p["values"]), p.coarse, p.scale.sum, p.word,
                                              p.last), stall=0.1), monitors=[held(dut.o)])


def flipped(values, index):
    return (*values[:index], values[index] ^ 1, *values[index + 1:])


@pytest.mark.parametrize("table", ["_VALUES", "_SLOPES"])
def test_flipped_table_bit_is_noticed(table, monkeypatch):
    entry = 17
    monkeypatch.setattr(norm_root, table, flipped(getattr(norm_root, table), entry))
    dut = Root()
    variances = range((32 + entry) << 9, (33 + entry) << 9, 7)
    expected = [int(root_kernel(variance)[0]) for variance in variances]
    with pytest.raises(AssertionError, match="expected"):
        simulate(dut, source(dut.i, [{"variance": variance} for variance in variances]),
                 sink(dut.o, expected, lambda p: p.root))


@pytest.mark.parametrize("module", [norm_lanes, norm_root])
def test_truncation_instead_of_rounding_is_noticed(module, monkeypatch):
    monkeypatch.setattr(module, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], random_runs(CONFIGS["two-lanes"]))


def test_flipped_bit_of_a_factor_is_noticed(monkeypatch):
    factors = Variance._factors

    def mutant(self, sums):
        *others, (left, right) = factors(self, sums)
        return [*others, (left, right ^ 1)]

    monkeypatch.setattr(Variance, "_factors", mutant)
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], random_runs(CONFIGS["two-lanes"]))


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        LayerNorm(8)
