"""Boards by the name of their port: one at a serial port, or one that is simulated."""

import contextlib
from collections.abc import Iterator

from golden.common.config import CORES

from ..cli import UserError
from .board import Board
from .link import Link
from .port import BAUD, open_port
from .simulated import SimulatedBoard

SIMULATED = "simulated"
_CORE = "8x8"  # that of the ULX3S


@contextlib.contextmanager
def open_board(port: str, baud: int = BAUD) -> Iterator[Board]:
    """Give the board at a port, and leave it as it is.

    Parameters
    ----------
    port
        Of the system, or what pyserial takes for one; ``simulated`` or ``simulated:CORE`` for a
        board that is simulated, from its first cycle on.

    Raises
    ------
    UserError
        If there is none.
    """
    name, _, core = port.partition(":")
    if name != SIMULATED:
        with contextlib.closing(open_port(port, baud)) as line:
            yield Board(Link(line))
        return
    core = core or _CORE
    if core not in CORES:
        raise UserError(f"--port simulated must be one of the cores {', '.join(CORES)}, "
                        f"not {core!r}")
    with SimulatedBoard(CORES[core]) as board, contextlib.closing(board.open()) as line:
        try:
            yield Board(Link(line), board)
        except UserError:
            if why := board.trouble():
                raise UserError(f"the simulation of the board has ended: {why}") from None
            raise
