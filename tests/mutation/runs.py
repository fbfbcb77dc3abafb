"""Whether the tests notice a mutant: applied to a copy of the sources, tests run from near to far.

The tests of the unit itself come first, then those of its folder, those of what is built on it, and
those of whole cores. What noticed a mutant must pass without it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benches.import_graph import import_graph
from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
LIMIT_S = 3600
"""Seconds after which tests that went on are taken to hang, and to have noticed."""

FAR = ["tests/sim/harness/test_random_programs.py", "tests/sim/harness/test_core.py"]
"""Whole cores, compared after every instruction."""

BOARD = ["tests/sim/board/test_simulated.py"]
"""What is around a core."""

_COPIED = ("golden", "rtl", "sim", "tests", "benchmarks", "docs", "pyproject.toml", "README.md",
           "Makefile", "constraints.txt")
_ENDLESS, _BROKEN = " does not end", " cannot be run"
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+(?:\[.*?\])?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that noticed it, None if it survives."""

    mutant: Mutant
    noticed: str | None
    seconds: float

    def __str__(self):
        return (f"{'caught  ' if self.noticed else 'SURVIVES'} {self.seconds:5.0f} s  {self.mutant}"
                + (f"  [{self.noticed}]" if self.noticed else ""))


def stages(path: str, root: Path = ROOT) -> Iterator[list[str]]:
    """Yield the tests that should notice a change of a file, near ones first.

    Parameters
    ----------
    path
        Of a file of golden or rtl, from the root.
    root
        Where the tests are.
    """
    package, *folders, name = Path(path).with_suffix("").parts
    place = "/".join(("tests", package, *folders))
    seen: set[str] = set()
    steps = [[f"{place}/test_{name}.py"], [place]]
    if package == "golden":
        steps += [["tests/golden"], ["/".join(("tests", "rtl", *folders))], ["tests/sim/compiler"]]
    else:
        steps += [["tests/rtl/test_constructors.py"], *([["tests/rtl"]] * ("common" in folders))]
    for step in [*steps, BOARD if {"sdram", "soc"} & set(folders) else FAR]:
        new = [one for one in step if one not in seen and (root / one).exists()]
        seen.update(new)
        if new:
            yield new


def _tests_of(noticed: str) -> str:
    return noticed.removesuffix(_ENDLESS).removesuffix(_BROKEN)


class Copy:
    """A copy of the sources in a folder of its own, in which one mutant at a time is tried."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in _COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name,
                                ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, folder / name)
        self._sound: dict[str, bool] = {}
        self._kernels = folder / "kernels"
        self._graph = import_graph(folder)

    def noticed(self, mutant: Mutant) -> str | None:
        """Return the test that fails with a mutant in the sources, None if there is none.

        Raises
        ------
        RuntimeError
            If a test fails without the mutant, too.
        """
        file = self.folder / mutant.path
        sound, times = file.read_text(), os.stat(file)
        file.write_text(mutant.apply(sound))
        try:
            with self._without_kernels_of(mutant.path):
                test = next((found for step in stages(mutant.path, self.folder)
                             if (found := self._failing(step)) is not None), None)
        finally:
            file.write_text(sound)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        # What does not end, or cannot be run, is a folder of tests: the sound one must.
        if test is not None and not self._passes(_tests_of(test)):
            raise RuntimeError(f"{test} without {mutant}, too, or fails")
        return test

    @contextmanager
    def _without_kernels_of(self, path: str):
        """Have no compiled kernels of a file, nor of any that imports it, now and afterwards.

        numba looks at a kernel's own file only. All other kernels are those of the sound sources,
        and stay compiled from mutant to mutant.
        """
        changed = {path.removesuffix(".py").replace("/", ".")}
        while more := {name for name, imports in self._graph.items()
                       if changed & set(imports)} - changed:
            changed |= more
        stems = {name.rpartition(".")[2] for name in changed}

        def forget():
            for kept in self._kernels.rglob("*.nb[ic]"):
                if kept.name.partition(".")[0] in stems:
                    kept.unlink()

        forget()
        try:
            yield
        finally:
            forget()

    def _failing(self, tests: list[str]) -> str | None:
        with tempfile.TemporaryDirectory(dir=self.folder) as cores:
            # A mutant's cores are never wanted again.
            environment = os.environ | {
                "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": str(self._kernels),
                "VERNIER_CACHE": cores}
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not long", "-rfE",
                       "-p", "no:cacheprovider", "--no-header", "--tb=no", *tests]
            try:
                done = subprocess.run(command, cwd=self.folder, env=environment, check=False,
                                      capture_output=True, text=True, timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                return tests[0] + _ENDLESS
        if done.returncode == 0:
            return None
        found = _FAILED.search(done.stdout)
        return found[1] if found else tests[0] + _BROKEN

    def _passes(self, test: str) -> bool:
        if test not in self._sound:
            self._sound[test] = self._failing([test]) is None
        return self._sound[test]
