from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.common.formats import STATISTIC
from golden.prediction.scale_predictor import monomials_of
from golden.prediction.scale_unit import ALIGN, expand
from rtl.prediction import monomials as module
from rtl.prediction.monomials import Monomials
from tests.benches.simulate import simulate
from tests.benches.streams import source

CONFIG = replace(CORES["8x16"], max_projected=24, max_monomials=324)
SHAPES = [(1, 1), (1, 2), (1, 3), (2, 3), (24, 2), (3, 1), (6, 3), (2, 2), (1, 3)]


def check(shapes, **gaps):
    dut = Monomials(CONFIG)
    rng = np.random.default_rng(1)
    images = [(rng.integers(STATISTIC.min, STATISTIC.max + 1, variables), degree)
              for variables, degree in shapes]

    async def testbench(ctx):
        for z, degree in images:
            ctx.set(dut.variables, z.size)
            ctx.set(dut.degree, degree)
            await source(dut.i, [{"value": value, "last": n == z.size - 1}
                                 for n, value in enumerate(z.tolist())], **gaps)(ctx)
            while not ctx.get(dut.done):
                await ctx.tick()
            ctx.set(dut.enable, 1)
            terms = monomials_of(z.size, degree)
            for address, (term, want) in enumerate(zip(terms, expand(z[None], degree)[0].tolist(),
                                                       strict=True)):
                ctx.set(dut.address, address)
                await ctx.tick()
                got = ctx.get(dut.operand)
                assert got == want << ALIGN[len(term)], f"{term}: {got} != {want} (expected)"
            ctx.set(dut.enable, 0)

    simulate(dut, testbench)


@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_matches_golden_image_after_image(idle):
    check(SHAPES, idle=idle)


def test_holds_its_operand_while_not_enabled():
    dut = Monomials(CONFIG)

    async def testbench(ctx):
        ctx.set(dut.variables, 2)
        ctx.set(dut.degree, 1)
        await source(dut.i, [{"value": 5, "last": 0}, {"value": -6, "last": 1}])(ctx)
        ctx.set(dut.enable, 1)
        await ctx.tick()
        ctx.set(dut.enable, 0)
        ctx.set(dut.address, 1)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.operand) == 5 << ALIGN[1]

    simulate(dut, testbench)


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check([(6, 3)])


def test_a_flipped_format_bit_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "_DROP", module._DROP ^ 1)
    with pytest.raises(AssertionError, match="expected"):
        check([(2, 2)])
