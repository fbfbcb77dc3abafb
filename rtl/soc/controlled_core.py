"""A core with its registers: what every system has of it, whatever its buses are."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.checks import integer
from golden.core.counters import COUNTERS
from golden.core.isa import INDEX_BITS, Status
from golden.soc.registers import WORD_BITS
from golden.soc.system import System

from ..common.checks import check_system
from ..core.core import Core
from ..memory.fault_watch import FaultWatch
from ..memory.memory_port import memory_signature
from .images import Images
from .registers import PLACES, Registers, register_signature

__all__ = ["ControlledCore"]


class ControlledCore(wiring.Component):
    """A core that registers start, and that tells what has become of a run.

    Parameters
    ----------
    system : :class:`System`
    flight : int
        Most requests to memory that await their answers, whatever is behind the port.

    Members
    -------
    registers : ``In(register_signature)``
    memory : ``Out(memory_signature(config))``
    base : ``Out(64)``
        Where memory begins on a bus, for the present run.
    begins : ``Out(1)``
        A run begins in this cycle, the first of a start or that of its next image; no request is on
        its way.
    busy, failed, index : ``Out(1)``, ``Out(1)``, ``Out(INDEX_BITS)``
        A run is going on; the last one has ended with an error; instructions that have been
        carried out.
    irq : ``Out(1)``
        The interrupt line.
    """

    def __init__(self, system: System, *, flight: int):
        check_system(system)
        self._system, self._flight = system, integer("flight", flight, 1)
        super().__init__({
            "registers": In(register_signature),
            "memory": Out(memory_signature(system.config)),
            "base": Out(2 * WORD_BITS), "begins": Out(1),
            "busy": Out(1), "failed": Out(1), "index": Out(INDEX_BITS), "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._system.config
        m.submodules.core = core = Core(config)
        m.submodules.registers = registers = Registers(self._system)
        m.submodules.images = images = Images()
        m.submodules.faults = faults = FaultWatch(config, self._flight)
        connect(m, core.request, flipped(self.memory.request))
        connect(m, flipped(self.memory.response), core.response)
        connect(m, flipped(self.registers), registers.port)
        asked, begins = Signal(), Signal()
        m.d.sync += asked.eq(registers.start)  # so that no access goes through to the memory
        m.d.comb += [
            begins.eq(asked | images.again),
            images.begins.eq(asked), images.done.eq(core.done), images.status.eq(core.status),
            images.exited.eq(core.exited),
            *(getattr(images, name).eq(getattr(registers, name)) for name in ("images", *PLACES)),
            registers.images_done.eq(images.images_done),
            registers.images_exited.eq(images.images_exited),
            core.image_offset.eq(images.image), core.logits_offset.eq(images.logits),
            core.start.eq(begins),
            core.stream.eq(registers.stream), core.stream_bytes.eq(registers.stream_bytes),
            *(getattr(registers, name).eq(getattr(core, name))
              for name in ("index", *(f"counter_{counter}" for counter in COUNTERS))),
            registers.busy.eq(asked | core.busy | images.more),
            registers.done.eq(core.done & ~asked & ~images.more),
            registers.status.eq(Mux(asked, Status.FINE, core.status)),
            faults.clear.eq(begins),
            faults.sent.eq(core.request.valid & core.request.ready),
            faults.request.eq(core.request.payload),
            faults.answered.eq(core.response.valid),
            faults.error.eq(core.response.p.error),
            registers.error_source.eq(faults.source), registers.error_address.eq(faults.address),
            self.base.eq(registers.base), self.begins.eq(begins),
            self.busy.eq(core.busy | images.more), self.failed.eq(core.done & (core.status != 0)),
            self.index.eq(core.index), self.irq.eq(registers.irq),
        ]
        return m
