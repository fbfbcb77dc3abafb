"""Performance counters, as :mod:`golden.core.counters` has them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.core.counters import COUNTER_BITS, COUNTERS
from golden.core.isa import Opcode

from .instruction import Phase, instruction_layout

__all__ = ["COUNTERS", "COUNTER_BITS", "Counters"]


class Counters(wiring.Component):
    """Count the events of :data:`COUNTERS`.

    Members
    -------
    clear : ``In(1)``
        A run begins in the next cycle: begin at zero.
    busy, phase, instruction
        Of the sequencer.
    feeding : ``In(1)``
        The operand feed is busy.
    operands_valid, operands_ready : ``In(1)``
        Of the operands of the array.
    beat, write : ``In(1)``
        The memory port takes a request, and it is to write.
    counter_NAME : ``Out(40)``
    """

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "busy": In(1), "phase": In(Phase), "instruction": In(instruction_layout),
            "feeding": In(1), "operands_valid": In(1), "operands_ready": In(1),
            "beat": In(1), "write": In(1),
            **{f"counter_{name}": Out(COUNTER_BITS) for name in COUNTERS},
        })

    def elaborate(self, platform):
        m = Module()
        op = self.instruction
        running = self.phase == Phase.RUN
        carried_out = running | (self.phase == Phase.CONSTANTS)
        product = running & op.opcode.matches(Opcode.GEMM) & self.feeding
        events = {
            "cycles": self.busy,
            "array": self.operands_valid & self.operands_ready,
            "weights": product & ~self.operands_valid,
            "drain": product & self.operands_valid & ~self.operands_ready,
            "fetch": self.phase == Phase.FETCH,
            "transfer": carried_out & op.opcode.matches(Opcode.LOAD, Opcode.STORE, Opcode.PATCHES),
            "norm": carried_out & op.opcode.matches(Opcode.NORM),
            "softmax": carried_out & op.opcode.matches(Opcode.SOFTMAX),
            "predict": carried_out & op.opcode.matches(Opcode.PREDICT),
            "reads": self.beat & ~self.write,
            "writes": self.beat & self.write,
        }
        for name in COUNTERS:
            counter = getattr(self, f"counter_{name}")
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(events[name]):
                m.d.sync += counter.eq(counter + 1)
        return m
