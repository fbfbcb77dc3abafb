# amaranth: UnusedElaboratable=no

import random

import pytest

from golden.common.config import AcceleratorConfig
from rtl.memory.weight_buffer import WeightBuffer
from tests.benches.simulate import simulate
from tests.benches.streams import get, held, put, sink


def ring(rows, cols, bus_bytes, words=16):
    return AcceleratorConfig(rows, cols, lanes=rows, bus_bytes=bus_bytes, stream_words=words)


CONFIGS = {
    "words of 4, bus of 2": ring(4, 4, 2, 32),
    "words of 4, bus of 4": ring(4, 4, 4),
    "words of 8, bus of 2": ring(4, 8, 2),
    "words of 8, bus of 8": ring(8, 8, 8),
    "words of 16, bus of 4": ring(8, 16, 4),
    "words of 32, bus of 8": ring(16, 32, 8),
    "words of 32, bus of 32": ring(16, 32, 32, 4),
}
EIGHT = CONFIGS["words of 8, bus of 8"]


class Program:
    """Commands, the stream they go through, and what they give."""

    def __init__(self, config, count, seed=1):
        rng = random.Random(seed)
        self.config = config
        self.commands, self.units, self.windows, self.sizes = [], [], [], []
        first, self.firsts = 0, []
        for _ in range(count):
            size = rng.choice([1, 2, rng.randint(1, config.stream_words), config.stream_words])
            if rng.random() < 0.5:
                units = max(1, size * config.cols // 8 - rng.randrange(max(1, config.cols // 8)))
                size = -(-8 * units // config.cols)
                self.commands.append(("take", {"units": units, "free": rng.randrange(2)}))
            else:
                self.commands.append(("skip", size))
                self.windows.append(first % config.stream_words)
            self.firsts.append(first)
            self.sizes.append(size)
            first += size
        self.data = rng.randbytes(first * config.cols)
        for (name, payload), start in zip(self.commands, self.firsts, strict=True):
            if name == "take":
                place = start * config.cols
                self.units += [int.from_bytes(self.data[at:at + 8], "little") for at in
                               range(place, place + 8 * payload["units"], 8)]

    def word(self, index):
        return list(self.data[index * self.config.cols:(index + 1) * self.config.cols])


def filler(dut, data, *, idle=0.0, seed=3):
    """Return a testbench that requests beats where there is room, and gives them later."""
    width = len(dut.fill.payload) // 8
    beats = [int.from_bytes(data[at:at + width], "little") for at in range(0, len(data), width)]
    rng = random.Random(seed)

    async def testbench(ctx):
        requested = given = 0
        while given < len(beats):
            reserve = requested < len(beats) and ctx.get(dut.room) > 0 and rng.random() >= idle
            requested += reserve
            give = given < requested and rng.random() >= idle
            ctx.set(dut.reserve, reserve)
            ctx.set(dut.fill.valid, give)
            ctx.set(dut.fill.payload, beats[given])
            *_, ready = await ctx.tick().sample(dut.fill.ready)
            assert ready or not give, f"beat {given} not accepted"
            given += give
        ctx.set(dut.reserve, 0)
        ctx.set(dut.fill.valid, 0)

    return testbench


async def release(ctx, dut, words):
    await put(ctx, dut.release, words)


async def read(ctx, dut, address):
    """Read a word, and look at it a few cycles later."""
    ctx.set(dut.read.claim, 1)
    ctx.set(dut.read.enable, 1)
    ctx.set(dut.read.address, address)
    await ctx.tick()
    ctx.set(dut.read.claim, 0)
    ctx.set(dut.read.enable, 0)
    return list(ctx.get(dut.read.data))


def check(config, count=25, *, idle=0.0, stall=0.0, seed=1, data=None):
    """Go through a random program with random users, and compare all that comes out."""
    dut = WeightBuffer(config)
    program = Program(config, count, seed)
    rng = random.Random(seed)
    held_commands, given, windows, done = [], 0, [], False

    async def command(ctx):
        nonlocal done
        for (name, payload), first, size in zip(program.commands, program.firsts, program.sizes,
                                                strict=True):
            free = name == "take" and payload["free"]
            while free and held_commands:
                await ctx.tick()
            await put(ctx, getattr(dut, name), payload)
            if not free:
                held_commands.append((name, payload, first, size))
        done = True

    async def collect_units(ctx):
        nonlocal given
        for index, want in enumerate(program.units):
            while rng.random() < stall:
                await ctx.tick()
            got = await get(ctx, dut.units)
            assert got == want, f"unit #{index}: {got:x} != {want:x} (expected)"
            given += 1

    async def collect_windows(ctx):
        for _ in program.windows:
            while rng.random() < stall:
                await ctx.tick()
            windows.append(await get(ctx, dut.window))
        assert windows == program.windows

    async def use(ctx):
        """Look at the words that are held, oldest first, and release them."""
        needed = {first: sum(p["units"] for (n, p), f in
                             zip(program.commands, program.firsts, strict=True)
                             if n == "take" and f <= first) for first in program.firsts}
        while not done or held_commands:
            if not held_commands:
                await ctx.tick()
                continue
            name, _, first, size = held_commands[0]
            while name == "take" and given < needed[first]:
                await ctx.tick()
            for index in range(size):
                word = await read(ctx, dut, (first + index) % config.stream_words)
                for _ in range(rng.randrange(3) if stall else 0):
                    assert list(ctx.get(dut.read.data)) == word, "word changed while held"
                    await ctx.tick()
                assert word == program.word(first + index), (
                    f"word #{first + index}: {word} != {program.word(first + index)} (expected)")
            await release(ctx, dut, size)
            held_commands.pop(0)
        while given < len(program.units):
            await ctx.tick()
        await ctx.tick()
        beats = config.stream_words * config.cols // config.bus_bytes
        assert ctx.get(dut.room) == beats, "room lost"

    simulate(dut, command, collect_units, collect_windows, use,
             filler(dut, program.data if data is None else data(program.data), idle=idle),
             monitors=[held(dut.units), held(dut.window)], max_cycles=20_000)


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.6), (0.3, 0.3)])
@pytest.mark.parametrize("name", CONFIGS)
def test_gives_the_stream(name, idle, stall):
    check(CONFIGS[name], idle=idle, stall=stall)


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_gives_other_streams(seed):
    check(ring(8, 16, 8), 40, idle=0.2, stall=0.2, seed=seed)


def test_wrong_bit_is_noticed():
    def wrong(data):
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1:]

    with pytest.raises(AssertionError, match="expected"):
        check(EIGHT, data=wrong)


def moments(config, units, *, user=False, words=None):
    """Return the cycles, from the acceptance of a take on, in which its units are given.

    And that in which the next command, a skip, is taken. With `user`, words are read all the time.
    """
    dut = WeightBuffer(config)
    words = -(-8 * units // config.cols) + 1 if words is None else words
    times, next_command = [], None

    async def testbench(ctx):
        nonlocal next_command
        await filler(dut, bytes(words * config.cols))(ctx)
        await ctx.tick()
        ctx.set(dut.units.ready, 1)
        ctx.set(dut.window.ready, 1)
        ctx.set(dut.take.valid, 1)
        ctx.set(dut.take.p.units, units)
        for cycle in range(4 * units + 8):
            ctx.set(dut.read.claim, user)
            ctx.set(dut.read.enable, user)
            ctx.set(dut.read.address, cycle % config.stream_words)
            if cycle == 1:
                ctx.set(dut.take.valid, 0)
                ctx.set(dut.skip.valid, 1)
                ctx.set(dut.skip.payload, 1)
            *_, valid, skipped = await ctx.tick().sample(
                dut.units.valid, dut.skip.valid & dut.skip.ready)
            if valid:
                times.append(cycle)
            if skipped:
                next_command = cycle
                ctx.set(dut.skip.valid, 0)

    simulate(dut, testbench)
    return times, next_command


@pytest.mark.parametrize("name", ["words of 8, bus of 8", "words of 16, bus of 4",
                                  "words of 32, bus of 8"])
def test_gives_a_unit_in_every_cycle(name):
    config = CONFIGS[name]
    per_word = config.cols // 8
    times, next_command = moments(config, 10)
    assert times == list(range(WeightBuffer.LATENCY, WeightBuffer.LATENCY + 10))
    last_word = (10 - 1) // per_word * per_word
    assert next_command == times[last_word]


def test_gives_a_unit_of_two_words_in_every_other_cycle():
    times, next_command = moments(CONFIGS["words of 4, bus of 2"], 10)
    assert times == list(range(WeightBuffer.LATENCY + 1, WeightBuffer.LATENCY + 21, 2))
    assert next_command == times[-1]


@pytest.mark.parametrize(("name", "lost"), [("words of 4, bus of 2", 1),
                                            ("words of 8, bus of 8", 1),
                                            ("words of 16, bus of 4", 5)])
def test_goes_on_beside_a_user_that_reads_in_every_cycle(name, lost):
    times, _ = moments(CONFIGS[name], 10, user=True)
    alone, _ = moments(CONFIGS[name], 10)
    assert 0 <= times[-1] - alone[-1] <= lost


def test_full_ring_takes_no_more():
    config = ring(4, 8, 4, 8)
    dut = WeightBuffer(config)

    async def testbench(ctx):
        data = bytes(range(64))
        assert ctx.get(dut.room) == 16
        await filler(dut, data)(ctx)
        assert ctx.get(dut.room) == 0
        assert not ctx.get(dut.fill.ready)
        ctx.set(dut.window.ready, 1)
        await put(ctx, dut.skip, 8)
        assert ctx.get(dut.room) == 0
        await release(ctx, dut, 3)
        assert ctx.get(dut.room) == 6
        assert ctx.get(dut.fill.ready)
        for word in range(3, 8):
            assert await read(ctx, dut, word) == list(data[8 * word:8 * word + 8])

    simulate(dut, testbench)


def test_waits_for_the_words_to_skip():
    config = ring(4, 8, 8, 8)
    dut = WeightBuffer(config)

    async def testbench(ctx):
        ctx.set(dut.skip.payload, 3)
        ctx.set(dut.skip.valid, 1)
        for _ in range(3):
            assert not ctx.get(dut.window.valid)
            await filler(dut, bytes(8))(ctx)
        assert ctx.get(dut.window.valid)
        assert not ctx.get(dut.skip.ready)
        ctx.set(dut.window.ready, 1)
        assert ctx.get(dut.skip.ready)

    simulate(dut, testbench)


def test_clear_forgets_everything():
    config = ring(4, 8, 4, 8)
    dut = WeightBuffer(config)

    async def testbench(ctx):
        await filler(dut, bytes([255] * 36))(ctx)
        await put(ctx, dut.take, {"units": 20, "free": 0})
        for _ in range(4):
            await ctx.tick()
        assert ctx.get(dut.units.valid)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        assert ctx.get(dut.room) == 16
        assert not ctx.get(dut.units.valid)
        await filler(dut, bytes(range(8)))(ctx)
        await put(ctx, dut.take, {"units": 1, "free": 1})
        await sink(dut.units, [int.from_bytes(bytes(range(8)), "little")])(ctx)
        assert ctx.get(dut.room) == 16

    simulate(dut, testbench)


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        WeightBuffer(8)
    with pytest.raises(ValueError, match="lanes must be rows"):
        WeightBuffer(AcceleratorConfig(4, 4, lanes=2))
    with pytest.raises(ValueError, match="stream_words must be 2 or more, not 1"):
        WeightBuffer(ring(4, 4, 4, 1))
