# amaranth: UnusedElaboratable=no

import random

import pytest

from golden.common.formats import Mode
from golden.product.packing import packed_activation, packed_weight, slot
from rtl.common.multiplier import Multiplier
from rtl.common.operands import TileMode
from rtl.product.processing_element import SLOTS, ProcessingElement
from tests.benches.simulate import simulate
from tests.cases.configs import TEST_CONFIGS

CONFIG = TEST_CONFIGS["two-lanes"]


def read(ctx, sums):
    return [ctx.get(getattr(sums, f"slot{index}")) for index in range(SLOTS)]


def end(ctx, dut, last):
    """Say whether the products of the cycle are the last of a tile."""
    ctx.set(dut.last, last)
    ctx.set(dut.fresh, last)
    if hasattr(dut, "move"):
        ctx.set(dut.move, last)


async def feed(ctx, dut, mode, steps):
    """Give the operands of one tile, a cycle each, and their mode and end in time."""
    for cycle in range(len(steps) + Multiplier.LATENCY):
        activations, weights = steps[cycle] if cycle < len(steps) else ([0], [0])
        ctx.set(dut.activation, packed_activation(activations))
        ctx.set(dut.weight, packed_weight(weights))
        ctx.set(dut.mode, TileMode[mode.name])
        end(ctx, dut, cycle == len(steps) + Multiplier.LATENCY - 1)
        await ctx.tick()
    end(ctx, dut, 0)


def dot_products(mode, steps):
    """Sums in the order of :func:`golden.product.packing.slot`, as many as `mode` has."""
    sums = [0] * mode.macs
    for activations, weights in steps:
        for row, a in enumerate(activations):
            for col, w in enumerate(weights):
                sums[slot(row, col)] += a * w
    return sums


def steps_of(mode, count, rng):
    def draw(fmt):
        return rng.choice([fmt.min, fmt.max, rng.randint(fmt.min, fmt.max)])

    return [([draw(mode.operand) for _ in range(mode.row_slots)],
             [draw(mode.weight) for _ in range(mode.col_slots)]) for _ in range(count)]


def test_adds_up_every_product_tile_after_tile():
    dut = ProcessingElement(CONFIG)
    rng = random.Random(1)

    async def testbench(ctx):
        for _ in range(10):
            for mode in rng.sample(list(Mode), 3):
                steps = steps_of(mode, rng.randint(1, 40), rng)
                await feed(ctx, dut, mode, steps)
                assert read(ctx, dut.sums)[:mode.macs] == dot_products(mode, steps)

    simulate(dut, testbench)


def test_every_pair_of_4_bit_operands_beside_every_neighbour_sign():
    dut = ProcessingElement(CONFIG)
    mode = Mode.W4A4
    others = (mode.operand.min, 0, mode.operand.max), (mode.weight.min, 0, mode.weight.max)
    steps = [([a, x] if low else [x, a], [w, y] if low else [y, w])
             for a in range(mode.operand.min, mode.operand.max + 1)
             for w in range(mode.weight.min, mode.weight.max + 1)
             for x in others[0] for y in others[1] for low in (False, True)]

    async def testbench(ctx):
        ctx.set(dut.mode, TileMode.W4A4)
        end(ctx, dut, 1)  # every product is a tile of its own
        latency = Multiplier.LATENCY + 1
        for cycle in range(len(steps) + latency - 1):
            activations, weights = steps[min(cycle, len(steps) - 1)]
            ctx.set(dut.activation, packed_activation(activations))
            ctx.set(dut.weight, packed_weight(weights))
            await ctx.tick()
            if cycle >= latency - 1:
                step = steps[cycle - latency + 1]
                assert read(ctx, dut.sums) == dot_products(mode, [step]), step

    simulate(dut, testbench)


def test_keeps_the_sums_of_a_tile_while_the_next_one_is_added():
    dut = ProcessingElement(CONFIG)

    async def testbench(ctx):
        await feed(ctx, dut, Mode.W8A8, [([3], [4])])
        ctx.set(dut.activation, 2)
        ctx.set(dut.weight, 50)
        await ctx.tick()
        ctx.set(dut.activation, 0)
        for _ in range(Multiplier.LATENCY + 1):
            assert read(ctx, dut.sums)[0] == 12
            await ctx.tick()
        end(ctx, dut, 1)
        await ctx.tick()
        assert read(ctx, dut.sums)[0] == 100

    simulate(dut, testbench)


def test_starts_from_zero_when_told_and_keeps_what_is_finished():
    dut = ProcessingElement(CONFIG)

    async def testbench(ctx):
        await feed(ctx, dut, Mode.W8A8, [([3], [4])])
        ctx.set(dut.activation, 2)
        ctx.set(dut.weight, 50)
        for _ in range(5):
            await ctx.tick()
        ctx.set(dut.activation, 0)
        ctx.set(dut.fresh, 1)
        for _ in range(Multiplier.LATENCY + 1):
            await ctx.tick()
        ctx.set(dut.fresh, 0)
        assert read(ctx, dut.sums)[0] == 12
        await feed(ctx, dut, Mode.W8A8, [([5], [6])])
        assert read(ctx, dut.sums)[0] == 30

    simulate(dut, testbench)


def test_finished_sums_move_on_from_element_to_element():
    dut = ProcessingElement(CONFIG, followed=True)

    async def testbench(ctx):
        for index in range(SLOTS):
            ctx.set(getattr(dut.behind, f"slot{index}"), -index - 5)
        await feed(ctx, dut, Mode.W8A8, [([3], [4])])
        for _ in range(3):
            assert read(ctx, dut.sums)[0] == 12
            await ctx.tick()
        ctx.set(dut.move, 1)
        await ctx.tick()
        assert read(ctx, dut.sums) == [-index - 5 for index in range(SLOTS)]
        ctx.set(dut.move, 0)
        await feed(ctx, dut, Mode.W8A8, [([2], [9])])
        assert read(ctx, dut.sums)[0] == 18

    simulate(dut, testbench)


def test_accumulators_are_as_wide_as_configured():
    dut = ProcessingElement(CONFIG)
    widths = [len(getattr(dut.sums, f"slot{index}")) for index in range(SLOTS)]
    assert widths == [CONFIG.partial_sum(index).bits for index in range(SLOTS)]


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        ProcessingElement(8)
