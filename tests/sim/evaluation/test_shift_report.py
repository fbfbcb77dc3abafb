import io

import pytest
from rich.console import Console

from sim.evaluation import shift_report as report
from sim.evaluation.comparison import Difference
from sim.evaluation.shift_comparison import Cell, MeanDifference, ShiftRow
from sim.shifts.shift import parse

BETTER = Difference(-60.1, -62.8, -57.5, 3, 700, 0.0)


def _rows(text, *, labels=True):
    shifts = [str(shift) for shift in parse(text)]

    def row(method, bits, *, integer=True, against=True):
        def cell(shift, share):
            return Cell(shift, share if labels else None, 100.0 if labels else share,
                        BETTER if against else None)
        return ShiftRow(method, "Title", bits, integer, "lsq-all" if against else None,
                        cell(None, 79.5), tuple(cell(shift, 70.25 - number) for number, shift in
                                                enumerate(shifts)),
                        MeanDifference(1.234, -0.31, 2.04) if against else None)

    return [row("fp32", "fp32", integer=False, against=False), row("mse", "w8a8", against=False),
            row("predictor-all", "w8a8"), row("activations-only", "w4a4", integer=False)]


def _printed(rows, width=80):
    out = io.StringIO()
    report.print_report(rows, Console(file=out, width=width))
    return out.getvalue()


def test_a_few_shifts_are_one_table():
    text = _printed(_rows("dark:3,fog:2"))
    lines = [line.split() for line in text.splitlines()]
    assert ["mse", "79.5", "70.2", "69.2", "69.8", "69.2", "fog:2"] in lines
    assert ["activations-only", "float", "lsq-all", *["-60.1", "±2.7"] * 3, "+1.2", "±1.5"] in lines
    assert sum(line[:1] == ["method"] for line in lines) == 2
    assert "further" not in text


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("shifts", ["fog:1", "imagenet-c:5", "all"])
def test_any_number_of_shifts_fits(shifts, width):
    rows = _rows(shifts)
    text = _printed(rows, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    heads = [line.split() for line in text.splitlines() if " worst " in f"{line} "]
    assert [head[-3:] for head in heads if head[0] == "method"] == [["mean", "worst", "at"]]
    assert all(line.startswith(("top-1 of shifted images, per cent", "Points of top-1 to the"))
               for line in text.splitlines() if "top-1" in line)
    mine = [cell for line in text.splitlines() if line.startswith("fp32") for cell in
            line.split()[1:]]
    assert mine == ["79.5", *(f"{cell.share:.1f}" for cell in rows[0].cells),
                    f"{rows[0].mean:.1f}", f"{rows[0].worst.share:.1f}", rows[0].worst.shift]


def test_heads_say_what_is_shown():
    text = _printed(_rows("fog:1"))
    assert "top-1 of shifted images, per cent" in text
    assert "mean, worst: over 1 shifts" in text
    text = _printed(_rows("fog:1", labels=False))
    assert "agreement with fp32 of shifted images, per cent" in text
    assert "Points of agreement with fp32 to the method under 'against'" in text


def test_without_differences_there_is_one_table():
    text = _printed(_rows("fog:1")[:2])
    assert "against" not in text
    assert "points" not in text
    assert report.as_markdown(_rows("fog:1")[:2]).count("| --- |") == 1


def test_markdown_has_both_tables():
    text = report.as_markdown(_rows("dark:3,fog:2"))
    assert "| bits | method | clean | dark:3 | fog:2 | mean | worst | at |" in text
    assert "| fp32 |  | 79.50 | 70.25 | 69.25 | 69.75 | 69.25 | fog:2 |" in text
    difference = "-60.10 (-62.80 to -57.50)"
    assert (f"| w8a8 | `predictor-all` | lsq-all | {' | '.join([difference] * 3)} | "
            "+1.23 (-0.31 to +2.04) |") in text
    tables = [[line.count("|") for line in part.splitlines()] for part in text.split("\n\n")
              if part.startswith("|")]
    assert [len(set(counts)) for counts in tables] == [1, 1]


def test_dictionary_has_cells_mean_and_worst():
    rows = _rows("dark:3,fog:2")
    row = report.as_dict(rows)["rows"][2]
    assert (row["mean"], row["worst"]) == (69.75, {"shift": "fog:2", "share": 69.25})
    assert [cell["shift"] for cell in row["cells"]] == ["dark:3", "fog:2"]
    assert row["clean"]["against"]["points"] == row["cells"][0]["against"]["points"] == -60.1
    assert row["against"] == {"points": 1.234, "low": -0.31, "high": 2.04}
    assert report.as_dict(rows)["notes"] == report.notes(rows)
