"""The registers of :mod:`golden.soc.registers` in front of a core."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.core.counters import COUNTER_BITS, COUNTERS
from golden.core.isa import INDEX_BITS, STATUS_BITS
from golden.soc.registers import REGISTERS, WORD_BITS, Access, Answer, constants
from golden.soc.system import System

from ..common.checks import check_system
from ..memory.memory_port import ADDRESS

__all__ = ["Registers", "register_signature"]

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
    busy, done, status, index, counter_NAME
        From the core.
    """

    def __init__(self, system: System):
        check_system(system)
        self._system = system
        super().__init__({
            "port": In(register_signature),
            "start": Out(1), "stream": Out(ADDRESS), "stream_bytes": Out(ADDRESS),
            "busy": In(1), "done": In(1), "status": In(STATUS_BITS), "index": In(INDEX_BITS),
            **{f"counter_{name}": In(COUNTER_BITS) for name in COUNTERS},
        })

    def elaborate(self, platform):
        m = Module()
        port = self.port
        values = self._values(m)
        m.d.sync += [port.value.eq(0), port.answer.eq(Answer.UNKNOWN)]
        with m.Switch(port.address):
            for name, register in REGISTERS.items():
                with m.Case(register.address):
                    m.d.sync += [port.value.eq(values[name]), port.answer.eq(Answer.DONE)]
                    with m.If(port.enable & port.write):
                        self._write(m, register)
        return m

    def _write(self, m, register):
        """Write a register, or refuse to."""
        port = self.port
        if register.access is Access.WRITE:
            m.d.sync += getattr(self, register.name.lower()).eq(port.data)
        elif register.access is Access.READ:
            m.d.sync += port.answer.eq(Answer.REFUSED)
        else:
            wanted = port.data[register.field("start").low]
            m.d.comb += self.start.eq(wanted & ~self.busy)
            with m.If(wanted & self.busy):
                m.d.sync += port.answer.eq(Answer.REFUSED)

    def _values(self, m):
        """Return what each register reads as."""
        runs, was_busy = Signal(WORD_BITS), Signal()
        m.d.sync += [was_busy.eq(self.busy), runs.eq(runs + (was_busy & ~self.busy))]
        fields = {"busy": self.busy, "done": self.done, "error": self.status}
        values = {
            **constants(self._system),
            "CONTROL": 0,
            "STATUS": sum(fields[one.name] << one.low for one in REGISTERS["STATUS"].fields),
            "INDEX": self.index,
            "RUNS": runs,
            "STREAM": self.stream,
            "STREAM_BYTES": self.stream_bytes,
        }
        for name in COUNTERS:
            counter = getattr(self, f"counter_{name}")
            values[f"{name.upper()}_LOW"] = counter[:WORD_BITS]
            values[f"{name.upper()}_HIGH"] = counter[WORD_BITS:]
        return values
