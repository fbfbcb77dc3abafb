"""Units placed alone: the registers around them, and what is read of reports."""

import json

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl import timing
from rtl.build import MissingTool, find_tool
from rtl.fpga.alone import Alone
from rtl.fpga.build_report import path_of
from tests.benches.simulate import simulate


class Swap(wiring.Component):
    """Six bits, turned around."""

    i: In(6)
    o: Out(6)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(self.i[::-1])
        return m


def test_every_output_reaches_the_pin():
    """A single one on its way through the inputs is at one output after the other."""
    alone, seen = Alone(Swap()), []

    async def testbench(ctx):
        for cycle in range(20):
            ctx.set(alone.serial_in, cycle == 2)
            await ctx.tick()
            seen.append(ctx.get(alone.serial_out))

    simulate(alone, testbench)
    assert sum(seen) == 6
    first = seen.index(1)
    assert seen[first:first + 6] == [1] * 6


def part(delay, cell, net=None):
    made = {"delay": delay, "to": {"cell": cell}, "from": {"cell": "x"}}
    return made if net is None else made | {"net": net}


def test_a_path_is_told_by_signals_and_times():
    path = [part(0.5, "unit.a_TRELLIS_FF_Q"), part(1.0, "", "unit.a"), part(0.25, "unit.b_LUT4_Z"),
            part(2.0, "", "unit.b_LUT4_A_1"), part(0.25, "unit.c_TRELLIS_FF_Q_3")]
    other = {"from": "<async>", "to": "posedge clk", "path": []}
    found = path_of({"critical_paths": [other, {"from": "posedge clk", "to": "posedge clk",
                                                "path": path}]})
    assert [(step.signal, step.at) for step in found] == [
        ("unit.a", 1.5), ("unit.b", 3.75), ("unit.c", 4.0)]
    with pytest.raises(ValueError, match="has no path between registers"):
        path_of({"critical_paths": [other]})
    with pytest.raises(ValueError, match="lacks 'critical_paths'"):
        path_of({})


def test_units_are_listed(capsys):
    assert timing.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(timing.UNITS)


@pytest.mark.parametrize(("words", "message"), [
    (["--unit", "oven"], "argument --unit: must be one of range_unit, "),
    (["--config", "5x5"], "argument --config: must be one of 4x4, 8x8, 8x16"),
    (["--seeds", "0"], "argument --seeds: must be an integer from 1 to 1000, not '0'"),
    (["--mhz", "fast"], "argument --mhz: must be an integer from 1 to 1000, not 'fast'"),
])
def test_bad_options_are_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        timing.main(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"python -m rtl.timing: error: {message}")
    assert said.count("\n") == 1


def test_a_missing_tool_is_one_line(monkeypatch, capsys, tmp_path):
    def missing(name):
        raise MissingTool(f"{name} is not installed")

    monkeypatch.setattr(timing, "find_tool", missing)
    assert timing.main(["--unit", "sequencer", "--out", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.endswith("error: yosys is not installed\n")
    assert not (tmp_path / "new").exists()


@pytest.mark.long
def test_a_unit_is_placed_and_has_a_clock(capsys, tmp_path):
    try:
        find_tool("nextpnr-ecp5")
    except MissingTool:
        pytest.skip("needs nextpnr")
    assert timing.main(["--unit", "arbiter", "--config", "4x4", "--out", str(tmp_path),
                        "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["mhz"] > 50
    assert found["path"][-1]["at"] == pytest.approx(1000 / found["mhz"], rel=0.1)
    assert found["path"][0]["signal"].startswith(("unit.", "chain"))
