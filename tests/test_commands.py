"""Every command: a wrong option is one line on stderr and exit status 2."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

from sim import estimate


@pytest.mark.parametrize("command", ["sim.accuracy", "sim.cascade", "sim.estimate", "sim.record",
                                     "sim.doctor", "sim.explore", "sim.report",
                                     "rtl.export", "rtl.build", "rtl.utilisation"])
def test_wrong_option_is_one_line(command, capsys):
    main = importlib.import_module(command).main
    try:
        status = main(["--no-such-option", "x"])
    except SystemExit as error:
        status = error.code
    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    assert output.err.startswith(f"python -m {command}: error: ")
    assert output.err.count("\n") == 1


def test_json_and_csv_are_not_both_printed(capsys):
    assert estimate.main(["--json", "--csv", "-"]) == 2
    assert "cannot both be printed" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "module"), [
    ("sim.run", "rich"), ("sim.simulate", "numpy"), ("sim.study", "torch"),
    ("rtl.export", "amaranth"), ("benchmarks.gemm", "numba"),
])
def test_an_interrupt_while_a_command_is_imported_is_silent(command, module, tmp_path):
    def run():
        done = subprocess.run([sys.executable, "-m", command, "--help"], capture_output=True,
                              text=True, check=False,
                              env=os.environ | {"PYTHONPATH": str(tmp_path)})
        assert not done.stdout
        return done.returncode, done.stderr

    (tmp_path / f"{module}.py").write_text("raise KeyboardInterrupt")
    assert run() == (-signal.SIGINT, "")
    (tmp_path / f"{module}.py").write_text("raise RuntimeError('broken')")
    status, said = run()
    assert status == 1
    assert said.endswith("RuntimeError: broken\n")  # nothing else is hidden
