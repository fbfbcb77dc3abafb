"""Timelines of boards: the model's, where a board takes as long."""

import json
from dataclasses import replace

import pytest

from golden.common.config import CORES
from golden.cycles.timing import timing
from golden.network.precision import Precision
from sim.board import __main__ as command
from sim.board.simulated import MEMORY
from sim.compiler import compile_network
from tests.cases.networks import network
from tests.sim.compiler.test_compiler import SHAPE

HZ = 50_000_000


@pytest.fixture(scope="module")
def program():
    return compile_network(network(Precision(8, 8), shape=SHAPE), CORES["4x4"])


@pytest.fixture(scope="module")
def cycles(program):
    return timing(program, replace(MEMORY, clock_hz=HZ)).cycles


def test_a_frame_that_takes_what_the_model_says_has_its_timeline(program, cycles, tmp_path):
    path = tmp_path / "trace.json"
    command._write_timeline(path, program, HZ, cycles - 1)  # a core does not count its start
    trace = json.loads(path.read_text())
    assert trace["otherData"]["cycles"] == cycles
    assert trace["otherData"]["clock_mhz"] == 50
    assert {"array", "stream", "transfer"} <= {event.get("cat") for event in trace["traceEvents"]}


def test_one_that_does_not_has_none_and_says_so(program, cycles, tmp_path, capsys):
    path = tmp_path / "trace.json"
    command._write_timeline(path, program, HZ, cycles + 8)
    assert not path.exists()
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith(f"is not written: the board took {cycles + 9:,} cycles, which the model "
                         f"has as {cycles:,}")
