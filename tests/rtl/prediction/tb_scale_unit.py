"""cocotb testbench for :class:`rtl.prediction.scale_unit.ScaleUnit`; run by test_scale_unit.py."""

import os

import cocotb

from rtl.prediction.range_unit import statistic_layout
from rtl.prediction.scale_unit import coefficient_layout, predictor_layout, scale_layout
from tests.benches.cocotb_streams import collect, drive, pack, start, unpack
from tests.cases.configs import TEST_CONFIGS
from tests.rtl.prediction.test_scale_unit import payloads, random_images, recorded_images, scale

CONFIG = TEST_CONFIGS[os.environ["TB_CONFIG"]]


async def feed(dut, images, fed, idle):
    """Send one image after another, each with its predictor."""
    for (_, predictor), (statistics, coefficients, _) in zip(images, fed, strict=True):
        dut.predictor.value = pack(predictor_layout(CONFIG), predictor.registers())
        await drive(dut, "statistics", [pack(statistic_layout, one) for one in statistics],
                    idle=idle)
        await drive(dut, "coefficients", [pack(coefficient_layout(CONFIG), beat)
                                          for beat in coefficients], idle=idle)


async def check(dut, images, *, idle, stall):
    fed = [payloads(*image, CONFIG) for image in images]
    await start(dut, sources=["statistics", "coefficients"], sinks=["o"])
    driver = cocotb.start_soon(feed(dut, images, fed, idle))
    expected = [result for _, _, results in fed for result in results]
    results = await collect(dut, "o", len(expected), stall=stall)
    await driver
    assert [scale(unpack(scale_layout(), bits)) for bits in results] == expected


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5], stall=[0.0, 0.5])
async def matches_golden_on_random_predictors(dut, idle, stall):
    """Predictors of all kinds, with and without gaps at the inputs and backpressure."""
    await check(dut, random_images(CONFIG), idle=idle, stall=stall)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize((("idle", "stall"), [(0.0, 0.0), (0.3, 0.7)]))
async def matches_golden_on_recorded_activations(dut, idle, stall):
    """Ranges of DeiT-Tiny's residual stream, predictors of a realistic size."""
    await check(dut, recorded_images(CONFIG), idle=idle, stall=stall)
