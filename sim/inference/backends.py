"""What can run the integers of a quantized network: golden, its machine, the RTL, a board."""

import atexit
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.common.config import CORES, AcceleratorConfig
from golden.core.program import Program
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.network.network import Network

from ..cli import UserError, one_line


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """What the backends that run a program are told.

    Attributes
    ----------
    core
        Of a core.
    check
        Whether the RTL is compared with the golden machine after every instruction, and not only
        at the end.
    trace
        File for a trace of the cycles around whatever goes wrong; None: no trace.
    port
        Of a board, as :func:`sim.board.opened.open_board` takes it.
    """

    core: AcceleratorConfig = CORES["8x16"]
    check: bool = False
    trace: Path | None = None
    port: str = ""


def _golden(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from golden.network.vit import Vit

    made = Vit(network)
    return lambda pixels: made.run(pixels).logits


def _program(network: Network, core: AcceleratorConfig,
             memory: MemoryModel | SdramMemory = USUAL) -> Program:
    from ..compiler import DoesNotFit, compile_network

    try:
        return compile_network(network, core, memory=memory)
    except DoesNotFit as error:
        raise UserError(f"the model does not fit the core: {one_line(error)}") from None


def _machine(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    return machine_of(_program(network, options.core))


def machine_of(program: Program) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs images on the golden machine, as :data:`BACKENDS` do."""
    from golden.core.machine import Machine

    def run(pixels):
        machines = [Machine(program, image) for image in pixels]
        for machine in machines:
            machine.run()
        return np.stack([machine.logits for machine in machines])
    return run


def _rtl(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from ..harness.checked_run import compared

    program = _program(network, options.core)
    return lambda pixels: np.stack([
        compared(program, image, check=options.check, trace=options.trace) for image in pixels])


def _board(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from ..board.opened import open_board

    opened = contextlib.ExitStack()
    atexit.register(opened.close)  # what runs images is a plain function, which nobody closes
    board = opened.enter_context(open_board(options.port))
    program = _program(network, board.system.config, board.memory)
    board.load(program)
    right = machine_of(program)

    def run(pixels):
        found = np.stack([ran.logits for ran in board.run_all(program, pixels)])
        if options.check and (found != right(pixels)).any():
            raise UserError("the board's logits are not those of the golden machine")
        return found
    return run


BACKENDS = {"golden": _golden, "machine": _machine, "rtl": _rtl, "board": _board}
"""What runs the integers: from a network and :class:`CoreOptions`, a function of uint8
(images, side, side, 3) that returns integer logits (images, classes).
"""
