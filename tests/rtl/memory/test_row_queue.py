# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from rtl.memory.row_store import RowQueue, RowStore, row_layout
from tests.benches.simulate import simulate
from tests.benches.streams import held, latency, sink, source

CONFIG = AcceleratorConfig(4, 4, lanes=4)
DEPTHS = [3, 4, 5, 6, 7, 18]


class System(wiring.Component):
    """A queue with the memory it needs, and no more."""

    def __init__(self, depth, config=CONFIG):
        self.queue = RowQueue(config, depth)
        self._store = RowStore(config, RowQueue.words(depth))
        word = stream.Signature(row_layout(config))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue, m.submodules.store = self.queue, self._store
        connect(m, self.queue.store, self._store.port)
        connect(m, flipped(self.i), self.queue.i)
        connect(m, self.queue.o, flipped(self.o))
        return m


def random_words(count, seed=1):
    rng = random.Random(seed)
    return [[rng.randint(-(1 << 15), (1 << 15) - 1) for _ in range(CONFIG.lanes)]
            for _ in range(count)]


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
@pytest.mark.parametrize("depth", DEPTHS)
def test_gives_what_went_in(depth, idle, stall):
    dut, words = System(depth), random_words(80)
    simulate(dut, source(dut.i, words, idle=idle), sink(dut.o, words, list, stall=stall),
             monitors=[held(dut.o)])


def test_wrong_word_is_noticed():
    dut, words = System(5), random_words(20)
    wrong = [*words[:9], [*words[9][:3], words[9][3] ^ 1], *words[10:]]
    with pytest.raises(AssertionError, match="#9: .*expected"):
        simulate(dut, source(dut.i, wrong), sink(dut.o, words, list))


@pytest.mark.parametrize("depth", DEPTHS)
def test_latency_is_three_cycles(depth):
    dut = System(depth)

    async def testbench(ctx):
        for word in random_words(5):
            assert await latency(ctx, dut.i, dut.o, word) == 3
            assert list(ctx.get(dut.o.payload)) == word
            await ctx.tick()
            assert not ctx.get(dut.o.valid)

    simulate(dut, testbench)


def accepted(dut, cycles, ready, words):
    """Return which of so many cycles words were accepted and given in."""
    into, out = [], []

    async def testbench(ctx):
        ctx.set(dut.i.valid, 1)
        for cycle in range(cycles):
            ctx.set(dut.i.payload, words[len(into)])
            ctx.set(dut.o.ready, ready(cycle))
            *_, taken, given = await ctx.tick().sample(dut.i.ready, dut.o.valid & dut.o.ready)
            if taken:
                into.append(cycle)
            if given:
                out.append(cycle)

    simulate(dut, testbench)
    return into, out


@pytest.mark.parametrize("depth", DEPTHS)
def test_has_room_for_as_many_words_as_stated(depth):
    into, out = accepted(System(depth), 2 * depth + 4, lambda _: 0, random_words(99))
    assert len(into) == depth
    assert not out
    # Once it is full, a word that is taken makes room for another.
    into, out = accepted(System(depth), 80, lambda cycle: cycle >= 40, random_words(99))
    assert len(out) == sum(cycle >= 40 for cycle in out)
    assert len(into) - len(out) <= depth


@pytest.mark.parametrize("depth", [depth for depth in DEPTHS if depth > 3])
def test_takes_and_gives_a_word_in_every_cycle(depth):
    into, out = accepted(System(depth), 50, lambda _: 1, random_words(99))
    assert into == list(range(50))
    assert out == list(range(3, 50))


def test_memory_is_the_smallest_power_of_two():
    assert [RowQueue.words(depth) for depth in (3, 4, 5, 6, 7, 10, 11, 129, 130, 131)] == [
        1, 2, 4, 4, 8, 8, 16, 128, 128, 256]
