"""Tables that fit a terminal: names are cut and columns go, numbers stay whole."""

from collections.abc import Collection, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..cli import printable

NAME = 12
"""To so few characters names are cut before a column goes."""

_UNLIMITED = 10_000  # columns


def shortened(name: str, room: int) -> str:
    """Return a name of at most `room` columns, cut from its front."""
    if cell_len(name) <= room:
        return name
    kept = name
    while cell_len(kept) > room - 2:
        kept = kept[1:]
    return f"..{kept}"


def _wide(cell: str) -> int:
    """Return the columns of a cell, which may have several lines."""
    return max(map(cell_len, cell.split("\n")))


def _name(cell: str, room: int) -> Text:
    """Return a name as it is shown: names may come from files, and have anything in them."""
    return Text("\n".join(shortened(printable(line), room) for line in cell.split("\n")))


def table_of(title: str, columns: Sequence[str], rows: Sequence[Sequence[str] | None],
             width: int, spare: Sequence[Sequence[int]] = (), *, cut: bool = True,
             title_style: str = "bold", bold: Collection[int] = ()) -> Table:
    """Return a table within `width`, names to the left, numbers to the right.

    Two blanks between columns if there is room, else one; then names are cut, from their front;
    then columns go. What is wider even so must be printed by :func:`show`.

    Parameters
    ----------
    rows
        Cells; a row of one cell begins a section. Cells, and `columns`, may have several lines.
    spare
        Numbers of the columns that may go, those first that are missed least; what is in one
        group goes together.
    cut
        Whether names may be cut at all.
    bold
        Numbers of the rows that stand out.
    """
    full = [row for row in rows if len(row) > 1]
    widths = [max(map(_wide, cells)) for cells in zip(columns, *full, strict=True)]
    widths[0] = max(widths[0], *(_wide(_name(row[0], _UNLIMITED).plain) for row in rows), 1)
    shown, least = list(range(len(columns))), min(widths[0], NAME) if cut else widths[0]
    for group in spare:
        if least + sum(widths[number] for number in shown[1:]) + len(shown) <= width:
            break
        shown = [number for number in shown if number not in group]
    taken = sum(widths[number] for number in shown)
    gap = 2 if taken + 2 * len(shown) <= width else 1
    room = max(least, width - (taken - widths[0]) - gap * len(shown))
    table = Table(title=Text(printable(title), style=title_style), title_justify="left",
                  box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False,
                  header_style="bold", show_edge=False)
    for number in shown:
        table.add_column(columns[number], justify="right" if number else "left", no_wrap=True,
                         style=None if number else "cyan")
    for place, row in enumerate(rows):
        if len(row) == 1:
            table.add_section()
            table.add_row(Text(printable(row[0]), style="bold"))
        else:
            table.add_row(_name(row[0], room), *(row[number] for number in shown[1:]),
                          style="bold" if place in bold else None)
    return table


def pairs_of(rows: Sequence[Sequence[str]], width: int) -> Table:
    """Return names and values, two to a line, or one where `width` has no room for two."""
    widths = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)]
    if sum(widths) + 2 * len(widths) > width:
        rows = [row[at:at + 2] for row in rows for at in range(0, len(row), 2)]
    grid = Table.grid(padding=(0, 2))
    for number in range(len(rows[0])):
        grid.add_column(no_wrap=True, style="bold" if number % 2 else None)
    for row in rows:
        grid.add_row(*row)
    return grid


def list_of(rows: Sequence[tuple[str, str]], width: int, longest: int = 48) -> Table:
    """Return names and numbers, a line each; names are cut at their end to fit `width`."""
    numbers = max(cell_len(number) for _, number in rows)
    room = max(8, min(longest, width - numbers - 3))
    table = Table(box=box.SIMPLE_HEAD, show_header=False, padding=(0, 2, 0, 0), pad_edge=False,
                  show_edge=False)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=room)
    table.add_column(justify="right", no_wrap=True)
    for name, number in rows:
        table.add_row(Text(printable(name)), number)
    return table


def show(console: Console, table: Table) -> None:
    """Print a table as wide as it is; of one too wide for the console, nothing is cut off."""
    unlimited = console.options.update(max_width=_UNLIMITED)
    table.width = Measurement.get(console, unlimited, table).maximum
    console.print(table, crop=False)
