"""What the commands have in common that make something of cores and keep it in a file."""

import argparse
from collections.abc import Callable
from pathlib import Path

from golden.common.config import AcceleratorConfig
from rtl.build import one_line_errors
from rtl.cli import Parser

from ..cli import UserError, one_line
from .cores_file import core, read, write


def parser(prog: str, about: str, file: Path, out: Path) -> Parser:
    """Return what the commands that make such files take: cores, the file, a folder for netlists.
    """
    made = Parser(prog=prog, description=about.partition("\n")[0])
    made.add_argument("cores", nargs="*", type=core, metavar="CORE",
                      help="like 4x8:sram_kib=96 (default: all that the file has)")
    made.add_argument("--file", type=Path, default=file, metavar="FILE",
                      help="what is to be kept (default: %(default)s)")
    made.add_argument("--out", type=Path, default=out, metavar="DIR",
                      help="directory for netlists (default: %(default)s)")
    return made


def extend(args: argparse.Namespace, prog: str, kind: str, what: str,
           make: Callable[[AcceleratorConfig], dict]) -> None:
    """Make `what` is said of each core that :func:`parser` was given, and write the file each time.

    Raises
    ------
    UserError
        If the file is there, and no such file.
    """
    try:
        known = read(args.file, kind, what)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{args.file} is no file of {kind}: {one_line(error)}") from None
    for config in args.cores or list(known):
        with one_line_errors(args.out):
            known[config] = make(config)
        write(args.file, prog, kind, what, known)
