"""Not run in LiteX on a board: the core behind AXI4 as a module of LiteX.

SPDX-License-Identifier: Apache-2.0

It lies beside ``vernier_axi4.v`` and ``vernier_registers.py``, and its addresses are as wide as
those of the SoC, as a rule ``--address-bits 32``. In a SoC::

    from vernier_litex import Vernier, add_vernier

    add_vernier(self, origin=0x9000_0000)    # in the constructor of a SoCCore

The registers are at `origin`; the C driver takes the constant VERNIER_BASE of ``mem.h`` for
`registers`, and an array in main memory for `memory` and `base`. The processor's caches are
its own: VERNIER_CLEAN and VERNIER_INVALIDATE are ``flush_cpu_dcache()`` and ``flush_l2_cache()``.
"""

from pathlib import Path

from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect import axi
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceLevel
from migen import ClockSignal, Instance, ResetSignal
from vernier_registers import ADDRESS_BITS, CONFIG

CONTROL_BITS = 12
PAGE = 1 << CONTROL_BITS

_BURST = "id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos", "valid"


class Vernier(LiteXModule):
    """A core: `control` is its AXI4-Lite slave, `memory` its AXI4 master, `ev` its interrupt."""

    def __init__(self, platform):
        self.control = axi.AXILiteInterface(data_width=32, address_width=ADDRESS_BITS)
        self.memory = axi.AXIInterface(data_width=8 * CONFIG["bus_bytes"],
                                       address_width=ADDRESS_BITS, id_width=1)
        self.ev = EventManager()
        self.ev.ended = EventSourceLevel(description="a run has ended, and that is enabled")
        self.ev.finalize()
        self.specials += Instance(
            "vernier_axi4", i_aclk=ClockSignal("sys"), i_aresetn=~ResetSignal("sys"),
            o_irq=self.ev.ended.trigger,
            i_s_axi_awaddr=self.control.aw.addr[:CONTROL_BITS],
            i_s_axi_araddr=self.control.ar.addr[:CONTROL_BITS],
            **_signals("s_axi", self.control, master=False, sent={
                "aw": ("prot", "valid"), "w": ("data", "strb", "valid"), "b": ("resp", "valid"),
                "ar": ("prot", "valid"), "r": ("data", "resp", "valid")}),
            **_signals("m_axi", self.memory, master=True, sent={
                "aw": _BURST, "w": ("data", "strb", "last", "valid"),
                "b": ("id", "resp", "valid"), "ar": _BURST,
                "r": ("id", "data", "resp", "last", "valid")}))
        platform.add_source(str(Path(__file__).with_name("vernier_axi4.v")))


def add_vernier(soc, origin, name="vernier"):
    """Add a core to a SoC, with its registers at `origin`; return it."""
    if soc.bus.address_width != ADDRESS_BITS:
        raise ValueError(f"the core has addresses of {ADDRESS_BITS} bits, and the SoC of "
                         f"{soc.bus.address_width}: export it with --address-bits")
    core = Vernier(soc.platform)
    setattr(soc, name, core)
    soc.bus.add_slave(name, core.control, SoCRegion(origin=origin, size=PAGE, cached=False))
    soc.bus.add_master(f"{name}_memory", core.memory)
    if soc.irq.enabled:
        soc.irq.add(name, use_loc_if_exists=True)
    return core


def _signals(prefix, bus, *, master, sent):
    """Return the ports of a bus: what is `sent` in each channel, and the answer, `ready`."""
    ports = {}
    for channel, names in sent.items():
        out = master == (channel in ("aw", "w", "ar"))
        for name in (*names, "ready"):
            way = "o" if out == (name != "ready") else "i"
            ports[f"{way}_{prefix}_{channel}{name}"] = getattr(getattr(bus, channel), name)
    return ports
