# amaranth: UnusedElaboratable=no

import random

import numpy as np
import pytest
from amaranth.hdl import Const

from golden.common.config import AcceleratorConfig
from golden.common.formats import OPERAND, Mode
from golden.product.mac_array import Activation
from golden.product.tiling import FILL, drain_cycles, gemm_cycles
from rtl.common import operands as rtl_operands
from rtl.common.operands import TileActivation, TileMode
from rtl.product import mac_array as rtl_mac_array
from rtl.product import processing_element as rtl_processing_element
from rtl.product.mac_array import MacArray, operand_beat_layout, tile_layout
from rtl.product.tile_drain import TileDrain
from tests.benches.gemm_streams import check_products
from tests.benches.simulate import simulate
from tests.benches.streams import held, source
from tests.benches.verilate import build_cocotb, run_built
from tests.cases.configs import TEST_CONFIGS
from tests.cases.gemm_products import random_product, random_products
from tests.cases.recorded import WEIGHTS

CONFIGS = {
    "2x2": AcceleratorConfig(2, 2, lanes=1, max_k=600),
    "1x4 with 2 lanes": AcceleratorConfig(1, 4, lanes=2, max_k=600),
    "3x3 with 3 lanes": AcceleratorConfig(3, 3, lanes=3, max_k=600),
}
SMALL = CONFIGS["2x2"]
CODEBOOK = np.random.default_rng(5).integers(OPERAND.min, OPERAND.max, 16, endpoint=True)


def check(config, products, *, idle=0.0, stall=0.0):
    """Multiply in one stream and compare; return the cycles from first operands to last result."""
    dut = MacArray(config)
    count = sum(product.beat_count(config) for product in products)
    rng = random.Random(3)
    results, moments = [], []

    async def codebook(ctx):
        ctx.set(dut.codebook, CODEBOOK.tolist())

    async def collect(ctx):
        while len(results) < count:
            ready = rng.random() >= stall
            ctx.set(dut.o.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if ready and valid:
                results.append(payload.as_bits())

    async def time(ctx):
        cycle = 0
        while True:
            _, _, *busy = await ctx.tick().sample(dut.i.valid & dut.i.ready,
                                                  dut.o.valid & dut.o.ready)
            cycle += 1
            if any(busy):
                moments.append(cycle)

    def payloads(layout, packed):
        return [layout.from_bits(bits) for product in products for bits in packed(product)]

    simulate(dut, codebook, collect,
             source(dut.tile, payloads(tile_layout(config), lambda product: product.tiles(config)),
                    idle=idle, seed=1),
             source(dut.i, payloads(operand_beat_layout(config),
                                    lambda product: product.beats(config)), idle=idle, seed=2),
             monitors=[held(dut.o), time], max_cycles=4000)
    check_products(products, results, config, CODEBOOK)
    return moments[-1] - moments[0] + 1


def product(mode, activation=Activation.SIGNED, *, m=3, k=9, n=3, config=SMALL):
    return random_product(np.random.default_rng(1), m, k, n, mode, activation, config)


def test_modes_and_kinds_of_activations_are_those_of_golden():
    assert [each.name for each in TileMode] == [mode.name for mode in Mode]
    assert [each.name for each in TileActivation] == [each.name for each in Activation]


@pytest.mark.parametrize(("idle", "stall"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.6)])
@pytest.mark.parametrize("name", CONFIGS)
def test_matches_golden(name, idle, stall):
    check(CONFIGS[name], random_products(CONFIGS[name]), idle=idle, stall=stall)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("k", [1, 30])
def test_takes_the_stated_cycles(mode, k):
    cycles = check(SMALL, [product(mode, m=5, k=k, n=5)])
    assert cycles == gemm_cycles(5, k, 5, mode, SMALL)


@pytest.mark.parametrize(("k", "cycles"), [(1, 16), (16, 16), (17, 17)])
def test_drains_beside_the_next_tile(k, cycles):
    assert drain_cycles(Mode.W4A4, SMALL) == 16
    tile = product(Mode.W4A4, k=k)
    assert check(SMALL, [tile] * 5) - check(SMALL, [tile] * 2) == 3 * cycles


def test_latency():
    cycles = check(SMALL, [product(Mode.W8A8, m=1, k=1, n=1)])
    assert MacArray.LATENCY == FILL == cycles - drain_cycles(Mode.W8A8, SMALL)


def mutant_packing(activations):
    return (activations[1] << 6) + activations[0]


@pytest.mark.parametrize(("name", "mutant", "kind"), [
    ("packed_activation", mutant_packing, (Mode.W4A4, Activation.SIGNED)),
    ("packed_weight", mutant_packing, (Mode.W4A8, Activation.SIGNED)),
    ("NIBBLE", 3, (Mode.W8A8, Activation.CODE)),
], ids=["activations packed closer", "weights packed closer", "bit of the code dropped"])
def test_wrong_operands_are_noticed(monkeypatch, name, mutant, kind):
    check(SMALL, [product(*kind)])
    monkeypatch.setattr(rtl_operands, name, mutant)
    with pytest.raises(AssertionError, match="expected"):
        check(SMALL, [product(*kind)])


@pytest.mark.parametrize("mode", [Mode.W4A8, Mode.W4A4])
def test_borrow_left_in_is_noticed(monkeypatch, mode):
    monkeypatch.setattr(rtl_processing_element, "borrow", lambda product, low: Const(0))
    with pytest.raises(AssertionError, match="expected"):
        check(SMALL, [product(mode)])


def test_tile_finished_before_the_last_one_is_out_is_noticed(monkeypatch):
    monkeypatch.setattr(rtl_mac_array, "TileDrain",
                        lambda config, flight: TileDrain(config, flight + 2))
    with pytest.raises(TimeoutError, match="still running"):  # some results never come
        check(SMALL, [product(Mode.W4A4, k=2)] * 4)


def test_refuses_wrong_configuration():
    with pytest.raises(TypeError, match="config must be an AcceleratorConfig, not 8"):
        MacArray(8)


@pytest.fixture(scope="module", params=[
    name if name != "8x16" else pytest.param(name, marks=pytest.mark.long)
    for name in TEST_CONFIGS])
def built(request, tmp_path_factory):
    """Name of a configuration and the folder of its simulator."""
    build_dir = tmp_path_factory.mktemp(request.param)
    build_cocotb(MacArray(TEST_CONFIGS[request.param]), build_dir)
    return request.param, build_dir


def run(built, products, only=None):
    name, build_dir = built
    run_built(testbench="tests.rtl.product.tb_mac_array", build_dir=build_dir, only=only,
              env={"TB_CONFIG": name, "TB_PRODUCTS": products})


@pytest.mark.verilator
def test_verilog_matches_golden(built):
    run(built, "random and attention")


@pytest.mark.verilator
@pytest.mark.skipif(not WEIGHTS.exists(), reason=f"{WEIGHTS.name} is not there")
def test_verilog_matches_golden_on_deit_layers(built):
    run(built, "layers")


@pytest.mark.verilator
@pytest.mark.parametrize("built", ["two-lanes"], indirect=True)
def test_verilog_multiplies_every_pair_of_operands(built):
    run(built, "operand pairs", only="takes_the_stated_cycles")
