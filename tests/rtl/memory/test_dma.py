# amaranth: UnusedElaboratable=no

import itertools
import random

import pytest

from golden.common.config import AcceleratorConfig
from golden.core.isa import Opcode
from golden.cycles.stream import WRITTEN
from golden.memory.scratchpad import READ_LATENCY
from rtl.memory.dma import Dma
from tests.benches.dma_system import System
from tests.cases.transfers import (
    MEMORY_BYTES,
    STREAM,
    TOP,
    carried_out,
    linear,
    patches,
    random_transfers,
)


def core(rows, cols, bus_bytes, **choices):
    choices = {"sram_kib": rows // 2, "stream_words": 16, "max_k": 1024, **choices}
    return AcceleratorConfig(rows, cols, lanes=rows, bus_bytes=bus_bytes, **choices)


CONFIGS = {
    "4x4, bus of 2": core(4, 4, 2),
    "4x4, bus of 4": core(4, 4, 4),
    "4x8, bus of 8": core(4, 8, 8),
    "8x16, bus of 4": core(8, 16, 4),
    "8x16, bus of 8": core(8, 16, 8),
    "8x16, bus of 16": core(8, 16, 16),
}
SQUARE = CONFIGS["4x4, bus of 4"]


def check(config, transfers, *, stream_bytes=0, pause=0, flip=None, max_cycles=30_000, **kinds):
    """Carry out transfers, beside a stream, and compare; return the system.

    Before each of them up to `pause` cycles pass. The stream ends at the last address there is.
    `flip` changes the system before the last transfer.
    """
    system = System(config, **kinds)
    memory, words, rng = system.memory.copy(), system.words.copy(), random.Random(3)
    data = memory[MEMORY_BYTES - stream_bytes:].tobytes()

    def compare():
        system.compare(memory, words)

    async def control(ctx):
        await ctx.tick()
        await system.begin(ctx, TOP + MEMORY_BYTES - stream_bytes, stream_bytes)
        assert ctx.get(system.dut.ended) == (stream_bytes == 0)
        for index, fields in enumerate(transfers):
            for _ in range(rng.randint(0, pause)):
                await ctx.tick()
            if flip and index == len(transfers) - 1:
                flip(system)
            await system.transfer(ctx, fields, compare if not flip else lambda: None)
            carried_out(fields, memory, words, config)
        while not ctx.get(system.dut.idle):
            await ctx.tick()
        assert ctx.get(system.dut.ended)
        assert not ctx.get(system.dut.error)
        for _ in range(3):
            await ctx.tick()
        compare()

    system.run(control, max_cycles)
    of_stream = [address for _, address, _ in system.requests if address >= TOP + STREAM]
    assert of_stream == list(range(TOP + MEMORY_BYTES - stream_bytes, TOP + MEMORY_BYTES,
                                   config.bus_bytes))
    assert system.reserved == len(of_stream)
    assert b"".join(beat.to_bytes(config.bus_bytes, "little") for beat in system.stream) == data
    return system


KINDS = {
    "ideal memory": {},
    "slow memory": {"latency": 5, "jitter": 9},
    "stalls and gaps": {"jitter": 3, "stall": 0.5, "idle": 0.4, "pause": 9},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_transfers_match_golden(name):
    check(CONFIGS[name], random_transfers(CONFIGS[name], 1))


@pytest.mark.parametrize("kind", KINDS)
def test_gives_the_stream(kind):
    check(SQUARE, [], stream_bytes=5 * SQUARE.stream_words * SQUARE.cols, full=0.3, **KINDS[kind])


@pytest.mark.parametrize("kind", ["slow memory", "stalls and gaps"])
@pytest.mark.parametrize("name", CONFIGS)
def test_transfers_beside_a_stream(name, kind):
    config = CONFIGS[name]
    check(config, random_transfers(config, 2), stream_bytes=5 * config.stream_words * config.cols,
          full=0.9, **KINDS[kind])


LONG = {
    "LOAD": lambda rng: linear(Opcode.LOAD, SQUARE, SQUARE.scratchpad_words, rng),
    "STORE": lambda rng: linear(Opcode.STORE, SQUARE, SQUARE.scratchpad_words, rng),
    "long runs": lambda rng: patches(SQUARE, rng, runs=1, run_beats=127, grid=1, rows=3),
    "many runs": lambda rng: patches(SQUARE, rng, runs=127, run_beats=1, grid=3, rows=1),
    "many patches": lambda rng: patches(SQUARE, rng, runs=1, run_beats=1, grid=255, rows=2),
}


@pytest.mark.parametrize("kind", LONG)
def test_hundreds_of_beats_are_awaited_at_once(kind):
    system = check(SQUARE, [LONG[kind](random.Random(5)), *random_transfers(SQUARE, 6)[:1]],
                   stream_bytes=4 * SQUARE.stream_words, latency=700)
    first = sum(cycle < system.requests[0][0] + 700 for cycle, *_ in system.requests)
    assert first > 256 + system.limit


@pytest.mark.parametrize("name", CONFIGS)
def test_requests_say_how_many_beats_follow(name):
    config = CONFIGS[name]
    system = check(config, random_transfers(config, 5), full=0.9, **KINDS["slow memory"],
                   stream_bytes=5 * config.stream_words * config.cols)
    streamed = [address >= TOP + STREAM for _, address, _ in system.requests]
    assert [bool(stream) for _, stream in system.hints] == streamed
    for of_stream in (True, False):
        ours = [(address, beats) for (_, address, _), (beats, _), stream in zip(
            system.requests, system.hints, streamed, strict=True) if stream == of_stream]
        for (address, beats), (following, left) in itertools.pairwise([*ours, (0, 1)]):
            assert beats > 0
            if beats > 1:
                assert following == address + config.bus_bytes
                assert left == beats - 1 or beats == left == 255
        assert max(beats for _, beats in ours) > 8


@pytest.mark.parametrize(("kind", "beats"), [("LOAD", 255), ("STORE", 255), ("long runs", 127),
                                             ("many runs", 1)])
def test_the_first_request_of_a_transfer_says_its_length(kind, beats):
    assert check(SQUARE, [LONG[kind](random.Random(5))]).hints[0] == (beats, 0)


def test_wrong_bit_is_noticed():
    rng = random.Random(4)

    def memory(system):
        system.memory[load["address"] - TOP] ^= 16

    def scratchpad(system):
        system.words[store["source"], 1] ^= 2

    load, store = (linear(opcode, SQUARE, 3, rng) for opcode in (Opcode.LOAD, Opcode.STORE))
    for fields, flip in ((load, memory), (store, scratchpad)):
        with pytest.raises(AssertionError, match="expected"):
            check(SQUARE, [fields], flip=flip)


def moments(config, fields, **kinds):
    """Return the cycles from `start` on in which requests are accepted, and that of `done`."""
    system = System(config, **kinds)
    begun = taken = None

    async def control(ctx):
        nonlocal begun, taken
        await ctx.tick()
        begun = system.cycle + 1  # it is counted behind the testbench
        taken = await system.transfer(ctx, fields)

    system.run(control)
    return [cycle - begun for cycle, *_ in system.requests], taken


@pytest.mark.parametrize("latency", [1, 4])
@pytest.mark.parametrize("name", ["4x4, bus of 2", "4x4, bus of 4", "4x8, bus of 8"])
def test_takes_the_stated_cycles(name, latency):
    config, rng = CONFIGS[name], random.Random(6)
    per_word = config.word_bytes // config.bus_bytes

    beats = 5 * per_word
    requests, done = moments(config, linear(Opcode.LOAD, config, 5, rng), latency=latency)
    assert requests == list(range(2, 2 + beats))
    assert done == requests[-1] + latency + 1 + WRITTEN

    requests, done = moments(config, linear(Opcode.STORE, config, 5, rng), latency=latency)
    apart = max(per_word, READ_LATENCY + 1)
    assert requests == [READ_LATENCY + 3 + word * apart + beat
                        for word in range(5) for beat in range(per_word)]
    assert done == requests[-1] + latency + 1 + WRITTEN

    # Words of zeros are written in the cycles without a response.
    for rows in (0, 2):
        fields = patches(config, rng, runs=2, run_beats=2, grid=2, rows=rows)
        zeros = fields["k"] // 2
        requests, done = moments(config, fields, latency=latency)
        assert requests == list(range(2, 2 + rows * 2 * 4))
        if rows:
            left = max(0, zeros - (latency + 1))
            assert done == requests[-1] + latency + 1 + WRITTEN + (left + 1 if left else 0)
        else:
            assert done == zeros + 2 + WRITTEN


def test_requests_the_stream_at_a_beat_per_cycle():
    system = check(SQUARE, [], stream_bytes=40 * SQUARE.bus_bytes)
    first = system.requests[0][0]
    assert [cycle for cycle, *_ in system.requests] == list(range(first, first + 40))


def test_requests_no_more_of_the_stream_than_has_room():
    system = check(SQUARE, [], stream_bytes=3 * SQUARE.stream_words * SQUARE.cols, latency=100)
    first = system.requests[0][0]
    assert sum(cycle < first + 100 for cycle, *_ in system.requests) == system.limit


def test_requests_no_more_of_the_stream_after_the_end():
    system = System(SQUARE, latency=9)
    dut = system.dut

    async def control(ctx):
        for _ in range(2):  # the second as if there had been no first
            await system.begin(ctx, TOP, 64 * SQUARE.bus_bytes)
            for _ in range(12):
                await ctx.tick()
            ctx.set(dut.end, 1)
            await ctx.tick()
            reserved = system.reserved
            ctx.set(dut.end, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()
            assert ctx.get(dut.ended)
            for _ in range(20):
                await ctx.tick()
            assert reserved <= system.reserved <= reserved + 1
            assert len(system.stream) == system.reserved

    system.run(control)
    assert 0 < system.reserved < 2 * 64


FAULTY = {
    "LOAD": lambda rng: linear(Opcode.LOAD, SQUARE, 4, rng),
    "STORE": lambda rng: linear(Opcode.STORE, SQUARE, 4, rng),
    "PATCHES": lambda rng: patches(SQUARE, rng, runs=1, run_beats=2, grid=2, rows=2),
}


@pytest.mark.parametrize("beat", [0, 3, 7])
@pytest.mark.parametrize("kind", FAULTY)
def test_error_of_a_transfer_stays_until_begin(kind, beat):
    rng = random.Random(8)
    system = System(SQUARE, latency=3, faults={beat})
    dut = system.dut

    async def control(ctx):
        await system.transfer(ctx, FAULTY[kind](rng))
        assert len(system.requests) == 8
        assert ctx.get(dut.error)
        await system.transfer(ctx, FAULTY[kind](rng))
        assert ctx.get(dut.error)
        await system.begin(ctx, TOP + STREAM, 4 * SQUARE.bus_bytes)
        assert not ctx.get(dut.error)
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert not ctx.get(dut.error)

    system.run(control)
    assert system.reserved == 4


@pytest.mark.parametrize("last", [False, True])
def test_error_of_the_stream_ends_it(last):
    system = System(SQUARE, latency=4, stall=0.3, faults={9})
    dut, beats = system.dut, 10 if last else 60

    async def control(ctx):
        await system.begin(ctx, TOP, beats * SQUARE.bus_bytes)
        while not ctx.get(dut.error):
            assert not ctx.get(dut.ended)
            await ctx.tick()
        while not ctx.get(dut.idle):
            await ctx.tick()
        for _ in range(10):
            await ctx.tick()
        assert ctx.get(dut.error)
        assert len(system.stream) == system.reserved == len(system.requests)
        await system.begin(ctx, TOP, 4 * SQUARE.bus_bytes)
        while not ctx.get(dut.idle):
            await ctx.tick()
        assert not ctx.get(dut.error)

    system.run(control)
    assert 10 <= len(system.requests) - 4 <= (10 if last else 20)


def test_refuses_wrong_configuration():
    with pytest.raises(ValueError, match="lanes must be rows"):
        Dma(AcceleratorConfig(4, 4, lanes=2))
    with pytest.raises(ValueError, match="bus_bytes must be a power of two within 2..4, not 8"):
        Dma(core(4, 4, 8))
