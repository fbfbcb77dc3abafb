import pytest

from golden.common.config import CORES
from golden.common.formats import Mode
from golden.product.tiling import tiles
from rtl.common.operands import TileMode
from rtl.results.result_order import ResultOrder
from tests.benches.simulate import simulate


def places(config, m, n, mode):
    """Return row and column of each beat, those beyond the result too."""
    rows, cols = config.tile_rows(mode), config.tile_cols(mode)
    return [(top + row, left + col) for top, left in tiles(m, n, mode, config)
            for row in range(rows) for col in range(0, cols, config.lanes)]


def check(config, runs):
    dut = ResultOrder(config)

    async def testbench(ctx):
        for m, n, mode in runs:
            ctx.set(dut.by_tiles, mode is not None)
            ctx.set(dut.mode, TileMode[(mode or Mode.W8A8).name])
            ctx.set(dut.m, m)
            ctx.set(dut.n, n)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            want = places(config, m, n, mode) if mode else [
                (row, col) for row in range(m) for col in range(0, n, config.lanes)]
            columns = config.tile_cols(mode) if mode else n
            ctx.set(dut.step, 1)
            for index, (row, col) in enumerate(want):
                after_row, after_col = want[(index + 1) % len(want)]
                last = index == len(want) - 1
                got = ctx.get(dut.row), ctx.get(dut.word) * config.lanes, ctx.get(dut.inside)
                assert got == (row, col, row < m and col < n)
                ends = ctx.get(dut.row_end), ctx.get(dut.column_end), ctx.get(dut.last)
                other_column = after_col // columns != col // columns
                assert ends == (last or after_row != row or other_column,
                                last or other_column, last)
                if index % 3 == 0:
                    ctx.set(dut.step, 0)
                    await ctx.tick()
                    assert (ctx.get(dut.row), ctx.get(dut.word) * config.lanes) == (row, col)
                    ctx.set(dut.step, 1)
                await ctx.tick()
            ctx.set(dut.step, 0)

    simulate(dut, testbench, max_cycles=40_000)


@pytest.mark.parametrize("name", ["4x4", "8x16"])
def test_order_is_that_of_golden(name):
    sizes = ((1, 1), (4, 4), (5, 17), (16, 32), (17, 40))
    check(CORES[name], [(m, n, mode) for mode in (*Mode, None) for m, n in sizes])


def test_largest_results():
    check(CORES["4x4"], [(1, 8191, Mode.W4A8), (8191, 1, Mode.W4A4), (2, 8191, None)])
