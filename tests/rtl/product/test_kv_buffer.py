# amaranth: UnusedElaboratable=no

import random

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import MODES, Layout, Source
from golden.cycles.feed import load_words
from golden.memory.scratchpad import READ_LATENCY, empty, read_operand, read_weights
from rtl.product.kv_buffer import KvBuffer, product_layout
from tests.benches.simulate import simulate
from tests.benches.streams import get, held

SMALL = {"sram_kib": 8, "max_k": 600, "key_words": 21}
CONFIGS = {
    "4x4": AcceleratorConfig(4, 4, lanes=4, **SMALL),
    "4x8": AcceleratorConfig(4, 8, lanes=4, **SMALL),
    "8x16": AcceleratorConfig(8, 16, lanes=8, **SMALL),
}
SQUARE = CONFIGS["4x4"]


def contents(config, seed=1):
    """A scratchpad of random numbers."""
    memory = empty(config)
    memory[:] = np.random.default_rng(seed).integers(0, 1 << 16, memory.shape)
    return memory


def columns_of(run, mode, config):
    """Return the number of tile columns."""
    return -(-run["n"] // config.tile_cols(mode))


def tile_columns(memory, run, mode, config):
    """Return the bytes of each tile column as the array takes them, uint8 (k, cols).

    Packed or not, a byte of keys is that of an 8-bit matrix of as many bytes.
    """
    address, stride, k = run["weights_address"], run["weights_stride"], run["k"]
    size = columns_of(run, mode, config) * config.cols
    if run["weights"] == Source.KEYS:
        every = read_operand(memory, address, stride, size, k, Layout.OPERAND8, signed=False).T
    else:
        every = read_weights(memory, address, stride, k, size, Layout.WEIGHT8, config)
    return np.split(every.view(np.uint8), size // config.cols, axis=1)


def make(config, weights, mode, k, n, rng, *, last=False):
    """A product at any address, or at the end of the scratchpad; whole tile columns are read."""
    stride = -(-k * config.cols // config.word_bytes) + rng.randrange(3)
    parts = config.cols // config.rows
    if weights is Source.KEYS:
        stride = -(-k // 2) + rng.randrange(3)
    count = -(-n // config.tile_cols(mode)) * (parts if weights is Source.KEYS else 1)
    words = (count - 1) * stride + -(-k * config.cols // config.word_bytes)
    room = config.scratchpad_words - words
    return {"mode": MODES[mode], "weights": weights.value, "m": rng.randint(1, 99), "k": k, "n": n,
            "weights_address": room if last else rng.randint(0, room), "weights_stride": stride}


def random_runs(config, weights, seed=1):
    """Products of all modes, the shortest and the longest, with ragged tile columns."""
    rng = random.Random(seed)
    runs = []
    for index, k in enumerate((1, 2, 3, config.key_words, 6, 9, config.key_words - 1)):
        mode = list(Mode)[index % 3]
        n = config.tile_cols(mode) * rng.randint(0, 3) + rng.randint(1, config.tile_cols(mode))
        runs.append((mode, make(config, weights, mode, k, n, rng, last=index == 3)))
    return runs


class Bench:
    """Load tile columns, and compare them; see what the buffer reads.

    Attributes
    ----------
    reads, starts, offers, frees
        Cycles of what is read, of starts, in which a tile column is first offered, and of `free`.
    """

    def __init__(self, config, *, busy=0.0, slow=0.0, flip=None, seed=1):
        self.config, self.dut = config, KvBuffer(config)
        self._clean, self._memory = contents(config), contents(config)
        if flip:
            self._memory[flip] ^= 4
        self._busy, self._slow, self._rng = busy, slow, random.Random(seed)
        self.reads, self.starts, self.offers, self.frees, self.cycle = [], [], [], [], 0

    async def scratchpad(self, ctx):
        """Give what is read `READ_LATENCY` cycles later, and garbage in other cycles."""
        read, rng = self.dut.read, self._rng
        asked = [None] * (READ_LATENCY - 1)
        while True:
            ctx.set(self.dut.granted, rng.random() >= self._busy)
            *_, enable, granted, address = await ctx.tick().sample(
                read.enable, self.dut.granted, read.address)
            asked.append(address if enable and granted else None)
            place = asked.pop(0)
            ctx.set(read.data, self._memory[place].tolist() if place is not None else
                    [rng.randrange(1 << 16) for _ in range(self.config.rows)])

    async def watch(self, ctx):
        dut, before = self.dut, 0
        while True:
            *_, start, read, valid, taken, free = await ctx.tick().sample(
                dut.start, dut.read.enable & dut.granted, dut.column.valid,
                dut.column.valid & dut.column.ready, dut.free)
            for cycles, now in ((self.starts, start), (self.reads, read),
                                (self.offers, valid and not before), (self.frees, free)):
                if now:
                    cycles.append(self.cycle)
            before = valid and not taken
            self.cycle += 1

    async def pause(self, ctx):
        while self._rng.random() < self._slow:
            await ctx.tick()

    async def read(self, ctx, address, expected, what):
        """Read a word, which stays until the next read."""
        words = self.dut.words
        ctx.set(words.enable, 1)
        ctx.set(words.address, address)
        await ctx.tick()
        ctx.set(words.enable, 0)
        ctx.set(words.address, self._rng.randrange(2 * self.config.key_words))
        for _ in range(1 + (self._rng.randrange(3) if self._slow else 0)):
            got = list(ctx.get(words.data))
            assert got == expected, f"{what}: {got} != {expected} (expected)"
            if self._slow:
                await ctx.tick()

    async def use(self, ctx, mode, run):
        """Have the tile columns of a product loaded, and use them one after the other.

        One is taken as soon as the one before is free, as the operand feed does.
        """
        dut, config = self.dut, self.config
        ctx.set(dut.run, product_layout.const(run))
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for tile, expected in enumerate(tile_columns(self._clean, run, mode, config)):
            base = await get(ctx, dut.column)
            assert base == tile % 2 * config.key_words
            await self.pause(ctx)
            for index in range(run["k"]):
                await self.read(ctx, base + index, expected[index].tolist(),
                                f"{run} tile column {tile}, k {index}")
                await self.pause(ctx)
            ctx.set(dut.free, 1)
            await ctx.tick()
            ctx.set(dut.free, 0)
        for _ in range(self._rng.randrange(9)):
            assert not ctx.get(dut.column.valid), "there is a tile column too many"
            assert not ctx.get(dut.read.enable), "more is read than there is"
            await ctx.tick()

    def run(self, runs):
        async def control(ctx):
            for mode, run in runs:
                await self.use(ctx, mode, run)

        simulate(self.dut, control, monitors=[self.scratchpad, self.watch, held(self.dut.column)],
                 max_cycles=30_000)
        return self


def words_read(run, mode, weights, config):
    return columns_of(run, mode, config) * load_words(run["k"], weights, config)[0]


@pytest.mark.parametrize(("busy", "slow"), [(0.0, 0.0), (0.5, 0.0), (0.3, 0.4)])
@pytest.mark.parametrize("weights", [Source.KEYS, Source.VALUES], ids=lambda source: source.name)
@pytest.mark.parametrize("name", CONFIGS)
def test_tile_columns_match_golden(name, weights, busy, slow):
    config = CONFIGS[name]
    runs = random_runs(config, weights)
    bench = Bench(config, busy=busy, slow=slow).run(runs)
    assert len(bench.reads) == sum(words_read(run, mode, weights, config) for mode, run in runs)


def test_keys_and_values_take_turns():
    runs = [run for pair in zip(random_runs(SQUARE, Source.KEYS, 2),
                                random_runs(SQUARE, Source.VALUES, 3), strict=True) for run in pair]
    Bench(SQUARE, busy=0.2, slow=0.2).run(runs)


@pytest.mark.parametrize("weights", [Source.KEYS, Source.VALUES], ids=lambda source: source.name)
@pytest.mark.parametrize("name", ["4x4", "4x8"])
def test_offers_a_tile_column_after_the_stated_cycles(name, weights):
    config, rng = CONFIGS[name], random.Random(5)
    for k in (1, 2, 7, config.key_words):
        run = make(config, weights, Mode.W8A8, k, 1, rng)
        bench = Bench(config).run([(Mode.W8A8, run)])
        words, apart = load_words(k, weights, config)
        first = bench.starts[0] + 1
        assert bench.reads == list(range(first, first + words * apart, apart))
        single = apart == 1 or k % 2
        assert bench.offers == [bench.reads[-1] + KvBuffer.LATENCY - single]


def test_loads_two_tile_columns_ahead_and_no_more():
    run = make(SQUARE, Source.KEYS, Mode.W8A8, 8, 3 * SQUARE.cols, random.Random(6))
    bench = Bench(SQUARE, slow=0.9).run([(Mode.W8A8, run)])
    words = 8 // 2
    assert len(bench.reads) == 3 * words
    assert bench.reads[2 * words - 1] < bench.frees[0]
    assert bench.reads[2 * words] == bench.frees[0] + 1


def test_an_offer_that_is_not_taken_gives_way_to_the_next():
    run = make(SQUARE, Source.KEYS, Mode.W8A8, 8, 3 * SQUARE.cols, random.Random(9))
    bench = Bench(SQUARE)
    dut, offers = bench.dut, []

    async def testbench(ctx):
        ctx.set(dut.run, product_layout.const(run))
        ctx.set(dut.start, 1)
        for _ in range(40):
            *_, valid, base = await ctx.tick().sample(dut.column.valid, dut.column.payload)
            ctx.set(dut.start, 0)
            if valid and base not in offers:
                offers.append(base)

    simulate(dut, testbench, monitors=[bench.scratchpad])
    assert offers == [0, SQUARE.key_words]


def test_weights_of_the_stream_are_none_of_its_own():
    mode, run = Mode.W8A8, make(SQUARE, Source.KEYS, Mode.W8A8, 5, 4, random.Random(7))
    dut = KvBuffer(SQUARE)

    async def testbench(ctx):
        ctx.set(dut.granted, 1)
        ctx.set(dut.run, product_layout.const({**run, "weights": Source.STREAM.value}))
        ctx.set(dut.start, 1)
        for _ in range(30):
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.read.enable)
            assert not ctx.get(dut.column.valid)

    assert columns_of(run, mode, SQUARE) == 1
    simulate(dut, testbench)


@pytest.mark.parametrize("weights", [Source.KEYS, Source.VALUES], ids=lambda source: source.name)
def test_wrong_bit_is_noticed(weights):
    run = make(SQUARE, weights, Mode.W8A8, 6, 5, random.Random(8))
    with pytest.raises(AssertionError, match="expected"):
        Bench(SQUARE, flip=(run["weights_address"] + 1, 2)).run([(Mode.W8A8, run)])


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 'core'"):
        KvBuffer("core")
    with pytest.raises(ValueError, match="cols must be rows or twice as many in a core, not 16"):
        KvBuffer(AcceleratorConfig(4, 16, lanes=4))
