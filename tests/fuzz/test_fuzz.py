"""A few hundred mutants of each kind; ``make nightly`` has thousands, of a new seed each time."""

import subprocess
import sys
from pathlib import Path

import pytest

from golden.core import program as programs
from sim.cli import UserError
from tests.fuzz import faults, kinds
from tests.fuzz.__main__ import main, run_all

COUNT = 250


@pytest.mark.parametrize("name", kinds.KINDS)
def test_mutants_are_refused_or_used(name):
    outcomes, faults = run_all([name], 1, 0, COUNT)
    assert not faults, "\n".join(faults[:5])
    # mutants that are all refused at the door, or all legal, show nothing
    assert min(outcomes[name]["refused"], outcomes[name]["used"]) >= COUNT // 50


@pytest.mark.parametrize("name", kinds.KINDS)
def test_a_seed_gives_the_same_mutant_again(name, tmp_path):
    made = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        kinds.run(name, 3, 5, folder)
        made.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert made[0] == made[1]


def test_a_fault_says_how_to_repeat_it(monkeypatch, capsys):
    def read(folder):
        raise IndexError("beyond the array")

    kind = kinds.KINDS["recording"]
    monkeypatch.setitem(kinds.KINDS, "recording", kinds.Kind(kind.write, read, kind.refusal))
    assert main(["--kind", "recording", "--seed", "4", "--first", "9", "--count", "1"]) == 1
    assert capsys.readouterr().out == (
        "recording   1 faults\n"
        "recording 9 of seed 4: IndexError: beyond the array "
        "(python -m tests.fuzz --kind recording --seed 4 --first 9 --count 1)\n")


def test_a_message_that_is_not_one_line_is_a_fault(monkeypatch, tmp_path):
    def read(folder):
        raise UserError("red \x1b[31m")

    kind = kinds.KINDS["recording"]
    monkeypatch.setitem(kinds.KINDS, "recording", kinds.Kind(kind.write, read, kind.refusal))
    assert kinds.run("recording", 1, 1, tmp_path) == "refused"  # one_line escapes it
    monkeypatch.setattr(faults, "one_line", str)
    with pytest.raises(faults.Fault, match="the message is 'red"):
        kinds.run("recording", 1, 1, tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format":' * 100_000],
                         ids=["lists", "objects"])
def test_a_deep_manifest_is_refused_by_the_commands(text, tmp_path):
    (tmp_path / programs.MEMORY).write_bytes(b"")
    (tmp_path / programs.ABOUT).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "sim.simulate", str(tmp_path), "--random", "1"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("is damaged: program.json is nested too deep\n")
    assert done.stderr.count("\n") == 1
