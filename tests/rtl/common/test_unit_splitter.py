# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.common.unit_splitter import UNIT_BITS, UnitSplitter, units_for
from tests.benches.simulate import simulate
from tests.benches.streams import get, held, latency, put, sink, source

WIDTHS = [1, 8, 16, 32, 64]


def random_units(count, seed=1):
    rng = random.Random(seed)
    return [0, (1 << UNIT_BITS) - 1, *(rng.getrandbits(UNIT_BITS) for _ in range(count - 2))]


def parts(unit, width):
    """The parts of a unit, from the lowest bits up."""
    return [unit >> low & (1 << width) - 1 for low in range(0, UNIT_BITS, width)]


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.6, 0.0), (0.0, 0.5), (0.4, 0.4)])
@pytest.mark.parametrize("width", WIDTHS)
def test_gives_the_parts_of_each_unit(width, idle, stall):
    dut, units = UnitSplitter(width), random_units(12)
    expected = [part for unit in units for part in parts(unit, width)]
    simulate(dut, source(dut.i, units, idle=idle), sink(dut.o, expected, stall=stall),
             monitors=[held(dut.o)])


def test_wrong_bit_is_noticed():
    dut, units = UnitSplitter(16), random_units(4)
    expected = [part for unit in units for part in parts(unit, 16)]
    units[2] ^= 1 << 40
    with pytest.raises(AssertionError, match="#10: .*expected"):
        simulate(dut, source(dut.i, units), sink(dut.o, expected))


@pytest.mark.parametrize("width", WIDTHS)
def test_latency_is_one_cycle(width):
    dut = UnitSplitter(width)

    async def testbench(ctx):
        for unit in random_units(4):
            assert await latency(ctx, dut.i, dut.o, unit) == 1
            for part in parts(unit, width):
                assert await get(ctx, dut.o) == part
            assert not ctx.get(dut.o.valid)

    simulate(dut, testbench)


@pytest.mark.parametrize("width", WIDTHS)
def test_gives_a_part_in_every_cycle(width):
    """A unit is taken with the last part of the one before, so that none is lost in between."""
    dut, count = UnitSplitter(width), UNIT_BITS // width
    taken, given = [], []

    async def testbench(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for cycle in range(4 * count + 1):
            *_, ready, valid = await ctx.tick().sample(dut.i.ready, dut.o.valid)
            if ready:
                taken.append(cycle)
            if valid:
                given.append(cycle)

    simulate(dut, testbench)
    assert taken == list(range(0, 4 * count + 1, count))
    assert given == list(range(1, 4 * count + 1))


def test_holds_one_unit():
    dut = UnitSplitter(16)

    async def testbench(ctx):
        await put(ctx, dut.i, 1 << 48)
        for part in (0, 0, 0):
            assert not ctx.get(dut.i.ready)
            assert await get(ctx, dut.o) == part
        assert not ctx.get(dut.i.ready)  # the last part has not been taken yet
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.i.ready)

    simulate(dut, testbench)


@pytest.mark.parametrize("left", [0, 1, 3, 4])
def test_clear_forgets_the_parts_that_are_left(left):
    dut, (first, second) = UnitSplitter(16), random_units(4)[2:]

    async def testbench(ctx):
        await put(ctx, dut.i, first)
        for part in parts(first, 16)[:4 - left]:
            assert await get(ctx, dut.o) == part
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        assert not ctx.get(dut.o.valid)
        await put(ctx, dut.i, second)
        await sink(dut.o, parts(second, 16))(ctx)
        assert not ctx.get(dut.o.valid)

    simulate(dut, testbench)


@pytest.mark.parametrize(("width", "error", "message"), [
    (24, ValueError, "width must divide 64, but 24 does not"),
    (48, ValueError, "width must divide 64, but 48 does not"),
    (0, ValueError, r"width must be within 1\.\.64, not 0"),
    (128, ValueError, r"width must be within 1\.\.64, not 128"),
    (8.0, TypeError, r"width must be an integer, not 8\.0"),
])
def test_refuses_a_width_that_does_not_divide_a_unit(width, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        UnitSplitter(width)


@pytest.mark.parametrize("each", [1, 2, 4, 8])
def test_units_for(each):
    class Rounded(wiring.Component):
        count: In(6)
        units: Out(7)

        def elaborate(self, platform):
            m = Module()
            m.d.sync += self.units.eq(units_for(self.count, each))
            return m

    dut = Rounded()

    async def testbench(ctx):
        for count in range(64):
            ctx.set(dut.count, count)
            await ctx.tick()
            assert ctx.get(dut.units) == -(-count // each)

    simulate(dut, testbench)
