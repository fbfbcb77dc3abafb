# amaranth: UnusedElaboratable=no
"""Compiles a simulated board with Verilator: accelerator, memory, and ``board_main.cpp``."""

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import SdramMemory

from .core_build import component_verilog
from .executable import Design, executable

TOP = "vernier_board"

_MAIN = Path(__file__).with_name("board_main.cpp")


def build_board(config: AcceleratorConfig, memory: SdramMemory, baud: int,
                verilog: Callable[[int], str] | None = None) -> Path:
    """Return the executable of a board, compiled first if the cache does not have it.

    Parameters
    ----------
    config, memory, baud
        As :class:`rtl.soc.soc.Soc` takes them.
    verilog
        From `baud` to Verilog of a board, with the ports of :class:`rtl.soc.board_model.BoardModel`
        and a top module :data:`TOP`; without one, that of it.

    Raises
    ------
    UserError
        As :func:`sim.harness.executable.executable` does.
    """
    def rtl() -> str:
        from rtl.soc.board_model import BoardModel

        return component_verilog(BoardModel(config, memory, baud), TOP)

    made, known = ((rtl, repr((astuple(config), astuple(memory), baud))) if verilog is None
                   else (lambda: verilog(baud), None))
    return executable(Design("board", TOP, _MAIN, made, lambda _: "#pragma once\n", "", known))
