# amaranth: UnusedElaboratable=no

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
from amaranth.hdl import Module, Mux
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.common.formats import OPERAND, Mode
from golden.core.isa import ACTIVATIONS, MODES, Layout, Source
from golden.cycles.feed import cycles, hidden
from golden.memory.scratchpad import (
    READ_LATENCY,
    empty,
    stride_of,
    words_of,
    write_operand,
    write_weights,
)
from golden.product.mac_array import Activation
from golden.product.operand_bytes import pack_weights, start_values
from rtl.common.delayed import delayed
from rtl.common.operands import TileActivation, TileMode, codebook_layout
from rtl.memory.scratchpad import scratchpad_word_layout
from rtl.memory.weight_buffer import WeightBuffer
from rtl.product import operand_feed as rtl_operand_feed
from rtl.product.kv_buffer import KvBuffer, WeightSource
from rtl.product.mac_array import MacArray
from rtl.product.operand_feed import OperandFeed, product_layout
from rtl.product.tile_drain import accumulators_layout
from tests.benches.gemm_streams import Product
from tests.benches.simulate import simulate
from tests.benches.streams import get, held, put, sink
from tests.cases.gemm_products import KINDS, random_product

SMALL = {"sram_kib": 4, "max_k": 600, "stream_words": 64, "key_words": 21}
CONFIGS = {
    "4x4": AcceleratorConfig(4, 4, lanes=4, **SMALL),
    "4x8": AcceleratorConfig(4, 8, lanes=4, **SMALL),
}
SQUARE, WIDE = CONFIGS.values()
LARGE = AcceleratorConfig(8, 16, lanes=8, **SMALL)
CODEBOOK = np.random.default_rng(5).integers(OPERAND.min, OPERAND.max, 16, endpoint=True)


class System(wiring.Component):
    """Weight buffer, feed and array, and a memory that stands for the scratchpad.

    What the memory gives in other cycles than that after a request is garbage.
    """

    def __init__(self, config, words):
        self._config, self._words = config, words
        self.buffer, self.feed = WeightBuffer(config), OperandFeed(config)
        self.array = MacArray(config)
        signatures = {name: self.buffer.signature.members[name]
                      for name in ("fill", "reserve", "room", "units")}
        super().__init__({
            **signatures,
            "run": In(product_layout),
            "start": In(1),
            "busy": Out(1),
            "done": Out(1),
            "port": Out(1),
            "codebook": In(codebook_layout),
            "o": Out(stream.Signature(accumulators_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer, m.submodules.feed = buffer, feed = self.buffer, self.feed
        m.submodules.array = array = self.array
        m.submodules.memory = words = memory.Memory(
            shape=scratchpad_word_layout(self._config), depth=len(self._words), init=self._words)
        read = words.read_port()
        came = delayed(m, feed.read.enable, "came", READ_LATENCY)
        m.d.comb += [
            read.en.eq(1),
            read.addr.eq(delayed(m, feed.read.address, "place", READ_LATENCY - 1)),
            feed.read.data.eq(Mux(came, read.data.as_value(), ~read.data.as_value())),
            feed.run.eq(self.run),
            feed.start.eq(self.start),
            self.busy.eq(feed.busy),
            self.done.eq(feed.done),
            self.port.eq(feed.read.enable),
            array.codebook.eq(self.codebook),
            self.room.eq(buffer.room),
            buffer.reserve.eq(self.reserve),
        ]
        for name in ("take", "skip", "window", "release"):
            connect(m, getattr(buffer, name), getattr(feed, name))
        connect(m, buffer.read, feed.ring)
        connect(m, feed.tile, array.tile)
        connect(m, feed.o, array.i)
        connect(m, flipped(self.fill), buffer.fill)
        connect(m, flipped(self.units), buffer.units)
        connect(m, flipped(self.o), array.o)
        return m


@dataclass(frozen=True)
class Run:
    """A product, and where its weights are."""

    product: Product
    weights: Source

    @property
    def shape(self):
        (m, k), n = self.product.a.shape, self.product.w.shape[1]
        return m, k, n


class Setting:
    """Scratchpad and stream of runs, and what they give."""

    def __init__(self, config, runs, seed=1):
        rng = np.random.default_rng(seed)
        self.config, self.runs = config, runs
        self.memory = empty(config)
        self.memory[:] = rng.integers(0, 1 << 16, self.memory.shape)
        self.fields, self.units, self.data = [], [], b""
        self._free = int(rng.integers(0, 9))
        for run in runs:
            product, mode = run.product, run.product.mode
            packed = Layout.OPERAND4 if mode.activation_bits == 4 else Layout.OPERAND8
            stored = product.a
            if packed is Layout.OPERAND4 and product.activation is Activation.UNSIGNED:
                stored = stored - 8
            source, source_stride = self._write(rng, packed, stored)
            weights = {}
            if run.weights is Source.STREAM:
                self._stream(rng, product)
            else:
                kind = "OPERAND" if run.weights is Source.KEYS else "WEIGHT"
                matrix = product.w.T if run.weights is Source.KEYS else product.w
                address, stride = self._write(rng, Layout[f"{kind}{mode.weight.bits}"], matrix)
                weights = {"weights_address": address, "weights_stride": stride}
            m, k, n = run.shape
            self.fields.append(product_layout.const({
                "mode": MODES[mode],
                "activation": ACTIVATIONS[product.activation],
                "weights": run.weights.value, "m": m, "k": k, "n": n,
                "source": source, "source_stride": source_stride, **weights}))

    def _write(self, rng, layout, matrix):
        """Store a matrix behind the others; return its address and stride."""
        stride = stride_of(layout, *matrix.shape, self.config) + int(rng.integers(0, 3))
        address = self._free + int(rng.integers(0, 4))
        if "OPERAND" in layout.name:
            write_operand(self.memory, address, stride, matrix, layout)
        else:
            write_weights(self.memory, address, stride, matrix, layout, self.config)
        self._free = address + words_of(layout, *matrix.shape, stride, self.config)
        return address, stride

    def _stream(self, rng, product):
        size = self.config.tile_cols(product.mode)
        for col in range(0, product.w.shape[1], size):
            header = rng.bytes(8 * size)
            self.units += [int.from_bytes(header[at:at + 8], "little")
                           for at in range(0, len(header), 8)]
            weights = pack_weights(product.w[:, col:col + size], product.mode, self.config)
            self.data += header + weights.tobytes()

    def beats(self):
        width = self.config.bus_bytes
        data = self.data + bytes(-len(self.data) % width)
        return [int.from_bytes(data[at:at + width], "little") for at in range(0, len(data), width)]


def compare(config, index, run, beats):
    """Compare the results of a run with the golden model; start values are zero."""
    product = run.product
    actual = product.result(beats, config)
    expected = product.expected(config, CODEBOOK) - start_values(
        product.w, product.mode, product.activation, config=config)
    wrong = np.argwhere(actual != expected)
    assert not len(wrong), (
        f"#{index} {product.name()} {run.weights.name}, {len(wrong)} wrong: at "
        f"{tuple(wrong[0].tolist())} {actual[tuple(wrong[0])]} != {expected[tuple(wrong[0])]} "
        "(expected)")


def check(config, runs, *, idle=0.0, stall=0.0, filled=False, seed=1, flip=None):
    """Run products one behind the other and compare.

    With `filled` a run starts when the ring holds what it can, and after all results of the one
    before. `flip` changes the setting. Returns the cycles that each run took, and in how many the
    port of the scratchpad was used.
    """
    setting = Setting(config, runs, seed)
    if flip:
        flip(setting)
    dut = System(config, setting.memory.tolist())
    counts = [run.product.beat_count(config) for run in runs]
    rng = random.Random(seed)
    results, starts, moments, used = [], [], [], 0
    filling = True

    async def time(ctx):
        nonlocal used
        cycle = 0
        while True:
            *_, start, result, port = await ctx.tick().sample(
                dut.start, dut.o.valid & dut.o.ready, dut.port)
            used += port
            if start:
                starts.append(cycle)
            if result:
                moments.append(cycle)
            cycle += 1

    async def fill(ctx):
        nonlocal filling
        for beat in setting.beats():
            while ctx.get(dut.room) == 0 or rng.random() < idle:
                await ctx.tick()
            ctx.set(dut.reserve, 1)
            await put(ctx, dut.fill, beat)
            ctx.set(dut.reserve, 0)
        filling = False

    async def control(ctx):
        ctx.set(dut.codebook, CODEBOOK.tolist())
        for index, fields in enumerate(setting.fields):
            while filled and ((filling and ctx.get(dut.room))
                              or len(results) < sum(counts[:index])):
                await ctx.tick()
            assert not ctx.get(dut.busy)
            ctx.set(dut.run, fields)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.done):
                assert ctx.get(dut.busy)
                await ctx.tick()

    async def collect(ctx):
        for index, count in enumerate(counts):
            for _ in range(count):
                while rng.random() < stall:
                    await ctx.tick()
                results.append((await get(ctx, dut.o)).as_bits())
            compare(config, index, runs[index], results[-count:])

    simulate(dut, control, fill, collect, sink(dut.units, setting.units, stall=stall),
             monitors=[time, held(dut.o), held(dut.feed.o), held(dut.feed.tile),
                       held(dut.buffer.window)],
             max_cycles=30_000)
    ends = np.cumsum(counts) - 1
    return [moments[end] - start + 1 for end, start in zip(ends, starts, strict=True)], used


def make(config, m, k, n, mode, activation=Activation.SIGNED, weights=Source.STREAM, seed=1):
    product = random_product(np.random.default_rng(seed), m, k, n, mode, activation, config)
    return Run(replace(product, start=None), weights)


def random_runs(config, sources, seed=1):
    """Every kind of product, ragged tiles, lengths from one on."""
    rng = np.random.default_rng(seed)
    lengths = rng.permutation([1, 2, 3, 5, 8, 13, 16, config.key_words])
    return [make(config, config.tile_rows(mode) * int(rng.integers(0, 2)) + int(rng.integers(1, 4)),
                 int(k), config.tile_cols(mode) * int(rng.integers(0, 3)) + int(rng.integers(1, 4)),
                 mode, activation, sources[index % len(sources)], seed + index)
            for index, ((mode, activation), k) in enumerate(zip(KINDS, lengths, strict=True))]


def test_codes_are_those_of_golden():
    assert {mode.name: code for mode, code in MODES.items()} == {
        each.name: each.value for each in TileMode}
    assert {kind.name: code for kind, code in ACTIVATIONS.items()} == {
        each.name: each.value for each in TileActivation}
    assert [(each.name, each.value) for each in WeightSource] == [
        (each.name, each.value) for each in Source]


@pytest.mark.parametrize("weights", Source, ids=lambda source: source.name)
@pytest.mark.parametrize("name", CONFIGS)
def test_matches_golden(name, weights):
    check(CONFIGS[name], random_runs(CONFIGS[name], [weights]))


@pytest.mark.parametrize(("idle", "stall"), [(0.6, 0.0), (0.2, 0.5)])
@pytest.mark.parametrize("name", CONFIGS)
def test_weights_of_all_sources_with_gaps_and_backpressure(name, idle, stall):
    check(CONFIGS[name], random_runs(CONFIGS[name], list(Source), 3), idle=idle, stall=stall)


def test_large_array():
    check(LARGE, [make(LARGE, 9, 5, 17, Mode.W8A8, Activation.CODE, Source.STREAM),
                  make(LARGE, 8, 6, 16, Mode.W8A8, Activation.SIGNED, Source.KEYS)])


def timed(config, weights, count=6):
    """Small products, of few tiles, whose weights the array often waits for."""
    rng = np.random.default_rng(2)
    runs = []
    for index, k in enumerate(rng.permutation(np.arange(1, config.key_words + 1))[:count]):
        mode = list(Mode)[index % 3]
        runs.append(make(config, int(rng.integers(1, 2 * config.tile_rows(mode) + 1)), int(k),
                         int(rng.integers(1, 4 * config.tile_cols(mode))), mode, weights=weights))
    return runs


@pytest.mark.parametrize("weights", Source, ids=lambda source: source.name)
@pytest.mark.parametrize("name", CONFIGS)
def test_takes_the_stated_cycles(name, weights):
    config = replace(CONFIGS[name], stream_words=256, bus_bytes=CONFIGS[name].cols)
    runs = timed(config, weights)
    shapes = [(*run.shape, run.product.mode, weights, config) for run in runs]
    assert len({hidden(*shape) for shape in shapes}) == 2
    measured, _ = check(config, runs, filled=True)
    for shape, count in zip(shapes, measured, strict=True):
        assert count == cycles(*shape), f"{shape[:5]}: {count} != {cycles(*shape)} (expected)"


def test_uses_the_port_in_every_other_cycle():
    run = make(SQUARE, 12, 20, 8, Mode.W8A8)
    _, used = check(SQUARE, [run])
    assert used == 3 * 2 * 20 // 2


@pytest.mark.parametrize("what", ["activations", *(source.name for source in Source)])
def test_wrong_bit_is_noticed(what):
    weights = Source.STREAM if what == "activations" else Source[what]
    run = make(WIDE, 6, 7, 9, Mode.W4A8, weights=weights)

    def flip(setting):
        fields = setting.fields[0]
        if what == "STREAM":
            header = 8 * WIDE.tile_cols(Mode.W4A8)
            setting.data = (setting.data[:header] + bytes([setting.data[header] ^ 2])
                            + setting.data[header + 1:])
        else:
            address = fields.source if what == "activations" else fields.weights_address
            bank = 0 if what == "VALUES" else address % WIDE.rows
            setting.memory[address, bank] ^= 2

    with pytest.raises(AssertionError, match="expected"):
        check(WIDE, [run], flip=flip)


def test_weights_released_too_early_are_noticed(monkeypatch):
    runs = [make(SQUARE, 9, 21, 20, Mode.W8A8)]
    check(SQUARE, runs)
    monkeypatch.setattr(rtl_operand_feed, "header_words", lambda mode: 16 * mode.col_slots)
    with pytest.raises(AssertionError, match="expected"):
        check(SQUARE, runs)


@pytest.mark.parametrize("part", [OperandFeed, KvBuffer])
def test_refuses_wrong_configuration(part):
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        part(8)
    with pytest.raises(ValueError, match="lanes must be rows"):
        part(AcceleratorConfig(4, 4, lanes=2))
