"""The netlist of a whole core, as :mod:`rtl.utilisation` counts it, for the harness of the RTL.

The scratchpad alone is the RTL's, so that the harness finds its banks; its netlist has a test of
its own in tests/rtl/test_netlists.py.
"""

import re
from pathlib import Path

from golden.common.config import AcceleratorConfig
from rtl.utilisation import NETLIST, synthesise
from rtl.utilisation import TOP as NETLIST_TOP
from sim.harness.core_build import TOP, core_verilog
from tests.benches.netlist import HERE, models


def core_netlist(config: AcceleratorConfig, out: Path) -> str:
    """Synthesise a core under `out`; return Verilog of its netlist and of the cells in it."""
    synthesise(config, out)
    netlist = re.sub(rf"(?m)^module \\?{NETLIST_TOP}\(", f"module {TOP}(",
                     (out / NETLIST).read_text())
    netlist, instances = re.subn(rf"(?m)^  \\{NETLIST_TOP}\.scratchpad  \w+ \(",
                                 rf"  \\{TOP}.scratchpad  scratchpad (", netlist)
    assert instances == 1
    memory = _scratchpad(core_verilog(config), TOP)
    own = _scratchpad(netlist, NETLIST_TOP)
    assert _ports(own) == _ports(memory)
    return "\n".join([netlist.replace(own, ""), memory, models(),
                      (HERE / "ecp5_blocks.v").read_text()])


def _scratchpad(verilog, top):
    return re.search(rf"(?ms)^module \\?{top}\.scratchpad .*?^endmodule", verilog)[0]


def _ports(module):
    return sorted(re.findall(r"(?m)^  (input|output) (?:\[\d+:0\] )?(\\?\S+?) ?;", module))
