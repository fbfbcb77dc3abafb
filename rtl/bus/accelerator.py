"""The whole core at a bus: what is exported for systems of others."""

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.checks import integer
from golden.soc.registers import WORD_BITS
from golden.soc.system import ADDRESS_BITS, System

from ..common.checks import check_system
from ..soc.controlled_core import ControlledCore
from .axi import ID_BITS, axi_signature, data_bytes_of
from .axi4 import Axi4Master
from .axi_lite import AxiLiteSlave, axi_lite_signature
from .wishbone import WishboneMaster, WishboneSlave, wishbone_signature

__all__ = ["CONTROL_BITS", "FLIGHT", "AxiAccelerator", "WishboneAccelerator"]

CONTROL_BITS = 12
"""Width of the addresses of registers: a page, as systems give them."""

CONTROL, MEMORY = "S_AXI_CONTROL", "M_AXI"
"""Names of the interfaces in block designs of Vivado."""

FLIGHT = 64
"""Most beats on their way: more than memory takes cycles to answer, and two bursts."""

BURST = 16
"""Most beats of a burst of AXI4."""

INFO, PARAMETER = "X_INTERFACE_INFO", "X_INTERFACE_PARAMETER"


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
        self._say_interfaces()

    def _say_interfaces(self):
        """Give the ports the attributes by which Vivado knows interfaces."""
        clock = f", FREQ_HZ {self._system.clock_hz}" if self._system.clock_hz else ""
        for port, kind, said in (
                (self.aclk, "clock:1.0 aclk CLK",
                 f"ASSOCIATED_BUSIF {CONTROL}:{MEMORY}, ASSOCIATED_RESET aresetn{clock}"),
                (self.aresetn, "reset:1.0 aresetn RST", "POLARITY ACTIVE_LOW"),
                (self.irq, "interrupt:1.0 irq INTERRUPT", "SENSITIVITY LEVEL_HIGH")):
            port.attrs.update({INFO: f"xilinx.com:signal:{kind}",
                               PARAMETER: f"XIL_INTERFACENAME {kind.split()[1]}, {said}"})
        for path, _, value in self.signature.flatten(self):
            name = {"s_axi": CONTROL, "m_axi": MEMORY}.get(path[0])
            if name is not None:
                Value.cast(value).attrs[INFO] = (
                    f"xilinx.com:interface:aximm:1.0 {name} {path[-1].upper()}")
        # What is said of an interface is said at one of its ports.
        self.s_axi.awaddr.attrs[PARAMETER] = (
            f"XIL_INTERFACENAME {CONTROL}, PROTOCOL AXI4LITE, DATA_WIDTH {WORD_BITS}, "
            f"ADDR_WIDTH {CONTROL_BITS}")
        self.m_axi.write.awaddr.attrs[PARAMETER] = (
            f"XIL_INTERFACENAME {MEMORY}, PROTOCOL AXI4, DATA_WIDTH "
            f"{8 * self._system.config.bus_bytes}, ADDR_WIDTH {self._system.address_bits}, "
            f"ID_WIDTH {ID_BITS}, READ_WRITE_MODE READ_WRITE, SUPPORTS_NARROW_BURST 0, "
            f"MAX_BURST_LENGTH {BURST}")

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        m.d.comb += [sync.clk.eq(self.aclk), sync.rst.eq(~self.aresetn)]
        self._joined(m, AxiLiteSlave(CONTROL_BITS), Axi4Master(
            self._system.config, address_bits=self._system.address_bits, flight=FLIGHT,
            burst=BURST))
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
