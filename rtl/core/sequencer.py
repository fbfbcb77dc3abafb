"""Sequencer: fetches instructions from the stream, and has the parts of the core do them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.formats import LOG2
from golden.core.isa import (
    CODEBOOK_UNITS,
    FIELD_UNITS,
    GOLDEN_ONLY,
    INDEX_BITS,
    INSTRUCTION_UNITS,
    PAIRS,
    SCALES,
    STATUS_BITS,
    Opcode,
    Status,
)

from ..common.shapes import shape_of
from ..common.unit_splitter import UNIT_BITS, units_for
from ..memory.weight_buffer import take_layout
from .instruction import Phase, instruction_layout

__all__ = ["Phase", "Sequencer", "instruction_layout"]

_OPCODES = sorted(set(Opcode) - GOLDEN_ONLY)


class Sequencer(wiring.Component):
    """Fetch one instruction after the other, and wait for each.

    What an instruction takes besides what it does is said in :mod:`golden.cycles.timing`.

    Members
    -------
    start : ``In(1)``
        Begin a program; only while not `busy`.
    busy, done, status : ``Out(1)``, ``Out(1)``, ``Out(STATUS_BITS)``
        `done` and `status` stay until the next `start`.
    idle : ``Out(1)``
        Not `busy`, out of a register.
    index : ``Out(INDEX_BITS)``
        Instructions that have been carried out.
    exited : ``Out(1)``
        The program has ended at an EXIT; stays until the next `start`.
    last_exponent : ``In(LOG2)``
        Row exponent of the last row of the last SOFTMAX.
    phase, instruction : ``Out(Phase)``, ``Out(instruction_layout)``
    take, units
        Units asked for of the weight buffer, whose words are to be freed at once, and those of an
        instruction; units of payloads go elsewhere while `phase` is not FETCH.
    resolve, resolved : ``Out(1)``, ``In(1)``
        `start` and `done` of the scale file.
    constants : ``In(1)``
        The constants of the present instruction have all been taken.
    run : ``Out(1)``
        First cycle of RUN.
    finished : ``In(1)``
        What RUN is to do has been done; looked at from the second cycle of RUN on.
    starved : ``In(1)``
        Words of the stream are needed that will not come.
    error, drained : ``In(1)``
        Of the DMA.
    """

    start: In(1)
    busy: Out(1)
    idle: Out(1, init=1)
    done: Out(1)
    status: Out(STATUS_BITS)
    index: Out(INDEX_BITS)
    exited: Out(1)
    last_exponent: In(shape_of(LOG2))
    phase: Out(Phase)
    instruction: Out(instruction_layout)
    take: Out(stream.Signature(take_layout["units"].shape))
    units: In(stream.Signature(UNIT_BITS))
    resolve: Out(1)
    resolved: In(1)
    constants: In(1)
    run: Out(1)
    finished: In(1)
    starved: In(1)
    error: In(1)
    drained: In(1)

    def elaborate(self, platform):
        m = Module()
        op = self.instruction
        asked = Signal()  # the units that the phase takes have been asked for
        m.d.comb += self.busy.eq(~self.idle)
        m.d.sync += self.run.eq(0)
        with m.If(self.take.valid & self.take.ready):
            m.d.sync += asked.eq(1)
        self._predictor(m, op, asked)

        here = Signal()  # all of the instruction is, and its exponents have been added up
        carried_out = Signal()
        legal = self._legal(m, op, carried_out)  # as long
        # Of this instruction, which has been there for a while.
        exits, ends, has_constants = Signal(), Signal(), Signal()
        sure = (op.opcode == Opcode.EXIT) & self._sure(op)
        m.d.sync += [exits.eq(sure), ends.eq(sure | (op.opcode == Opcode.END)),
                     has_constants.eq(self._has_constants(op))]
        finish = here & (~legal | ends)
        with m.Switch(self.phase):
            with m.Case(Phase.IDLE), m.If(self.start):
                m.d.sync += [self.phase.eq(Phase.FETCH), self.idle.eq(0), self.done.eq(0),
                             self.index.eq(0), self.status.eq(Status.FINE), asked.eq(0),
                             self.exited.eq(0)]
            with m.Case(Phase.FETCH):
                m.d.comb += [self.take.valid.eq(~asked), self.take.payload.eq(INSTRUCTION_UNITS)]
                with m.If(here):
                    m.d.sync += asked.eq(0)
                    with m.If(has_constants):
                        m.d.sync += self.phase.eq(Phase.CONSTANTS)
                    with m.Else():
                        m.d.sync += [self.phase.eq(Phase.RUN), self.run.eq(1)]
            with m.Case(Phase.CONSTANTS):
                m.d.comb += [self.take.valid.eq(~asked), self.take.payload.eq(self._constants(op))]
                with m.If(self.constants):
                    m.d.sync += [self.phase.eq(Phase.RUN), self.run.eq(1), asked.eq(0)]
            with m.Case(Phase.RUN):
                m.d.comb += carried_out.eq(self.finished & ~self.run & ~self.error)
                with m.If(carried_out):
                    m.d.sync += [self.phase.eq(Phase.FETCH), self.index.eq(self.index + 1),
                                 asked.eq(0)]
            with m.Case(Phase.DRAIN), m.If(self.drained):
                m.d.sync += [self.phase.eq(Phase.IDLE), self.idle.eq(1), self.done.eq(1)]
                with m.If(self.error):
                    m.d.sync += self.status.eq(Status.BUS_ERROR)
        m.d.comb += here.eq(self._collect(m, op))
        with m.If(self.busy & (self.phase != Phase.DRAIN)):
            with m.If(self.error):
                m.d.sync += [self.phase.eq(Phase.DRAIN), self.run.eq(0)]
            with m.Elif(finish):
                m.d.sync += [self.phase.eq(Phase.DRAIN), self.run.eq(0), self.status.eq(
                    Mux(legal, Status.FINE, Status.ILLEGAL_INSTRUCTION)), self.exited.eq(exits)]
            with m.Elif(self.starved):
                m.d.sync += [self.phase.eq(Phase.DRAIN), self.run.eq(0),
                             self.status.eq(Status.ILLEGAL_INSTRUCTION)]
        return m

    def _collect(self, m, op):
        """Take the units of an instruction; return whether it is there, exponents added up."""
        count = Signal(range(INSTRUCTION_UNITS + 1))
        kept, shifted = Signal(UNIT_BITS * FIELD_UNITS), Signal(UNIT_BITS * FIELD_UNITS)
        fetch = self.phase == Phase.FETCH
        m.d.comb += [
            self.units.ready.eq(fetch & (count != INSTRUCTION_UNITS)),
            shifted.eq(Cat(kept[UNIT_BITS:], self.units.payload)),
            # All fields are there: add the exponents up while the rest goes by.
            self.resolve.eq(fetch & (count == FIELD_UNITS) & self.units.valid),
        ]
        with m.If(~fetch):
            m.d.sync += count.eq(0)
        with m.Elif(self.units.valid & self.units.ready):
            m.d.sync += count.eq(count + 1)
            with m.If(count < FIELD_UNITS):
                m.d.sync += kept.eq(shifted)
            with m.If(count == FIELD_UNITS - 1):
                m.d.sync += op.as_value().eq(shifted)
        return fetch & (count == INSTRUCTION_UNITS) & self.resolved

    def _legal(self, m, op, carried_out):
        """Return whether the core has the instruction, and a tap and PREDICT come in turn."""
        tapped = Signal()  # a product has been watched, and PREDICT has not come yet
        taps = (op.opcode == Opcode.GEMM) & op.tap
        predicts = op.opcode == Opcode.PREDICT
        with m.If(self.phase == Phase.IDLE):
            m.d.sync += tapped.eq(0)
        with m.Elif(carried_out):
            m.d.sync += tapped.eq((tapped | taps) & ~predicts)
        legal = Signal()
        m.d.sync += legal.eq(op.opcode.matches(*_OPCODES)
                             & ~(taps & tapped) & ~(predicts & ~tapped))
        return legal

    def _sure(self, op):
        """Return whether the answer is; a threshold is a row exponent."""
        bits = LOG2.bits - 1  # neither is negative
        left = op.exponent[:bits] - self.last_exponent[:bits]
        return ~left[-1]  # takes fewer LUTs than a comparison

    def _predictor(self, m, op, asked):
        """Ask for both parts that PREDICT has, one after the other."""
        second = Signal()  # the first has been asked for
        with m.If((self.phase == Phase.RUN) & (op.opcode == Opcode.PREDICT)):
            m.d.comb += [
                self.take.valid.eq(~asked),
                self.take.payload.eq(Mux(second, op.words, units_for(op.statistics, PAIRS))),
            ]
            with m.If(self.take.valid & self.take.ready):
                m.d.sync += [second.eq(1), asked.eq(second)]
        with m.If(self.phase != Phase.RUN):
            m.d.sync += second.eq(0)

    @staticmethod
    def _has_constants(op):
        return (op.opcode.matches(Opcode.SCALES, Opcode.TABLE) | (op.opcode == Opcode.NORM)
                | ((op.opcode == Opcode.SOFTMAX) & (op.step != 0)))

    @staticmethod
    def _constants(op):
        """Units of the constants that come first."""
        numbers = op.opcode.matches(Opcode.SCALES, Opcode.TABLE)
        return Mux(numbers, units_for(op.n, len(SCALES)),
                   Mux(op.opcode == Opcode.NORM, op.n, CODEBOOK_UNITS))
