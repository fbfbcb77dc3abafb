"""A search of a grid, accuracies beside its designs, and results as tables."""

import json
from dataclasses import asdict

import pytest

from golden.common.config import CORES
from sim import explore
from sim.cli import UserError
from sim.exploration import evaluate
from sim.exploration.accuracy import METHODS, read_accuracy
from sim.exploration.choices import Constraint
from sim.exploration.evaluate import AREA, ESTIMATED, Setting
from sim.exploration.exploration import Exploration
from sim.exploration.explore_report import marked
from sim.exploration.grid import Design, designs
from sim.exploration.kept import Kept
from sim.exploration.search import search

SETTING = Setting("small", None, "", CORES["8x16"], 50.0, "28nm")
GRID = designs(rows=[4, 8], cols=[4, 8, 16], sram_kib=[5, 16, 64], bus_bytes=[4],
               stream_words=[512], memory=["20:4", "7:1.5"], bits=["w8a8", "w4a4"],
               scales=["static"])
BOUND = [Constraint("fps", ">=", 3000.0)]
NAMES = ["fps", "energy_mj", "luts"]
WANTED = {"constraints": BOUND, "objectives": NAMES}


def row_of(design: Design) -> dict:
    """Costs by a formula, which is all that a search has to know of them."""
    fits = design.sram_kib > 5 and design.cols in (design.rows, 2 * design.rows)
    costs = dict.fromkeys((*ESTIMATED, *AREA))
    if fits:
        faster = 4 if design.bits == "w4a4" else 1
        cycles = 1_000_000 // (design.rows * design.cols * faster) + int(
            design.memory.partition(":")[0])
        costs = dict.fromkeys(costs, 1) | {
            "cycles": cycles, "fps": 50e6 / cycles, "energy_mj": cycles / 1e6,
            "luts": 400 * design.rows * design.cols + design.sram_kib}
    return {"model": "small", **asdict(design), "clock_mhz": 50.0, "tech": "28nm", "fits": fits,
            "reason": "" if fits else "it is too small", **costs}


@pytest.fixture
def evaluated(monkeypatch):
    """The designs that were evaluated, by the formula."""
    found = []

    def evaluate_all(setting, group, expected=None):
        found.extend(group)
        return [row_of(design) for design in group]

    monkeypatch.setattr(evaluate, "evaluate", evaluate_all)
    return found


def test_a_search_as_large_as_the_grid_is_all_of_it(evaluated, tmp_path):
    found = search(SETTING, GRID[:24], Kept(tmp_path / "kept", SETTING), 99, **WANTED)
    assert len(found) == len(evaluated) == 24
    assert sorted(map(str, found)) == sorted(str(row_of(design)) for design in GRID[:24])


def test_a_search_comes_near_the_front(evaluated, tmp_path):
    best = [row for row in marked([row_of(design) for design in GRID], BOUND, NAMES)
            if row["front"]]
    tried = search(SETTING, GRID, Kept(tmp_path / "kept", SETTING), 36, **WANTED)
    found = [row for row in marked(tried, BOUND, NAMES) if row["front"]]
    assert len(best) > 1
    assert 2 * sum(row in best for row in found) >= len(best)


def test_a_search_is_that_of_its_seed_and_goes_on(evaluated, tmp_path, monkeypatch):
    path = tmp_path / "kept"
    first = search(SETTING, GRID, Kept(tmp_path / "other", SETTING), 12, **WANTED, seed=3)
    assert len(first) == len(evaluated) == 12
    assert search(SETTING, GRID, Kept(path, SETTING), 12, **WANTED, seed=4) != first
    path.unlink()
    evaluated.clear()
    whole = evaluate.evaluate

    def interrupted(setting, group):
        if len(evaluated) == 5:
            raise KeyboardInterrupt
        return whole(setting, group)

    monkeypatch.setattr(evaluate, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(SETTING, GRID, Kept(path, SETTING), 12, **WANTED, seed=3)
    monkeypatch.setattr(evaluate, "evaluate", whole)
    assert search(SETTING, GRID, Kept(path, SETTING), 12, **WANTED, seed=3) == first
    assert len(evaluated) == len(set(evaluated)) == 12


def test_an_exploration_is_a_table():
    rows = [row_of(design) for design in GRID]
    found = Exploration.of(SETTING, rows, BOUND, NAMES)
    table = found.to_pandas()
    assert len(table) == len(GRID)
    assert table["front"].sum() == len(found.front) > 0
    assert table.loc[table["front"], "fps"].max() == found.front[0]["fps"]
    assert table["cycles"].isna().sum() == sum(not row["fits"] for row in rows) > 0
    assert str(table["cycles"].dtype) == "Int64"


# Accuracies.

def measured(tmp_path, **changes):
    row = {"bits": "w4a4", "method": "mse", "integer": True, "top1": 70.0, "agreement": 80.0}
    rows = [row, row | {"method": "lsq", "top1": 71.5}, row | {"method": "oracle", "top1": 90.0},
            row | {"method": "lsq-all", "top1": 99.0, "integer": False},
            row | {"method": "predictor", "top1": None, "agreement": 82.0}]
    path = tmp_path / "accuracy.json"
    path.write_text(json.dumps({"model": "small", "rows": rows} | changes))
    return path


def test_the_best_method_in_integers_counts(tmp_path):
    accuracy = read_accuracy(measured(tmp_path), "small")
    assert accuracy.of({"bits": "w4a4", "scales": "static"}) == {
        "bits": "w4a4", "scales": "static", "method": "lsq", "top1": 71.5, "agreement": 80.0}
    assert accuracy.of({"bits": "w4a4", "scales": "predicted"})["agreement"] == 82.0
    assert accuracy.of({"bits": "w8a8", "scales": "static"})["top1"] is None


def test_methods_are_those_that_there_are():
    from sim.evaluation.methods import METHODS as known  # PyTorch's import

    assert {name for kind in METHODS.values() for name in kind} <= set(known)


@pytest.mark.parametrize(("changes", "message"), [
    ({"model": "other"}, "is of other, not of small"),
    ({"rows": [{"method": "mse"}]}, "must be what sim.accuracy --json prints"),
    ({"rows": 3}, "must be what sim.accuracy --json prints")])
def test_wrong_accuracies_are_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        read_accuracy(measured(tmp_path, **changes), "small")


# The command.

def test_the_command_searches_and_shows_accuracies(evaluated, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(explore, "shape_of", lambda model: None)
    monkeypatch.setattr(explore, "begins_with_norm", lambda model: False)
    monkeypatch.setattr(explore, "has_qk_norm", lambda model: False)
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "found.json"
    given = ["--model", "small", "--rows", "4,8", "--cols", "8,16", "--sram", "16,64", "--bits",
             "w8a8,w4a4", "--scales", "static", "--work", str(tmp_path / "kept"), "--search", "6",
             "--accuracy", str(measured(tmp_path)), "--front", "fps,top1", "--json", str(out)]
    assert explore.main(given) == 0
    document = json.loads(out.read_text())
    assert document["searched"] == 16
    assert len(document["designs"]) == 6
    for row in document["designs"]:
        assert row["top1"] == (71.5 if row["bits"] == "w4a4" else None)
        assert not row["front"] or row["bits"] == "w4a4"
    assert "A search: 6 of 16 designs" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "message"), [
    (["--seed", "1"], "--seed needs --search"),
    (["--search", "0"], "argument --search: must be a positive integer, not '0'"),
    (["--search", "3", "--workers", "2"], "--workers has no meaning with --search"),
    (["--front", "fps,top1"], "top1 needs --accuracy"),
    (["--constraint", "agreement>=80"], "agreement needs --accuracy"),
    (["--accuracy", "nowhere.json"], "cannot read nowhere.json: No such file or directory")])
def test_mistakes_are_one_line(argv, message, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(explore, "shape_of", lambda model: None)
    monkeypatch.setattr(explore, "begins_with_norm", lambda model: False)
    monkeypatch.setattr(explore, "has_qk_norm", lambda model: False)
    try:
        status = explore.main([*argv, "--work", str(tmp_path / "kept")])
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    assert capsys.readouterr().err == f"python -m sim.explore: error: {message}\n"
