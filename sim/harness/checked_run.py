"""A program on the RTL, held against the golden machine, with its progress shown."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from golden.core.program import Program

from ..cli import UserError, folder
from . import verilator
from .expected import differences, golden_run


def compared(program: Program, pixels: np.ndarray, *, check: bool = False,
             trace: Path | None = None) -> np.ndarray:
    """Run an image on the RTL, and return its logits, which are those of the golden machine.

    Parameters
    ----------
    program, pixels
        As :func:`sim.harness.verilator.run` takes them.
    check
        Compare after every instruction, and not only memory and scratchpad at the end.
    trace
        File for a trace of the cycles around whatever goes wrong; its directory is made.

    Returns
    -------
    int16 array, shape (classes,)

    Raises
    ------
    UserError
        If the core does not come to its end, or anything differs: where, and what has a trace.
    """
    expected = golden_run(program, pixels)
    if trace is not None:
        folder(trace.resolve().parent)
    with shown_progress(program) as progress:
        result = verilator.run(program, pixels, progress=progress, trace=trace,
                               check=expected if check else False)
    if not result.ok:
        traced = "" if result.trace is None else f"; trace: {result.trace}"
        raise UserError(f"{result.message}{traced}")
    for one in differences(program, expected.machine, result.memory, result.scratchpad):
        raise UserError(str(one))
    return expected.machine.logits


@contextmanager
def shown_progress(program: Program):
    """Give a callback that shows how far a run is, on stderr where that is a terminal."""
    console = Console(stderr=True)
    total = len(program.instructions())
    columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as shown:
        task = shown.add_task("Compiling the core", total=total)

        def update(index: int, cycles: int, speed: float) -> None:
            shown.update(task, completed=index, description=(
                f"{index}/{total} {cycles:,} cycles, {speed:,.0f}/s"))
        yield update
