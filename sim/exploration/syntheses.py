"""Synthesises cores for the area model, and adds what they take to the file that it is fitted to.

    python -m sim.exploration.syntheses                     # those of the file, again
    python -m sim.exploration.syntheses 16x32:sram_kib=640  # another one

A core is ROWSxCOLS and what else differs from the 8x16 core, with colons between. Minutes each, and
more for large arrays.
"""

import argparse
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

from golden.common.config import CORES, AcceleratorConfig
from golden.common.config_file import core_from_table
from rtl.build import one_line_errors
from rtl.cli import Parser
from rtl.utilisation import synthesise

from ..cli import command, one_line, whole_file
from .area import SYNTHESES

PROG = "python -m sim.exploration.syntheses"
BASE = "8x16"


def core(text: str) -> AcceleratorConfig:
    """Argument type: a core like ``4x8:sram_kib=96``."""
    size, *rest = text.split(":")
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    pairs = [re.fullmatch(r"(\w+)=(\d+)", part) for part in rest]
    if match is None or None in pairs:
        raise argparse.ArgumentTypeError(
            f"must be ROWSxCOLS[:CHOICE=NUMBER...], not {text!r}")
    table = {"rows": int(match[1]), "cols": int(match[2])}
    try:
        return core_from_table(table | {pair[1]: int(pair[2]) for pair in pairs}, CORES[BASE])
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(one_line(error)) from None


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
    kept = json.loads(args.file.read_text())["syntheses"] if args.file.exists() else []
    known = {AcceleratorConfig(**one["config"]): one["units"] for one in kept}
    for config in args.cores or list(known):
        with one_line_errors(args.out):
            found = synthesise(config, args.out)
        known[config] = {row.unit: row.used for row in sorted(found.rows, key=lambda row: row.unit)}
        write(args.file, known)
    return 0


def write(path: Path, known: dict[AcceleratorConfig, dict]) -> None:
    """Write syntheses, the smallest array first."""
    rows = [{"config": asdict(config), "units": units} for config, units in
            sorted(known.items(), key=lambda item: (item[0].multipliers, item[0].sram_kib))]
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps({"command": PROG, "syntheses": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
