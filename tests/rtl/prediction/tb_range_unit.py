"""cocotb testbench for :class:`rtl.prediction.range_unit.RangeUnit`; run by test_range_unit.py."""

import os

import cocotb
from cocotb.triggers import RisingEdge

from golden.common.formats import ACT16
from rtl.prediction.range_unit import normalisation_layout, range_shape_layout, statistic_layout
from tests.benches.cocotb_streams import collect, drive, pack, start, unpack
from tests.cases.configs import TEST_CONFIGS
from tests.rtl.prediction.test_range_unit import random_runs, recorded_runs

CONFIG = TEST_CONFIGS[os.environ["TB_CONFIG"]]


def packed(beat):
    """Return one beat as the packed integer of its port."""
    mask = (1 << ACT16.bits) - 1
    return sum((value & mask) << (ACT16.bits * lane) for lane, value in enumerate(beat))


async def feed(dut, runs, idle):
    """Send one tensor after another, its shape with it."""
    layout = range_shape_layout(CONFIG)
    for run in runs:
        while True:
            await RisingEdge(dut.clk)
            if dut.i__ready.value:
                break
        dut.shape.value = pack(layout, run.shape.registers(CONFIG))
        await drive(dut, "i", [packed(beat) for beat in run.beats(CONFIG)], idle=idle)


async def check(dut, runs, *, idle, stall):
    normalisation = [pack(normalisation_layout, entry)
                     for run in runs for entry in run.normalisation()]
    expected = [statistic for run in runs for statistic in run.expected()]
    await start(dut, sources=["i", "normalisation"], sinks=["o"])
    drivers = [cocotb.start_soon(feed(dut, runs, idle)),
               cocotb.start_soon(drive(dut, "normalisation", normalisation, idle=idle))]
    results = await collect(dut, "o", len(expected), stall=stall)
    for driver in drivers:
        await driver
    actual = [unpack(statistic_layout, bits) for bits in results]
    assert [{"value": one.value, "last": one.last} for one in actual] == expected


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5], stall=[0.0, 0.5])
async def matches_golden_on_small_tensors(dut, idle, stall):
    """Every order and grouping, with and without gaps at the inputs and backpressure."""
    await check(dut, random_runs(CONFIG), idle=idle, stall=stall)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize((("idle", "stall"), [(0.0, 0.0), (0.2, 0.5)]))
async def matches_golden_on_recorded_activations(dut, idle, stall):
    """Residual streams of DeiT-Tiny at the tap."""
    runs = recorded_runs(CONFIG)
    assert len(runs) > 2
    await check(dut, runs, idle=idle, stall=stall)
