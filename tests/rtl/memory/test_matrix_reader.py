# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Assert, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.memory.scratchpad import READ_LATENCY, empty, read_wide, write_wide
from rtl.memory.matrix_reader import MatrixReader, matrix_layout
from rtl.memory.row_store import RowQueue, RowStore
from rtl.memory.shared_read import SharedRead
from tests.benches.simulate import simulate
from tests.benches.streams import held

CONFIG = AcceleratorConfig(4, 4, lanes=4, sram_kib=8)
WORDS, LANES = CONFIG.scratchpad_words, CONFIG.rows



def contents(seed=1):
    """A scratchpad of random numbers, as plain lists."""
    rng = random.Random(seed)
    return [[rng.randrange(1 << 16) for _ in range(LANES)] for _ in range(WORDS)]


class System(wiring.Component):
    """A reader and the memory of its queue; other ports are the reader's."""

    def __init__(self):
        self.reader = MatrixReader(CONFIG)
        self._store = RowStore(CONFIG, RowQueue.words(MatrixReader.PLACES))
        members = self.reader.signature.members
        super().__init__({name: members[name]
                          for name in ("run", "direct", "start", "read", "free", "o")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader, m.submodules.store = reader, _ = self.reader, self._store
        connect(m, reader.store, self._store.port)
        connect(m, reader.read, flipped(self.read))
        m.d.comb += [
            self.o.valid.eq(reader.o.valid | reader.queued.valid),
            self.o.payload.eq(Mux(self.direct, reader.o.payload.as_value(),
                                  reader.queued.payload.as_value())),
            reader.o.ready.eq(self.o.ready & self.direct),
            reader.queued.ready.eq(self.o.ready & ~self.direct),
            Assert(~Mux(self.direct, reader.queued.valid, reader.o.valid)),
        ]
        m.d.comb += [getattr(reader, name).eq(getattr(self, name))
                     for name in ("run", "direct", "start", "free")]
        return m


def order(run):
    """Addresses of a run: by tile columns, in these by rows."""
    size = run["tile_words"]
    return [run["address"] + row * run["stride"] + word
            for first in range(0, run["words"], size) for row in range(run["rows"])
            for word in range(first, min(first + size, run["words"]))]


def random_matrices(rng, count):
    """Matrices of all shapes, the shortest and the last of the scratchpad among them."""
    made = [{"address": 0, "stride": 1, "rows": 1, "words": 1, "tile_words": 1},
            {"address": WORDS - 1, "stride": 7, "rows": 1, "words": 1, "tile_words": 4}]
    for _ in range(count):
        rows, words = rng.randint(1, 9), rng.randint(1, 9)
        stride = words + rng.randrange(4)
        room = WORDS - (rows - 1) * stride - words
        made.append({"address": rng.choice([0, room, rng.randint(0, room)]), "stride": stride,
                     "rows": rows, "words": words,
                     "tile_words": rng.choice([1, rng.randint(1, words), words, words + 3])})
    return made


def check(runs, *, direct=(0,), stall=0.0, busy=0.0, flip=None, pause=2, seed=1):
    """Read matrices one after the other, and compare; return the cycles of the words of each.

    A run begins when all words of the one before have been given, up to `pause` cycles later. The
    port is not free with
    probability `busy`; what is at it but `READ_LATENCY` cycles after a read is garbage.
    """
    dut, words, rng = System(), contents(seed), random.Random(seed)
    times, cycle = [], 0
    if flip:
        words[flip][2] ^= 8

    async def memory(ctx):
        read, asked = dut.read, [None] * (READ_LATENCY - 1)
        while True:
            *_, enable, address, free = await ctx.tick().sample(read.enable, read.address, dut.free)
            assert free or not enable, "a word is read though the port is not free"
            asked.append(address if enable else None)
            place = asked.pop(0)
            ctx.set(read.data, words[place] if place is not None
                    else [rng.randrange(1 << 16) for _ in range(LANES)])

    async def control(ctx):
        nonlocal cycle
        clean = contents(seed)
        for index, run in enumerate(runs):
            ctx.set(dut.run, matrix_layout.const(run))
            ctx.set(dut.direct, direct[index % len(direct)])
            ctx.set(dut.start, 1)
            ctx.set(dut.o.ready, 0)
            cycle, given, times_of = 0, 0, []
            expected = order(run)
            while given < len(expected):
                ready = rng.random() >= stall
                ctx.set(dut.o.ready, ready and cycle > 0)
                ctx.set(dut.free, rng.random() >= busy)
                *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if cycle > 0 and ready and valid:
                    want = clean[expected[given]]
                    assert list(payload) == want, (
                        f"run {index} #{given}: {list(payload)} != {want} (expected)")
                    given += 1
                    times_of.append(cycle)
                ctx.set(dut.start, 0)
                cycle += 1
            times.append(times_of)
            ctx.set(dut.o.ready, 0)
            for _ in range(rng.randint(0, pause)):
                assert not ctx.get(dut.o.valid), "there is a word too many"
                await ctx.tick()

    simulate(dut, control, monitors=[memory, held(dut.o)], max_cycles=20_000)
    return times


@pytest.mark.parametrize(("stall", "busy"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.4)])
def test_reads_by_tile_columns(stall, busy):
    check(random_matrices(random.Random(2), 15), stall=stall, busy=busy)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("direct", [(1,), (1, 0)])
def test_reads_directly(direct, stall):
    check(random_matrices(random.Random(3), 15), direct=direct, stall=stall)


@pytest.mark.parametrize("direct", [(0,), (1,), (1, 0)])
def test_begins_again_in_the_cycle_after_the_last_word(direct):
    for each in check(random_matrices(random.Random(5), 15), direct=direct, pause=0):
        assert each == list(range(MatrixReader.LATENCY, MatrixReader.LATENCY + len(each)))


def test_matches_golden():
    memory = empty(CONFIG)
    memory[:] = contents()
    values = read_wide(memory, 40, 7, 6, 5 * LANES)
    run = {"address": 40, "stride": 7, "rows": 6, "words": 5, "tile_words": 5}
    check([run])
    rows = [memory[address] for address in order(run)]
    copy = empty(CONFIG)
    write_wide(copy, 40, 7, values)
    assert all((copy[address] == row).all() for address, row in
               zip(order(run), rows, strict=True))


def test_reads_hundreds_of_rows_and_words():
    check([{"address": 5, "stride": 1, "rows": 300, "words": 1, "tile_words": 1},
           {"address": 9, "stride": 300, "rows": 2, "words": 300, "tile_words": 270}])


@pytest.mark.parametrize("direct", [0, 1])
def test_gives_a_word_in_every_cycle_after_the_stated_latency(direct):
    times = check(random_matrices(random.Random(4), 6), direct=(direct,))
    for each in times:
        first = MatrixReader.LATENCY
        assert each == list(range(first, first + len(each)))


def test_queue_fills_as_far_as_stated():
    dut, count = System(), 0
    run = {"address": 0, "stride": 200, "rows": 1, "words": 200, "tile_words": 200}

    async def control(ctx):
        nonlocal count
        ctx.set(dut.run, matrix_layout.const(run))
        ctx.set(dut.free, 1)
        ctx.set(dut.start, 1)
        for _ in range(300):
            *_, asked = await ctx.tick().sample(dut.read.enable)
            ctx.set(dut.start, 0)
            count += asked

    simulate(dut, control)
    assert count == MatrixReader.PLACES


def test_wrong_bit_is_noticed():
    run = {"address": 10, "stride": 3, "rows": 4, "words": 2, "tile_words": 1}
    with pytest.raises(AssertionError, match="run 0 #6: .*expected"):
        check([run], flip=17)


class Clocked(wiring.Component):
    """A shared port, which has no clock, beside a register, which has one."""

    def __init__(self, count):
        self._inner = SharedRead(CONFIG, count)
        members = self._inner.signature.members
        super().__init__({**members, "begun": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self._inner
        m.d.sync += self.begun.eq(1)
        m.d.comb += self.free.eq(inner.free)
        connect(m, inner.port, flipped(self.port))
        for user, port in zip(self.users, inner.users, strict=True):
            connect(m, flipped(user), port)
        return m


class Users:
    """Users of a shared port that ask at random, and what each should see."""

    def __init__(self, count, often, seed=1):
        self.dut, self._count, self._often = Clocked(count), count, often
        self._rng = random.Random(seed)
        self.served = [0] * count

    def garbage(self):
        return [self._rng.randrange(1 << 16) for _ in range(LANES)]

    async def use(self, ctx):
        dut, rng = self.dut, self._rng
        for _ in range(400):
            asks = [rng.random() < self._often for _ in range(self._count)]
            places = [rng.randrange(WORDS) for _ in range(self._count)]
            for user, ask, place in zip(dut.users, asks, places, strict=True):
                ctx.set(user.enable, ask)
                ctx.set(user.address, place)
            there = self.garbage()
            ctx.set(dut.port.data, there)
            winner = asks.index(True) if any(asks) else None
            for index, user in enumerate(dut.users):
                assert ctx.get(dut.free) >> index & 1 == (winner is None or winner >= index)
                assert list(ctx.get(user.data)) == there
            assert ctx.get(dut.port.enable) == any(asks)
            if winner is not None:
                assert ctx.get(dut.port.address) == places[winner]
                self.served[winner] += 1
            await ctx.tick()


@pytest.mark.parametrize("often", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_first_user_that_asks_reads(count, often):
    users = Users(count, often)
    simulate(users.dut, users.use)
    assert users.served[0]
    assert all(users.served) == (often < 1 or count == 1)
