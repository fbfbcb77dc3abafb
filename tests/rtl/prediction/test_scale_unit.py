# amaranth: UnusedElaboratable=no

import re
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from amaranth.back import rtlil

from golden.common.config import CORES
from golden.prediction import scale_unit as golden_scale_unit
from golden.prediction.scale_cycles import scale_cycles
from golden.prediction.scale_unit import pack, predict, scales
from rtl.export import ports_of
from rtl.prediction import scale_sums as rtl_scale_sums
from rtl.prediction.prediction import Prediction
from rtl.prediction.scale_unit import ScaleUnit
from tests.benches.simulate import simulate
from tests.benches.streams import held, sink, source
from tests.benches.verilate import run_cocotb
from tests.cases.configs import TEST_CONFIGS, VERILOG_CONFIGS
from tests.cases.predictors import random_predictor, random_statistics, recorded_statistics

SMALL = {"max_statistics": 16, "max_projected": 24, "max_monomials": 324, "max_sites": 32}
LANES = {lanes: replace(CORES["8x16"], scale_lanes=lanes, **SMALL) for lanes in (1, 3, 4)}


def payloads(statistics, predictor, config):
    """Return what the unit is fed for one image, and what it must give."""
    values = np.asarray(statistics).tolist()
    lambdas = predict(statistics, predictor)
    results = zip(lambdas.tolist(), *map(np.ndarray.tolist, scales(lambdas)), strict=True)
    return ([{"value": value, "last": n == len(values) - 1} for n, value in enumerate(values)],
            pack(predictor, config).tolist(),
            [(*result, int(n == len(lambdas) - 1)) for n, result in enumerate(results)])


def scale(payload):
    """Return a scale as :func:`payloads` does."""
    return (payload.exponent, payload.multiplier.mantissa, payload.multiplier.shift, payload.last)


def check(config, images, *, multipliers=True, idle=0.0, stall=0.0):
    """Compare the unit with golden on a list of (statistics, predictor)."""
    dut = ScaleUnit(config, multipliers)
    fed = [payloads(*image, config) for image in images]

    async def program(ctx):
        for n, ((_, predictor), (statistics, coefficients, _)) in enumerate(
                zip(images, fed, strict=True)):
            ctx.set(dut.predictor, predictor.registers())
            await source(dut.statistics, statistics, idle=idle, seed=n)(ctx)
            await source(dut.coefficients, coefficients, idle=idle, seed=n + 100)(ctx)

    expected = sum((results for *_, results in fed), [])
    if multipliers:
        checker = sink(dut.o, expected, scale, stall=stall)
    else:
        checker = sink(dut.o, [(exponent, last) for exponent, *_, last in expected],
                       lambda payload: (payload.exponent, payload.last), stall=stall)
    simulate(dut, program, checker, monitors=[held(dut.o)])


def image(rng, **shape):
    predictor = random_predictor(rng, **shape)
    return random_statistics(rng, predictor.shape.statistics)[0], predictor


SHAPES = [
    {"variables": 7, "degree": 2, "sites": 8, "statistics": 9},
    {"variables": 1, "degree": 1, "sites": 1, "statistics": 1},
    {"variables": 2, "degree": 2, "sites": 9},
    {"variables": 1, "degree": 3, "sites": 5},
    {"variables": 24, "degree": 2, "sites": 3, "statistics": 3},
    {"variables": 1, "degree": 1, "sites": 7},
    {"variables": 6, "degree": 3, "sites": 6},
    {"variables": 8, "degree": 1, "sites": 13, "statistics": 1},
]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.3, 0.4)])
def test_matches_golden_image_after_image(lanes, idle, stall):
    rng = np.random.default_rng(1)
    check(LANES[lanes], [image(rng, **shape) for shape in SHAPES], idle=idle, stall=stall)


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.3, 0.4), (0.0, 0.8)])
def test_matches_golden_without_multipliers(idle, stall):
    rng = np.random.default_rng(1)
    check(LANES[3], [image(rng, **shape) for shape in SHAPES[:4]], multipliers=False, idle=idle,
          stall=stall)


@pytest.mark.parametrize(("idle", "stall"), [(0.7, 0.0), (0.0, 0.8)])
def test_matches_golden_with_one_slow_side(idle, stall):
    rng = np.random.default_rng(2)
    check(LANES[3], [image(rng, **shape) for shape in SHAPES[:3]], idle=idle, stall=stall)


async def count_cycles(ctx, dut, statistics, coefficients):
    """Offer everything at once; return the cycles from the first statistic to the last scale."""
    ctx.set(dut.o.ready, 1)
    waiting = {dut.statistics: list(statistics), dut.coefficients: list(coefficients)}
    count = last = 0
    while not last:
        for stream, payloads in waiting.items():
            ctx.set(stream.valid, bool(payloads))
            if payloads:
                ctx.set(stream.payload, payloads[0])
        _, _, begun, taken, valid, last = await ctx.tick().sample(
            dut.statistics.ready, dut.coefficients.ready, dut.o.valid, dut.o.p.last)
        for payloads, ready in zip(waiting.values(), (begun, taken), strict=True):
            del payloads[:ready]
        last &= valid
        count += 1
    return count


@pytest.mark.parametrize("multipliers", [True, False])
@pytest.mark.parametrize("lanes", LANES)
def test_takes_the_cycles_of_the_formula(lanes, multipliers):
    config = LANES[lanes]
    dut = ScaleUnit(config, multipliers)
    rng = np.random.default_rng(3)

    async def testbench(ctx):
        for shape in SHAPES:
            statistics, predictor = image(rng, **shape)
            fed, coefficients, _ = payloads(statistics, predictor, config)
            ctx.set(dut.predictor, predictor.registers())
            count = await count_cycles(ctx, dut, fed, coefficients)
            assert count == scale_cycles(predictor, config), shape

    simulate(dut, testbench)


def test_latency():
    dut = ScaleUnit(LANES[3])
    statistics, predictor = image(np.random.default_rng(4), **SHAPES[2])
    fed, coefficients, _ = payloads(statistics, predictor, LANES[3])
    block = predictor.shape.monomials + 1

    async def testbench(ctx):
        ctx.set(dut.predictor, predictor.registers())
        ctx.set(dut.o.ready, 1)
        await source(dut.statistics, fed)(ctx)
        await source(dut.coefficients, coefficients[:block])(ctx)
        count = 1
        while not ctx.get(dut.o.valid):
            await ctx.tick()
            count += 1
        assert count == ScaleUnit.LATENCY

    simulate(dut, testbench)


def test_the_core_predicts_without_exp2():
    def modules(unit):
        text = rtlil.convert(unit, ports=ports_of(unit), emit_src=False)
        return re.findall(r"(?m)^module .*\bexp2\b", text)

    assert modules(ScaleUnit(CORES["4x4"]))
    assert not modules(Prediction(CORES["4x4"]))


def test_truncated_sums_are_noticed(monkeypatch):
    monkeypatch.setattr(rtl_scale_sums, "round_shift", lambda value, bits: value >> bits)
    with pytest.raises(AssertionError, match="expected"):
        check(LANES[3], [image(np.random.default_rng(6), **SHAPES[2])])


def test_a_flipped_alignment_bit_is_noticed(monkeypatch):
    monkeypatch.setattr(golden_scale_unit, "LIFT", golden_scale_unit.LIFT ^ 1)
    with pytest.raises(AssertionError, match="expected"):
        check(LANES[3], [image(np.random.default_rng(6), **SHAPES[2])])


def recorded_images(config):
    """Recorded statistics of all images, with predictors of a realistic size for `config`.

    Per-channel statistics of the residual stream, or as many groups as fit, projected to 8
    variables; and the two statistics of the whole tensor.
    """
    rng = np.random.default_rng(7)
    groups = 192 if config.max_statistics >= 384 else 96
    channels, tensor = recorded_statistics(groups), recorded_statistics(1)
    projected = random_predictor(rng, variables=8, degree=2, sites=97, statistics=2 * groups)
    direct = random_predictor(rng, variables=2, degree=3, sites=97)
    return ([(statistics, projected) for statistics in channels]
            + [(statistics, direct) for statistics in tensor])


def random_images(config):
    """Predictors of all kinds that fit `config`, and the largest of degree 3."""
    def fits(variables, degree, **_):
        return (variables <= config.max_projected
                and comb(variables + degree, degree) - 1 <= config.max_monomials)

    rng = np.random.default_rng(8)
    largest = max(variables for variables in range(1, 25) if fits(variables, 3))
    shapes = [*SHAPES, {"variables": largest, "degree": 3, "sites": 5}]
    return [image(rng, **shape) for shape in shapes if fits(**shape)]


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 4"):
        ScaleUnit(4)


@pytest.mark.verilator
@pytest.mark.parametrize("name", VERILOG_CONFIGS)
def test_verilog_matches_golden(name, tmp_path):
    run_cocotb(ScaleUnit(TEST_CONFIGS[name]), testbench="tests.rtl.prediction.tb_scale_unit",
               build_dir=tmp_path, env={"TB_CONFIG": name})
