# amaranth: UnusedElaboratable=no
"""Synthesise the core for an ECP5 and say how much of an LFE5U-85F each of its units takes.

    python -m rtl.utilisation --config 8x16

yosys maps unit by unit, so that every cell belongs to one; what crosses their borders is made
simpler before. The netlist is kept beside the statistics, in ``netlist.v``. LUTs are those that a
placed design has: LUT4, two for each CCU2C, and six for each TRELLIS_DPR16X4, whose write port
takes two. Exit status 1 if the core takes more than it may.
"""

import argparse
import json
import re
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from golden.common.config import CORES, AcceleratorConfig

from .build import find_tool, one_line_errors, run_tool, step
from .cli import Parser, command
from .core.core import Core
from .fpga.ecp5 import UNCHECKED_READS, Ecp5

__all__ = ["DEVICE", "LIMITS", "NETLIST", "PREDICTOR", "TOP", "Row", "Utilisation", "parse",
           "synthesise"]

PROG = "python -m rtl.utilisation"

DEVICE = {"LUT4": 83_640, "FF": 83_640, "MULT18X18D": 156, "DP16KD": 208}
"""What an LFE5U-85F has."""

LIMITS = {"LUT4": DEVICE["LUT4"] * 3 // 4, "FF": DEVICE["FF"] * 3 // 4, "MULT18X18D": 156,
          "DP16KD": 204}
"""What the core may take, so that it can be routed and a memory controller fits beside it."""

PREDICTOR = ("prediction", "prediction.range_unit", "prediction.scale_unit",
             "constant_store.scales")
"""Units that are there for scales predicted from the image."""

_PARTS = ("memory_side", "program_stream", "constant_store", "product_path", "result_path",
          "row_path", "counters")
"""Parts of the core that are no units: what they have beside the units in them is the core's."""

_CELLS = {
    "LUT4": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
    "FF": {"TRELLIS_FF": 1},
    "MULT18X18D": {"MULT18X18D": 1},
    "DP16KD": {"DP16KD": 1, "PDPW16KD": 1},
}
_SPARE = (2, 4, 3)
"""Columns of the table that go where the terminal is narrow: FF, DP16KD, MULT18X18D."""

TOP = "core"
"""Name of the core in its netlist; that of a unit in it is ``core.UNIT``."""

NETLIST = "netlist.v"
"""The synthesised core, in cells of the ECP5."""

_DESIGN = "core.il"
_STATISTICS = "statistics.json"
_CLOCK = 20_000  # picoseconds; yosys saves area where it keeps within them


@dataclass(frozen=True, slots=True)
class Row:
    """What a unit takes, the units in it that have rows of their own not included."""

    unit: str
    used: dict[str, int]


@dataclass(frozen=True, slots=True)
class Utilisation:
    """What the units take, the largest first."""

    rows: tuple[Row, ...]

    def total(self, units=None) -> dict[str, int]:
        """What `units` take together, by default all."""
        return {resource: sum(row.used[resource] for row in self.rows
                              if units is None or row.unit in units) for resource in _CELLS}

    @property
    def exceeded(self) -> list[str]:
        """Resources of which the core takes more than :data:`LIMITS`."""
        total = self.total()
        return [resource for resource, limit in LIMITS.items() if total[resource] > limit]

    def table(self, width: int = 80) -> str:
        """Return a table of all units, of the predictor, and of the device.

        Where `width` is less than the 80 columns it takes, blanks go, then resources; of LUTs it
        always tells.
        """
        total, predictor = self.total(), self.total(PREDICTOR)

        def line(name, used, share=None):
            return [name, *(f"{used[resource]:,}" for resource in _CELLS),
                    "" if share is None else f"{100 * share:.1f}%"]

        def of_luts(used):
            return used["LUT4"] / total["LUT4"]

        return _laid_out([
            ["", *_CELLS, "of LUTs"], None,
            *(line(row.unit, row.used, of_luts(row.used)) for row in self.rows), None,
            line("all", total, 1), line("limit", LIMITS), line("LFE5U-85F", DEVICE),
            ["all of LFE5U-85F", *(f"{100 * total[resource] / DEVICE[resource]:.1f}%"
                                   for resource in _CELLS), ""],
            None, line("scale prediction", predictor, of_luts(predictor))], width)

    def as_dict(self) -> dict:
        """Return all of it for JSON."""
        return {"units": {row.unit: row.used for row in self.rows}, "total": self.total(),
                "prediction": self.total(PREDICTOR), "limits": LIMITS, "device": DEVICE}


def _laid_out(rows: list[list[str] | None], width: int) -> str:
    """Return rows of cells as lines within `width`, None as a rule; numbers are never cut."""
    cells = [row for row in rows if row is not None]
    widths = [24, *[12] * len(_CELLS), 8]
    if width < sum(widths):
        widths = [max(map(len, column)) + (2 if at else 0)
                  for at, column in enumerate(zip(*cells, strict=True))]
    shown = list(range(len(widths)))
    for number in _SPARE:
        if sum(widths[at] for at in shown) > width:
            shown.remove(number)
    rule = "-" * sum(widths[at] for at in shown)
    return "\n".join(rule if row is None else "".join(
        row[at].rjust(widths[at]) if at else row[at].ljust(widths[at]) for at in shown).rstrip()
        for row in rows)


def parse(statistics: dict) -> Utilisation:
    """Return what yosys' ``stat -json`` of a design with units as modules says.

    Raises
    ------
    ValueError
        If it lacks something, or has a memory or a multiplication that was not mapped.
    """
    rows = []
    try:
        for name, module in statistics["modules"].items():
            unit = name.removeprefix("\\").removeprefix(TOP).removeprefix(".") or TOP
            cells = module["num_cells_by_type"]
            left = sorted(cell for cell in cells if re.match(r"\$(mem|mul|lut|_)", cell))
            if left:
                raise ValueError(f"{unit} has cells that were not mapped: {', '.join(left)}")
            rows.append(Row(unit, {resource: sum(cells.get(cell, 0) * count
                                                 for cell, count in weights.items())
                                   for resource, weights in _CELLS.items()}))
    except KeyError as error:
        raise ValueError(f"statistics of the synthesis lack {error}") from None
    return Utilisation(tuple(sorted(rows, key=lambda row: -row.used["LUT4"])))


def synthesise(config: AcceleratorConfig, out: Path) -> Utilisation:
    """Synthesise the core of `config` under `out`, with a line on stdout for each step.

    Its netlist becomes ``out / NETLIST``.

    Raises
    ------
    MissingTool
        If yosys is not installed; nothing is written then.
    BuildError
        If it fails.
    OSError
        If `out` cannot be written to.
    """
    yosys = find_tool("yosys")
    out.mkdir(parents=True, exist_ok=True)
    with step(1, 2, "elaborate"):
        text = rtlil.convert(Core(config), name=TOP, platform=Ecp5(), emit_src=False)
        (out / _DESIGN).write_text(text)
    with step(2, 2, "yosys"):
        run_tool(yosys, "yosys", ["-q", "-p", _script(text)], out)
    return parse(json.loads((out / _STATISTICS).read_text()))


def _script(text: str) -> str:
    """Return yosys' commands for a netlist.

    Names are dropped, for ABC9 mixes up those of Amaranth's wires and its own.
    """
    names = re.findall(rf"^module \\({TOP}\.\S+)", text, re.MULTILINE)
    units = [name for name in names if _is_unit(name.split(".")[1:])]
    return "; ".join([
        f"read_rtlil {_DESIGN}", f"hierarchy -top {TOP}",
        UNCHECKED_READS,
        *(f"setattr -mod -set keep_hierarchy 1 \\{unit}" for unit in units),
        "proc", "flatten", *["opt -full", "opt_hier"] * 2, "opt_clean", "rename -hide",
        f"scratchpad -set abc9.D {_CLOCK}", f"synth_ecp5 -top {TOP}",
        f"tee -q -o {_STATISTICS} stat -json", "rename -hide", f"write_verilog -noattr {NETLIST}"])


def _is_unit(path: list[str]) -> bool:
    """Whether a module, by the submodules that lead to it from the core, has a row of its own."""
    return (".".join(path) in PREDICTOR or (len(path) == 1 and path[0] not in _PARTS)
            or (len(path) == 2 and path[0] in _PARTS))


def _config(text: str) -> AcceleratorConfig:
    if text not in CORES:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(CORES)}, not {text!r}")
    return CORES[text]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("--config", type=_config, default="8x16", metavar="NAME",
                        help=f"core: {', '.join(CORES)} (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/utilisation"), metavar="DIR",
                        help="directory to write to (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    with one_line_errors(args.out), redirect_stdout(sys.stderr if args.json else sys.stdout):
        found = synthesise(args.config, args.out)
    print(json.dumps(found.as_dict(), indent=2) if args.json
          else found.table(shutil.get_terminal_size().columns))
    for resource in found.exceeded:
        print(f"{parser.prog}: error: {found.total()[resource]:,} {resource}, more than "
              f"{LIMITS[resource]:,}", file=sys.stderr)
    return 1 if found.exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
