"""The whole core at a bus: what is exported for systems of others."""

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.checks import integer
from golden.soc.system import ADDRESS_BITS, System

from ..common.checks import check_system
from ..soc.controlled_core import ControlledCore
from .axi import axi_signature, data_bytes_of
from .axi4 import Axi4Master
from .axi_lite import AxiLiteSlave, axi_lite_signature
from .wishbone import WishboneMaster, WishboneSlave, wishbone_signature

__all__ = ["CONTROL_BITS", "FLIGHT", "AxiAccelerator", "WishboneAccelerator"]

CONTROL_BITS = 12
"""Width of the addresses of registers: a page, as systems give them."""

FLIGHT = 64
"""Most beats on their way: more than memory takes cycles to answer, and two bursts."""


def _check_addressed(system: System):
    """Raise :exc:`TypeError` or :exc:`ValueError` if no bus can have this system's memory."""
    check_system(system)
    integer("address_bits", system.address_bits, *ADDRESS_BITS)


class _Accelerator(wiring.Component):
    """A core between a slave, by which it is controlled, and a master, by which it has memory."""

    def __init__(self, system: System, clock: dict, control, memory):
        self._system = system
        super().__init__({**clock, "irq": Out(1), f"s_{self.BUS}": In(control),
                          f"m_{self.BUS}": Out(memory)})

    def ports(self) -> dict[str, tuple]:
        """Return the ports, for Amaranth's back ends; those of a bus have the names it has."""
        return {"_".join((path[0], *path[1:][-1:])): (Value.cast(value), None)
                for path, _, value in self.signature.flatten(self)}

    def _joined(self, m, slave, master):
        """Connect the core with what is at its buses."""
        m.submodules.slave, m.submodules.master = slave, master
        m.submodules.core = core = ControlledCore(self._system, flight=FLIGHT)
        connect(m, flipped(getattr(self, f"s_{self.BUS}")), slave.bus)
        connect(m, slave.registers, core.registers)
        connect(m, core.memory, master.memory)
        connect(m, master.bus, flipped(getattr(self, f"m_{self.BUS}")))
        m.d.comb += [master.base.eq(core.base), master.clear.eq(core.begins),
                     self.irq.eq(core.irq)]


class AxiAccelerator(_Accelerator):
    """A core with registers at AXI4-Lite, and memory at AXI4.

    Parameters
    ----------
    system : :class:`System`
        Gives the width of addresses, 32 to 64.

    Members
    -------
    aclk, aresetn : ``In(1)``
        Clock of all, and its reset, active low; synchronous, as AXI4 has it at its end.
    s_axi : ``In(axi_lite_signature(CONTROL_BITS))``
    m_axi : ``Out(axi_signature(address_bits, bus_bytes))``
    irq : ``Out(1)``
        High while something is pending that is enabled.
    """

    BUS = "axi"

    def __init__(self, system: System):
        _check_addressed(system)
        super().__init__(system, {"aclk": In(1), "aresetn": In(1)},
                         axi_lite_signature(CONTROL_BITS),
                         axi_signature(system.address_bits, data_bytes_of(system.config)))

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.d.comb += [sync.clk.eq(self.aclk), sync.rst.eq(~self.aresetn)]
        self._joined(m, AxiLiteSlave(CONTROL_BITS), Axi4Master(
            self._system.config, address_bits=self._system.address_bits, flight=FLIGHT))
        return m


class WishboneAccelerator(_Accelerator):
    """A core with registers and memory at Wishbone B4, pipelined.

    Parameters
    ----------
    system : :class:`System`
        Gives the width of addresses in bytes, 32 to 64.

    Members
    -------
    clk, rst : ``In(1)``
        Clock of all, and its reset, active high and synchronous.
    s_wb : ``In(wishbone_signature(CONTROL_BITS, 4))``
    m_wb : ``Out(wishbone_signature(address_bits, bus_bytes))``
    irq : ``Out(1)``
        High while something is pending that is enabled.
    """

    BUS = "wb"

    def __init__(self, system: System):
        _check_addressed(system)
        super().__init__(system, {"clk": In(1), "rst": In(1)},
                         wishbone_signature(CONTROL_BITS, 4),
                         wishbone_signature(system.address_bits, system.config.bus_bytes))

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.d.comb += [sync.clk.eq(self.clk), sync.rst.eq(self.rst)]
        self._joined(m, WishboneSlave(CONTROL_BITS), WishboneMaster(
            self._system.config, address_bits=self._system.address_bits, flight=FLIGHT))
        return m
