"""The core: runs a whole Vision Transformer, image bytes in external memory to logits there.

What it does is said in :mod:`golden.core.isa`; that it does it bit for bit is held against
:class:`golden.core.machine.Machine`.
"""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.core.isa import INDEX_BITS, STATUS_BITS, Opcode

from ..common.checks import check_config
from ..common.shapes import joined
from ..memory.matrix_reader import MatrixReader
from ..memory.memory_port import ADDRESS, memory_signature
from ..memory.scratchpad import Scratchpad
from ..prediction.prediction import Prediction
from ..results.epilogue import Epilogue
from .constant_store import ConstantStore
from .counters import COUNTER_BITS, COUNTERS, Counters
from .instruction import Phase, decoded
from .memory_side import MemorySide
from .product_path import ProductPath
from .program_stream import ProgramStream
from .result_path import ResultPath
from .row_path import RowPath
from .sequencer import Sequencer

__all__ = ["COUNTERS", "Core"]


class Core(wiring.Component):
    """Execute the program whose stream begins at `stream`.

    A new `start` begins afresh, whatever has happened before: the parts of the core are reset when
    a run has ended, and only memories keep what they hold.

    ::

        external memory <--> MemorySide <--> Scratchpad
                                 |             |
                                 | stream      +---> RowPath --- residuals, norms, codes --+
                                 v             |        : lent multipliers                 v
                           ProgramStream       +---> ProductPath --- products ------> ResultPath
                                 | units                                                   |
                +----------------+----------------+-----------> (columns)                  | taps
                v                v                v                                        |
            Sequencer      ConstantStore <--- Prediction <---------------------------------+

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core (:meth:`AcceleratorConfig.check_core`).

    Members
    -------
    start : ``In(1)``
        Begin; only while not `busy`.
    stream, stream_bytes : ``In(32)``
        Where the stream of the program is in external memory, and its length, whole beats. A
        stream that ends too early ends the run.
    image_offset, logits_offset : ``In(32)``
        Of the run, see :mod:`golden.core.isa`; the same while `busy`. Whole beats.
    busy, done, status : ``Out(1)``, ``Out(1)``, ``Out(STATUS_BITS)``
        `done` and `status` stay until the next `start`.
    index : ``Out(INDEX_BITS)``
        Instructions that have been carried out, all they write being written.
    exited : ``Out(1)``
        The run has ended at an EXIT; stays until the next `start`.
    request, response
        Memory port, :func:`.memory_port.memory_signature`.
    counter_NAME : ``Out(40)``
        :data:`COUNTERS`; stay until the next `start`.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "start": In(1), "stream": In(ADDRESS), "stream_bytes": In(ADDRESS),
            "image_offset": In(ADDRESS), "logits_offset": In(ADDRESS),
            "busy": Out(1), "done": Out(1), "status": Out(STATUS_BITS), "index": Out(INDEX_BITS),
            "exited": Out(1),
            **memory_signature(config).members,
            **{f"counter_{name}": Out(COUNTER_BITS) for name in COUNTERS},
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        # No run: all is reset, so that nothing of one is left for the next. What computes is reset
        # from the end of the instructions until a cycle into the next run, by registers of its own.
        idle, watched = Signal(), Signal(init=1)
        m.submodules.sequencer = sequencer = Sequencer()
        m.submodules.scratchpad = Scratchpad(config)
        m.submodules.counters = Counters()
        for name, part in (("memory_side", MemorySide(config)),
                           ("program_stream", ProgramStream(config)),
                           ("constant_store", ConstantStore(config))):
            m.submodules[name] = ResetInserter(idle)(part)
        for name, part in (("product_path", ProductPath(config)),
                           ("result_path", ResultPath(config))):
            rests = Signal(init=1, name=f"{name}_rests", attrs={"keep": 1})
            m.d.sync += rests.eq(idle | (sequencer.phase == Phase.DRAIN))
            m.submodules[name] = ResetInserter(rests)(part)
        m.submodules.row_path = rows = RowPath(config)
        m.d.sync += [watched.eq(rests), rows.rests.eq(rests)]
        m.submodules.prediction = ResetInserter(watched)(Prediction(config))

        m.d.comb += [
            idle.eq(sequencer.idle),
            sequencer.start.eq(self.start),
            *(getattr(self, name).eq(getattr(sequencer, name))
              for name in ("busy", "done", "status", "index", "exited")),
        ]
        for part in _parts(m, "memory_side", "product_path", "result_path", "row_path"):
            m.d.comb += [part.instruction.eq(sequencer.instruction),
                         part.start.eq(sequencer.run)]
        for part in _parts(m, "program_stream", "constant_store", "counters"):
            m.d.comb += [part.instruction.eq(sequencer.instruction),
                         part.phase.eq(sequencer.phase)]
        self._memory(m, idle)
        self._program(m)
        self._results(m)
        self._prediction(m)
        self._finished(m)
        self._counters(m)
        return m

    def _memory(self, m, idle):
        """Connect external memory, and the users of the scratchpad."""
        sequencer, scratchpad, memory, product, results, rows = _parts(
            m, "sequencer", "scratchpad", "memory_side", "product_path", "result_path", "row_path")
        connect(m, memory.request, flipped(self.request))
        connect(m, flipped(self.response), memory.response)
        connect(m, memory.read, scratchpad.read)
        connect(m, memory.write, scratchpad.write)
        connect(m, product.read, memory.operands)
        connect(m, rows.read, memory.matrix)
        connect(m, results.write, memory.results)
        began = Signal()  # first cycle of a run
        m.d.sync += began.eq(self.start & idle)
        m.d.comb += [
            rows.read_free.eq(memory.matrix_free),
            memory.begin.eq(began),
            memory.stream.eq(self.stream),
            memory.stream_bytes.eq(self.stream_bytes),
            memory.image_offset.eq(self.image_offset),
            memory.logits_offset.eq(self.logits_offset),
            memory.end.eq(sequencer.phase == Phase.DRAIN),
            sequencer.error.eq(memory.error),
            sequencer.drained.eq(memory.idle),
        ]

    def _program(self, m):
        """Connect the stream of the program with all who take of it."""
        sequencer, memory, program, constants, product, results, rows, prediction = _parts(
            m, "sequencer", "memory_side", "program_stream", "constant_store", "product_path",
            "result_path", "row_path", "prediction")
        connect(m, memory.fill, program.fill)
        connect(m, sequencer.take, program.take)
        connect(m, product.take, program.column_take)
        connect(m, product.skip, program.skip)
        connect(m, program.window, product.window)
        connect(m, product.release, program.release)
        connect(m, product.ring, program.ring)
        connect(m, program.fetched, sequencer.units)
        connect(m, program.constants, constants.units)
        connect(m, program.columns, results.units)
        connect(m, program.predictor, prediction.units)
        connect(m, constants.channels, rows.channels)
        connect(m, prediction.o, constants.predicted)
        m.d.comb += [
            memory.room.eq(program.room),
            program.reserve.eq(memory.reserve),
            sequencer.starved.eq(program.starved & memory.ended),
            sequencer.constants.eq(constants.taken),
            constants.resolve.eq(sequencer.resolve),
            sequencer.resolved.eq(constants.resolved),
            results.base.eq(constants.base),
            results.base_out.eq(constants.base_out),
            rows.load.eq(constants.load),
            *(part.codebook.eq(constants.codebook) for part in (product, rows)),
            results.curve.eq(constants.curve),
            results.entry.eq(constants.entry),
        ]

    def _results(self, m):
        """Connect what gives accumulators, residuals and codes with what makes results of them."""
        product, results, rows = _parts(m, "product_path", "result_path", "row_path")
        connect(m, product.o, results.products)
        connect(m, rows.norms, results.norms)
        connect(m, rows.codes, results.codes)
        connect(m, rows.residuals, results.residuals)
        m.d.comb += results.announced.eq(rows.announced)
        connect(m, results.row_exponents, rows.row_exponents)
        m.d.comb += m.submodules.sequencer.last_exponent.eq(rows.last_exponent)
        for user, multiplier in zip(rows.multipliers, product.lent, strict=True):
            connect(m, user, multiplier)

    def _prediction(self, m):
        """Connect what watches a tensor, and predicts."""
        sequencer, results, prediction = _parts(m, "sequencer", "result_path", "prediction")
        op = sequencer.instruction
        # A tensor is tapped only when the range unit has been read out, see :mod:`.sequencer`, and
        # then it takes a beat in every cycle.
        m.d.comb += [prediction.taps.valid.eq(results.taps.valid),
                     prediction.taps.payload.eq(results.taps.payload)]
        m.d.comb += [
            *joined(prediction.tap, op),
            *joined(prediction.run, op),
            prediction.watch.eq(sequencer.run & decoded(m, op, Opcode.GEMM) & op.tap),
            prediction.start.eq(sequencer.run & decoded(m, op, Opcode.PREDICT)),
        ]

    def _finished(self, m):
        """Say when an instruction has been carried out."""
        sequencer, memory, product, results, rows, prediction = _parts(
            m, "sequencer", "memory_side", "product_path", "result_path", "row_path", "prediction")
        op = sequencer.instruction
        for opcodes, finished in (
                ((Opcode.SCALES, Opcode.TABLE, Opcode.EXIT), 1),
                ((Opcode.LOAD, Opcode.STORE, Opcode.PATCHES), memory.done),
                ((Opcode.NORM,), results.done),
                ((Opcode.GEMM,), results.done & ~product.busy),
                ((Opcode.SOFTMAX,), rows.codes_done & results.placed),
                ((Opcode.PREDICT,), prediction.done)):
            with m.If(decoded(m, op, *opcodes)):
                m.d.comb += sequencer.finished.eq(finished)

    def _counters(self, m):
        """Connect what is counted."""
        sequencer, memory, product, counters = _parts(
            m, "sequencer", "memory_side", "product_path", "counters")
        request = memory.request
        m.d.comb += [
            counters.clear.eq(self.start & ~sequencer.busy),
            counters.busy.eq(sequencer.busy),
            counters.feeding.eq(product.busy),
            counters.operands_valid.eq(product.operands_valid),
            counters.operands_ready.eq(product.operands_ready),
            counters.beat.eq(request.valid & request.ready),
            counters.write.eq(request.p.write),
            *(getattr(self, name).eq(getattr(counters, name))
              for name in (f"counter_{each}" for each in COUNTERS)),
        ]


assert MatrixReader.QUEUE <= Epilogue.SUMS  # a residual that was announced is there in time


def _parts(m, *names):
    """Return submodules by their names."""
    return [m.submodules[name] for name in names]
