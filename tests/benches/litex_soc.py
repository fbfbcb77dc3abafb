"""A SoC of LiteX with an exported core, as Verilog: run beside vernier_litex.py.

    python litex_soc.py wishbone|axi-lite|axi OUT.v
"""

import sys

from litex.build.generic_platform import Pins
from litex.build.sim import SimPlatform
from litex.gen import LiteXModule
from litex.soc.integration.soc_core import SoCCore
from migen import ClockDomain
from vernier_litex import add_vernier

ORIGIN = 0x9000_0000


class Clock(LiteXModule):
    """Clock and reset, from pads."""

    def __init__(self, platform):
        self.cd_sys = ClockDomain()
        self.comb += [self.cd_sys.clk.eq(platform.request("sys_clk")),
                      self.cd_sys.rst.eq(platform.request("sys_rst"))]


def main(standard, out):
    """Write the SoC."""
    platform = SimPlatform("SIM", [("sys_clk", 0, Pins(1)), ("sys_rst", 0, Pins(1))])
    soc = SoCCore(platform, int(50e6), cpu_type=None, integrated_main_ram_size=1 << 20,
                  with_uart=False, with_timer=False, bus_standard=standard)
    soc.crg = Clock(platform)
    core = add_vernier(soc, ORIGIN)
    soc.finalize()
    assert soc.bus.regions["vernier"].origin == ORIGIN
    assert soc.bus.masters["vernier_memory"].address_width == core.memory.address_width
    platform.get_verilog(soc).write(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
