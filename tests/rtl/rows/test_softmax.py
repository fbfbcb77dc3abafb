# amaranth: UnusedElaboratable=no

import dataclasses
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from golden.common import exp2 as golden_exp2
from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.exp2 import exp2
from golden.common.formats import Mode
from golden.product.mac_array import gemm
from golden.results.requant import requant
from golden.rows.softmax import SCORE, STEP, codebook, softmax, softmax_codes
from golden.rows.softmax_run import cycles, highest_keys, registers
from rtl.rows import softmax_results, softmax_rows
from rtl.rows.softmax import Softmax
from tests.benches.simulate import simulate
from tests.benches.streams import held, sink, source
from tests.cases.configs import TEST_CONFIGS
from tests.cases.recorded import recorded

CONFIGS = {name: replace(config, max_tokens=4096) for name, config in TEST_CONFIGS.items()}
CONFIGS["2x6"] = AcceleratorConfig(2, 6, lanes=3, max_tokens=100)
STEPS = [0, 1, 341, 512, 1024, STEP.max]


@dataclass(frozen=True)
class Run:
    """Rows of scores, and the step of the codes they become."""

    scores: np.ndarray
    step: int

    def registers(self, config):
        return registers(self.scores.shape[1], self.step, config)

    def codebook(self):
        """Operands of the codes; junk for exponentials: the hardware must ignore it."""
        return codebook(self.step).tolist() if self.step else [99] * formats.CODE.max + [3]

    def _words(self, values, padding, config):
        rows, keys = values.shape
        words = np.broadcast_to(padding, (rows, -(-keys // config.lanes) * config.lanes)).copy()
        words[:, :keys] = values
        return words.reshape(rows, -1, config.lanes).tolist()

    def words(self, config):
        """Words, with junk beyond the last key: the hardware must ignore it."""
        junk = np.random.default_rng(3).choice([SCORE.min, SCORE.max], (len(self.scores), 1))
        return [word for row in self._words(self.scores, junk, config) for word in row]

    def expected(self, config):
        values, exponents = (softmax_codes(self.scores, self.step) if self.step
                             else softmax(self.scores))
        return [{"values": word, "last": int(index == len(row) - 1)}
                for row in self._words(values, 0, config)
                for index, word in enumerate(row)], exponents.tolist()


def corner_rows(keys):
    """Rows of `keys` scores: all alike, one above the others, both ends of the range."""
    low, high = SCORE.min, SCORE.max
    above, below = np.full(keys, -500), np.full(keys, high)
    above[keys // 2], below[0] = high, low
    ends = np.where(np.arange(keys) % 2, low, high)
    last = np.full(keys, low)
    last[-1] = high
    return np.array([np.zeros(keys), np.full(keys, low), np.full(keys, high), above, below, ends,
                     last], int)


def random_rows(keys, spread, rows=3):
    rng = np.random.default_rng(keys + spread)
    scores = rng.normal(rng.integers(-9000, 9000, (rows, 1)), spread, (rows, keys))
    return np.clip(np.rint(scores), SCORE.min, SCORE.max).astype(int)


def random_runs(config):
    """Runs of every kind and step, small."""
    n = config.lanes
    lengths = [1, max(1, n - 1), n, n + 1, 3 * n + n // 2, 5 * n, 30]
    rows = [*map(corner_rows, (1, n + 2, 2 * n)),
            *(random_rows(keys, spread) for keys in lengths for spread in (300, 2500))]
    return [Run(scores, STEPS[index % len(STEPS)]) for index, scores in enumerate(rows)]


def score_rows(rows, keys):
    """Recorded queries times keys as scores, log2 domain, Q6.10."""
    data = recorded()
    q, k = data.site("q", 5, 8), data.site("k", 5, 8)
    acc = gemm(q.values[0][:rows], k.values[0][:keys].T, Mode.W8A8)
    log2_e, head = 542, 3 << formats.LAMBDA.frac  # log2(log2(e)) and log2(sqrt(64)), as LAMBDA
    exponent = q.lam + k.lam + log2_e - head + (SCORE.frac << formats.LAMBDA.frac)
    mantissa, shift = exp2([exponent] * keys)
    return requant(acc, mantissa, shift, SCORE.min, SCORE.max)


class Progress:
    """Cycles in which words were accepted, and last words and exponents taken."""

    def __init__(self):
        self.accepted, self.last_words, self.exponents = [], [], []

    def monitor(self, dut):
        async def watch(ctx):
            cycle = 0
            while True:
                _, _, *word, given, taken, result, exponent, exponent_taken = (
                    await ctx.tick().sample(dut.i.valid, dut.i.ready, dut.o.valid, dut.o.ready,
                                            dut.o.payload, dut.exponent.valid,
                                            dut.exponent.ready))
                if all(word):
                    self.accepted.append(cycle)
                if given and taken and result.last:
                    self.last_words.append(cycle)
                if exponent and exponent_taken:
                    self.exponents.append(cycle)
                cycle += 1

        return watch

    def rows(self):
        return min(len(self.last_words), len(self.exponents))

    def cycles(self, runs, config):
        """Cycles of each run, from its first word to its last result or exponent."""
        words = np.cumsum([0] + [len(run.words(config)) for run in runs])
        rows = np.cumsum([len(run.scores) for run in runs]) - 1
        return [max(self.last_words[row], self.exponents[row]) - self.accepted[word] + 1
                for word, row in zip(words[:-1], rows, strict=True)]


def feed(dut, config, runs, progress, *, idle=0.0):
    """Return a testbench that sends one run after another, as soon as each is done."""
    async def testbench(ctx):
        rows = 0
        for seed, run in enumerate(runs):
            ctx.set(dut.shape, run.registers(config))
            ctx.set(dut.codebook, run.codebook())
            await source(dut.i, run.words(config), idle=idle, seed=seed)(ctx)
            rows += len(run.scores)
            while progress.rows() < rows:
                await ctx.tick()

    return testbench


def check(config, runs, *, idle=0.0, stall=0.0, exponent_stall=0.0):
    """Compare the results of `runs` with the golden model's; return the cycles of each."""
    dut = Softmax(config)
    progress = Progress()
    expected = [run.expected(config) for run in runs]
    simulate(dut, feed(dut, config, runs, progress, idle=idle),
             sink(dut.o, [word for words, _ in expected for word in words],
                  lambda p: {"values": list(p["values"]), "last": p.last}, stall=stall),
             sink(dut.exponent, [exponent for _, exponents in expected for exponent in exponents],
                  stall=exponent_stall, seed=7),
             monitors=[held(dut.o), held(dut.exponent), progress.monitor(dut)],
             max_cycles=40_000)
    return progress.cycles(runs, config)


@pytest.mark.parametrize("name", CONFIGS)
def test_matches_golden_in_exactly_the_stated_cycles(name):
    config = CONFIGS[name]
    runs = random_runs(config)
    got = check(config, runs)
    assert got == [cycles(*run.scores.shape, config) for run in runs]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("idle", "stall", "exponent_stall"), [(0.3, 0.3, 0.3), (0, 0, 0.97)])
def test_matches_golden_with_gaps_and_backpressure(name, idle, stall, exponent_stall):
    runs = random_runs(CONFIGS[name])[::2 if idle else 3]
    check(CONFIGS[name], runs, idle=idle, stall=stall, exponent_stall=exponent_stall)


def test_matches_golden_when_results_are_taken_late():
    check(CONFIGS["two-lanes"], random_runs(CONFIGS["two-lanes"])[::3], stall=0.9)


@pytest.mark.parametrize("step", [0, 512])
def test_longest_rows_stream_without_a_pause(step):
    config = CONFIGS["2x6"]
    runs = [Run(random_rows(highest_keys(config), 2000, 4), step)]
    assert check(config, runs) == [cycles(*runs[0].scores.shape, config)]


def test_longest_rows_wait_for_room_in_the_row_buffer():
    config = CONFIGS["2x6"]
    check(config, [Run(random_rows(highest_keys(config), 2000, 6), 0)], stall=0.7)


def test_every_exponential_matches_golden():
    distances = np.arange(9300).reshape(3, -1)
    distances[:, 0] = 0
    check(CONFIGS["8x16"], [Run(SCORE.max - distances, 0)])


@pytest.mark.parametrize("step", STEPS[1:])
def test_codes_match_golden_around_every_border(step):
    borders = (np.arange(17)[:, None] * step + (step + 1) // 2 + np.arange(-2, 3)).ravel()
    distances = np.clip(np.concatenate([[0], borders, [65535]]), 0, 65535)
    check(CONFIGS["8x16"], [Run(SCORE.max - distances[None], step)])


@pytest.mark.parametrize("step", [0, 512])
def test_matches_golden_on_recorded_scores(step):
    check(CONFIGS["8x16"], [Run(score_rows(8, 197), step)])


def test_most_keys():
    config = TEST_CONFIGS["8x16"]
    rows = np.vstack([np.zeros((1, highest_keys(config)), int),
                      random_rows(highest_keys(config), 1500, 1)])
    runs = [Run(rows, 0), Run(rows[:1], 1024)]
    assert check(config, runs) == [cycles(*run.scores.shape, config) for run in runs]


def test_exponent_follows_the_last_word():
    config = CONFIGS["two-lanes"]
    dut = Softmax(config)
    progress = Progress()
    run = Run(random_rows(7, 1000, 1), 0)
    words, exponents = run.expected(config)
    simulate(dut, feed(dut, config, [run], progress),
             sink(dut.o, [None] * len(words), lambda payload: None),
             sink(dut.exponent, exponents), monitors=[progress.monitor(dut)])
    assert progress.exponents[0] - progress.last_words[0] == dut.exponent_latency


def test_flipped_table_bit_is_noticed(monkeypatch):
    samples = list(golden_exp2.TABLE.samples)
    samples[7] ^= 1 << 5
    table = dataclasses.replace(golden_exp2.TABLE, samples=tuple(samples))
    monkeypatch.setattr(softmax_results, "exp2", SimpleNamespace(TABLE=table))
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["8x16"], [Run(SCORE.max - np.arange(2000)[None], 0)])


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(softmax_results, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], [Run(random_rows(30, 2000), 0)])


def test_flipped_bit_of_an_operand_is_noticed(monkeypatch):
    def mutant(step):
        operands = codebook(step)
        operands[5] ^= 1
        return operands

    run = Run(random_rows(30, 2000), 512)
    monkeypatch.setattr(Run, "codebook", lambda self: mutant(self.step).tolist())
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], [run])


def test_largest_of_one_lane_alone_is_noticed(monkeypatch):
    monkeypatch.setattr(softmax_rows, "_larger", lambda values: values[0])
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIGS["two-lanes"], [Run(corner_rows(30), 0)])


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Softmax(8)
