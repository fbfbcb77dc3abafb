"""Synthesises cores for the area model, and adds what they take to the file that it is fitted to.

    python -m sim.exploration.syntheses                     # those of the file, again
    python -m sim.exploration.syntheses 16x32:sram_kib=640  # another one

A core is ROWSxCOLS and what else differs from the 8x16 core, with colons between. Minutes each, and
more for large arrays.
"""

import sys
from pathlib import Path

from golden.common.config import AcceleratorConfig
from rtl.utilisation import synthesise

from ..cli import command
from .area import SYNTHESES
from .cores_command import extend, parser

PROG = "python -m sim.exploration.syntheses"


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = parser(PROG, __doc__, SYNTHESES, Path("build/syntheses")).parse_args(argv)

    def make(config: AcceleratorConfig) -> dict:
        found = synthesise(config, args.out)
        return {row.unit: row.used for row in sorted(found.rows, key=lambda row: row.unit)}

    extend(args, PROG, "syntheses", "units", make)
    return 0


if __name__ == "__main__":
    sys.exit(main())
