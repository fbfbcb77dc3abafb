"""The core: runs a whole Vision Transformer, image bytes in external memory to logits there.

What it does is said in :mod:`golden.core.isa`; that it does it bit for bit is held against
:class:`golden.core.machine.Machine`.
"""

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.core.isa import (
    CHANNEL,
    CODEBOOK_UNITS,
    FIELDS,
    STATUS_BITS,
    Layout,
    Opcode,
    Path,
    Source,
)

from ..common.multiplier import lent_to
from ..common.shapes import shape_of
from ..common.unit_splitter import UNIT, UnitSplitter
from ..memory.dma import Dma, transfer_layout
from ..memory.memory_port import ADDRESS, memory_signature
from ..memory.placement import Placement
from ..memory.row_store import RowStore, store_lent_to
from ..memory.scratchpad import Scratchpad
from ..memory.scratchpad_ports import MatrixReader, SharedRead
from ..memory.weight_buffer import WeightBuffer
from ..prediction.prediction import Prediction
from ..product.mac_array import MacArray
from ..product.operand_feed import OperandFeed
from ..results.epilogue import Epilogue
from ..rows.layernorm import LayerNorm
from ..rows.softmax import Softmax, codebook_layout
from .scale_file import ScaleFile
from .sequencer import Phase, Sequencer

__all__ = ["COUNTERS", "Core"]

COUNTERS = {
    "cycles": "cycles of the run",
    "array": "cycles in which the array took operands",
    "weights": "cycles of products in which the feed had no operands for the array",
    "drain": "cycles of products in which the array could not take operands",
    "fetch": "cycles of fetching instructions",
    "transfer": "cycles of LOAD, STORE and PATCHES",
    "norm": "cycles of NORM",
    "softmax": "cycles of SOFTMAX",
    "predict": "cycles of PREDICT",
    "reads": "beats read from external memory",
    "writes": "beats written to external memory",
}
"""Performance counters of a core, and what they count."""

COUNTER_BITS = 40

_channel_layout = data.StructLayout({name: shape_of(fmt) for name, fmt in CHANNEL.items()})


class Core(wiring.Component):
    """Execute the program whose stream begins at `stream`.

    A new `start` begins afresh, whatever has happened before: the parts of the core are reset when
    a run has ended, and only memories keep what they hold.

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
    busy, done, status : ``Out(1)``, ``Out(1)``, ``Out(STATUS_BITS)``
        `done` and `status` stay until the next `start`.
    index : ``Out(16)``
        Instructions that have been carried out, all they write being written.
    request, response
        Memory port, :func:`.memory_port.memory_signature`.
    counter_NAME : ``Out(40)``
        :data:`COUNTERS`; stay until the next `start`.
    """

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        config.check_core()
        self._config = config
        super().__init__({
            "start": In(1), "stream": In(ADDRESS), "stream_bytes": In(ADDRESS),
            "busy": Out(1), "done": Out(1), "status": Out(STATUS_BITS), "index": Out(16),
            **memory_signature(config).members,
            **{f"counter_{name}": Out(COUNTER_BITS) for name in COUNTERS},
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        idle = Signal()  # no run: all is reset, so that nothing of one is left for the next
        m.submodules.sequencer = self._sequencer = sequencer = Sequencer()
        m.submodules.scratchpad = scratchpad = Scratchpad(config)
        m.submodules.dma = dma = ResetInserter(idle)(Dma(config))
        parts = {"ports": SharedRead(config, (False, True, True)), "reader": MatrixReader(config),
                 "buffer": WeightBuffer(config), "feed": OperandFeed(config),
                 "array": MacArray(config, lends=LayerNorm.MULTIPLIERS * config.lanes),
                 "epilogue": Epilogue(config),
                 "placement": Placement(config), "layernorm": LayerNorm(config, borrows=True),
                 "softmax": Softmax(config, borrows=True), "prediction": Prediction(config),
                 "scales": ScaleFile(config), "lambdas": UnitSplitter(formats.LAMBDA.bits)}
        for name, part in parts.items():
            m.submodules[name] = ResetInserter(idle)(part)
            setattr(self, f"_{name}", part)
        self._dma = dma

        began = Signal()  # first cycle of a run
        m.d.sync += began.eq(self.start & idle)
        m.d.comb += [
            idle.eq(~sequencer.busy),
            sequencer.start.eq(self.start),
            self.busy.eq(sequencer.busy),
            self.done.eq(sequencer.done),
            self.status.eq(sequencer.status),
            self.index.eq(sequencer.index),
            dma.begin.eq(began),
            dma.stream.eq(self.stream),
            dma.stream_bytes.eq(self.stream_bytes),
            dma.end.eq(sequencer.phase == Phase.DRAIN),
            sequencer.error.eq(dma.error),
            sequencer.drained.eq(dma.idle),
            sequencer.starved.eq(self._buffer.starved & dma.ended),
        ]
        op = self._op = sequencer.instruction
        self._is = {each: op.opcode == each for each in Opcode}
        self._memory(m, scratchpad)
        self._stream(m)
        self._products(m)
        self._rows(m)
        self._finished(m)
        self._count(m)
        return m

    def _memory(self, m, scratchpad):
        """Connect the memory port, and who reads and writes the scratchpad."""
        dma, ports, reader, op = self._dma, self._ports, self._reader, self._op
        connect(m, dma.memory.request, flipped(self.request))
        connect(m, flipped(self.response), dma.memory.response)
        connect(m, ports.port, scratchpad.read)
        connect(m, self._feed.read, ports.users[0])
        connect(m, reader.read, ports.users[1])
        connect(m, dma.read, ports.users[2])
        m.d.comb += reader.free.eq(ports.free[1])
        with m.If(dma.done):
            m.d.comb += [getattr(scratchpad.write, name).eq(getattr(self._placement.write, name))
                         for name in ("enable", "address", "data")]
        with m.Else():
            m.d.comb += [getattr(scratchpad.write, name).eq(getattr(dma.write, name))
                         for name in ("enable", "address", "data")]

        self._transfer = Signal()
        m.d.comb += [
            self._transfer.eq(self._any(Opcode.LOAD, Opcode.STORE, Opcode.PATCHES)),
            *(dma.run[name].eq(op[name]) for name in transfer_layout.members),
            dma.start.eq(self._sequencer.run & self._transfer),
        ]

    def _any(self, *opcodes):
        """Whether the instruction is one of some."""
        either = self._is[opcodes[0]]
        for opcode in opcodes[1:]:
            either |= self._is[opcode]
        return either

    def _stream(self, m):
        """Connect the weight buffer, and lead the units to whom they are for."""
        buffer, feed, sequencer, op = self._buffer, self._feed, self._sequencer, self._op
        dma, scales = self._dma, self._scales
        constants = sequencer.phase == Phase.CONSTANTS
        running = sequencer.phase == Phase.RUN
        product = self._is[Opcode.GEMM]
        connect(m, dma.fill, buffer.fill)
        m.d.comb += [dma.room.eq(buffer.room != 0), buffer.reserve.eq(dma.reserve)]
        connect(m, feed.skip, buffer.skip)
        connect(m, buffer.window, feed.window)
        connect(m, feed.release, buffer.release)
        connect(m, feed.ring, buffer.read)
        by_feed = product & running
        m.d.comb += [
            buffer.take.valid.eq(Mux(by_feed, feed.take.valid, sequencer.take.valid)),
            buffer.take.p.units.eq(Mux(by_feed, feed.take.p.units, sequencer.take.payload)),
            buffer.take.p.free.eq(~by_feed),
            feed.take.ready.eq(buffer.take.ready & by_feed),
            sequencer.take.ready.eq(buffer.take.ready & ~by_feed),
        ]

        users = (
            (sequencer.phase == Phase.FETCH, sequencer.units),
            (constants & self._is[Opcode.SCALES], self._lambdas.i),
            (running & product, self._epilogue.units),
            (running & self._is[Opcode.PREDICT], self._prediction.units),
        )
        for wanted, user in users:
            m.d.comb += [user.valid.eq(buffer.units.valid & wanted),
                         user.payload.eq(buffer.units.payload)]
            with m.If(wanted):
                m.d.comb += buffer.units.ready.eq(user.ready)

        # Constants of NORM and SOFTMAX: one unit per cycle.
        norm, softmax = (constants & self._is[each] for each in (Opcode.NORM, Opcode.SOFTMAX))
        layernorm = self._layernorm
        self._codebook = codebook = Signal(codebook_layout)
        taken = Signal(FIELDS["n"].bits)
        wanted = Mux(self._is[Opcode.SOFTMAX], CODEBOOK_UNITS, op.n)
        unit = buffer.units.payload
        channel = _channel_layout(unit)
        m.d.comb += [
            layernorm.load.eq(norm),
            layernorm.constants.valid.eq(buffer.units.valid & norm),
            *(layernorm.constants.p[name].eq(channel[name]) for name in ("gamma", "beta")),
        ]
        with m.If(norm):
            m.d.comb += buffer.units.ready.eq(layernorm.constants.ready)
        with m.If(softmax):
            m.d.comb += buffer.units.ready.eq(1)
            with m.If(buffer.units.valid):
                m.d.sync += codebook.eq(Cat(codebook, unit)[UNIT:])

        # Scales: of SCALES, or predicted.
        lambdas, prediction = self._lambdas, self._prediction
        given = lambdas.o.valid & lambdas.o.ready
        m.d.comb += [
            scales.first.eq(op.scale_a),
            scales.begin.eq(sequencer.phase == Phase.FETCH),
            lambdas.clear.eq(sequencer.phase == Phase.FETCH),
            lambdas.o.ready.eq(constants & (taken != op.n)),
            scales.write.valid.eq(given | prediction.o.valid),
            scales.write.payload.eq(Mux(given, lambdas.o.payload.as_signed(),
                                        prediction.o.payload)),
            *(scales.run[name].eq(op[name]) for name in (
                "exponent", "exponent_out", "scale_a", "scale_b", "scale_out", "subtract_b")),
            scales.start.eq(sequencer.resolve),
            sequencer.resolved.eq(scales.done),
            sequencer.constants.eq(taken == wanted),
        ]
        with m.If(~constants):
            m.d.sync += taken.eq(0)
        with m.Elif(Mux(self._is[Opcode.SCALES], given, buffer.units.valid & buffer.units.ready)):
            m.d.sync += taken.eq(taken + 1)

    def _products(self, m):
        """Connect what a product passes: feed, array, epilogue, placement."""
        sequencer, op, config = self._sequencer, self._op, self._config
        feed, array, epilogue = self._feed, self._array, self._epilogue
        product, norm = self._is[Opcode.GEMM], self._is[Opcode.NORM]
        connect(m, feed.tile, array.tile)
        connect(m, feed.o, array.i)
        m.d.comb += [
            *(feed.run[name].eq(op[name]) for name in (
                "m", "k", "n", "source", "source_stride", "weights_address", "weights_stride")),
            *(feed.run[name].as_value().eq(op[name]) for name in (
                "mode", "activation", "weights")),
            feed.start.eq(sequencer.run & product),
            *(entry.eq(operand)
              for entry, operand in zip(array.codebook, self._codebook, strict=True)),
            *(epilogue.run[name].eq(op[name]) for name in ("m", "n", "low", "high", "offset")),
            *(epilogue.run[name].eq(op[name] & product) for name in (
                "gelu", "residual", "tap", "rows")),
            epilogue.run.by_tiles.eq(product),
            epilogue.run.columns.eq(product & (op.weights == Source.STREAM)),
            epilogue.run.path.eq(Mux(norm, Path.DIRECT, op.path)),
            epilogue.run.mode.as_value().eq(op.mode),
            epilogue.run.base.eq(self._scales.base),
            epilogue.run.base_out.eq(self._scales.base_out),
            epilogue.start.eq(sequencer.run & (product | norm)),
        ]

        # Accumulators: of the array, or of LayerNorm.
        layernorm = self._layernorm
        m.d.comb += [
            epilogue.i.valid.eq(Mux(norm, layernorm.o.valid, array.o.valid)),
            epilogue.i.p["values"].eq(Mux(norm, layernorm.o.p["values"].as_value(),
                                          array.o.p["values"].as_value())),
            epilogue.i.p.last.eq(array.o.p.last),
            array.o.ready.eq(epilogue.i.ready & ~norm),
            layernorm.o.ready.eq(epilogue.i.ready & norm),
        ]
        self._lend(m)
        connect(m, epilogue.taps, self._prediction.taps)
        m.d.comb += [
            *(self._prediction.tap[name].eq(op[name]) for name in self._prediction.tap.shape()
              .members),
            self._prediction.watch.eq(sequencer.run & product & op.tap),
            *(self._prediction.run[name].eq(op[name]) for name in self._prediction.run.shape()
              .members),
            self._prediction.start.eq(sequencer.run & self._is[Opcode.PREDICT]),
        ]

        m.submodules.exponents = exponents = memory.Memory(
            shape=shape_of(formats.LOG2), depth=config.max_tokens, init=[])
        read, self._exponents = exponents.read_port(), exponents.write_port()
        m.d.comb += [read.addr.eq(epilogue.row_exponents.address),
                     epilogue.row_exponents.data.eq(read.data)]

    def _lend(self, m):
        """Lend multipliers of the array to LayerNorm and softmax, and one memory to all readers."""
        array, layernorm, softmax = self._array, self._layernorm, self._softmax
        soft = self._is[Opcode.SOFTMAX]
        m.d.comb += array.lend.eq(self._any(Opcode.NORM, Opcode.SOFTMAX))
        for user, multiplier in zip(layernorm.products, array.lent, strict=True):
            m.d.comb += lent_to(user, multiplier)
        for user, multiplier in zip(softmax.products, array.lent[:len(softmax.products)],
                                    strict=True):
            *operands, product = lent_to(user, multiplier)
            m.d.comb += product
            with m.If(soft):
                m.d.comb += operands

        # The memory of rows that wait: of words, all, that the reader has just read.
        users = (self._reader.store, layernorm.store, softmax.store)
        words = max(1 << len(user.write_address) for user in users)
        m.submodules.rows = rows = RowStore(self._config, words)
        for opcode, user in zip((Opcode.GEMM, Opcode.NORM, Opcode.SOFTMAX), users, strict=True):
            *asked, given = store_lent_to(user, rows.port, writes=False)
            m.d.comb += given
            with m.If(self._is[opcode]):
                m.d.comb += asked
        m.d.comb += rows.port.write_data.eq(self._reader.store.write_data)

    def _rows(self, m):
        """Connect what reads wide matrices, softmax, and the placement of all results."""
        sequencer, op, config = self._sequencer, self._op, self._config
        reader, softmax, layernorm = self._reader, self._softmax, self._layernorm
        epilogue, placement = self._epilogue, self._placement
        product, norm, soft = (self._is[each] for each in (Opcode.GEMM, Opcode.NORM,
                                                           Opcode.SOFTMAX))
        lanes = exact_log2(config.lanes)
        words = (op.n + config.lanes - 1) >> lanes
        tile_words = Signal.like(reader.run.tile_words)
        m.d.comb += tile_words.eq(Mux(op.mode[0], 2 * config.cols, config.cols) >> lanes)
        m.d.comb += [
            reader.run.address.eq(Mux(product, op.residual_address, op.source)),
            reader.run.stride.eq(Mux(product, op.residual_stride, op.source_stride)),
            reader.run.rows.eq(op.m),
            reader.run.words.eq(words),
            reader.run.tile_words.eq(Mux(product, tile_words, words)),
            reader.direct.eq(~product),
            reader.start.eq(sequencer.run & (norm | soft | (product & op.residual))),
        ]
        for wanted, user in ((product, epilogue.residuals), (norm, layernorm.i),
                             (soft, softmax.i)):
            m.d.comb += [user.valid.eq(reader.o.valid & wanted),
                         user.payload.eq(reader.o.payload)]
            with m.If(wanted):
                m.d.comb += reader.o.ready.eq(user.ready)

        m.d.comb += [
            layernorm.shape.channels.eq(op.n),
            layernorm.shape.last_word.eq((op.n - 1) >> lanes),
            layernorm.shape.epsilon.eq(op.epsilon),
            softmax.shape.last_word.eq((op.n - 1) >> lanes),
            softmax.shape.last_lane.eq((op.n - 1)[:lanes]),
            *(softmax.shape[name].eq(op[name]) for name in ("step", "factor", "shift")),
            softmax.codebook.eq(self._codebook),
        ]

        # Results: of the epilogue, or of softmax, which has no places.
        row, word = Signal(FIELDS["m"].bits), Signal(FIELDS["n"].bits)
        done_rows = Signal(FIELDS["m"].bits)
        values = softmax.o.p["values"]
        m.d.comb += [
            softmax.o.ready.eq(1),
            softmax.exponent.ready.eq(1),
            self._exponents.en.eq(softmax.exponent.valid),
            self._exponents.addr.eq(done_rows),
            self._exponents.data.eq(softmax.exponent.payload),
            placement.run.layout.eq(Mux(soft, Layout.OPERAND8, op.layout)),
            *(placement.run[name].eq(op[name]) for name in ("dest", "dest_stride", "m", "n")),
            placement.i.valid.eq(Mux(soft, softmax.o.valid, epilogue.o.valid)),
            placement.i.p.row.eq(Mux(soft, row, epilogue.o.p.row)),
            placement.i.p.column.eq(Mux(soft, word << lanes, epilogue.o.p.column)),
            *(placed.eq(Mux(soft, value, result)) for placed, value, result in zip(
                placement.i.p["values"], values, epilogue.o.p["values"], strict=True)),
        ]
        with m.If(softmax.o.valid):
            m.d.sync += word.eq(word + 1)
            with m.If(softmax.o.p.last):
                m.d.sync += [word.eq(0), row.eq(row + 1)]
        with m.If(softmax.exponent.valid):
            m.d.sync += done_rows.eq(done_rows + 1)
        with m.If(sequencer.run):
            m.d.sync += [word.eq(0), row.eq(0), done_rows.eq(0)]
        self._softmax_done = (row == op.m) & (done_rows == op.m)

    def _finished(self, m):
        """Say when an instruction has been carried out."""
        sequencer, placement = self._sequencer, self._placement
        results = self._epilogue.done & placement.idle
        predicted = Signal()
        with m.If(sequencer.run):
            m.d.sync += predicted.eq(0)
        with m.Elif(self._prediction.o.valid & self._prediction.last):
            m.d.sync += predicted.eq(1)
        for wanted, finished in (
                (self._is[Opcode.SCALES], 1), (self._transfer, self._dma.done),
                (self._is[Opcode.NORM], results),
                (self._is[Opcode.GEMM], results & ~self._feed.busy),
                (self._is[Opcode.SOFTMAX], self._softmax_done & placement.idle),
                (self._is[Opcode.PREDICT], predicted)):
            with m.If(wanted):
                m.d.comb += sequencer.finished.eq(finished)

    def _count(self, m):
        """Count what happens in which cycles."""
        sequencer, array, dma = self._sequencer, self._array, self._dma
        running = sequencer.phase == Phase.RUN
        product = running & self._is[Opcode.GEMM] & self._feed.busy
        beat = dma.memory.request.valid & dma.memory.request.ready

        def of(*opcodes):
            return (running | (sequencer.phase == Phase.CONSTANTS)) & self._any(*opcodes)

        events = {
            "cycles": sequencer.busy,
            "array": array.i.valid & array.i.ready,
            "weights": product & ~array.i.valid,
            "drain": product & array.i.valid & ~array.i.ready,
            "fetch": sequencer.phase == Phase.FETCH,
            "transfer": of(Opcode.LOAD, Opcode.STORE, Opcode.PATCHES),
            "norm": of(Opcode.NORM),
            "softmax": of(Opcode.SOFTMAX),
            "predict": of(Opcode.PREDICT),
            "reads": beat & ~dma.memory.request.p.write,
            "writes": beat & dma.memory.request.p.write,
        }
        for name in COUNTERS:
            counter = getattr(self, f"counter_{name}")
            with m.If(self.start & ~sequencer.busy):
                m.d.sync += counter.eq(0)
            with m.Elif(events[name]):
                m.d.sync += counter.eq(counter + 1)
