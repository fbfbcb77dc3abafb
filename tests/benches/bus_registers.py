"""Registers behind a slave of a bus, in front of a core that shows what it is told to."""

import random

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import CORES
from golden.core.counters import COUNTERS
from golden.soc.registers import ErrorSource, RegisterFile
from golden.soc.system import System
from rtl.soc.registers import Registers

SYSTEM = System(CORES["4x4"], 100_000_000, 1 << 31, 40)


def register_file() -> RegisterFile:
    """Return what the registers are, once reset is over."""
    file, rng = RegisterFile(SYSTEM), random.Random(1)
    core = file.core
    core.done, core.status, core.index = 1, 2, 0x1234
    core.error_source, core.error_address = ErrorSource.WRITE, 0x89abcdef
    core.counters = {name: rng.getrandbits(40) for name in COUNTERS}
    return file


class BusRegisters(wiring.Component):
    """A slave, and the registers of :func:`register_file`.

    Members
    -------
    bus
        As of the slave.
    busy : ``In(1)``
        Of the core.
    starts : ``Out(16)``
        How often it was started.
    irq : ``Out(1)``
    """

    def __init__(self, slave):
        self._slave = slave
        super().__init__({"bus": slave.signature.members["bus"], "busy": In(1),
                          "starts": Out(16), "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = self._slave
        m.submodules.registers = registers = Registers(SYSTEM)
        connect(m, flipped(self.bus), slave.bus)
        connect(m, slave.registers, registers.port)
        core = register_file().core
        m.d.comb += [
            registers.busy.eq(self.busy), self.irq.eq(registers.irq),
            *(getattr(registers, name).eq(getattr(core, name))
              for name in ("done", "status", "index", "error_source", "error_address")),
            *(getattr(registers, f"counter_{name}").eq(value)
              for name, value in core.counters.items()),
        ]
        m.d.sync += self.starts.eq(self.starts + registers.start)
        return m
