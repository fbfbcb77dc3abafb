"""How an exploration is shown: a table of its front, JSON, CSV, Parquet."""

import csv
import io
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..cli import UserError, printable, whole_file
from ..common.tables import show, table_of
from . import area, clock
from .choices import Constraint, front
from .evaluate import Setting

MARKS = ("meets", "front")
"""Columns that say whether a row keeps to all constraints, and whether it is on the front."""

_SPARE = [[9], [2], [8], [10], [3], [7], [4]]
_REASONS = 3  # shown


def marked(rows: list[dict], constraints: list[Constraint], objectives: list[str]) -> list[dict]:
    """Return the rows with :data:`MARKS`; the front is that of the rows that keep to all."""
    rows = [row | {"meets": row["fits"] and all(one.met(row) for one in constraints)}
            for row in rows]
    meeting = [index for index, row in enumerate(rows) if row["meets"]]
    best = {meeting[index] for index in front([rows[index] for index in meeting], objectives)}
    return [row | {"front": index in best} for index, row in enumerate(rows)]


def as_dict(setting: Setting, rows: list[dict], constraints: list[Constraint],
            objectives: list[str], command: str) -> dict:
    """Return all of an exploration as JSON values; `rows` have their :data:`MARKS`."""
    return {
        "kind": "explore", "command": command, "model": setting.model,
        "base": asdict(setting.base), "clock_mhz": setting.clock_mhz, "tech": setting.tech,
        "constraints": [str(one) for one in constraints], "objectives": objectives,
        "area_error": {"luts": area.error("LUT4"), "ffs": area.error("FF")},
        "clock_error": clock.error(),
        "designs": rows,
    }


def as_csv(rows: list[dict]) -> str:
    """Return rows as CSV with a header; what a row has not is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write_parquet(path: Path, rows: list[dict]) -> None:
    """Write rows as a Parquet file, whole.

    Raises
    ------
    UserError
        If pyarrow is missing, or the file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError("--parquet needs pyarrow: pip install pyarrow") from None
    with whole_file(path) as temporary:
        parquet.write_table(pyarrow.Table.from_pylist(rows), temporary)


def print_report(setting: Setting, rows: list[dict], constraints: list[Constraint],
                 objectives: list[str], console: Console) -> None:
    """Print the front, how many designs there are, and why others are none."""
    fitting = sum(row["fits"] for row in rows)
    console.print(Text.assemble(
        (printable(setting.model), "bold green"),
        f", {len(rows):,} designs, {_clock(setting)}, {setting.tech}: {fitting:,} fit"
        + (f", {sum(row['meets'] for row in rows):,} with "
           f"{', '.join(map(str, constraints))}" if constraints else "")))
    console.print()
    best = sorted((row for row in rows if row["front"]), key=lambda row: -row["fps"])
    cells = [[f"{row['rows']}x{row['cols']} {row['bits']} {row['scales']}",
              f"{row['sram_kib']}", row["memory"], f"{row['cycles']:,}",
              f"{row['clock_mhz']:.1f}", f"{row['fps']:,.2f}",
              f"{row['energy_mj']:.3f}", f"{100 * row['array_utilisation']:.1f} %",
              f"{row['luts']:,}", str(row["multipliers"]), str(row["block_rams"])] for row in best]
    if best:
        show(console, table_of(
            f"Front of {', '.join(objectives)}",
            ["design", "KiB", "memory", "cycles", "MHz", "frames/s", "mJ", "used", "LUTs",
             "mult.", "BRAM"], cells, console.width, _SPARE))
    else:
        console.print("No design is what is wanted.")
    console.print()
    reasons = Counter(row["reason"] for row in rows if row["reason"])
    for reason, count in reasons.most_common(_REASONS):
        console.print(Text(printable(f"{count:,} not: {reason}"), style="dim"))
    if len(reasons) > _REASONS:
        console.print(Text(f"and {len(reasons) - _REASONS} reasons more, see --csv", style="dim"))
    worst = max(map(abs, area.error("LUT4").values()))
    largest, _ = max(area.synthesised(), key=lambda one: one[0].multipliers)
    console.print(Text(
        f"Cycles are those of the RTL. LUTs are a model, {100 * worst:.0f} % off at most for a "
        f"synthesis that it is not fitted to; arrays larger than {largest.rows}x{largest.cols} "
        "are extrapolated.", style="dim"))
    if setting.clock_mhz is None:
        worst = max(map(abs, clock.error().values()))
        console.print(Text(
            "Clocks are a model of cores placed alone on an LFE5U-85F, "
            f"{100 * worst:.0f} % off at most for one that it is not fitted to; routed, and with "
            "what is around them on a board, they are slower (docs/board.md).", style="dim"))


def _clock(setting):
    return "clocks as placed" if setting.clock_mhz is None else f"{setting.clock_mhz:g} MHz"
