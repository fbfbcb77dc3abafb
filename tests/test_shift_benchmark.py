"""The benchmark of shifted images: what its tables say of what its parts find."""

import json

import pytest

from benchmarks import shifts

IMAGES = ("clean", "fog:1", "dark:3")


def difference(points):
    return {"points": points, "low": points - 1, "high": points + 1}


def row(method, bits, top1, baseline=None, points=0.0):
    against = None if baseline is None else difference(points)
    cells = [{"shift": None if shift == "clean" else shift, "top1": share, "agreement": 50.0,
              "against": against} for shift, share in zip(IMAGES, top1, strict=True)]
    return {"method": method, "bits": bits, "baseline": baseline, "against": against,
            "clean": cells[0], "cells": cells[1:]}


def accuracy(words):
    """Return what sim.accuracy would say."""
    def option(name):
        return words[words.index(name) + 1] if name in words else None

    methods = words[words.index("--methods") + 1:words.index("--epochs-all")]
    whole = option("--against")
    rows = [row("fp32", "fp32", (80, 60, 40))]
    bits = [option("--bits").split(",")[0], "w4a4,0=w8a8"]
    if shifts.MIXED not in option("--bits"):
        bits = option("--bits").split(",")
    for width in bits:
        for method in methods:
            own = {"lsq-all": "mse", "predictor-all": "lsq-all", "oracle-loss": "mse",
                   "mirrored-loss": "mse"}.get(method)
            held = None if whole == f"{method}:{width}" else whole or own
            rows.append(row(method, width, (70, 50, 30), held, -2.0))
    return {"shifts": {"rows": rows}}


def cascade(words):
    rows = [{"images": images, "cascade": 75.0, "points": -1.0, "low": -2.0, "high": 0.0,
             "cycles": 500.0} for images in (*IMAGES, "mean of shifts")]
    return {"rows": rows}


@pytest.fixture
def called(monkeypatch, tmp_path):
    """Answer in the place of the parts; a list of what was called."""
    calls = []

    def run(words, **options):
        module, *words = words[words.index("-m") + 1:]
        calls.append((module, words))
        out = ""
        if module == "sim.estimate":
            cycles = 1000 if "w8a8" in words else 300
            with open(words[words.index("--json") + 1], "w") as file:
                json.dump({"totals": {"cycles": cycles + ("predicted" in words)}}, file)
        elif module == "sim.calibrate":
            open(words[words.index("--out") + 1], "w").close()
        else:
            out = json.dumps({"sim.accuracy": accuracy, "sim.cascade": cascade}[module](words))
        return type("Run", (), {"returncode": run.status.get(module, 0), "stdout": out})

    run.status = {}
    monkeypatch.setattr(shifts.subprocess, "run", run)
    calls.append(run)
    return calls


@pytest.fixture
def words(tmp_path):
    calibration = tmp_path / "calibration"
    calibration.mkdir()
    for number in range(10):
        (calibration / f"{number}.png").touch()
    return ["--calibration", str(calibration), "--images", "validation", "--labels", "labels.csv",
            "--work", str(tmp_path / "work"), "--markdown", str(tmp_path / "tables.md")]


def test_tables_have_all_networks_and_images(called, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert shifts.main(words) == 0
    shown = capsys.readouterr().out
    text = (tmp_path / "tables.md").read_text()
    networks, by_shift, gains, few, own = text.split("\n\n| ")[1:]
    names = [f"{bits} {kind}" for bits in ("W8A8", "W4A8", "W4A4")
             for kind in ("static", "trained", "predicted")]
    names = ["fp32", *names, "mixed trained", "W4A4 then W4A8", "W4A4 then W8A8"]
    lines = [line.split(" | ") for line in networks.splitlines()[2:] if line.startswith("|")]
    assert [line[0].removeprefix("| ") for line in lines] == names
    assert all(name in shown for name in names)
    cells = {line[0].removeprefix("| "): line[1:] for line in lines}
    assert cells["W4A4 trained"] == ["70.00", "40.00", "30.00", "-2.00 (-3.00 to -1.00)",
                                     "-2.00 (-3.00 to -1.00)", "300", "0.300 |"]
    assert cells["W4A4 predicted"][-2:] == ["301", "0.301 |"]
    assert cells["W8A8 trained"][3:5] == ["", ""]
    assert cells["W4A4 then W8A8"][-2:] == ["500", "0.500 |"]
    assert [line.split(" | ")[0] for line in by_shift.splitlines()[2:5]] == [
        f"| {images}" for images in IMAGES]
    assert gains.count("W4A4 predicted - trained") == 1
    assert len(gains.splitlines()[3].split(" | ")) == 7  # trained and predicted, three widths
    assert "W8A8 best of its mirror image" in few
    assert "W4A4 best of each image - static" in own


def test_parts_see_the_same_images_and_a_fifth_of_the_calibration_is_held(called, words, tmp_path):
    assert shifts.main([*words, "--count", "40", "--oracle-count", "7", "--epochs", "2"]) == 0
    calls = called[1:]
    shifted = {call[call.index("--shift") + 1] for module, call in calls
               if module in {"sim.accuracy", "sim.cascade"}}
    assert shifted == {",".join(shifts.SHIFTS)}
    counts = [call[call.index("--count") + 1] for module, call in calls
              if module in {"sim.accuracy", "sim.cascade"}]
    assert sorted(counts) == ["40"] * 5 + ["7"]
    epochs = [call[call.index("--epochs") + 1] for module, call in calls
              if module == "sim.calibrate"]
    assert epochs == ["8", "4", "0"]
    held, fit = (sorted(path.name for path in (tmp_path / "work" / name).iterdir())
                 for name in ("held", "fit"))
    assert held == ["000004_4.png", "000009_9.png"]
    assert len(fit) == 8
    for epochs, again in (("2", False), ("3", True)):  # the same are there, others are made
        before = len(called)
        assert shifts.main([*words, "--epochs", epochs]) == 0
        assert ("sim.calibrate" in {module for module, _ in called[before:]}) == again


@pytest.mark.parametrize(("option", "value", "message"), [
    ("--shifts", "fgo", "no shift is called 'fgo'"),
    ("--mixed", "w2a2", "must have 4, 6 or 8 bits"),
    ("--markdown", "none/tables.md", "cannot write none/tables.md: none is not a folder")])
def test_bad_input_is_told_before_anything_runs(called, words, capsys, option, value, message):
    try:
        status = shifts.main([*words, option, value])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert len(called) == 1


@pytest.mark.parametrize(("module", "part"), [
    ("sim.accuracy", "compared ended with status 2"),
    ("sim.calibrate", "calibration of w4a4 ended with status 2"),
    ("sim.cascade", "cascade_w4a8 ended with status 2")])
def test_a_part_that_fails_is_named(called, words, capsys, module, part):
    called[0].status[module] = 2
    assert shifts.main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(part)


