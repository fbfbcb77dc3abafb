"""What a host knows of a board."""

from dataclasses import replace
from types import SimpleNamespace

from golden.common.config import CORES
from golden.cycles.memory_model import USUAL
from golden.soc.boards import BOARDS
from golden.soc.system import System
from sim.board.board import Board


def test_the_memory_of_a_known_board_is_known():
    for memory in BOARDS.values():
        for config in (CORES["4x4"], CORES["8x8"]):
            system = System.of(config, memory)
            assert Board(SimpleNamespace(system=system)).memory is memory
            other = replace(system, memory_bytes=2 * system.memory_bytes)
            assert Board(SimpleNamespace(system=other)).memory is USUAL
