"""Places cores for the clock model, and adds their clocks to the file that it is fitted to.

    python -m sim.exploration.placements                           # those of the file, again
    python -m sim.exploration.placements 4x4:sram_kib=64 --seeds 3 # another one

A core is ROWSxCOLS and what else differs from the 8x16 core, with colons between; registers are
around it. A quarter of an hour and more for large ones.
"""

import sys
from pathlib import Path

from golden.common.config import AcceleratorConfig
from rtl.cli import count
from rtl.timing import FREQUENCY_MHZ, placed_mhz, synthesise

from ..cli import command
from .clock import PLACEMENTS
from .cores_command import extend, parser

PROG = "python -m sim.exploration.placements"


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    words = parser(PROG, __doc__, PLACEMENTS, Path("build/placements"))
    words.add_argument("--seeds", type=count, default=1, metavar="N",
                       help="place with seeds 1 to N (%(default)s)")
    args = words.parse_args(argv)

    def make(config: AcceleratorConfig) -> dict:
        netlist = synthesise("core", config, args.out)
        return {str(seed): placed_mhz(netlist, seed, FREQUENCY_MHZ)
                for seed in range(1, args.seeds + 1)}

    extend(args, PROG, "placements", "mhz", make)
    return 0


if __name__ == "__main__":
    sys.exit(main())
