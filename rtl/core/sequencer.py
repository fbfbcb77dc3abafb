"""Sequencer: fetches instructions from the stream, and has the parts of the core do them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.core.isa import (
    CODEBOOK_UNITS,
    FIELD_UNITS,
    FIELDS,
    GOLDEN_ONLY,
    INSTRUCTION_UNITS,
    PAIRS,
    SCALES,
    STATUS_BITS,
    Opcode,
    Status,
)

from ..common.shapes import shape_of
from ..common.unit_splitter import UNIT, units_for
from ..memory.weight_buffer import take_layout

__all__ = ["Phase", "Sequencer", "instruction_layout"]

instruction_layout = data.StructLayout({name: shape_of(fmt) for name, fmt in FIELDS.items()})
"""An instruction, as :mod:`golden.core.isa` encodes it."""

_OPCODES = set(Opcode) - GOLDEN_ONLY


class Phase(enum.Enum, shape=3):
    """What the core is doing."""

    IDLE = 0
    FETCH = 1
    """Taking an instruction, and adding up its exponents."""
    CONSTANTS = 2
    """Taking the constants of SCALES, NORM, SOFTMAX, before anything else."""
    RUN = 3
    """All the rest of an instruction."""
    DRAIN = 4
    """Waiting for responses that are still to come, at the end."""


class Sequencer(wiring.Component):
    """Fetch one instruction after the other, and wait for each.

    What an instruction takes besides what it does is said in :mod:`golden.cycles.timing`.

    Members
    -------
    start : ``In(1)``
        Begin a program; only while not `busy`.
    busy, done, status : ``Out(1)``, ``Out(1)``, ``Out(STATUS_BITS)``
        `done` and `status` stay until the next `start`.
    index : ``Out(16)``
        Instructions that have been carried out.
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
    done: Out(1)
    status: Out(STATUS_BITS)
    index: Out(16)
    phase: Out(Phase)
    instruction: Out(instruction_layout)
    take: Out(stream.Signature(take_layout["units"].shape))
    units: In(stream.Signature(UNIT))
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
        opcode = op.opcode
        count = Signal(range(INSTRUCTION_UNITS + 1))
        asked = Signal()  # this phase's units have been asked for
        second = Signal()  # PREDICT: the second part has been asked for
        tapped = Signal()  # a product has been watched, and PREDICT has not come yet
        taps, predicts, legal = Signal(), Signal(), Signal()
        m.d.comb += [
            self.busy.eq(self.phase != Phase.IDLE),
            taps.eq((opcode == Opcode.GEMM) & op.tap),
            predicts.eq(opcode == Opcode.PREDICT),
            legal.eq((opcode >= min(_OPCODES)) & (opcode <= max(_OPCODES))
                     & ~(taps & tapped) & ~(predicts & ~tapped)),
        ]
        kept, shifted = Signal(UNIT * FIELD_UNITS), Signal(UNIT * FIELD_UNITS)
        finish = Signal()
        status = Signal(STATUS_BITS)
        m.d.sync += self.run.eq(0)

        with m.Switch(self.phase):
            with m.Case(Phase.IDLE), m.If(self.start):
                m.d.sync += [self.phase.eq(Phase.FETCH), self.done.eq(0), self.index.eq(0),
                             self.status.eq(Status.FINE), count.eq(0), asked.eq(0),
                             tapped.eq(0)]
            with m.Case(Phase.FETCH):
                m.d.comb += [
                    self.take.valid.eq(~asked),
                    self.take.payload.eq(INSTRUCTION_UNITS),
                    self.units.ready.eq(count != INSTRUCTION_UNITS),
                ]
                with m.If(self.take.valid & self.take.ready):
                    m.d.sync += asked.eq(1)
                with m.If(self.units.valid & self.units.ready):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count < FIELD_UNITS):
                        m.d.comb += shifted.eq(Cat(kept[UNIT:], self.units.payload))
                        m.d.sync += kept.eq(shifted)
                        with m.If(count == FIELD_UNITS - 1):
                            m.d.sync += op.as_value().eq(shifted)
                    # All fields are there: add the exponents up while the rest goes by.
                    m.d.comb += self.resolve.eq(count == FIELD_UNITS)
                with m.If((count == INSTRUCTION_UNITS) & self.resolved):
                    m.d.sync += asked.eq(0)
                    with m.If(~legal):
                        m.d.comb += [finish.eq(1), status.eq(Status.ILLEGAL_INSTRUCTION)]
                    with m.Elif(opcode == Opcode.END):
                        m.d.comb += [finish.eq(1), status.eq(Status.FINE)]
                    with m.Elif(self._has_constants(op)):
                        m.d.sync += self.phase.eq(Phase.CONSTANTS)
                    with m.Else():
                        m.d.sync += [self.phase.eq(Phase.RUN), self.run.eq(1), second.eq(0)]
            with m.Case(Phase.CONSTANTS):
                m.d.comb += [
                    self.take.valid.eq(~asked),
                    self.take.payload.eq(self._constants(op)),
                ]
                with m.If(self.take.valid & self.take.ready):
                    m.d.sync += asked.eq(1)
                with m.If(self.constants):
                    m.d.sync += [self.phase.eq(Phase.RUN), self.run.eq(1), asked.eq(0)]
            with m.Case(Phase.RUN):
                with m.If(predicts):
                    m.d.comb += [
                        self.take.valid.eq(~asked),
                        self.take.payload.eq(Mux(second, op.words,
                                                  units_for(op.statistics, PAIRS))),
                    ]
                    with m.If(self.take.valid & self.take.ready):
                        m.d.sync += [second.eq(1), asked.eq(second)]
                with m.If(self.finished & ~self.run & ~self.error):
                    m.d.sync += [self.phase.eq(Phase.FETCH), self.index.eq(self.index + 1),
                                 count.eq(0), asked.eq(0), tapped.eq((tapped | taps) & ~predicts)]
            with m.Case(Phase.DRAIN), m.If(self.drained):
                m.d.sync += [self.phase.eq(Phase.IDLE), self.done.eq(1)]
                with m.If(self.error):
                    m.d.sync += self.status.eq(Status.BUS_ERROR)
        with m.If(self.busy & (self.phase != Phase.DRAIN)):
            with m.If(self.error):
                m.d.sync += [self.phase.eq(Phase.DRAIN), self.run.eq(0)]
            with m.Elif(finish):
                m.d.sync += [self.phase.eq(Phase.DRAIN), self.status.eq(status)]
            with m.Elif(self.starved):
                m.d.sync += [self.phase.eq(Phase.DRAIN), self.status.eq(Status.ILLEGAL_INSTRUCTION)]
        return m

    @staticmethod
    def _has_constants(op):
        return ((op.opcode == Opcode.SCALES) | (op.opcode == Opcode.NORM)
                | ((op.opcode == Opcode.SOFTMAX) & (op.step != 0)))

    @staticmethod
    def _constants(op):
        """Units of the constants that come first."""
        return Mux(op.opcode == Opcode.SCALES, units_for(op.n, len(SCALES)),
                   Mux(op.opcode == Opcode.NORM, op.n, CODEBOOK_UNITS))
