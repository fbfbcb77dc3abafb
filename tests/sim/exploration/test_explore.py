"""Exploration: every design as it is compiled and timed alone, nothing done twice, nothing lost."""

import csv
import json
import random
from dataclasses import replace

import pytest
from pyarrow import parquet

from golden.common.config import CORES
from golden.common.config_file import core_from_table
from golden.network.precision import parse
from golden.network.shape import VitShape
from sim import explore
from sim.cli import UserError
from sim.compiler import DoesNotFit, compile_network
from sim.compiler.blank import blank_network, default_tap
from sim.estimation.program_costs import estimate_program
from sim.evaluation import dask_cluster
from sim.exploration import evaluate, run
from sim.exploration.clock import clock_of
from sim.exploration.evaluate import AREA, ESTIMATED, Setting
from sim.exploration.grid import Design, designs, memory_of
from sim.exploration.kept import Kept

SHAPE = VitShape(image=32, patch=8, dim=32, depth=2, heads=2, hidden=64, classes=10)
SETTING = Setting("small", SHAPE, "", CORES["8x16"], 50.0, "28nm")
GRID = {"rows": [4, 8], "cols": [8, 16], "sram_kib": [5, 6, 304], "bus_bytes": [4, 16],
        "stream_words": [512], "memory": ["20:4", "7:1.5", "ulx3s"], "bits": ["w8a8", "w4a4"],
        "scales": ["static", "predicted", "jit"]}
DESIGN = Design(8, 16, 304, 4, 2048, "20:4", "w8a8", "static")


def alone(design: Design):
    """The estimate of a design by itself, nothing shared."""
    config = core_from_table(design.core, SETTING.base)
    network = blank_network(SHAPE, parse(design.bits),
                            default_tap(SHAPE, config) if design.scales == "predicted" else None)
    program = compile_network(network, config, jit=design.scales == "jit", whole=True)
    return estimate_program(program, memory_of(design.memory, 50.0), 50.0)


@pytest.fixture(scope="module")
def rows():
    wanted = designs(**GRID)
    return dict(zip(wanted, [row for group in evaluate.tasks(wanted)
                             for row in evaluate.evaluate(SETTING, group)], strict=True))


def test_a_design_costs_what_it_does_alone(rows):
    fitting = sorted((design for design, row in rows.items() if row["fits"]), key=str)
    for design in random.Random(5).sample(fitting, 20):
        found, row = alone(design), rows[design]
        assert row["cycles"] == found.cycles, design
        assert row["energy_mj"] == pytest.approx(found.energy.total / 1e9)
        assert (row["sram_bytes"], row["dram_bytes"]) == (found.traffic.sram, found.traffic.dram)
        assert row["array_utilisation"] == pytest.approx(found.utilisation)
        parts = ("mac", "sram", "dram", "vector", "scale")
        assert sum(row[f"{part}_mj"] for part in parts) == pytest.approx(row["energy_mj"])


def test_what_does_not_fit_says_why_and_would_not(rows):
    failing = [design for design, row in rows.items() if not row["fits"]]
    assert 0 < len(failing) < len(rows)
    for design in failing:
        assert rows[design]["reason"]
        assert all(rows[design][name] is None for name in ESTIMATED)
        with pytest.raises((DoesNotFit, ValueError)):
            alone(design)
    assert {row["reason"] for row in rows.values() if (row["rows"], row["cols"]) == (4, 16)} == {
        "cols must be rows or twice as many in a core, not 16"}
    small = [row["reason"] for row in rows.values() if row["sram_kib"] == 5
             and (row["rows"], row["cols"]) == (8, 16)]
    assert set(small) == {"the scratchpad must have 6 KiB for this network, and has 5",
                          "the scratchpad must have 8 KiB for this network, and has 5"}


def test_a_core_has_an_area_whatever_runs_on_it(rows):
    for design, row in rows.items():
        built = (design.rows, design.cols) != (4, 16) and design.bus_bytes <= design.cols
        assert (row["luts"] is not None) == built
        assert row["fits"] is False or all(row[name] > 0 for name in AREA)


def test_clocks_of_a_model_are_those_of_each_design(rows):
    wanted = designs(**GRID | {"bus_bytes": [4], "scales": ["static"], "bits": ["w4a4"]})
    placed = replace(SETTING, clock_mhz=None)
    found = dict(zip(wanted, [row for group in evaluate.tasks(wanted)
                              for row in evaluate.evaluate(placed, group)], strict=True))
    fitting = [design for design in wanted if rows[design]["fits"]]
    assert fitting
    for design in fitting:
        row, clock = found[design], clock_of(core_from_table(design.core, SETTING.base))
        assert row["clock_mhz"] == clock
        assert row["fps"] == pytest.approx(clock * 1e6 / row["cycles"])
        assert row["cycles"] == rows[design]["cycles"] or design.memory == "ulx3s"
    assert len({found[design]["clock_mhz"] for design in fitting}) > 2


def test_a_network_that_cannot_be_compiled_says_why():
    row, = evaluate.evaluate(replace(SETTING, shape=None, reason="it has windows"), [DESIGN])
    assert (row["fits"], row["reason"]) == (False, "it has windows")


def test_designs_compiled_alike_are_compiled_once(monkeypatch):
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return compile_network(*args, **options)

    monkeypatch.setattr(evaluate, "compile_network", counted)
    grid = GRID | {"rows": [8], "cols": [16], "bus_bytes": [4], "scales": ["static"]}
    wanted = designs(**grid)
    groups = evaluate.tasks(wanted)
    assert [len(group) for group in groups] == [9, 9]
    for group in groups:
        evaluate.evaluate(SETTING, group)
    assert len(calls) == 2


# What is kept.

def test_an_interrupted_exploration_goes_on_without_loss(tmp_path, monkeypatch):
    wanted = designs(**GRID | {"bus_bytes": [4], "scales": ["static"]})
    path, evaluated = tmp_path / "work" / "kept.jsonl", []
    whole = evaluate.evaluate

    def interrupted(setting, group, expected=None):
        if len(evaluated) == 3:
            raise KeyboardInterrupt
        evaluated.append(group)
        return whole(setting, group)

    monkeypatch.setattr(evaluate, "evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(SETTING, wanted, Kept(path, SETTING), None)
    with path.open("ab") as file:
        file.write(b'{"key": "half a li')
    before = len(evaluated)
    monkeypatch.setattr(evaluate, "evaluate", lambda *args: evaluated.append(args[1])
                        or whole(*args))
    done = []
    rows = run.run(SETTING, wanted, Kept(path, SETTING), None, done.append)
    assert len(evaluated) == len(evaluate.tasks(wanted))
    assert done[0] == sum(map(len, evaluated[:before])) > 0
    assert done[-1] == len(wanted)
    assert rows == [row for group in evaluate.tasks(wanted) for row in whole(SETTING, group)]
    assert run.run(SETTING, wanted, Kept(path, SETTING), None) == rows
    assert len(evaluated) == len(evaluate.tasks(wanted))  # nothing again


def test_results_of_another_setting_or_other_code_are_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "kept.jsonl"
    Kept(path, SETTING).add([DESIGN], [{"cycles": 1}])
    assert Kept(path, SETTING).get(DESIGN) == {"cycles": 1}
    assert Kept(path, replace(SETTING, clock_mhz=51.0)).get(DESIGN) is None
    assert Kept(path, SETTING).get(replace(DESIGN, sram_kib=305)) is None
    monkeypatch.setattr("sim.exploration.kept.code", lambda: "other")
    assert Kept(path, SETTING).get(DESIGN) is None


def test_other_syntheses_are_other_code(tmp_path, monkeypatch):
    other = tmp_path / "syntheses.json"
    other.write_bytes(evaluate.SYNTHESES.read_bytes() + b" ")
    before = evaluate.code.__wrapped__()
    monkeypatch.setattr(evaluate, "SYNTHESES", other)
    assert evaluate.code.__wrapped__() != before


def test_a_worker_with_other_code_is_refused():
    with pytest.raises(UserError, match="a worker has another version"):
        evaluate.evaluate(SETTING, [DESIGN], "other")


def test_workers_of_dask_find_the_same(tmp_path):
    wanted = designs(**GRID | {"bus_bytes": [4], "scales": ["static"], "memory": ["20:4"]})
    found = run.run(SETTING, wanted, Kept(tmp_path / "a", SETTING),
                    lambda: dask_cluster.cluster(None, 1, processes=False))
    assert found == run.run(SETTING, wanted, Kept(tmp_path / "b", SETTING), None)


# The command.

@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Run the command with a small network; returns status, stdout, stderr."""
    def called(*argv, work="kept.jsonl"):
        status = explore.main([*argv, "--work", str(tmp_path / work), "--workers", "1"])
        return status, *capsys.readouterr()

    monkeypatch.setattr(explore, "shape_of", lambda model: SHAPE)
    monkeypatch.setattr(explore, "begins_with_norm", lambda model: False)
    monkeypatch.setattr(explore, "has_qk_norm", lambda model: False)
    monkeypatch.setenv("COLUMNS", "100")
    return called


GIVEN = ["--rows", "4,8", "--cols", "8,16", "--bits", "w8a8,w4a4", "--sram", "5,304",
         "--constraint", "fps>=6000"]


def test_tables_and_files_say_the_same(call, tmp_path):
    names = {kind: str(tmp_path / f"all.{kind}") for kind in ("json", "csv", "parquet")}
    status, out, err = call(*GIVEN, *(part for kind, name in names.items()
                                      for part in (f"--{kind}", name)))
    assert (status, err) == (0, "")
    document = json.loads((tmp_path / "all.json").read_text())
    rows = document["designs"]
    assert len(rows) == 16
    assert document["constraints"] == ["fps>=6000"]
    assert parquet.read_table(names["parquet"]).to_pylist() == rows
    table = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    assert [row["cycles"] for row in table] == [str(row["cycles"] or "") for row in rows]
    best = [row for row in rows if row["front"]]
    assert best
    for row in best:
        assert row["fps"] >= 6000
        assert f"{row['cycles']:,}" in out
        for other in rows:
            if other["meets"]:
                assert not (other["fps"] >= row["fps"] and other["energy_mj"] < row["energy_mj"]
                            and other["luts"] <= row["luts"])
    assert any(row["fits"] and not row["meets"] for row in rows)
    assert "cols must be rows or twice as many in a core, not 16" in out
    assert max(map(len, out.splitlines())) <= 100


def test_designs_of_mixed_precision(call, tmp_path):
    path = tmp_path / "all.json"
    bits = ["w8a8", "w4a4,1=w8a8,0.fc1=w4a8", "w4a4"]
    status, _, err = call("--bits", ",".join(bits), "--json", str(path), "--scales", "static")
    assert (status, err) == (0, "")
    rows = json.loads(path.read_text())["designs"]
    assert [row["bits"] for row in rows] == bits
    assert [row["cycles"] for row in rows] == list(map(compiled_cycles, bits))


def compiled_cycles(bits):
    program = compile_network(blank_network(SHAPE, parse(bits)), CORES["8x16"])
    return estimate_program(program).cycles


@pytest.mark.parametrize(("argv", "message"), [
    (["--rows", "4,x"], "argument --rows: must be a positive integer, not 'x'"),
    (["--memory", "fast"], "argument --memory: memory must be ulx3s, or LATENCY:BYTES"),
    (["--memory", "0:4"], "argument --memory: memory must be ulx3s, or LATENCY:BYTES"),
    (["--constraint", "fps=10"], "argument --constraint: must be a column, one of >=, <=, >, <"),
    (["--constraint", "beauty>1"], "argument --constraint: must be one of cycles, fps"),
    (["--front", "bits"], "argument --front: must be one of cycles, fps"),
    (["--bits", "w3a3"], "argument --bits: must be one of w8a8, w4a8, w4a4, not 'w3a3'"),
    (["--memory", "ulx3s", "--clock", "1000"], "--memory ulx3s with --clock 1000: "),
    (["--json", "nowhere/x.json"], "cannot write nowhere/x.json: nowhere is not a folder"),
    (["--core", "5x5"], "argument --core: must be one of 4x4, 8x8, 8x16")])
def test_mistakes_are_one_line(call, argv, message, capsys):
    try:
        status, out, err = call(*argv)
    except SystemExit as exit:
        status, (out, err) = exit.code, capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith(f"python -m sim.explore: error: {message}")
    assert err.count("\n") == 1
