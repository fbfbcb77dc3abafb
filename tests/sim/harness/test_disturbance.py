"""The core on a memory that stalls at random and pauses: only cycles depend on it."""

import pytest

from golden.core.isa import Opcode
from golden.cycles import timing
from golden.network.precision import Precision
from sim.compiler.compiler import compile_network
from sim.harness import verilator
from sim.harness.disturbance import Disturbance
from sim.harness.expected import golden_run
from tests.cases.networks import network, pixels
from tests.cases.programs import OPCODES, random_program
from tests.random_runs import CONFIGS
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

DISTURBANCES = [Disturbance(1), Disturbance(2), Disturbance(3), Disturbance(None, 97, 31),
                Disturbance(None, 23, 22), Disturbance(4, 50, 12), Disturbance(5, 1560, 52)]
SEEDS = range(21, 24)
"""Of programs that have all opcodes among them."""


def check(program, image=None):
    """Run a program with every disturbance, checked after every instruction."""
    expected = golden_run(program, image)
    exited = expected.machine.exited
    found = timing.timing(program, exited=exited)
    bus = program.config.bus_bytes
    wanted = {"array": found.sum("array"), "writes": found.sum("writes") // bus}
    if exited is None:  # else as much of the stream as has come
        wanted["reads"] = found.sum("reads") // bus
    for disturbance in DISTURBANCES:
        result = verilator.run(program, image, ideal=True, check=expected, disturbance=disturbance)
        assert result.ok, f"{disturbance}: {result.message}"
        assert {name: result.counters[name] for name in wanted} == wanted
        assert result.cycles > found.cycles


def program_of(seed, name):
    return random_program(seed, CONFIGS[name], 40)


@pytest.mark.parametrize("name", ["4x4", "4x8-small"])
def test_the_programs_have_all_opcodes(name):
    assert {op.opcode for seed in SEEDS
            for _, op in program_of(seed, name).instructions()} == set(OPCODES)


@pytest.mark.verilator
@pytest.mark.parametrize("name", ["4x4", "4x8-small"])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs(seed, name):
    check(program_of(seed, name))


@pytest.mark.verilator
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_network(bits):
    made = with_tap(network(Precision.parse(bits), shape=SHAPE), SHAPE)
    program = compile_network(made, CONFIGS["4x4"])
    assert Opcode.PREDICT in {op.opcode for _, op in program.instructions()}
    check(program, pixels(1, SHAPE)[0])
