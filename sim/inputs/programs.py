"""Programs that sim.compile has written, as commands read them."""

from pathlib import Path

from golden.core.program import Program, ProgramError, load

from ..cli import UserError, one_line


def read_program(folder: Path) -> Program:
    """Read a program.

    Raises
    ------
    UserError
        If there is none, or it is damaged.
    """
    try:
        return load(folder)
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; sim.compile makes "
                        "programs") from None
    except ProgramError as error:
        raise UserError(one_line(error)) from None
