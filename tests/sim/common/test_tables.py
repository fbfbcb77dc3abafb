"""Tables at every width of a terminal: numbers are whole, or their column is not there."""

import io
import re

import pytest
from rich.console import Console

from rtl.utilisation import DEVICE, LIMITS, Row, Utilisation
from sim.common.tables import list_of, pairs_of, show, table_of

COLUMNS = ["tensor", "x", "cycles", "share", "MACs", "mJ"]
ROWS = [["blocks.11.attention.projection GEMM", "12", "1,234,567", "17.3 %", "261.4M", "0.123"],
        ["head LOAD", "1", "89", "0.004 %", "", "12"],
        ["w4a4"], ["猫猫猫猫猫猫猫猫猫 GEMM", "3", "4,567", "3.2 %", "1.2M", "3.456"]]
SPARE = [[1], [4, 5], [3]]


def printed(table, width):
    out = io.StringIO()
    show(Console(file=out, width=width), table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [1, 12, 20, 24, 30, 34, 40, 50, 60, 80, 120])
def test_numbers_are_whole_or_not_there(width):
    lines = printed(table_of("Title", COLUMNS, ROWS, width, SPARE), width)
    head = next(line for line in lines if line.startswith("tensor")).split()
    gone = {number for number, name in enumerate(COLUMNS) if name not in head}
    assert "cycles" in head
    assert gone in ({}.keys(), {1}, {1, 4, 5}, {1, 3, 4, 5})
    for row in ROWS[:2] + ROWS[3:]:
        numbers = " ".join(cell for number, cell in enumerate(row)
                           if number and number not in gone).split()
        assert sum(line.split()[-len(numbers):] == numbers for line in lines) == 1
    assert "…" not in "".join(lines)


def test_names_of_files_are_shown_as_escapes():
    rows = [["b\x1b[2Jc\n [x]", "1"], ["\x07"]]
    lines = printed(table_of("a\x1b[1m[b]", ["name", "n"], rows, 60), 60)
    assert lines[0] == r"a\x1b[1m[b]"
    assert any(line.startswith(r"b\x1b[2Jc") for line in lines)
    assert any(line.split() == ["[x]"] for line in lines)
    assert r"\x07" in lines
    assert printed(list_of([("a\x1b[1m[b]", "2")], 60), 60)[-1].split() == [r"a\x1b[1m[b]", "2"]


@pytest.mark.parametrize("width", [24, 30, 34, 40, 50, 60, 80, 120])
def test_tables_fit(width):
    lines = printed(table_of("T", COLUMNS, ROWS, width, SPARE), width)
    assert max(sum(2 if char == "猫" else 1 for char in line) for line in lines) <= width
    assert any(line.endswith("w4a4") for line in lines)


def test_names_are_cut_before_columns_go():
    lines = printed(table_of("T", COLUMNS, ROWS, 60, SPARE), 60)
    assert any(line.startswith("..") and line.split()[-5:] == [
        "1,234,567", "17.3", "%", "261.4M", "0.123"] for line in lines)
    lines = printed(table_of("T", COLUMNS, ROWS, 60, SPARE, cut=False), 60)
    assert any(line.startswith(ROWS[0][0]) for line in lines)


PAIRS = [("MACs", "1,253,683,200", "cycles", "12,345,678"),
         ("range + scale unit", "0.123 % of cycles", "", "0.456 % of energy")]


@pytest.mark.parametrize(("width", "count"), [(80, 2), (60, 4), (40, 4), (10, 4)])
def test_pairs_take_a_line_each_where_two_have_no_room(width, count):
    lines = printed(pairs_of(PAIRS, width), width)
    assert len(lines) == count
    text = " ".join(" ".join(lines).split())
    for row in PAIRS:
        assert all(cell in text for cell in row)
    assert width < 40 or max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [10, 30, 40, 60, 80])
def test_lists_keep_their_numbers(width):
    rows = [("a class with a very long name, of which there are some in ImageNet", "93.1 %"),
            ("read from memory", "12,345,678 bytes")]
    lines = printed(list_of(rows, width), width)
    assert [line.endswith(number) for line, (_, number) in zip(lines, rows, strict=True)] == [
        True, True]
    assert width < 30 or max(map(len, lines)) <= width
    assert lines[0].startswith("a class")


USED = {"LUT4": 51_234, "FF": 31_234, "MULT18X18D": 128, "DP16KD": 200}


@pytest.mark.parametrize(("width", "gone"), [
    (200, []), (80, []), (79, []), (60, ["FF"]), (50, ["FF", "DP16KD"]),
    (40, ["FF", "DP16KD", "MULT18X18D"]), (1, ["FF", "DP16KD", "MULT18X18D"])])
def test_utilisation(width, gone):
    found = Utilisation((Row("prediction.scale_unit", USED),))
    lines = found.table(width).splitlines()
    assert width < 40 or max(map(len, lines)) <= width
    kept = [name for name in USED if name not in gone]
    assert lines[0].split() == [*kept, "of", "LUTs"]
    rows = {re.split(r"  +", line)[0]: line.split() for line in lines[1:]}
    for name, numbers in ("prediction.scale_unit", USED), ("limit", LIMITS), ("LFE5U-85F", DEVICE):
        wanted = [f"{numbers[resource]:,}" for resource in kept]
        assert rows[name][1:1 + len(wanted)] == wanted
