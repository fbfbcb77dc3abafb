"""What the command lines share: one-line errors, argument types, whole-file writes."""

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track

from rtl.cli import UserError, command, one_line, printable
from rtl.fpga.files import whole_file

__all__ = ["TRACE", "UserError", "any_precision", "check_precision", "command", "core",
           "file_errors", "folder", "one_line", "one_of", "positive", "positive_float", "precision",
           "printable", "progress", "split_precisions", "up_to", "whole_file", "widths"]

TRACE = Path("build/core.vcd")
"""Where a run that is checked leaves a trace of what went wrong, unless told otherwise."""


def positive(text: str) -> int:
    """Argument type: an integer of 1 or more."""
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """Argument type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value


def up_to(limit: int | None) -> Callable[[str], int]:
    """Argument type: an integer of 0 or more, up to a limit if there is one."""
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or (limit is not None and int(text) > limit):
            allowed = "of 0 or more" if limit is None else f"within 0..{limit}"
            raise argparse.ArgumentTypeError(f"must be an integer {allowed}, not {text!r}")
        return int(text)
    return parse


def precision(text: str):
    """Argument type: a :class:`golden.network.precision.Precision`, like ``w4a4``."""
    from golden.network.precision import (
        Precision,  # numba's import, which other commands do without
    )

    return _parsed(Precision.parse, text)


def any_precision(text: str):
    """Argument type: what :func:`golden.network.precision.parse` reads, like ``w4a4,0=w8a8``."""
    from golden.network.precision import parse  # numba's import, as above

    return _parsed(parse, text)


def _parsed(parse: Callable, text: str):
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def check_precision(precision, shape) -> None:
    """Refuse widths of blocks that a network has not.

    Raises
    ------
    UserError
        In one line, as what ``--bits`` says.
    """
    try:
        precision.check(shape)
    except ValueError as error:
        raise UserError(f"--bits {precision}: {one_line(error)}") from None


def widths(*names: str) -> Callable[[str], str]:
    """Argument type: one of `names`, or widths of blocks and layers, as text; in either case."""
    one = one_of(*names)

    def parse(text: str) -> str:
        return str(any_precision(text)) if "," in text else one(text)
    return parse


def split_precisions(text: str) -> list[str]:
    """Return the texts of precisions with commas between, some of them with commas of their own:
    each begins with its usual widths.
    """
    return re.split(r",(?=\s*w[0-9]+a[0-9]+\s*(?:,|$))", text)


def core(text: str):
    """Argument type: a core by name, or a TOML file with a table ``[accelerator]``."""
    from golden.common.config import CORES  # numba's import, as below
    from golden.common.config_file import load_core

    if text in CORES:
        return CORES[text]
    try:
        return load_core(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(CORES)} or a TOML file, not {text!r} "
            f"({error.strerror})") from None
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot use {text}: {one_line(error)}") from None


def one_of(*names: str) -> Callable[[str], str]:
    """Argument type: one of `names`, in either case."""
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, not {text!r}")
        return text.lower()
    return parse


def progress(steps, what: str):
    """Iterate over steps, with a progress bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    return track(steps, what, console=console, transient=True, disable=not console.is_terminal)


@contextlib.contextmanager
def file_errors(what: str) -> Iterator[None]:
    """Take what goes wrong with files, like a disk that is full, for the user's to mend.

    Raises
    ------
    UserError
        ``what: file: reason`` in the place of an :class:`OSError`.
    """
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        raise UserError(f"{what}: {where}{error.strerror or error}") from None


def folder(path: Path) -> Path:
    """Make a folder if it is missing, and return it.

    Raises
    ------
    UserError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}") from None
    return path
