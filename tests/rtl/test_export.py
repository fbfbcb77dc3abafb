import io
import re
import subprocess
from contextlib import redirect_stdout

import pytest

from golden.common.config import CORES
from rtl.cli import UserError
from rtl.export import UNITS, main, unit_verilog
from rtl.fpga.files import write_whole
from tests.benches.verilate import VERILATOR_ARGS


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Where the Verilog of all units of a core is, and what was said of it."""
    out, said = tmp_path_factory.mktemp("new") / "verilog", io.StringIO()
    with redirect_stdout(said):
        assert main(["--config", "4x4", "--out", str(out)]) == 0
    return out, said.getvalue()


def test_writes_every_unit_with_a_stable_module_name(exported):
    out, printed = exported
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"vernier_{unit}.v" for unit in UNITS)
    for unit in UNITS:
        path = out / f"vernier_{unit}.v"
        text = path.read_text()
        assert text.startswith(f"// vernier 0.1.0: {unit} ")
        assert re.search(rf"^module vernier_{unit}\(", text, re.MULTILINE)
        assert f"{path}  {path.stat().st_size:,} bytes\n" in printed


def test_no_process_waits_for_constants(exported):
    """yosys writes a constant part of a signal as a process that simulators never run."""
    for path in exported[0].iterdir():
        found = re.search(r"always @\*\n +\S+ = \d+'h[0-9a-f]+;\n", path.read_text())
        assert not found, f"{path.name}: {found[0]}"


def test_a_configuration_that_is_no_core_has_no_core(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text("[accelerator]\nlanes = 4\n")
    with pytest.raises(SystemExit, match="2"):
        main(["--config", str(path), "--out", str(tmp_path / "out"), "core"])
    assert "lanes must be rows (8) in a core, not 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_writes_only_the_named_units(tmp_path):
    assert main(["--out", str(tmp_path), "exp2"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["vernier_exp2.v"]


def test_configuration_changes_ports_and_header(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[accelerator]\nrows = 4\ncols = 12\nlanes = 3\n")
    assert main(["--config", str(path), "--out", str(tmp_path), "requant"]) == 0
    text = (tmp_path / "vernier_requant.v").read_text()
    assert "// " in text
    assert "lanes = 3" in text.partition("module")[0]
    assert "output [47:0] o__payload;" in text


def test_says_nothing_of_the_machine_it_was_made_on():
    text = unit_verilog("requant", CORES["4x4"])
    assert "src =" not in text
    assert ".py" not in text


@pytest.mark.parametrize(("arguments", "message"), [
    (["--config", "9x9x9"], "must be one of 4x4, 8x8, 8x16, .* or a TOML file, not '9x9x9'"),
    (["divider"], "must be among .*requant.*, not 'divider'"),
    (["--config", "BAD"], r"cannot use .*: lanes must divide cols"),
    (["--config", "NOT_TOML"], r"cannot use .*: "),
    (["--config", "TEXT"], r"cannot use .*: rows must be an integer, not '4'"),
    (["--bus", "pci"], "argument --bus: invalid choice: 'pci'"),
    (["--bus", "axi4", "exp2"], "argument --bus: must not be given with units"),
    (["--bus", "axi4", "--address-bits", "31"],
     r"argument --address-bits: must be within 32\.\.64, not '31'"),
    (["--bus", "axi4", "--clock-hz", "-1"], "argument --clock-hz: "),
    (["--bus", "axi4", "--config", "NARROW"], "bus_bytes must be 4, 8 or 16 at AXI4, not 2"),
    (["--out", "FILE/x", "exp2"], r"cannot write .*: Not a directory"),
])
def test_bad_input_is_one_line_and_status_2(arguments, message, tmp_path, capsys):
    files = {"BAD": "[accelerator]\ncols = 16\nlanes = 5\n", "NOT_TOML": "rows: 4\n",
             "TEXT": "[accelerator]\nrows = '4'\n", "FILE": "",
             "NARROW": "[accelerator]\nrows = 4\ncols = 4\nlanes = 4\nbus_bytes = 2\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    arguments = [re.sub(f"^({'|'.join(files)})", rf"{tmp_path}/\1", word) for word in arguments]
    out = tmp_path / "out"
    try:
        status = main(["--out", str(out), *arguments])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert re.search(rf"^python -m rtl.export: error: .*{message}", capsys.readouterr().err,
                     re.MULTILINE)
    assert not out.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "unit.v"
    write_whole(path, b"old")
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(UserError, match="full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["unit.v"]


@pytest.mark.verilator
@pytest.mark.parametrize("unit", UNITS)
def test_verilog_is_clean_under_lint(unit, exported):
    path = exported[0] / f"vernier_{unit}.v"
    # What has one word or one tile in a core this small has indexes of no bits.
    small = ["-Wno-ASCRANGE", "-Wno-CMPCONST"] if unit == "core" else []
    result = subprocess.run(["verilator", "--lint-only", *VERILATOR_ARGS, *small, path],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
