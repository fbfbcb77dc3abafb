"""Builds of a core: each one once, told apart by all they depend on, whole or not at all."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from golden.common.config import CORES
from sim.cli import UserError
from sim.harness import core_build
from tests.cases.stand_in import StandIn

CONFIG = replace(CORES["4x4"], sram_kib=1)
WIDER = replace(CONFIG, rows=8, cols=8, lanes=8, bus_bytes=8)


@pytest.mark.verilator
def test_a_second_build_is_that_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    first = core_build.build(CONFIG, factory=StandIn)
    monkeypatch.setattr(core_build, "_compile", None)
    assert core_build.build(CONFIG, factory=StandIn) == first
    assert first.is_relative_to(tmp_path)


class Fake:
    """In the place of Verilator: makes an empty executable."""

    def __init__(self, monkeypatch, before=lambda: None):
        self.calls = 0
        self.before = before
        monkeypatch.setattr(core_build.subprocess, "run", self)

    def __call__(self, command, *, cwd, **options):
        self.calls += 1
        self.before()
        (cwd / "obj").mkdir()
        (cwd / "obj" / "core").write_text("mine")
        return core_build.subprocess.CompletedProcess(command, 0, "", "")


def test_builds_are_told_apart_by_all_they_depend_on(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    fake = Fake(monkeypatch)
    made = {core_build.build(CONFIG, factory=StandIn),
            core_build.build(CONFIG, factory=StandIn, trace="vcd"),
            core_build.build(replace(CONFIG, sram_kib=2), factory=StandIn),
            core_build.build(WIDER, factory=StandIn)}
    monkeypatch.setattr(core_build, "_CFLAGS", "-O0")
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
    block = core_build._with_loops("\n".join(["  initial begin", *lines, "  end", ""]))
    assert [line.strip() for line in block.splitlines()[2:-1]] == [
        "for (at = 0; at <= 2; at = at + 1) rom[at] = 8'h07;", "rom[3] = 8'h01;",
        "for (at = 4; at <= 5; at = at + 1) rom[at] = 8'h02;"]


def test_traces_in_fst_need_headers(monkeypatch, tmp_path):
    monkeypatch.setenv("VERNIER_CACHE", str(tmp_path))
    failed = core_build.subprocess.CompletedProcess([], 2, "", "fatal error: lz4.h: No such file")
    monkeypatch.setattr(core_build.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(UserError, match=r"need the headers of lz4 and zlib .*\*\.vcd$"):
        core_build.build(CONFIG, factory=StandIn, trace="fst")
