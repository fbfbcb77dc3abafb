"""cocotb testbench for :class:`rtl.product.mac_array.MacArray`; run by test_mac_array.py.

TB_CONFIG names the configuration, TB_PRODUCTS the matrix products to multiply.
"""

import os

import cocotb
from cocotb.utils import get_sim_time

from golden.product.tiling import gemm_cycles
from rtl.common.operands import codebook_layout
from tests.benches.cocotb_streams import collect, drive, pack, start
from tests.benches.gemm_streams import check_products
from tests.cases.configs import TEST_CONFIGS
from tests.cases.gemm_products import PRODUCTS
from tests.cases.recorded import recorded

CONFIG = TEST_CONFIGS[os.environ["TB_CONFIG"]]
MULTIPLIED = PRODUCTS[os.environ["TB_PRODUCTS"]](CONFIG)
CLOCK_NS = 10


async def multiply(dut, products, *, idle=0.0, stall=0.0) -> int:
    """Multiply on a running `dut`, compare with golden and return the cycles it took."""
    tiles = [payload for product in products for payload in product.tiles(CONFIG)]
    beats = [payload for product in products for payload in product.beats(CONFIG)]
    began = get_sim_time("ns")
    drivers = [cocotb.start_soon(drive(dut, "tile", tiles, idle=idle)),
               cocotb.start_soon(drive(dut, "i", beats, idle=idle))]
    count = sum(product.beat_count(CONFIG) for product in products)
    results = await collect(dut, "o", count, stall=stall)
    cycles = (get_sim_time("ns") - began) / CLOCK_NS
    for driver in drivers:
        await driver
    check_products(products, results, CONFIG, recorded().codebook)
    return int(cycles)


async def begin(dut):
    dut.codebook.value = pack(codebook_layout, recorded().codebook.tolist())
    await start(dut, sources=["tile", "i"], sinks=["o"])


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize((("idle", "stall"), [(0.2, 0.0), (0.1, 0.6)]))
async def matches_golden_with_pauses(dut, idle, stall):
    """All products in one stream, with gaps at the inputs and backpressure at the output."""
    await begin(dut)
    await multiply(dut, MULTIPLIED, idle=idle, stall=stall)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def takes_the_stated_cycles(dut):
    """Each product by itself, without a pause."""
    await begin(dut)
    for product in MULTIPLIED:
        (m, k), n = product.a.shape, product.w.shape[1]
        expected = gemm_cycles(m, k, n, product.mode, CONFIG)
        cycles = await multiply(dut, [product])
        assert cycles == expected, f"{product.name()}: {cycles} != {expected} (expected)"
