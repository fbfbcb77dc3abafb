"""How a comparison of methods is shown: a table, Markdown, JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from ..common.tables import show, table_of
from .comparison import CONFIDENCE, ORACLE, PERCENTILES, RESAMPLES, Row

NONE = "-"

COLUMNS = ("method", "top-1", "top-5", "=fp32", "against", "points", "R2", "rho", "par", "ops",
           "cycles")
_SPARE = ((2,), (7,), (8,), (9,), (6,), (10,), (4, 5), (3,))
"""Columns that go where the terminal is narrow; the method and its accuracy stay."""


def print_report(rows: Sequence[Row], title: str, console: Console) -> None:
    """Print the table, by precisions, and what its columns mean."""
    cells, bits = [], None
    for row in rows:
        if row.bits not in (bits, row.method):
            cells.append([row.bits])
        bits = row.bits
        cells.append(_cells(row))
    show(console, table_of(title, COLUMNS, cells, console.width, _SPARE, cut=False,
                           title_style="bold green"))
    console.print()
    for line in notes(rows):
        console.print(Text(line, style="dim"))


def _cells(row: Row) -> list[str]:
    against = NONE
    if row.against is not None:
        one = row.against
        against = f"{one.points:+.1f} ±{max(one.high - one.points, one.points - one.low):.1f}"
    return [row.method if row.integer or row.method == row.bits else f"{row.method} float",
            *(_number(value, 1) for value in (row.top1, row.top5, row.agreement)),
            row.baseline if row.against else NONE, against,
            _ratio(row.r_squared), _ratio(row.spearman), *_cost(row)]


def _cost(row: Row) -> list[str]:
    if row.cost is None:
        return [NONE, NONE, NONE]
    more = ">" if row.cost.least else ""
    return [_short(row.cost.parameters) if row.cost.parameters else NONE,
            *(NONE if value is None else f"{more}{_short(value)}"
              for value in (row.cost.operations, row.cost.cycles))]


def _number(value: float | None, places: int) -> str:
    return NONE if value is None else f"{value:.{places}f}"


def _ratio(value: float | None) -> str:
    """Return a number about 1 in four characters: ``.65``, ``-.12``, ``-3.1``."""
    if value is None:
        return NONE
    text = f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1)
    return text if len(text) <= 4 else f"{value:.1f}" if value > -9.95 else f"{value:.0f}"


def _short(value: float) -> str:
    """Return a count in four characters: ``9``, ``1.2k``, ``84k``, ``145k``, ``1.3M``."""
    for suffix in ("", "k", "M", "G"):
        text = f"{value:.1f}" if suffix and value < 9.95 else f"{value:.0f}"
        if len(text) <= 3:
            return text + suffix
        value /= 1000
    return f"{value:.0f}T"


def notes(rows: Iterable[Row]) -> list[str]:
    """Return what the columns mean that are filled, in a few short lines."""
    rows = list(rows)
    what = "top-1" if any(row.top1 is not None for row in rows) else "agreement with fp32"
    lines = ["=fp32: images with the float model's class, in per cent."]
    if any(row.against for row in rows):
        lines.append(f"points: difference of {what} to the method under 'against', "
                     f"{100 * CONFIDENCE:.0f} % interval.")
    if any(row.sites for row in rows):
        lines.append("R2, rho (Spearman): predicted against oracle scales, mean over sites.")
    if any(row.cost is not None and (row.cost.cycles or row.cost.parameters) for row in rows):
        lines.append("par, ops, cycles: what the scales of an image cost, 8x16 multipliers, "
                     "external memory with 4 bytes per cycle and a latency of 20.")
    if any(row.cost is not None and row.cost.least for row in rows):
        lines.append(">: for two passes alone; sorting, or the search for scales, comes on top.")
    if any(not row.integer and row.method != row.bits for row in rows):
        lines.append("float: emulated, with operations that the integers here do not have.")
    return lines


def as_markdown(rows: Sequence[Row], command: str) -> str:
    """Return the table in Markdown, the command above it."""
    head = ("bits", "method", "", "top-1", "top-5", "= fp32", "against", "points",
            f"{100 * CONFIDENCE:.0f} % interval", "R²", "ρ", "parameters", "operations", "cycles")
    lines = ["```", command, "```", "", "| " + " | ".join(head) + " |",
             "| --- | --- | --- |" + " ---: |" * (len(head) - 3)]
    for row in rows:
        one, cost = row.against, _cost(row)
        cells = [row.bits, f"`{row.method}`", row.title + ("" if row.integer else " (float)"),
                 *(_number(value, 2) for value in (row.top1, row.top5, row.agreement)),
                 f"`{row.baseline}`" if one else NONE, f"{one.points:+.2f}" if one else NONE,
                 f"{one.low:+.2f} to {one.high:+.2f}" if one else NONE,
                 *(_number(value, 2) for value in (row.r_squared, row.spearman)), *cost]
        if row.method == row.bits:
            cells[1:3] = "", row.title
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *notes(rows), ""])


def as_dict(rows: Sequence[Row]) -> dict:
    """Return the table and its statistics as numbers, text, lists and dictionaries."""
    return {"bootstrap": {"confidence": CONFIDENCE, "resamples": RESAMPLES},
            "percentiles": PERCENTILES, "oracle": ORACLE, "notes": notes(rows),
            "rows": [asdict(row) | {"r_squared": row.r_squared, "spearman": row.spearman}
                     for row in rows]}
