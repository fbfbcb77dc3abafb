"""Windows of switching activity under Verilator: every toggle in one of them, and once."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode, make
from golden.core.program import Program, Region
from sim.activity.measure import count
from sim.activity.saif import nets
from sim.harness import verilator
from sim.harness.core_build import core_verilog, named_alone
from tests.cases.stand_in import StandIn

CONFIG = replace(CORES["4x4"], sram_kib=1)
LOAD = make(Opcode.LOAD, address=64, dest=3, words=5)
STORE = make(Opcode.STORE, address=512, source=3, words=5)


def program_of(*ops):
    stream = b"".join(op.encode() for op in (*ops, make(Opcode.END)))
    memory = np.random.default_rng(1).integers(0, 256, 1024, dtype=np.uint8).tobytes()
    return Program(CONFIG, memory + stream, Region(1024, len(stream)), Region(0, 48),
                   Region(512, 40), 4, 20, 4, (), {})


def toggles_of_counting(first, last):
    """Of a binary counter: bit b changes every 2**b."""
    return sum(last // 2**bit - first // 2**bit for bit in range(48))


@pytest.fixture(scope="module")
def taken():
    """Files of windows by group, and the result: groups 5, 5, none, 7, and that of END."""
    found = {}

    def take(group, path):
        found.setdefault(group, []).append((path, path.read_text(), count(path)))

    program = program_of(LOAD, STORE, LOAD, STORE)
    result = verilator.run(program, factory=StandIn, windows=verilator.Windows(
        [5, 5, -1, 7, 0], take))
    assert result.ok
    return found, result


@pytest.mark.verilator
def test_windows_are_those_of_the_groups(taken):
    found, _ = taken
    assert {group: len(files) for group, files in found.items()} == {5: 1, 7: 1, 0: 1}
    assert not any(path.exists() for files in found.values() for path, *_ in files)


@pytest.mark.verilator
def test_a_counter_toggles_as_counters_do(taken):
    found, result = taken
    ends = np.cumsum(result.instruction_cycles).tolist()
    for group, begin, end in (5, 0, ends[1]), (7, ends[2], ends[3]):
        counted = sum(net.window_toggles for net in nets(found[group][0][1])
                      if net.scope == ("TOP", "vernier_core")
                      and net.name.startswith("counter_cycles\\["))
        # In cycle 1 the core is busy; the counter is 1 in cycle 2.
        assert counted == toggles_of_counting(max(0, begin - 1), end - 1), group


@pytest.mark.verilator
def test_what_is_1_when_a_window_begins_has_not_toggled(taken):
    text = taken[0][7][0][1]
    busy = [net for net in nets(text) if net.name == "busy"]
    assert busy
    assert {(net.toggles, net.window_toggles) for net in busy} == {(1, 0)}


@pytest.mark.verilator
def test_units_hold_what_is_below_them(taken):
    _, text, (bits, toggles) = taken[0][5][0]
    below = [net for net in nets(text) if net.scope[2:3] == ("scratchpad",)]
    assert bits["scratchpad ports"] == len(below) > 0
    assert toggles["scratchpad ports"] == sum(net.window_toggles for net in below) > 0
    assert sum(bits.values()) == sum(len(net.scope) > 1 for net in nets(text))
    assert not [net for net in nets(text) if net.in_array or net.name.startswith(("$", "_"))]


def test_expressions_and_fields_are_left_out_of_traces():
    verilog = core_verilog(CONFIG, StandIn)
    made = named_alone(verilog)
    assert "\\$" in verilog
    assert "\\$" not in made
    assert len(made) > len(verilog)
    assert made.replace("\\_", "\\") == verilog.replace("\\_", "\\")
    assert "counter_cycles" in made


def test_fields_and_expressions_by_hand():
    verilog = r"""module \top.unit (a);
  wire [3:0] \a.low ;
  reg \$5 ;
  assign \a.low  = \$5  ? \b$2 : a;
  \top.unit.more \a.lower (a);
"""
    assert named_alone(verilog) == verilog.replace(r"\a.low ", r"\_a.low ").replace(
        r"\$5 ", r"\_$5 ")
