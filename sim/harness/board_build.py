# amaranth: UnusedElaboratable=no
"""Compiles a simulated board with Verilator: accelerator, memory, and ``board_main.cpp``."""

from dataclasses import astuple
from pathlib import Path

from golden.sdram.sdram import Chip
from golden.soc.system import System

from .core_build import component_verilog
from .executable import Design, executable

TOP = "vernier_board"

_MAIN = Path(__file__).with_name("board_main.cpp")


def build_board(system: System, chip: Chip, baud: int) -> Path:
    """Return the executable of a board, compiled first if the cache does not have it.

    Parameters
    ----------
    system, chip, baud
        As :class:`rtl.soc.soc.Soc` takes them.

    Raises
    ------
    UserError
        As :func:`sim.harness.executable.executable` does.
    """
    def verilog() -> str:
        from rtl.soc.board_model import BoardModel

        return component_verilog(BoardModel(system, chip, baud), TOP)

    return executable(Design("board", TOP, _MAIN, verilog, lambda _: "#pragma once\n", "",
                             repr((astuple(system), astuple(chip), baud))))
