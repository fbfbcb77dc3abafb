"""The netlist of a board's design after synthesis answers the host's program as its RTL does.

Core, link and controller of memory are synthesised together, as for the ULX3S; the chip of memory
at their pins checks what they tell it. ``pytest tests/sim/board/test_board_netlist.py -m long -rP``
"""

import contextlib
import re
from collections import Counter

import pytest

from golden.network.precision import Precision
from golden.soc.link import BLOCK
from rtl.build import MissingTool, find_tool
from sim.board.board import Board
from sim.board.link import Link
from sim.board.simulated import MEMORY, SimulatedBoard
from sim.compiler import compile_network
from tests.benches.board_netlist import board_verilog, soc_netlist
from tests.cases.networks import network, pixels
from tests.sim.board.test_simulated import CORE, checked
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

pytestmark = [pytest.mark.long, pytest.mark.verilator]

TIME_S = 120
"""A block on the line is 41,000 cycles: ten seconds or more."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    try:
        find_tool("yosys")
    except MissingTool as error:
        pytest.skip(str(error))

    def verilog(baud):
        netlist = soc_netlist(CORE, MEMORY, baud, tmp_path_factory.mktemp("netlist"))
        assert netlist.count("endmodule") == 1
        cells = Counter(re.findall(r"(?m)^  (\w+) #\(", netlist))
        assert cells["LUT4"] > 15_000
        assert cells["DP16KD"] > CORE.sram_kib // 2  # 2 KiB each, and others than the scratchpad's
        print(cells)
        return board_verilog(CORE, MEMORY, baud, netlist)

    with SimulatedBoard(CORE, verilog=verilog, time=TIME_S) as made:
        yield made


@pytest.fixture
def board(simulated):
    with contextlib.closing(simulated.open()) as port:
        yield Board(Link(port), simulated)
    assert simulated.trouble() == ""


def test_memory_holds_what_is_written(board):
    assert board.memtest(2 * BLOCK) == 2 * BLOCK


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_network_with_predicted_scales(board, simulated, bits):
    made = with_tap(network(Precision.parse(bits), shape=SHAPE), SHAPE)
    program = compile_network(made, CORE, memory=MEMORY)
    assert board.load(program)
    found = checked(board, simulated, program, pixels(1, SHAPE)[0])
    assert found.counters["predict"] > 0
