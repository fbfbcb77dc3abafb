# amaranth: UnusedElaboratable=no
"""The netlist of a board's design, synthesised as :mod:`rtl.build` does for the ULX3S, in the
simulated board.

The chip of memory and the flip-flops of its pads are no part of it: they are the RTL's model.
"""

import re
import subprocess
from pathlib import Path
from unittest import mock

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib.wiring import In

from golden.common.config import AcceleratorConfig
from golden.cycles.memory_model import SdramMemory
from rtl.build import find_tool
from rtl.export import ports_of
from rtl.fpga.ecp5 import Ecp5, prepared
from rtl.soc import board_model
from rtl.soc.soc import Soc
from sim.harness.board_build import TOP
from sim.harness.core_build import component_verilog
from tests.benches.netlist import HERE, models

NETLIST = "soc_netlist"


class NetlistSoc(Soc):
    """:class:`Soc` with its netlist, a module :data:`NETLIST`, in place of what it is made of."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.netlist = Instance(
            NETLIST, i_clk=ClockSignal(), i_rst=ResetSignal(), **{
                f"{'i' if member.flow is In else 'o'}_{'__'.join(path)}": Value.cast(value)
                for path, member, value in self.signature.flatten(self)})
        return m


def soc_netlist(config: AcceleratorConfig, memory: SdramMemory, baud: int, out: Path) -> str:
    """Synthesise the design of a board under `out`; return the Verilog of its netlist."""
    soc = Soc(config, memory, baud)
    (out / "soc.il").write_text(rtlil.convert(soc, name=NETLIST, ports=ports_of(soc),
                                              platform=Ecp5(), emit_src=False))
    (out / "soc.ys").write_text("\n".join([
        "read_rtlil soc.il", prepared(NETLIST), f"synth_ecp5 -abc9 -top {NETLIST}",
        "rename -hide", "write_verilog -noattr soc.v"]))
    subprocess.run([find_tool("yosys"), "-q", "-l", "yosys.log", "soc.ys"], cwd=out, check=True,
                   capture_output=True)
    return (out / "soc.v").read_text()


def board_verilog(config: AcceleratorConfig, memory: SdramMemory, baud: int, netlist: str) -> str:
    """Return a module :data:`sim.harness.board_build.TOP` with a netlist in it, and all that is in
    that.
    """
    with mock.patch.object(board_model, "Soc", NetlistSoc):
        around = component_verilog(board_model.BoardModel(config, memory, baud), TOP)
    modules = re.findall(rf"(?m)^module \\?{TOP}\.?(\w*(?:\.\w+)*)", around)
    assert set(modules) == {"", "soc", "pads", "chip", *(f"chip.bank_{n}" for n in range(4))}
    return "\n".join([around, netlist, models(), (HERE / "ecp5_blocks.v").read_text()])
