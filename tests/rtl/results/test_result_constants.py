import random

import numpy as np
import pytest

from golden.common.config import CORES
from golden.common.exp2 import exp2
from golden.common.formats import EXPONENT, Mode
from golden.core import isa
from golden.core.bit_fields import pack
from rtl.common.operands import TileMode
from rtl.results.result_constants import ResultConstants
from tests.benches.simulate import simulate
from tests.benches.streams import put

CONFIG = CORES["4x4"]
RING = 16


def multiplier(exponent):
    mantissa, shift = exp2([min(max(exponent, EXPONENT.min), EXPONENT.max)])
    return {"mantissa": int(mantissa[0]), "shift": int(shift[0])}


def random_units(count, seed=1):
    rng = random.Random(seed)
    return [{name: rng.randint(fmt.min, fmt.max) >> rng.choice([0, 4])
             for name, fmt in isa.COLUMN.items()} for _ in range(count)]


async def begin(ctx, dut, **fields):
    for name, value in fields.items():
        ctx.set(getattr(dut, name), value)
    ctx.set(dut.start, 1)
    ctx.set(dut.active, 0)
    await ctx.tick()
    ctx.set(dut.start, 0)
    ctx.set(dut.active, 1)


async def offered(ctx, dut, units, cycles):
    """Offer units for some cycles; return how many were accepted."""
    count = 0
    for _ in range(cycles):
        ctx.set(dut.units.valid, count < len(units))
        ctx.set(dut.units.payload, pack(units[min(count, len(units) - 1)], isa.COLUMN))
        _, _, taken = await ctx.tick().sample(dut.units.valid & dut.units.ready)
        count += taken
    ctx.set(dut.units.valid, 0)
    return count


@pytest.mark.parametrize("mode", Mode)
def test_units_wait_for_room_and_end_with_the_run(mode):
    dut = ResultConstants(CONFIG)
    lanes, cols = CONFIG.lanes, CONFIG.tile_cols(mode)
    columns = 2 * RING * lanes + 3
    units = random_units(-(-columns // cols) * cols + 5)
    base = 1 << 14

    async def testbench(ctx):
        ctx.set(dut.biased, 1)
        await begin(ctx, dut, columns=1, by_tiles=1, mode=TileMode[mode.name], m=1, n=columns,
                    base=base, base_out=-5000)
        taken = await offered(ctx, dut, units, 2 * RING * lanes)
        assert taken == RING * lanes
        assert ctx.get(dut.multiplier_out) == multiplier(-5000)
        seen = 0
        for word in range((len(units) - 5) // lanes):
            ctx.set(dut.word, word)
            ctx.set(dut.next_word, word + 1)
            ctx.set(dut.step, 1)
            ctx.set(dut.bias_word, word)
            ctx.set(dut.release, (word + 1) * lanes % cols == 0)
            part = units[word * lanes:(word + 1) * lanes]
            assert ctx.get(dut.valid)
            assert list(ctx.get(dut.values)) == [
                {"multiplier": multiplier(base + unit["exponent"]), "start": unit["start"]}
                for unit in part]
            await ctx.tick()
            ctx.set(dut.step, 0)
            ctx.set(dut.word, word + 1)
            ctx.set(dut.release, 0)
            assert list(ctx.get(dut.biases)) == [
                {name: unit[name] for name in ("bias", "coarse")} for unit in part]
            taken += await offered(ctx, dut, units[taken:], cols + 10)
            seen += lanes
            released = seen // cols * cols
            assert taken == min(RING * lanes + released, len(units) - 5)

    simulate(dut, testbench)


@pytest.mark.parametrize("biased", [0, 1])
def test_latency(biased):
    dut = ResultConstants(CONFIG)
    units = random_units(CONFIG.lanes)

    async def testbench(ctx):
        await begin(ctx, dut, columns=1, biased=biased, by_tiles=1, m=1, n=1)
        for unit in units:
            await put(ctx, dut.units, pack(unit, isa.COLUMN))
        for _ in range(ResultConstants.LATENCY - 1):
            assert not ctx.get(dut.valid)
            await ctx.tick()
        assert ctx.get(dut.valid)
        assert list(ctx.get(dut.biases)) == [
            {name: biased * unit[name] for name in ("bias", "coarse")} for unit in units]

    simulate(dut, testbench)


def test_latency_of_rows():
    dut = ResultConstants(CONFIG)

    async def testbench(ctx):
        await begin(ctx, dut, columns=0, by_tiles=1, m=1, n=1)
        for _ in range(ResultConstants.ROWS - 1):
            assert not ctx.get(dut.valid)
            await ctx.tick()
        assert ctx.get(dut.valid)

    simulate(dut, testbench)


@pytest.mark.parametrize("with_rows", [0, 1])
@pytest.mark.parametrize("mode", [Mode.W8A8, Mode.W4A4, None])
def test_rows_have_their_multipliers_again_in_each_tile_column(mode, with_rows):
    dut = ResultConstants(CONFIG)
    rng = random.Random(2)
    base, m = -3000, 6
    tile = CONFIG.tile_rows(mode) if mode else 1
    padded = -(-m // tile) * tile
    table = np.random.default_rng(3).integers(-1 << 15, 1 << 15, padded).tolist()

    async def exponents(ctx):
        while True:
            _, _, address = await ctx.tick().sample(dut.row_exponents.address)
            assert address < padded
            ctx.set(dut.row_exponents.data, table[address])

    async def testbench(ctx):
        for _ in range(2):
            await begin(ctx, dut, columns=0, per_row=with_rows, by_tiles=mode is not None, m=m, n=9,
                        mode=TileMode[(mode or Mode.W8A8).name], base=base, base_out=77)
            for index in range(3 * padded + 2):
                ctx.set(dut.step, 0)
                ctx.set(dut.row_end, 1)
                while not ctx.get(dut.valid) or rng.random() < 0.3:
                    await ctx.tick()
                want = multiplier(base - with_rows * table[index % padded])
                assert list(ctx.get(dut.values)) == [
                    {"multiplier": want, "start": 0}] * CONFIG.lanes
                assert ctx.get(dut.multiplier_out) == multiplier(77)
                ctx.set(dut.step, 1)
                await ctx.tick()
            ctx.set(dut.step, 0)

    simulate(dut, testbench, monitors=[exponents])
