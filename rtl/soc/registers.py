"""The registers of :mod:`golden.soc.registers` in front of a core."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.core.counters import COUNTER_BITS, COUNTERS
from golden.core.isa import INDEX_BITS, STATUS_BITS
from golden.soc.registers import (
    ERROR_SOURCE_BITS,
    IMAGES_BITS,
    REGISTERS,
    WORD_BITS,
    Access,
    Answer,
    constants,
    writable,
)
from golden.soc.system import System

from ..common.checks import check_system
from ..memory.memory_port import ADDRESS

__all__ = ["PLACES", "Registers", "register_signature"]

PLACES = "image_offset", "logits_offset", "image_stride", "logits_stride"
"""Where the images of a start and their logits are: registers, in small letters."""

register_signature = wiring.Signature({
    "enable": Out(1), "write": Out(1), "address": Out(ADDRESS), "data": Out(WORD_BITS),
    "value": In(WORD_BITS), "answer": In(range(len(Answer))),
})
"""Registers, seen by who uses them: `value` and `answer` are of the access in the cycle before."""


class Registers(wiring.Component):
    """Let a host see and start a core.

    Parameters
    ----------
    system : :class:`System`

    Members
    -------
    port : ``In(register_signature)``
    start, stream, stream_bytes
        To the core.
    image_offset, logits_offset, image_stride, logits_stride, images, images_done, images_exited
        Of the images of a start, :class:`.images.Images`.
    busy, done, status, index, counter_NAME
        From the core.
    error_source, error_address
        Of :class:`.memory.fault_watch.FaultWatch`.
    base : ``Out(64)``
        Where memory begins on a bus, from the second cycle after `start` on.
    irq : ``Out(1)``
        Something is pending that is enabled.
    """

    def __init__(self, system: System):
        check_system(system)
        self._system = system
        super().__init__({
            "port": In(register_signature),
            "start": Out(1), "stream": Out(ADDRESS), "stream_bytes": Out(ADDRESS),
            **{name: Out(ADDRESS) for name in PLACES},
            "images": Out(IMAGES_BITS), "images_done": In(IMAGES_BITS),
            "images_exited": In(IMAGES_BITS),
            "busy": In(1), "done": In(1), "status": In(STATUS_BITS), "index": In(INDEX_BITS),
            **{f"counter_{name}": In(COUNTER_BITS) for name in COUNTERS},
            "error_source": In(ERROR_SOURCE_BITS), "error_address": In(ADDRESS),
            "base": Out(2 * WORD_BITS), "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        port = self.port
        kept = {name: Signal(WORD_BITS, name=name.lower()) for name, register in REGISTERS.items()
                if register.access in (Access.WRITE, Access.CLEAR)}
        ended = Signal()
        pending = self._pending(m, ended, kept["INTERRUPT_PENDING"])
        values = self._values(m, ended) | kept | {"INTERRUPT_PENDING": pending}
        m.d.comb += [
            self.stream.eq(kept["STREAM"]), self.stream_bytes.eq(kept["STREAM_BYTES"]),
            *(getattr(self, name).eq(kept[name.upper()]) for name in (*PLACES, "images")),
            self.irq.eq((pending & kept["INTERRUPT_ENABLE"]) != 0),
        ]
        begun = Signal()
        m.d.sync += begun.eq(self.start)
        with m.If(begun):
            m.d.sync += self.base.eq(Cat(kept["BASE_LOW"], kept["BASE_HIGH"]))
        m.d.sync += [port.value.eq(0), port.answer.eq(Answer.UNKNOWN)]
        with m.Switch(port.address):
            for name, register in REGISTERS.items():
                with m.Case(register.address):
                    m.d.sync += [port.value.eq(values[name]), port.answer.eq(Answer.DONE)]
                    with m.If(port.enable & port.write):
                        self._write(m, register, kept.get(name), values[name])
        return m

    def _write(self, m, register, kept, value):
        """Write a register, or refuse to."""
        port = self.port
        if register.access is Access.WRITE:
            refused = self.busy if register.settled else 0
            with m.If(refused):
                m.d.sync += port.answer.eq(Answer.REFUSED)
            with m.Else():
                m.d.sync += kept.eq(port.data & writable(self._system)[register.name])
        elif register.access is Access.CLEAR:
            m.d.sync += kept.eq(value & ~port.data)
        elif register.access is Access.READ:
            m.d.sync += port.answer.eq(Answer.REFUSED)
        else:
            wanted = port.data[register.field("start").low]
            m.d.comb += self.start.eq(wanted & ~self.busy)
            with m.If(wanted & self.busy):
                m.d.sync += port.answer.eq(Answer.REFUSED)

    def _pending(self, m, ended, kept):
        """Return what has happened and was not cleared; what happens as it is cleared stays."""
        happened = Signal(WORD_BITS)  # in the cycle before
        for name, failed in {"done": 0, "failed": 1}.items():
            bit = happened[REGISTERS["INTERRUPT_PENDING"].field(name).low]
            m.d.sync += bit.eq(ended & ((self.status != 0) == failed))
        pending = kept | happened
        m.d.sync += kept.eq(pending)
        return pending

    def _values(self, m, ended):
        """Return what each register reads as that is not written."""
        runs, was_busy = Signal(WORD_BITS), Signal()
        m.d.comb += ended.eq(was_busy & ~self.busy)
        m.d.sync += [was_busy.eq(self.busy), runs.eq(runs + ended)]
        fields = {"busy": self.busy, "done": self.done, "error": self.status}
        images = {"count": self.images_done, "exited": self.images_exited}
        values = {
            **constants(self._system),
            "CONTROL": 0,
            "STATUS": sum(fields[one.name] << one.low for one in REGISTERS["STATUS"].fields),
            "INDEX": self.index,
            "RUNS": runs,
            "ERROR_SOURCE": self.error_source,
            "ERROR_ADDRESS": self.error_address,
            "IMAGES_DONE": sum(images[one.name] << one.low
                               for one in REGISTERS["IMAGES_DONE"].fields),
        }
        for name in COUNTERS:
            counter = getattr(self, f"counter_{name}")
            values[f"{name.upper()}_LOW"] = counter[:WORD_BITS]
            values[f"{name.upper()}_HIGH"] = counter[WORD_BITS:]
        return values
