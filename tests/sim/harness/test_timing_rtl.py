# amaranth: UnusedElaboratable=no
"""golden.cycles.timing: the cycles that the RTL takes, instruction by instruction."""

from functools import lru_cache

import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode
from golden.cycles import prediction_cycles, product_cycles, timing
from golden.cycles.memory_model import IDEAL, MemoryModel
from golden.network.precision import Precision
from golden.network.shape import VitShape
from golden.results.curves import CURVES
from rtl.common.exp2 import Exp2
from rtl.common.log2 import Log2
from rtl.core.core import COUNTERS, Core
from rtl.prediction.extremes import Extremes
from rtl.prediction.monomials import _Product
from rtl.prediction.normalise import Normalise
from rtl.prediction.scale_sums import RoundSum, ScaleSums
from rtl.results.requant import Requant
from rtl.results.result_constants import ResultConstants
from rtl.results.result_sums import ResultSums
from sim.compiler import compile_network
from sim.harness import verilator
from sim.harness.expected import golden_run
from sim.inputs.model_lookup import open_model
from tests.cases.activations import product, program_of, table
from tests.cases.networks import network
from tests.cases.programs import random_program
from tests.random_runs import CONFIGS as RANDOM
from tests.random_runs import memory_of
from tests.sim.compiler.test_compiler import SHAPE, SMALL, WIDE
from tests.sim.test_emulate import with_tap

CONFIGS = {"4x4": SMALL, "4x8": WIDE, "8x16": CORES["8x16"]}
configs = pytest.mark.parametrize("name", [
    "4x4", "4x8", pytest.param("8x16", marks=pytest.mark.long)])
MEMORIES = [MemoryModel(1, 4), MemoryModel(20, 4), MemoryModel(7, 3), MemoryModel(200, 4),
            MemoryModel(20, 1.5), MemoryModel(3, 0.7)]
DEIT_T = VitShape(image=224, patch=16, dim=192, depth=12, heads=3, hidden=768, classes=1000)
DEIT_T_CYCLES = {"w8a8": 10_418_746, "w4a4": 3_396_151}
"""With 20 cycles of latency and 4 bytes per cycle, on the 8x16 core."""


COUNTED = {"transfer": (Opcode.LOAD, Opcode.STORE, Opcode.PATCHES), "norm": (Opcode.NORM,),
           "softmax": (Opcode.SOFTMAX,), "predict": (Opcode.PREDICT,)}
"""Counters of the cycles that instructions take behind their fetch."""


def counters(found, config):
    """Return what a core counts in a run of this timing."""
    counted = {name: found.sum(name) for name in ("array", "weights", "drain")}
    for name, opcodes in COUNTED.items():
        counted[name] = sum(step.constants + step.run for step in found.steps
                            if step.instruction.opcode in opcodes)
    return counted | {"cycles": found.cycles - 1,  # without the one with `start`
                      "fetch": found.sum("fetch") - timing.START,
                      "reads": found.sum("reads") // config.bus_bytes,
                      "writes": found.sum("writes") // config.bus_bytes}


def compare(program, *memories):
    """Run a program on the RTL with each memory, checked after every instruction, and compare the
    cycles of each instruction, and all that the core has counted."""
    expected = golden_run(program)
    for memory in memories:
        options = ({"ideal": True} if memory is IDEAL else
                   {"latency": memory.latency, "bandwidth": memory.bytes_per_cycle})
        result = verilator.run(program, check=expected, **options)
        assert result.ok, result.message
        found = timing.timing(program, memory, expected.machine.exited)
        *cycles, last, end = (step.cycles for step in found.steps)
        assert [*cycles, last + end] == result.instruction_cycles
        assert found.cycles == result.cycles
        counted = counters(found, program.config)
        assert counted.keys() == COUNTERS.keys()
        assert counted == result.counters


@pytest.mark.verilator
@configs
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 0), ("w4a4", 512), ("w4a8", 0)])
@pytest.mark.parametrize("tap", [False, True], ids=["static", "tap"])
def test_small_networks(bits, step, tap, name):
    made = network(Precision.parse(bits), step, shape=SHAPE)
    program = compile_network(with_tap(made, SHAPE) if tap else made, CONFIGS[name])
    compare(program, IDEAL, *MEMORIES)


def compare_random(seed, name):
    memory = memory_of(seed)
    compare(random_program(seed, RANDOM[name], 40),
            MemoryModel(memory["latency"], memory["bandwidth"]))


@pytest.mark.verilator
@pytest.mark.parametrize("name", ["4x4", "4x8"])
@pytest.mark.parametrize("seed", range(1, 7))
def test_random_programs(seed, name):
    compare_random(seed, name)


@pytest.mark.verilator
@pytest.mark.parametrize("parts", [
    (product(16), product(32)), (table(CURVES["silu"]), product(16)),
    (product(16), table(CURVES["relu"]), product(32), table(CURVES["gelu"]), product(48))])
def test_a_run_that_begins_with_an_activation(parts):
    """GELU waits for its table, and a TABLE that comes as early is behind it."""
    program = program_of(*parts)
    compare(program, IDEAL, *MEMORIES)
    first = timing.timing(program, IDEAL).steps[0]
    assert (first.fetch == timing.SETTLED) == (first.instruction.opcode is Opcode.GEMM)
    for again in ({"runs": 2}, {"reset_at": 300}):
        result = verilator.run(program, check=golden_run(program), ideal=True, **again)
        assert result.ok, result.message


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("name", RANDOM)
def test_many_random_programs(name):
    for seed in range(100, 140):
        compare_random(seed, name)


@lru_cache
def shipped(bits, name):
    return compile_network(open_model(f"vit_cifar10:{bits}").network, CONFIGS[name])


@pytest.mark.verilator
@configs
def test_the_shipped_model(name):
    compare(shipped("w4a4", name), IDEAL)


@pytest.mark.verilator
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
@pytest.mark.parametrize("memory", [MemoryModel(20, 4), MemoryModel(20, 1.5)], ids=str)
def test_the_shipped_model_with_a_slow_memory(memory, bits):
    compare(shipped(bits, "4x8"), memory)


@lru_cache
def deit_tiny(bits):
    return compile_network(network(Precision.parse(bits), shape=DEIT_T), CORES["8x16"])


@pytest.mark.parametrize("bits", DEIT_T_CYCLES)
def test_deit_tiny_takes_what_the_rtl_took(bits):
    found = timing.timing(deit_tiny(bits), MemoryModel(verilator.LATENCY, verilator.BANDWIDTH))
    assert found.cycles == DEIT_T_CYCLES[bits]


def test_counters_have_room_for_deit_tiny_with_the_slowest_memory():
    """It takes longer than its stream does to come in."""
    program, slowest = deit_tiny("w8a8"), MemoryModel(latency=1, bytes_per_cycle=1 / 1000)
    beats = program.stream.size // program.config.bus_bytes
    longest = int(beats * slowest.pace(program.config))
    assert longest > 1 << 32
    core = Core(program.config)
    for name in COUNTERS:
        assert len(getattr(core, f"counter_{name}")) > longest.bit_length(), name


@pytest.mark.long
@pytest.mark.verilator
@pytest.mark.parametrize("memory", [IDEAL, MemoryModel(verilator.LATENCY, verilator.BANDWIDTH)],
                         ids=["ideal", "slow"])
@pytest.mark.parametrize("bits", DEIT_T_CYCLES)
def test_deit_tiny(bits, memory):
    compare(deit_tiny(bits), memory)


def test_latencies_of_several_stages_are_those_of_the_rtl():
    assert 1 + Requant.LATENCY + ResultSums.RESIDUAL == product_cycles.FRONT
    assert ResultSums.LATENCY - ResultSums.RESIDUAL == product_cycles.SUMS
    assert ResultConstants.LATENCY == product_cycles.CONSTANTS
    stages = prediction_cycles.EXTREMES, prediction_cycles.LOG, prediction_cycles.NORMALISE
    assert stages == (Extremes.LATENCY, Log2.LATENCY, Normalise.LATENCY)
    assert ScaleSums.LATENCY == prediction_cycles.SUMS
    assert RoundSum.LATENCY == prediction_cycles.ROUND
    assert RoundSum.LATENCY + Exp2.LATENCY == prediction_cycles.SCALE
    assert _Product.LATENCY == prediction_cycles.DEGREE_LATENCY
