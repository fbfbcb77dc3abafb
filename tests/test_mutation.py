"""Mutants are what they say, the same ones every time, and those that tests miss are told apart."""

import ast

import pytest

from tests.mutation import runs
from tests.mutation.__main__ import ROOT, units
from tests.mutation.mutants import Mutant, choose, mutants

SOURCE = '''"""Text with 1 + 2."""
from numpy import add

LIMIT = 4


def double(x: "1 + 1") -> int:
    if x > LIMIT and x != 7:
        raise ValueError(f"at most {LIMIT + 1}")
    total = (x + 1) - (x << 2)
    print(total)
    return total
'''


def test_mutants_change_one_place_and_are_python():
    found = mutants("unit.py", SOURCE)
    assert {one.kind for one in found} == {"operator", "constant", "swap", "term", "statement"}
    for one in found:
        changed = one.apply(SOURCE)
        ast.parse(changed)
        lines = list(zip(SOURCE.splitlines(), changed.splitlines(), strict=True))
        assert [number for number, (before, after) in enumerate(lines, 1)
                if before != after] == [one.line]
    assert not {one.line for one in found} & {1, 2, 7, 9}


@pytest.mark.parametrize(("line", "after"), [
    (4, "LIMIT = 5"), (4, "LIMIT = 3"), (8, "    if x >= LIMIT and x != 7:"),
    (8, "    if (x > LIMIT):"), (8, "    if (x > LIMIT) or (x != 7):"),
    (10, "    total = (x << 2) - (x + 1)"), (10, "    total = (x + 1)"),
    (10, "    total = (x + 1) + (x << 2)"), (10, "    total = (x - 1) - (x << 2)"),
    (10, "    total = (x + 1) - (2 << x)"), (11, "    pass")])
def test_slips_of_the_hand_are_among_them(line, after):
    changed = {one.apply(SOURCE).splitlines()[line - 1].replace("((", "(").replace("))", ")")
               for one in mutants("unit.py", SOURCE) if one.line == line}
    assert after in changed


def test_a_mutant_of_another_source_is_refused():
    with pytest.raises(ValueError, match=r"unit\.py:1 does not have '4'"):
        Mutant("unit.py", 1, 0, 1, "constant", "4", "5").apply("x = 4")


def test_the_choice_is_that_of_its_seed_and_covers_all_units():
    chosen = choose(ROOT, units(), 1, 200)
    assert chosen == choose(ROOT, units(), 1, 200)
    assert chosen != choose(ROOT, units(), 2, 200)
    assert len(set(chosen)) == 200
    having = {file.relative_to(ROOT).as_posix() for file in units()
              if mutants("", file.read_text())}
    assert {one.path for one in chosen} == having
    assert len(having) > 60


def test_tests_run_from_near_to_far():
    steps = list(runs.stages("rtl/results/requant.py"))
    assert steps[0] == ["tests/rtl/results/test_requant.py"]
    assert steps[1] == ["tests/rtl/results"]
    assert steps[-1] == runs.FAR
    assert ["tests/rtl"] not in steps
    assert ["tests/rtl"] in list(runs.stages("rtl/common/log2.py"))
    golden = list(runs.stages("golden/results/requant.py"))
    assert golden[2:4] == [["tests/golden"], ["tests/rtl/results"]]
    for path in "rtl/sdram/sdram.py", "golden/soc/link.py":
        assert list(runs.stages(path))[-1] == runs.BOARD


def test_a_port_that_is_a_bit_wider_is_no_mutant():
    found = mutants("", 'members = {"begin": In(1), "o": Out(4 * n + 1)}\n')
    assert {(one.before, one.after) for one in found if one.kind == "constant"} == {
        ("1", "0"), ("4", "3")}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one unit, half of which is tested."""
    root = tmp_path / "project"
    for folder in "golden/common", "rtl", "sim", "tests/golden/common":
        (root / folder).mkdir(parents=True)
    (root / "golden" / "common" / "unit.py").write_text(
        "def covered(x):\n    return x + 1\n\n\ndef untested(x):\n    return x + 2\n")
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n'
                                         'markers = ["long"]\n')
    (root / "tests" / "golden" / "common" / "test_unit.py").write_text(
        "from golden.common.unit import covered\n\n\ndef test_it():\n    assert covered(1) == 2\n")
    monkeypatch.setattr(runs, "ROOT", root)
    copy = tmp_path / "copy"
    copy.mkdir()
    return runs.Copy(copy)


def test_what_tests_notice_is_told_from_what_they_miss(project):
    path = "golden/common/unit.py"
    source = (project.folder / path).read_text()
    caught, missed = (next(one for one in mutants(path, source)
                           if one.line == line and one.kind == "operator") for line in (2, 6))
    assert project.noticed(caught) == "tests/golden/common/test_unit.py::test_it"
    assert project.noticed(missed) is None
    assert (project.folder / path).read_text() == source


def test_a_test_that_fails_anyway_notices_nothing(project):
    path = "golden/common/unit.py"
    (project.folder / path).write_text(
        (project.folder / path).read_text().replace("x + 1", "x + 3"))
    mutant = next(one for one in mutants(path, (project.folder / path).read_text())
                  if one.line == 6 and one.kind == "operator")
    with pytest.raises(RuntimeError, match="without .* too, or fails"):
        project.noticed(mutant)
