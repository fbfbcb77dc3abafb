"""The netlist of a core after synthesis runs whole programs, equal to golden; minutes each.

``pytest tests/sim/harness/test_core_netlist.py -m long -rP`` says how much was compared.
"""

import numpy as np
import pytest

from golden.common.config import CORES
from golden.network.precision import Precision
from rtl.build import MissingTool, find_tool
from sim.compiler import compile_network
from sim.harness import verilator
from sim.inputs.model_lookup import open_model
from tests.benches.core_netlist import core_netlist
from tests.cases.networks import network, pixels
from tests.cases.programs import random_program
from tests.cases.recorded import recorded
from tests.random_runs import memory_of
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

pytestmark = [pytest.mark.long, pytest.mark.verilator]

CONFIG = CORES["4x4"]


@pytest.fixture(scope="module")
def factory(tmp_path_factory):
    """What makes the harness run the netlist instead of the RTL."""
    try:
        find_tool("yosys")
    except MissingTool as error:
        pytest.skip(str(error))
    netlist = core_netlist(CONFIG, tmp_path_factory.mktemp("netlist"))
    return lambda config: netlist


def photograph(shape):
    """The recorded image, as small as a network wants it."""
    image = recorded().pixels()
    side = len(image) // shape.image
    small = image.reshape(shape.image, side, shape.image, side, 3).mean(axis=(1, 3))
    return small.round().astype(np.uint8)


def run(program, image, factory, **options):
    result = verilator.run(program, image, check=True, factory=factory, **options)
    assert result.ok, result.message or result.outcome
    print(f"{len(program.instructions())} instructions, {result.cycles:,} cycles, "
          f"{result.speed:,.0f} cycles/s")
    return result


@pytest.mark.parametrize("seed", range(8))
def test_random_programs(seed, factory):
    run(random_program(seed, CONFIG, 40), None, factory, **memory_of(seed))


@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a8", 600), ("w4a4", 512)])
def test_networks_with_predicted_scales(bits, step, factory):
    made = with_tap(network(Precision.parse(bits), step, shape=SHAPE), SHAPE)
    program, image = compile_network(made, CONFIG), pixels(1, SHAPE)[0]
    result = run(program, image, factory)
    assert result.counters["predict"] > 0
    assert result.instruction_cycles == verilator.run(program, image).instruction_cycles


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_the_shipped_model_on_a_photograph(bits, factory):
    made = open_model(f"vit_cifar10:{bits}").network
    run(compile_network(made, CONFIG), photograph(made.shape), factory)
