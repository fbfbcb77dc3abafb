"""Statistics under shifts, by hand on a few images."""

from pathlib import Path

import numpy as np
import pytest

from sim.evaluation import comparison, shift_comparison
from sim.evaluation.chunks import Shifted
from sim.evaluation.evaluation import Answers
from sim.evaluation.preparation import Prepared, candidates
from sim.shifts.shift import Shift

FOG, DARK = Shifted(Shift("fog", 3), 1), Shifted(Shift("dark", 1), 1)
LABELS = np.array([1, 2, 3, 4])
CLASSES = {
    ("fp32", None): [1, 2, 3, 4], ("fp32", FOG): [1, 2, 3, 0], ("fp32", DARK): [1, 0, 0, 0],
    ("mse", None): [1, 2, 0, 0], ("mse", FOG): [1, 0, 0, 0], ("mse", DARK): [0, 2, 0, 0],
    ("lsq", None): [1, 2, 3, 0], ("lsq", FOG): [1, 2, 0, 0], ("lsq", DARK): [1, 2, 0, 0],
}


def answers(*methods):
    made = []
    for (method, shifted), classes in CLASSES.items():
        if method in methods:
            bits = "fp32" if method == "fp32" else "w4a4"
            prepared = Prepared(method, bits, method != "fp32", (), None, (), Path(method), "")
            top = np.array([[one, 9, 9, 9, 9] for one in classes])
            made.append(Answers(prepared, top, None, shifted))
    return made


@pytest.fixture
def rows():
    made = shift_comparison.rows(answers("fp32", "mse", "lsq"), LABELS, candidates())
    return {row.method: row for row in made}


def test_shares_are_those_of_each_shift(rows):
    assert [*rows] == ["fp32", "mse", "lsq"]
    assert [(row.clean.top1, *(cell.top1 for cell in row.cells)) for row in rows.values()] == [
        (100, 75, 25), (50, 25, 25), (75, 50, 50)]
    assert [cell.shift for cell in rows["mse"].cells] == ["fog:3", "dark:1"]
    assert (rows["mse"].clean.shift, rows["mse"].title) == (None, "static MSE")
    assert [row.mean for row in rows.values()] == [50, 25, 50]
    assert [row.worst.shift for row in rows.values()] == ["dark:1", "fog:3", "fog:3"]


def test_agreement_is_with_the_float_model_on_the_same_pixels(rows):
    assert [cell.agreement for cell in rows["fp32"].cells] == [100, 100]
    # mse on fog: 1, 0, 0, 0 beside 1, 2, 3, 0; on dark: 0, 2, 0, 0 beside 1, 0, 0, 0
    assert [cell.agreement for cell in rows["mse"].cells] == [50, 50]


def test_all_are_held_against_one_method():
    against = comparison.Baseline("lsq", "w4a4")
    made = shift_comparison.rows(answers("fp32", "mse", "lsq"), LABELS, candidates(),
                                 against=against)
    assert [row.baseline for row in made] == [None, "lsq:w4a4", None]
    assert [row.against and row.against.points for row in made] == [None, -25, None]
    assert [cell.against.points for cell in (made[1].clean, *made[1].cells)] == [-25, -25, -25]


def test_differences_are_paired_with_the_baseline_under_the_same_shift(rows):
    assert rows["fp32"].against is rows["mse"].against is None
    row = rows["lsq"]
    assert row.baseline == "mse"
    assert [(cell.against.better, cell.against.worse) for cell in (row.clean, *row.cells)] == [
        (1, 0)] * 3
    right = {name: np.array(CLASSES[name, FOG]) == LABELS for name in ("lsq", "mse")}
    assert row.cells[0].against == comparison.difference(right["lsq"], right["mse"])
    assert row.against.points == row.mean - rows["mse"].mean == 25
    assert row.against.low <= 25 <= row.against.high


def test_rows_without_shifts_are_those_of_the_other_table(rows):
    clean = [one for one in answers("fp32", "mse", "lsq") if one.shifted is None]
    for row in comparison.rows(clean, LABELS, candidates(), []):
        mine = rows[row.method].clean
        assert (mine.top1, mine.agreement, mine.against) == (row.top1, row.agreement, row.against)


def test_without_labels_agreement_counts():
    row = shift_comparison.rows(answers("fp32", "mse", "lsq"), None, candidates())[2]
    assert (row.clean.top1, row.clean.share) == (None, 75)
    assert [cell.share for cell in row.cells] == [75, 75]
    assert row.cells[0].against.points == 25


def test_interval_of_a_mean_draws_an_image_with_all_its_shifts():
    draw = np.random.default_rng(1)
    right = draw.random(400) < 0.5
    mine = {None: right, "a": right, "b": right}
    none = np.zeros(400, bool)
    theirs = {None: none, "a": none, "b": none}
    mean = shift_comparison._mean_difference(mine, theirs, 1)
    alone = comparison.difference(right, none)
    # shifts that agree say no more than one of them does
    assert mean.points == pytest.approx(alone.points)
    assert (mean.low, mean.high) == pytest.approx((alone.low, alone.high), abs=0.5)
    mine["b"] = draw.random(400) < 0.5  # other shifts say more
    wider = shift_comparison._mean_difference(mine, theirs, 1)
    assert wider.high - wider.low < 0.85 * (mean.high - mean.low)


def test_interval_is_the_one_of_two_methods():
    assert comparison.interval((1, 0, -1), (5, 90, 5)) == comparison.bootstrap(5, 5, 100)
