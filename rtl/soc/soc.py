"""The accelerator of a board: core, host link, registers, and external memory behind its pins."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import INDEX_BITS
from golden.cycles.memory_model import SdramMemory
from golden.sdram.sdram import Schedule
from golden.soc.system import System

from ..common.checks import check_config, check_memory
from ..sdram.sdram import Sdram
from ..sdram.sdram_pins import pins_signature
from .arbiter import MemoryArbiter
from .controlled_core import ControlledCore
from .host_link import SerialLink

__all__ = ["Soc"]


class Soc(wiring.Component):
    """Run what a host has written to memory over a serial line.

    ::

        rx, tx <--> SerialLink --- registers ---> ControlledCore
                        |                          |
                        +----> MemoryArbiter <-----+
                                     |
                                   Sdram <--> pins

    A run begins with a refresh of the memory, so that its cycles are a function of the program as
    long as the host leaves memory alone.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.
    memory : :class:`SdramMemory`
        The chip, its clock, which is that of all, and when its words come.
    baud : int
        Rate of the line, a quarter of the clock at most.

    Members
    -------
    rx, tx : ``In(1)``, ``Out(1)``
        The serial line, high while nothing is sent.
    pins : ``Out(pins_signature())``
        Of the chip, in front of the flip-flops of the pads, as :class:`.sdram.Sdram` has them.
    alive, running, failed : ``Out(1)``
        For lights: changes about once a second; a run is going on; the last one has ended with an
        error.
    begins, index : ``Out(1)``, ``Out(INDEX_BITS)``
        A run begins in this cycle; instructions that have been carried out.
    """

    def __init__(self, config: AcceleratorConfig, memory: SdramMemory, baud: int):
        check_config(config, core=True)
        check_memory(memory)
        self._system, self._memory, self._baud = System.of(config, memory), memory, baud
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1),
            "pins": Out(pins_signature()),
            "alive": Out(1), "running": Out(1), "failed": Out(1),
            "begins": Out(1), "index": Out(INDEX_BITS),
        })

    @property
    def schedule(self) -> Schedule:
        """Of external memory."""
        memory = self._memory
        return Schedule.of(memory.chip, memory.clock_hz, self._system.config.bus_bytes,
                           memory.capture)

    def elaborate(self, platform):
        m = Module()
        config, clock_hz, memory = self._system.config, self._system.clock_hz, self._memory
        m.submodules.sdram = sdram = Sdram(config, memory.chip, clock_hz, memory.capture)
        flight = max(16, 2 * sdram.latency)
        m.submodules.core = core = ControlledCore(self._system, flight=flight)
        m.submodules.link = link = SerialLink(self._system, self._baud)
        m.submodules.arbiter = arbiter = MemoryArbiter(config, users=2, flight=flight)
        connect(m, core.memory.request, arbiter.users[0].request)
        connect(m, arbiter.users[0].response, core.memory.response)
        connect(m, arbiter.users[1].response, link.memory.response)
        self._hosts_requests(m, link.memory.request, arbiter.users[1].request)
        connect(m, arbiter.memory, sdram.memory)
        connect(m, link.registers, core.registers)
        connect(m, sdram.pins, flipped(self.pins))
        m.d.comb += [
            link.rx.eq(self.rx), self.tx.eq(link.tx),
            sdram.restart.eq(core.begins),
            self.begins.eq(core.begins), self.index.eq(core.index),
            self.running.eq(core.busy), self.failed.eq(core.failed),
        ]
        self._blink(m, clock_hz)
        return m

    def _hosts_requests(self, m, asked, served):
        """Let requests of the host wait in registers: what it asks for comes out of the long way
        through its frames.
        """
        m.submodules.hosts = hosts = SyncFIFOBuffered(width=len(Value.cast(asked.payload)), depth=2)
        m.d.comb += [
            hosts.w_en.eq(asked.valid), asked.ready.eq(hosts.w_rdy),
            hosts.w_data.eq(Value.cast(asked.payload)),
            served.valid.eq(hosts.r_rdy), hosts.r_en.eq(served.ready),
            Value.cast(served.payload).eq(hosts.r_data),
        ]

    def _blink(self, m, clock_hz):
        """Change `alive` each half second, or the power of two of cycles next to that."""
        ticks = Signal(range(clock_hz // 2))
        m.d.sync += ticks.eq(ticks + 1)
        m.d.comb += self.alive.eq(ticks[-1])
