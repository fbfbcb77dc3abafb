"""The netlist of a board after synthesis answers the host's program as the RTL does; minutes each.

The chip of memory is synthesised with it: what it checks is checked here, too.
"""

import contextlib

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.machine import Machine
from golden.cycles.timing import timing
from golden.network.precision import Precision
from rtl.build import MissingTool, find_tool
from rtl.soc.board_model import BoardModel
from sim.board.board import Board
from sim.board.link import Link
from sim.board.simulated import MEMORY, SimulatedBoard
from sim.compiler import compile_network
from sim.harness.board_build import TOP
from sim.harness.core_build import component_verilog
from tests.benches.netlist import HERE, models, synthesise
from tests.cases.networks import network, pixels
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

pytestmark = [pytest.mark.long, pytest.mark.verilator]

CORE = CORES["4x4"]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    try:
        find_tool("yosys")
    except MissingTool as error:
        pytest.skip(str(error))

    def netlist(baud):
        design = component_verilog(BoardModel(CORE, MEMORY, baud), TOP)
        made = synthesise(design, tmp_path_factory.mktemp("netlist"))
        assert made.cells["LUT4"] > 15_000
        assert made.text.count("module unit(") == 1
        return "\n".join([made.text.replace("module unit(", f"module {TOP}("), models(),
                          (HERE / "ecp5_blocks.v").read_text()])

    with SimulatedBoard(CORE, netlist=netlist) as made:
        yield made


@pytest.fixture
def board(simulated):
    with contextlib.closing(simulated.open()) as port:
        yield Board(Link(port), simulated)
    assert simulated.trouble() == ""


def test_memory_holds_what_is_written(board):
    assert board.memtest(4096) == 4096


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_network_with_predicted_scales(bits, board, simulated):
    made = with_tap(network(Precision.parse(bits), shape=SHAPE), SHAPE)
    program, image = compile_network(made, CORE, memory=MEMORY), pixels(1, SHAPE)[0]
    board.load(program, frames=bits == "w4a4")
    before = len(simulated.runs())
    found = board.run(program, image)
    machine = Machine(program, image)
    machine.run()
    assert np.array_equal(found.logits, machine.logits)
    run, = simulated.runs()[before:]
    *lengths, last, end = (step.cycles for step in timing(program, MEMORY).steps)
    assert run.instruction_cycles == [*lengths, last + end]
    assert found.counters["predict"] > 0
