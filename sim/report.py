"""Writes a report: one HTML file, without anything from the network, to be opened in a browser.

    python -m sim.estimate --model deit_t --scales all --json runs.json
    python -m sim.explore --model deit_t --rows 4,8,16 --cols 8,16,32 --json designs.json
    python -m sim.accuracy --model deit_t ... --methods lsq predictor oracle --json > accuracy.json
    python -m sim.report runs.json designs.json accuracy.json --out report.html

Runs are compared, and each can be looked at: when units are at work and what lies in the scratchpad
then, a roofline, traffic and energy, a table of layers. Of explorations there are the designs, and
their front; of comparisons of accuracy, how the scales of each site spread over images.
"""

import sys
from pathlib import Path

from rtl.cli import Parser

from .cli import command, whole_file
from .reporting.html import page_of
from .reporting.runs import read

PROG = "python -m sim.report"


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN",
                        help="what sim.estimate --json, sim.explore --json or sim.accuracy --json "
                             "has written")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the HTML file")
    parser.add_argument("--title", default="Vernier", metavar="TEXT",
                        help="of the page (default: %(default)s)")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    page = page_of(read(args.runs), args.title)
    with whole_file(args.out) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")
    return 0


if __name__ == "__main__":
    sys.exit(main())
