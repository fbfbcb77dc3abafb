"""cocotb testbench for :class:`rtl.results.requant.Requant`; run by test_requant.py."""

import os

import cocotb

from golden.common.formats import INT8
from golden.results.requant import OUT
from rtl.results.requant import requant_layout
from tests.benches.cocotb_streams import collect, drive, pack, signed_fields, start
from tests.cases.configs import TEST_CONFIGS
from tests.rtl.results.test_requant import expected_beats, operands, score_beats

LANES = TEST_CONFIGS[os.environ["TB_CONFIG"]].lanes
PAYLOAD = requant_layout(LANES)


async def check(dut, beats, low, high, *, idle, stall):
    dut.low.value, dut.high.value = low, high
    await start(dut, sources=["i"], sinks=["o"])
    driver = cocotb.start_soon(drive(dut, "i", [pack(PAYLOAD, beat) for beat in beats], idle=idle))
    results = await collect(dut, "o", len(beats), stall=stall)
    await driver
    actual = [signed_fields(bits, OUT.bits, LANES) for bits in results]
    assert actual == expected_beats(beats, low, high)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.5], stall=[0.0, 0.5])
async def matches_golden(dut, idle, stall):
    """Random payloads, with and without gaps at the input and backpressure at the output."""
    await check(dut, operands(LANES, 200, low=INT8.min, high=INT8.max), INT8.min, INT8.max,
                idle=idle, stall=stall)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(idle=[0.0, 0.2], stall=[0.0, 0.3])
async def matches_golden_on_recorded_scores(dut, idle, stall):
    """Accumulators of recorded queries times recorded keys."""
    await check(dut, score_beats(LANES, 400), OUT.min, OUT.max, idle=idle, stall=stall)
