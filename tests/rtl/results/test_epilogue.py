# amaranth: UnusedElaboratable=no

import random
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Assert, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import Out, connect, flipped

from golden.common.config import CORES
from golden.common.exp2 import exp2
from golden.common.formats import ACC, ACT16, EXPONENT, Mode
from golden.core import isa
from golden.core.bit_fields import pack
from golden.core.isa import Path
from golden.product.tiling import tiles
from golden.results.curves import GELU, LENGTH
from golden.results.gelu import gelu
from golden.results.requant import requant
from rtl.common.operands import TileMode
from rtl.memory.placement import placed_layout
from rtl.memory.row_store import row_layout
from rtl.results import epilogue as module
from rtl.results import rescale
from rtl.results.epilogue import Epilogue
from tests.benches.activation_table import load_table
from tests.benches.simulate import simulate
from tests.benches.streams import source

CONFIGURATIONS = {
    "4x4": CORES["4x4"],
    "4x8": replace(CORES["4x4"], cols=8),
    "8x16": CORES["8x16"],
}


class Bench(wiring.Component):
    """An epilogue whose outputs are ordinary streams, as the simulator wants them; a residual is
    announced as late as it may be before it is there.
    """

    def __init__(self, config):
        self.epilogue = Epilogue(config)
        members = dict(self.epilogue.signature.members)
        del members["announced"]
        super().__init__({**members, "o": Out(stream.Signature(placed_layout(config))),
                          "taps": Out(stream.Signature(row_layout(config)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.epilogue = inner = self.epilogue
        for name in ("units", "i"):
            connect(m, flipped(getattr(self, name)), getattr(inner, name))
        connect(m, inner.row_exponents, flipped(self.row_exponents))
        m.submodules.late = late = SyncFIFO(width=len(self.residuals.payload.as_value()), depth=64)
        there = [self.residuals.valid & self.residuals.ready]
        for stage in range(inner.SUMS - 2):
            register = Signal(name=f"there_{stage}")
            m.d.sync += register.eq(there[-1])
            there.append(register)
        words = [self.residuals.payload.as_value()]
        for stage in range(inner.SUMS - 2):
            register = Signal.like(words[-1], name=f"word_{stage}")
            m.d.sync += register.eq(words[-1])
            words.append(register)
        # No more are on their way than there is room for.
        room = Signal(range(33), init=32)
        taken = inner.residuals.valid & inner.residuals.ready
        m.d.sync += [room.eq(room - there[0] + taken),
                     Assert(late.r_rdy | ~inner.residuals.ready, "a residual is missing")]
        m.d.comb += [
            self.residuals.ready.eq(room != 0),
            inner.announced.eq(there[0]),
            late.w_en.eq(there[-1]),
            late.w_data.eq(words[-1]),
            inner.residuals.valid.eq(late.r_rdy),
            inner.residuals.payload.eq(late.r_data),
            late.r_en.eq(inner.residuals.ready),
            inner.run.eq(self.run),
            inner.start.eq(self.start),
            inner.curve.eq(self.curve),
            inner.entry.eq(self.entry),
            self.done.eq(inner.done),
            self.o.valid.eq(inner.o.valid),
            self.o.payload.eq(inner.o.payload),
            self.taps.valid.eq(inner.taps.valid),
            self.taps.payload.eq(inner.taps.payload),
        ]
        return m


@dataclass(frozen=True)
class Run:
    """A run, and the values that it is fed: `acc` of whole tiles, `units` of whole tile columns."""

    config: object
    fields: dict
    acc: np.ndarray
    units: dict
    residual: np.ndarray
    row_exponents: np.ndarray

    @property
    def mode(self):
        return next(mode for mode in Mode if TileMode[mode.name] == self.fields["mode"])

    @property
    def places(self):
        """Row and column of each beat, those that are dropped too."""
        lanes, m, n = self.config.lanes, self.fields["m"], self.fields["n"]
        if not self.fields["by_tiles"]:
            return [(row, col) for row in range(m) for col in range(0, n, lanes)]
        rows, cols = self.config.tile_rows(self.mode), self.config.tile_cols(self.mode)
        return [(top + row, left + col) for top, left in tiles(m, n, self.mode, self.config)
                for row in range(rows) for col in range(0, cols, lanes)]

    @property
    def inside(self):
        return [(row, col) for row, col in self.places
                if row < self.fields["m"] and col < self.fields["n"]]

    def beats(self, values, places):
        return [values[row, col:col + self.config.lanes].tolist() for row, col in places]

    def results(self):
        """Return y and the results, (m, n)."""
        fields = self.fields
        m, n, path, base = (fields[name] for name in ("m", "n", "path", "base"))
        columns = {name: values[:n] * fields["columns"] for name, values in self.units.items()}
        acc = self.acc[:m, :n] + columns["start"]
        limits = (fields["low"], fields["high"])
        first = limits if path == Path.DIRECT else (ACT16.min, ACT16.max)
        if fields["per_row"]:
            y = requant(acc.T, *multipliers(base - self.row_exponents[:m]), *first).T
        else:
            y = requant(acc, *multipliers(base + columns["exponent"]), *first)
        y = y.astype(np.int64)
        if path != Path.DIRECT:
            y += columns["bias"] + fields["residual"] * self.residual[:m, :n].astype(np.int64)
            y = y.clip(ACT16.min, ACT16.max)
        out = y
        if path == Path.SITE:
            if fields["gelu"]:
                coarse = np.tile(columns["coarse"], m)
                out = gelu(out.astype(np.int16).ravel(), coarse).reshape(m, n)
            out = requant(out, *multipliers(np.full(n, fields["base_out"])), *limits)
        return y, out - 8 * (fields["offset"] and path != Path.WIDE)

    def expected(self):
        """Return beats of y and of the results; places that do not count are None."""
        padded = np.full((2, *self.residual.shape), None, object)
        padded[:, :self.fields["m"], :self.fields["n"]] = self.results()
        y, out = (self.beats(values, self.inside) for values in padded)
        return y * self.fields["tap"], [
            (row, col, beat) for (row, col), beat in zip(self.inside, out, strict=True)]


def multipliers(exponents):
    return exp2(np.clip(exponents, EXPONENT.min, EXPONENT.max))


def make_run(config, rng, mode=Mode.W8A8, path=Path.SITE, m=None, n=None, **fields):
    """Return a run on random values whose results mostly keep within their formats."""
    m, n = m or rng.randint(1, 3 * config.rows), n or rng.randint(1, 5 * config.cols)
    fields = {"gelu": 0, "residual": 0, "tap": 0, "offset": 0, "by_tiles": 1, "columns": 1,
              "per_row": 0, **fields}
    numbers = np.random.default_rng(rng.randrange(1 << 32))
    height = -(-m // config.tile_rows(mode)) * config.tile_rows(mode)
    width = -(-n // config.tile_cols(mode)) * config.tile_cols(mode)
    low, high = rng.choice([(-128, 127), (0, 255), (-8, 7), (-7, 7), (0, 15), (-4, 3)])
    bits = (high - low).bit_length()
    acc = numbers.integers(-1 << 20, 1 << 20, (height, width))
    extreme = numbers.random(acc.shape) < 0.03
    acc[extreme] = numbers.choice([ACC.min, ACC.max, 0, -1], extreme.sum())
    start = numbers.integers(-1 << 18, 1 << 18, width) * fields["columns"]
    acc = acc.clip(ACC.min - start.clip(None, 0), ACC.max - start.clip(0, None))
    exponent = numbers.integers(-3 << 10, 1 << 10, width)
    target = -(20 - bits << 10) if path == Path.DIRECT else -(5 << 10)
    shared = rng.randint(-1 << 19, (1 << 19) - 4096)
    numbers_of = {"low": low, "high": high, "base": target - fields["columns"] * shared,
                  "base_out": bits - 15 + rng.randint(-1, 1) << 10}
    return Run(
        config,
        {"mode": TileMode[mode.name], "path": path, "m": m, "n": n, **numbers_of, **fields},
        acc,
        {"exponent": exponent + shared, "start": start,
         "bias": numbers.integers(-4000, 4000, width),
         "coarse": (numbers.random(width) < 0.3).astype(int)},
        numbers.integers(-20000, 20000, (height, width)).astype(np.int16),
        numbers.integers(-2 << 10, 2 << 10, height),
    )


def unit_words(run):
    units = {name: values.tolist() for name, values in run.units.items()}
    return [pack(dict(zip(units, values, strict=True)), isa.COLUMN)
            for values in zip(*units.values(), strict=True)] if run.fields["columns"] else []


def masked(beat, want):
    return [None if value is None else got for got, value in zip(beat, want, strict=True)]


async def drive(ctx, dut, run):
    """Start a run and wait until it is done."""
    assert ctx.get(dut.done)
    ctx.set(dut.run, run.fields)
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)
    assert not ctx.get(dut.done)
    while not ctx.get(dut.done):
        await ctx.tick()


def check(runs, *, idle=0.0, late=0):
    """Compare what runs, one after the other, give.

    Return the cycles in which beats were accepted, beats left, and `done` began.
    """
    config = runs[0].config
    dut = Bench(config)
    outputs, tapped, accepted, left, finished = [], [], [], [], []
    now = {"run": runs[0]}

    async def control(ctx):
        await load_table(ctx, dut, GELU)
        for run in runs:
            now["run"] = run
            await drive(ctx, dut, run)
        await ctx.tick()

    async def watch(ctx):
        cycle, done = 0, 1
        while True:
            before = done
            _, _, taken, valid, payload, done = await ctx.tick().sample(
                dut.i.valid & dut.i.ready, dut.o.valid, dut.o.payload, dut.done)
            cycle += 1
            if done and not before:
                finished.append(cycle)
            if taken:
                accepted.append(cycle)
            if valid:
                left.append(cycle)
                outputs.append((payload.row, payload.column, list(payload.values)))

    async def take_taps(ctx):
        while True:
            _, _, valid, payload = await ctx.tick().sample(dut.taps.valid, dut.taps.payload)
            if valid:
                tapped.append(list(payload))

    async def row_exponents(ctx):
        while True:
            _, _, address = await ctx.tick().sample(dut.row_exponents.address)
            table = now["run"].row_exponents
            ctx.set(dut.row_exponents.data, int(table[address % len(table)]))

    async def results(ctx):
        for _ in range(LENGTH + late):
            await ctx.tick()
        beats = [{"values": beat, "last": 0} for run in runs
                 for beat in run.beats(run.acc, run.places)]
        await source(dut.i, beats, idle=idle, seed=4)(ctx)

    units = [unit for run in runs for unit in unit_words(run)]
    residuals = [beat for run in runs if run.fields["residual"]
                 for beat in run.beats(run.residual, run.inside)]
    simulate(dut, control, results, source(dut.units, units, idle=idle / 2, seed=5),
             source(dut.residuals, residuals, idle=idle, seed=6),
             monitors=[watch, take_taps, row_exponents])
    compare(runs, outputs, tapped)
    return accepted, left, finished


def compare(runs, outputs, tapped):
    """Compare what has been collected with what golden gives."""
    outputs, tapped = iter(outputs), iter(tapped)
    for index, run in enumerate(runs):
        taps, results = run.expected()
        for number, want in enumerate(results):
            row, col, beat = next(outputs)
            got = row, col, masked(beat, want[2])
            assert got == want, f"run {index} #{number}: {got} != {want} (expected)"
        for number, want in enumerate(taps):
            got = masked(next(tapped), want)
            assert got == want, f"run {index} tap #{number}: {got} != {want} (expected)"
    assert not [*outputs, *tapped]


def all_kinds(config, mode, rng):
    """Return a run of each path with and without the rest, in random order."""
    def make(path, **fields):
        return make_run(config, rng, mode, path, tap=rng.randint(0, path != Path.DIRECT),
                        offset=rng.randint(0, 1), **fields)

    runs = [
        make(Path.WIDE, gelu=1), make(Path.WIDE, residual=1),
        make(Path.WIDE, residual=1, columns=0), make(Path.SITE),
        make(Path.SITE, residual=1), make(Path.SITE, gelu=1),
        make(Path.SITE, gelu=1, residual=1), make(Path.SITE, columns=0, per_row=1, gelu=1),
        make(Path.DIRECT), make(Path.DIRECT, columns=0), make(Path.DIRECT, columns=0, per_row=1),
        make(Path.DIRECT, columns=0, by_tiles=0),
    ]
    rng.shuffle(runs)
    return runs


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", ["4x4", "4x8"])
def test_matches_golden(name, mode):
    check(all_kinds(CONFIGURATIONS[name], mode, random.Random(1)), idle=0.3)


def test_matches_golden_without_pauses():
    config = CONFIGURATIONS["8x16"]
    rng = random.Random(2)
    check([make_run(config, rng, Mode.W4A4, Path.SITE, m=19, n=37, gelu=1, residual=1, tap=1),
           make_run(config, rng, Mode.W8A8, Path.WIDE, m=9, n=17, residual=1, tap=1),
           make_run(config, rng, Mode.W8A8, Path.DIRECT, m=11, n=29, columns=0, by_tiles=0)])


def test_units_of_a_long_result_do_not_overtake_its_beats():
    rng = random.Random(9)
    runs = [make_run(CONFIGURATIONS["4x4"], rng, mode, Path.WIDE, m=m, n=n, residual=1, tap=1)
            for mode, m, n in ((Mode.W8A8, 3, 101), (Mode.W4A8, 5, 77), (Mode.W4A4, 9, 130))]
    check(runs, idle=0.5)


def test_results_are_mostly_within_their_formats():
    rng = random.Random(3)
    for run in all_kinds(CONFIGURATIONS["4x8"], Mode.W4A4, rng):
        y, out = run.results()
        low, high = run.fields["low"], run.fields["high"]
        inner = out + 8 * (run.fields["offset"] and run.fields["path"] != Path.WIDE)
        limits = (ACT16.min, ACT16.max) if run.fields["path"] == Path.WIDE else (low, high)
        assert np.mean((limits[0] < inner) & (inner < limits[1])) > 0.2


@pytest.mark.parametrize("path", Path)
def test_ties_round_up_and_all_values_saturate(path):
    config = CONFIGURATIONS["4x4"]
    run = make_run(config, random.Random(4), path=path, m=4, n=20, tap=1,
                   residual=int(path != Path.DIRECT))
    low, high = (ACT16.min, ACT16.max) if path == Path.WIDE else (-8, 7)
    corners = [1, -1, 3, -3, 2 * high, 2 * high + 1, 2 * high - 1, 2 * low, 2 * low - 1,
               2 * low + 1, ACC.max, ACC.min, 2 * ACT16.max + 1, 2 * ACT16.min - 1]
    acc = np.resize(corners, run.acc.shape)
    nothing = {name: np.zeros_like(values) for name, values in run.units.items()}
    bias = np.resize([0, ACT16.max, ACT16.min, 0, 1], acc.shape[1])
    residual = np.resize(np.array([0, ACT16.max, ACT16.min], np.int16), acc.shape)
    fields = {**run.fields, "low": low, "high": high, "base": -1024, "base_out": -1024}
    plain = replace(run, acc=acc, units=nothing, residual=0 * residual, fields=fields)
    check([plain, replace(plain, units={**nothing, "bias": bias}, residual=residual),
           replace(plain, units={**nothing, "exponent": nothing["exponent"] - (1 << 19)},
                   fields={**fields, "base": -1 << 23, "base_out": (1 << 23) - 1}),
           replace(plain, units={**nothing, "exponent": nothing["exponent"] + (1 << 19) - 1},
                   fields={**fields, "base": (1 << 23) - 1, "base_out": -1 << 23})])


@pytest.mark.parametrize("mode", Mode)
def test_takes_a_beat_every_cycle(mode):
    rng = random.Random(5)
    for rows in (1, 3):
        run = make_run(CONFIGURATIONS["4x8"], rng, mode, m=rows * 4, n=75, residual=1, gelu=1,
                       tap=1)
        accepted, _, _ = check([run], late=80)
        assert all(after - before == 1 for before, after in pairwise(accepted))
    run = make_run(CONFIGURATIONS["4x4"], rng, mode, Path.DIRECT, m=13, n=26, columns=0, per_row=1)
    accepted, _, _ = check([run], late=20)
    assert all(after - before == 1 for before, after in pairwise(accepted))


@pytest.mark.parametrize(("path", "fields"), [
    (Path.WIDE, {"residual": 1, "tap": 1}), (Path.SITE, {}), (Path.SITE, {"gelu": 1}),
    (Path.DIRECT, {"columns": 0}), (Path.DIRECT, {"columns": 0, "by_tiles": 0})])
def test_latency(path, fields):
    run = make_run(CONFIGURATIONS["4x4"], random.Random(6), path=path, m=4, n=12, **fields)
    accepted, left, finished = check([run], idle=0 if run.fields["residual"] else 0.5)
    assert [cycle - Epilogue.LATENCY for cycle in left] == accepted
    assert finished == [left[-1] + 1]


def test_takes_nothing_before_a_run():
    dut = Bench(CONFIGURATIONS["4x4"])

    async def testbench(ctx):
        ctx.set(dut.run, {"n": 3, "m": 3, "columns": 1, "by_tiles": 1})
        for port in (dut.i, dut.units, dut.residuals):
            ctx.set(port.valid, 1)
        for _ in range(20):
            assert ctx.get(dut.done)
            assert not ctx.get(dut.i.ready)
            assert not ctx.get(dut.units.ready)
            assert not ctx.get(dut.epilogue.residuals.ready)
            await ctx.tick()

    simulate(dut, testbench)


def test_coarse_columns_make_a_difference():
    run = make_run(CONFIGURATIONS["4x4"], random.Random(7), m=4, n=8, gelu=1)
    run = replace(run, fields={**run.fields, "low": -1 << 15, "high": (1 << 15) - 1, "base_out": 0})
    plain = replace(run, units={**run.units, "coarse": 1 - run.units["coarse"]})
    wrong = plain.expected()
    check([run])
    assert run.expected() != wrong


@pytest.mark.parametrize("what", ["acc", "residual", "row_exponents", "exponent", "bias", "start"])
def test_a_wrong_bit_is_noticed(what, monkeypatch):
    run = make_run(CONFIGURATIONS["4x4"], random.Random(7), path=Path.WIDE, m=4, n=4, residual=1,
                   columns=int(what != "row_exponents"), per_row=int(what == "row_exponents"))
    if what in run.units:
        wrong = replace(run, units={**run.units, what: run.units[what] ^ 1 << 10})
    else:
        values = getattr(run, what).copy()
        values.flat[1] ^= 1 << 10
        wrong = replace(run, **{what: values})
    right = run.expected()
    monkeypatch.setattr(Run, "expected", lambda self: right)
    with pytest.raises(AssertionError, match="expected"):
        check([wrong])


def test_truncation_at_the_end_is_noticed(monkeypatch):
    def truncated(self, m, lane, addend, low, high, right=rescale.Rescale._lane):
        return right(self, m, lane, addend - 1, low, high)

    monkeypatch.setattr(module.Rescale, "_lane", truncated)
    with pytest.raises(AssertionError, match="expected"):
        check([make_run(CONFIGURATIONS["4x4"], random.Random(8), m=4, n=8)])


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        Epilogue(8)
    with pytest.raises(ValueError, match=r"lanes must be rows \(4\) in a core, not 2"):
        Epilogue(replace(CORES["4x4"], lanes=2))
