"""python -m sim.activity: errors are one line, and a run on a whole core says what it should."""

import json

import pytest

from sim.activity.__main__ import main


@pytest.mark.parametrize(("argv", "said"), [
    (["--count", "0"], "must be a positive integer"),
    (["--model", "none:w4a4"], "none"),
    (["--images", "/nowhere"], "/nowhere is not a folder"),
    (["--core", "3x3"], "must be one of"),
    (["--out", "/nowhere/activity.json"], "cannot write /nowhere/activity.json")])
def test_errors_are_one_line(capsys, monkeypatch, argv, said):
    monkeypatch.setattr("sim.activity.__main__.build", None)  # before anything that takes long
    try:
        status = main(argv)
    except SystemExit as error:
        status = error.code
    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    assert output.err.startswith("python -m sim.activity: error: ")
    assert said in output.err
    assert output.err.count("\n") == 1


@pytest.mark.long
@pytest.mark.verilator
def test_the_shipped_model(capsys, tmp_path):
    path = tmp_path / "activity.json"
    assert main(["--samples", "1", "--out", str(path)]) == 0
    out = capsys.readouterr().out
    assert "Toggles per bit in 100 cycles" in out
    assert "multipliers" in out
    made = json.loads(path.read_text())
    assert set(made["constants"]) >= {"mac w4a4", "mac w8a8", "requantize", "vector pass", "watch"}
    assert all(0.02 < one["factor"] < 1.5 for one in made["constants"].values())
    rows = {(row["kind"], row["unit"]): row["activity"] for row in made["runs"][0]["units"]}
    assert rows["GEMM w4a4", "multipliers"] > 5 * rows["LOAD", "multipliers"]
    assert rows["LOAD", "DMA"] > rows["SOFTMAX", "DMA"]
