"""Synthesises cores for the area model, and adds what they take to the file that it is fitted to.

    python -m sim.exploration.syntheses                     # those of the file, again
    python -m sim.exploration.syntheses 16x32:sram_kib=640  # another one

A core is ROWSxCOLS and what else differs from the 8x16 core, with colons between. Minutes each, and
more for large arrays.
"""

import sys
from pathlib import Path

from rtl.build import one_line_errors
from rtl.cli import Parser
from rtl.utilisation import synthesise

from ..cli import command
from .area import SYNTHESES
from .cores_file import core, read, write

PROG = "python -m sim.exploration.syntheses"
_CONTENTS = "syntheses", "units"


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("cores", nargs="*", type=core, metavar="CORE",
                        help="like 4x8:sram_kib=96 (default: all that the file has)")
    parser.add_argument("--file", type=Path, default=SYNTHESES, metavar="FILE",
                        help="what is to be kept (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/syntheses"), metavar="DIR",
                        help="directory for netlists (default: %(default)s)")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    known = read(args.file, *_CONTENTS)
    for config in args.cores or list(known):
        with one_line_errors(args.out):
            found = synthesise(config, args.out)
        known[config] = {row.unit: row.used for row in sorted(found.rows, key=lambda row: row.unit)}
        write(args.file, PROG, *_CONTENTS, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
