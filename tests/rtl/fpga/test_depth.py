# amaranth: UnusedElaboratable=no

import json

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from golden.common.config import CORES
from rtl.build import BuildError
from rtl.fpga.depth import logic_depth, parse_depth
from rtl.timing import UNITS, main

LIMITS = {"sequencer": 11, "constant_store": 11, "program_stream": 10, "memory_side": 11,
          "product_path": 10, "row_path": 11, "prediction": 13,
          "registers": 5, "link": 18, "arbiter": 11, "sdram": 15, "core": 19}
"""What the units of the 4x4 core have. A ready that passes through a unit on its way from one
register to the next, or an adder behind an adder, shows up here; make it shorter, not the limit
longer."""


class Chain(Component):
    """Operations one behind the other."""

    i: In(8)
    o: Out(8)

    def __init__(self, operations):
        self._operations = operations
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for index in range(self._operations):
            step = Signal(8, name=f"step_{index}")
            m.d.comb += step.eq(Mux(value[0], value, index))
            value = step
        m.d.comb += self.o.eq(value)
        return m


@pytest.mark.parametrize("operations", [1, 5])
def test_operations_are_counted(operations, tmp_path):
    depth = logic_depth(Chain(operations), tmp_path)
    assert depth.levels == operations
    if operations > 1:
        assert depth.path[:2] == ("chain", "unit.step_0")


@pytest.mark.parametrize("name", LIMITS)
def test_no_unit_becomes_deeper(name, tmp_path):
    depth = logic_depth(UNITS[name](CORES["4x4"]), tmp_path)
    assert depth.levels <= LIMITS[name], f"along {', '.join(depth.path)}"


def test_limits_are_no_higher_than_needed(tmp_path):
    assert logic_depth(UNITS["arbiter"](CORES["4x4"]), tmp_path).levels == LIMITS["arbiter"]


def test_command_says_the_depth_and_the_way(tmp_path, capsys):
    arguments = ["--unit", "registers", "--config", "4x4", "--depth", "--out", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"registers of 4x4: {LIMITS['registers']} operations, along"
    assert lines[1] == f"    {logic_depth(UNITS['registers'](CORES['4x4']), tmp_path).path[0]}"
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["levels"] == LIMITS["registers"]


def test_a_report_without_a_path_is_refused():
    with pytest.raises(BuildError, match="report of ltp has no longest path"):
        parse_depth("nothing")
