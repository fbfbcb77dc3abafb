"""The activity that ships with the package: what it says fits together, and is what is used."""

import json

import pytest

from sim.activity.units import CONSTANTS, UNITS
from sim.estimation.energy import ACTIVITY, EnergyTable, measured_factors

SHIPPED = json.loads(ACTIVITY.read_text())


def test_it_says_where_it_comes_from():
    assert SHIPPED["format"] == "vernier-activity"
    assert SHIPPED["core"] == [4, 4]
    assert [run["model"] for run in SHIPPED["runs"]] == ["vit_cifar10:w8a8", "vit_cifar10:w4a4"]
    for run in SHIPPED["runs"]:
        assert run["images"]
        assert all(len(image["sha256"]) == 64 for image in run["images"])
        assert len(run["cycles"]) == len(run["images"])


def test_it_has_a_factor_for_all_arithmetic():
    assert set(SHIPPED["constants"]) == set(CONSTANTS)
    for name, one in SHIPPED["constants"].items():
        assert one["factor"] == pytest.approx(one["real_toggles"] / one["random_toggles"],
                                              rel=1e-6), name
        assert 0.02 < one["factor"] < 1.5, name


def test_the_whole_is_the_sum_of_the_runs():
    for name, one in SHIPPED["constants"].items():
        for field in "real_toggles", "random_toggles", "samples":
            assert one[field] == pytest.approx(sum(
                run["constants"].get(name, {}).get(field, 0) for run in SHIPPED["runs"]), abs=2)


def test_activity_is_toggles_per_bit():
    for run in SHIPPED["runs"]:
        for row in (*run["units"], *run["random"]):
            assert row["unit"] in UNITS
            assert row["bits"] == SHIPPED["bits"][row["unit"]]
            assert row["activity"] == pytest.approx(row["toggles_per_cycle"] / row["bits"])
            assert row["activity"] < 1


def test_units_that_are_not_at_work_hardly_toggle():
    for run in SHIPPED["runs"]:
        for row in run["units"]:
            if row["kind"] != "PREDICT" and row["unit"] == "scale unit":
                assert row["activity"] < 0.001, row
            if row["kind"] == "LOAD" and row["unit"] in ("multipliers", "softmax", "GELU"):
                assert row["activity"] < 0.005, row


@pytest.mark.parametrize("tech", ["45nm", "22nm"])
def test_it_is_what_estimates_use(tech):
    published, measured = EnergyTable.of(tech), EnergyTable.of(tech, measured=True)
    for name, one in published.constants.items():
        factor = measured_factors().get(name, 1.0)
        assert measured[name] == pytest.approx(one.value * factor), name
        if name in CONSTANTS:
            assert factor == SHIPPED["constants"][name]["factor"]
            assert measured.constants[name].status == "estimate"
            assert "activity" in measured.constants[name].source
        else:
            assert measured.constants[name] == one
