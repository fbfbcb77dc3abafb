"""Bounds and fronts."""

import random

import pytest

from sim.exploration.choices import Constraint, constraint, front


@pytest.mark.parametrize(("text", "expected"), [
    ("fps>=10", Constraint("fps", ">=", 10.0)), (" luts < 6e4 ", Constraint("luts", "<", 6e4)),
    ("energy_mj<=0.5", Constraint("energy_mj", "<=", 0.5))])
def test_a_constraint_is_read(text, expected):
    assert constraint(text) == expected


def test_a_bound_is_met_by_numbers_only():
    bound = Constraint("fps", ">=", 10.0)
    assert [bound.met({"fps": value}) for value in (None, 9.99, 10.0, 11)] == [
        False, False, True, True]


def test_a_front_has_all_that_nothing_is_better_than():
    rng = random.Random(1)
    rows = [{"fps": rng.choice([None, *range(8)]), "luts": rng.randrange(8),
             "cycles": rng.randrange(8)} for _ in range(200)]
    names = ["fps", "luts", "cycles"]

    def better(a, b):  # definition: nowhere worse and somewhere better
        pairs = [(b["fps"], a["fps"]), (a["luts"], b["luts"]), (a["cycles"], b["cycles"])]
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    known = [row for row in rows if row["fps"] is not None]
    expected = [index for index, row in enumerate(rows) if row in known
                and not any(better(other, row) for other in known)]
    assert front(rows, names) == expected
    assert 1 < len(expected) < len(rows)


def test_a_front_of_nothing_is_empty():
    assert front([], ["fps"]) == []
    assert front([{"fps": None}], ["fps"]) == []
