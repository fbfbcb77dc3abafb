"""Kinds of files that are mutated, and what must come of a mutant.

A kind writes a mutant of a good file into a folder and reads it back as the product does. Reading
gives a legal object, which is then used as the product uses it, or raises what the reader
documents. Whatever else happens is a fault.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np

from golden.core.program import ProgramError
from sim.cli import UserError
from tests.fuzz import networks_and_programs, recordings_and_weights, states
from tests.fuzz.faults import Fault, check_message


@dataclass(frozen=True)
class Kind:
    """How mutants of a kind are written and read.

    Attributes
    ----------
    write
        Given a generator and a folder, writes a mutant.
    read
        Given the folder, reads and uses it; returns False if it is to be made anew.
    refusal
        What reading raises of a file that it refuses.
    """

    write: Callable[[np.random.Generator, Path], None]
    read: Callable[[Path], bool | None]
    refusal: type[Exception]


KINDS = {
    "model": Kind(networks_and_programs.write_model, networks_and_programs.read_model, UserError),
    "program": Kind(networks_and_programs.write_program, networks_and_programs.read_program,
                    ProgramError),
    "recording": Kind(recordings_and_weights.write_recording,
                      recordings_and_weights.read_recording, UserError),
    "weights": Kind(recordings_and_weights.write_weights, recordings_and_weights.read_weights,
                    UserError),
    "checkpoint": Kind(states.write_checkpoint, states.read_checkpoint, UserError),
    "contender": Kind(states.write_contender, states.read_contender, UserError),
    "chunk": Kind(states.write_chunk, states.read_chunk, UserError),
}


def run(name: str, seed: int, index: int, folder: Path) -> str:
    """Write and read mutant `index` of a seed; return ``refused`` or ``used``.

    Raises
    ------
    Fault
        If it is neither; says how to repeat it.
    """
    kind = KINDS[name]
    draw = np.random.default_rng([seed, index, *name.encode()])
    kind.write(draw, folder)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # starting threads takes longer than a small network does
    try:
        used = kind.read(folder)
    except kind.refusal as error:
        check_message(error)
        return "refused"
    except Exception as error:
        raise Fault(f"{name} {index} of seed {seed}: {type(error).__name__}: {error} (python -m "
                    f"tests.fuzz --kind {name} --seed {seed} --first {index} --count 1)"
                    ) from error
    finally:
        numba.set_num_threads(threads)
    return "refused" if used is False else "used"
