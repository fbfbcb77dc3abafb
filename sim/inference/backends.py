"""What can run the integers of a quantized network: golden, its machine, the RTL."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.common.config import CORES, AcceleratorConfig
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
    """

    core: AcceleratorConfig = CORES["8x16"]
    check: bool = False
    trace: Path | None = None


def _golden(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from golden.network.vit import Vit

    made = Vit(network)
    return lambda pixels: made.run(pixels).logits


def _program(network: Network, options: CoreOptions):
    from ..compiler import DoesNotFit, compile_network

    try:
        return compile_network(network, options.core)
    except DoesNotFit as error:
        raise UserError(f"the model does not fit the core: {one_line(error)}") from None


def _machine(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from golden.core.machine import Machine

    program = _program(network, options)

    def run(pixels):
        machines = [Machine(program, image) for image in pixels]
        for machine in machines:
            machine.run()
        return np.stack([machine.logits for machine in machines])
    return run


def _rtl(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from ..harness.checked_run import compared

    program = _program(network, options)
    return lambda pixels: np.stack([
        compared(program, image, check=options.check, trace=options.trace) for image in pixels])


BACKENDS = {"golden": _golden, "machine": _machine, "rtl": _rtl}
"""What runs the integers: from a network and :class:`CoreOptions`, a function of uint8
(images, side, side, 3) that returns integer logits (images, classes).
"""
