"""Every command: a wrong option is one line on stderr and exit status 2."""

import importlib

import pytest

from sim import estimate


@pytest.mark.parametrize("command", ["sim.accuracy", "sim.estimate", "sim.record", "sim.doctor",
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
