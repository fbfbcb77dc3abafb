"""How a comparison on shifted images is shown: tables, Markdown, JSON."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ..common.tables import show, table_of
from .comparison import CONFIDENCE, Difference
from .shift_comparison import Cell, MeanDifference, ShiftRow

_CLEAN = "clean"


def print_report(rows: Sequence[ShiftRow], console: Console) -> None:
    """Print shares and differences under each shift; columns without room go into further tables.
    """
    console.print()
    _print(f"{_what(rows)} of shifted images, per cent", *_shares(rows, 1), console)
    if any(row.against for row in rows):
        console.print()
        _print(f"Points of {_what(rows)} to the method under 'against'", *_points(rows, _short),
               console)
    console.print()
    for line in notes(rows):
        console.print(Text(line, style="dim"))


def _what(rows: Sequence[ShiftRow]) -> str:
    return "agreement with fp32" if rows[0].clean.top1 is None else "top-1"


def _name(row: ShiftRow) -> str:
    return row.method if row.integer or row.method == row.bits else f"{row.method} float"


def _shifts(rows: Sequence[ShiftRow]) -> list[str]:
    return [cell.shift for cell in rows[0].cells]


def _shares(rows: Sequence[ShiftRow], places: int) -> tuple[list[str], list[ShiftRow], list]:
    """Return names of columns, rows, and their cells."""
    cells = [[*(f"{each.share:.{places}f}" for each in (row.clean, *row.cells)),
              f"{row.mean:.{places}f}", f"{row.worst.share:.{places}f}", row.worst.shift]
             for row in rows]
    return [_CLEAN, *_shifts(rows), "mean", "worst", "at"], list(rows), cells


def _points(rows: Sequence[ShiftRow], text: Callable) -> tuple[list[str], list[ShiftRow], list]:
    """Return names of columns, the rows with differences, and their cells."""
    some = [row for row in rows if row.against is not None]
    cells = [[row.baseline, *(text(each.against) for each in (row.clean, *row.cells, row))]
             for row in some]
    return ["against", _CLEAN, *_shifts(rows), "mean"], some, cells


def _short(one: Difference | MeanDifference) -> str:
    return f"{one.points:+.1f} ±{max(one.high - one.points, one.points - one.low):.1f}"


def _long(one: Difference | MeanDifference) -> str:
    return f"{one.points:+.2f} ({one.low:+.2f} to {one.high:+.2f})"


def _heading(column: str) -> str:
    """Return a shift over as many lines as it has words; others as they are."""
    return column.replace("_", "\n").replace(":", "\n")


def _wide(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _print(title: str, columns: list[str], rows: list[ShiftRow], cells: list,
           console: Console) -> None:
    heads, names = [_heading(column) for column in columns], [_name(row) for row in rows]
    widths = [max(map(_wide, column)) for column in zip(heads, *cells, strict=True)]
    first = max(map(cell_len, ["method", *names]))
    last = columns.index("mean")
    units = [*([number] for number in range(last)), [*range(last, len(columns))]]
    for number, part in enumerate(_parts(units, widths, console.width - first)):
        lines, bits = [], None
        for row, name, own in zip(rows, names, cells, strict=True):
            if row.bits not in (bits, row.method):
                lines.append([row.bits])
            bits = row.bits
            lines.append([name, *(own[place] for place in part)])
        if number:
            console.print()
        console.print(Text(f"{title}, further" if number else title, style="bold green"))
        show(console, table_of("", ["method", *(heads[place] for place in part)], lines,
                               console.width, cut=False))


def _parts(units: Sequence[list[int]], widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Give numbers of columns that have room beside each other, two blanks before each.

    Columns of a unit stay together.
    """
    part, left = [], room
    for unit in units:
        wide = sum(widths[number] + 2 for number in unit)
        if part and left < wide:
            yield part
            part, left = [], room
        part += unit
        left -= wide
    yield part


def notes(rows: Sequence[ShiftRow]) -> list[str]:
    """Return what the columns mean, in a few short lines."""
    count = len(rows[0].cells)
    lines = [f"mean, worst: over {count} shifts of the network's 8-bit pixels; clean: over none."]
    if rows[0].clean.top1 is None:
        lines.append("agreement: with the float model on the same shifted pixels.")
    if any(row.against for row in rows):
        lines.append(f"points: {100 * CONFIDENCE:.0f} % interval, of one shift at a time; that of "
                     "the mean draws an image with all its shifts.")
    return lines


def as_markdown(rows: Sequence[ShiftRow]) -> str:
    """Return shares and differences as two tables in Markdown."""
    lines = [f"{_what(rows).capitalize()} of shifted images, per cent", "",
             *_markdown(*_shares(rows, 2))]
    if any(row.against for row in rows):
        lines += ["", f"Points, {100 * CONFIDENCE:.0f} % interval", "",
                  *_markdown(*_points(rows, _long))]
    return "\n".join([*lines, "", *notes(rows), ""])


def _markdown(columns: list[str], rows: list[ShiftRow], cells: list) -> Iterator[str]:
    yield "| " + " | ".join(["bits", "method", *columns]) + " |"
    yield "| --- | --- |" + " ---: |" * len(columns)
    for row, own in zip(rows, cells, strict=True):
        name = "" if row.method == row.bits else f"`{row.method}`"
        yield "| " + " | ".join([row.bits, name, *own]) + " |"


def as_dict(rows: Sequence[ShiftRow]) -> dict:
    """Return the tables as numbers, text, lists and dictionaries."""
    return {"notes": notes(rows),
            "rows": [asdict(row) | {"mean": row.mean, "worst": _named(row.worst)} for row in rows]}


def _named(cell: Cell) -> dict:
    return {"shift": cell.shift, "share": cell.share}
