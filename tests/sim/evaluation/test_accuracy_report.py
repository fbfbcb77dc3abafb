import io

import pytest
from rich.console import Console

from sim.evaluation import accuracy_report as report
from sim.evaluation.comparison import Difference, Row, Site
from sim.prediction.scale_costs import Cost


@pytest.mark.parametrize(("value", "text"), [
    (0, "0"), (9, "9"), (999, "999"), (1000, "1.0k"), (1249, "1.2k"), (9949, "9.9k"),
    (9951, "10k"), (99_400, "99k"), (999_400, "999k"), (999_600, "1.0M"), (5_730_000, "5.7M"),
    (12_000_000, "12M"), (3e9, "3.0G"), (4e12, "4T")])
def test_counts_have_four_characters(value, text):
    assert report._short(value) == text
    assert len(text) <= 4


@pytest.mark.parametrize(("value", "text"), [
    (None, "-"), (0.654, ".65"), (-0.1249, "-.12"), (1.0, "1.00"), (0.999, "1.00"), (-0.001, ".00"),
    (-1.234, "-1.2"), (-9.96, "-10"), (-0.999, "-1.0")])
def test_ratios_have_four_characters(value, text):
    assert report._ratio(value) == text


def _row(method, bits="w4a4", **changed):
    values = {"title": "Title", "source": "", "integer": True, "top1": 79.5, "top5": 100.0,
              "agreement": 91.2, "baseline": "lsq-all",
              "against": Difference(-60.1, -62.8, -57.5, 3, 700, 0.0),
              "sites": (Site("1.q", -3.14159, -0.55),), "cost": Cost(88_000, 145_000_000, 569_000,
                                                                      least=True)}
    return Row(method=method, bits=bits, **values | changed)


ROWS = [_row("fp32", "fp32", integer=False, against=None, sites=(), cost=None),
        _row("jit-percentile"), _row("predictor-all"), _row("ptq4vit", integer=False),
        _row("predictor-all", "w8a8")]


@pytest.mark.parametrize("width", [80, 120])
def test_widest_table_fits(width):
    out = io.StringIO()
    report.print_report(ROWS, "deit_t, 50,000 images, calibrated with 1,000",
                        Console(file=out, width=width))
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "…" not in out.getvalue()
    heads = [line.strip() for line in lines if line.strip() in {"w4a4", "w8a8", "fp32"}]
    assert heads == ["w4a4", "w8a8"]
    cells = next(line for line in lines if line.startswith("predictor-all")).split()
    assert cells[1:] == ["79.5", "100.0", "91.2", "lsq-all", "-60.1", "±2.7", "-3.1", "-.55", "88k",
                         ">145M", ">569k"]


def test_notes_say_what_is_there_and_nothing_else():
    assert len(report.notes(ROWS)) == 6
    plain = [_row("mse", against=None, sites=(), cost=Cost(), top1=None)]
    assert report.notes(plain) == ["=fp32: images with the float model's class, in per cent."]
    other = report.notes([_row("lsq", top1=None, sites=(), cost=Cost())])
    assert other[1].startswith("points: difference of agreement with fp32 to the method")


def test_markdown_shows_intervals_and_marks_float():
    text = report.as_markdown(ROWS, "python -m sim.accuracy")
    assert "| w4a4 | `ptq4vit` | Title (float) | 79.50 | 100.00 | 91.20 |" in text
    assert "| `lsq-all` | -60.10 | -62.80 to -57.50 | -3.14 | -0.55 | 88k | >145M | >569k |" in text
    assert "| fp32 |  | Title | 79.50 |" in text


def test_dictionary_has_means_and_sites():
    row = report.as_dict(ROWS)["rows"][1]
    assert (row["r_squared"], row["spearman"]) == (-3.14159, -0.55)
    assert row["sites"][0] == {"name": "1.q", "r_squared": -3.14159, "spearman": -0.55}
    assert row["against"]["p"] == 0
    assert row["cost"]["least"] is True
