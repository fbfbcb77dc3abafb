"""Places cores for the clock model, and adds their clocks to the file that it is fitted to.

    python -m sim.exploration.placements                           # those of the file, again
    python -m sim.exploration.placements 4x4:sram_kib=64 --seeds 3 # another one

A core is ROWSxCOLS and what else differs from the 8x16 core, with colons between; registers are
around it. A quarter of an hour and more for large ones.
"""

import sys
from pathlib import Path

from rtl.build import one_line_errors
from rtl.cli import Parser, count
from rtl.timing import FREQUENCY_MHZ, placed_mhz, synthesise

from ..cli import command
from .clock import PLACEMENTS
from .cores_file import core, read, write

PROG = "python -m sim.exploration.placements"
_CONTENTS = "placements", "mhz"


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("cores", nargs="*", type=core, metavar="CORE",
                        help="like 4x8:sram_kib=96 (default: all that the file has)")
    parser.add_argument("--seeds", type=count, default=1, metavar="N",
                        help="place with seeds 1 to N (%(default)s)")
    parser.add_argument("--file", type=Path, default=PLACEMENTS, metavar="FILE",
                        help="what is to be kept (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/placements"), metavar="DIR",
                        help="directory for netlists (default: %(default)s)")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    known = read(args.file, *_CONTENTS)
    for config in args.cores or list(known):
        clocks = {}
        with one_line_errors(args.out):
            netlist = synthesise("core", config, args.out)
            for seed in range(1, args.seeds + 1):
                clocks[str(seed)] = placed_mhz(netlist, seed, FREQUENCY_MHZ)
        known[config] = clocks
        write(args.file, PROG, *_CONTENTS, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
