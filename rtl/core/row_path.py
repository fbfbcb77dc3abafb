"""Row path: whatever is read from wide matrices row by row, LayerNorm and softmax."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.core.isa import FIELDS, Opcode

from ..common.checks import check_config
from ..common.multiplier import lent_signature, lent_to
from ..common.shapes import joined, shape_of
from ..memory.matrix_reader import MatrixReader
from ..memory.placement import placed_layout
from ..memory.row_store import RowStore, store_lent_to
from ..memory.scratchpad import read_signature
from ..results.result_constants import row_exponents_signature
from ..rows.layernorm import LayerNorm, affine_layout, channel_layout
from ..rows.softmax import Softmax, softmax_codebook_layout
from .instruction import decoded, instruction_layout

__all__ = ["RowPath"]


class RowPath(wiring.Component):
    """Read a wide matrix, and give it as residuals, or to LayerNorm, or to softmax.

    They work one at a time, so they share one memory for rows that wait, and the multipliers that
    somebody lends.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    rests : ``In(1)``
        Between two runs, for two cycles or more; units are reset a cycle later.
    instruction, start
        ``In(instruction_layout)``, ``In(1)``: what reads a wide matrix begins with `start`.
    read, read_free
        ``Out(read_signature(config))``, ``In(1)``: scratchpad, read only while free.
    load, channels, codebook
        Constants of LayerNorm and of softmax, as these take them.
    residuals : ``Out(stream.Signature(ArrayLayout(ACT16, lanes)))``
        Of a product, by tile columns.
    announced : ``Out(1)``
        Of :class:`.matrix_reader.MatrixReader`, for `residuals`.
    norms : ``Out(stream.Signature(affine_layout(config)))``
        Accumulators of NORM.
    codes : ``Out(stream.Signature(placed_layout(config), always_ready=True))``
        Results of SOFTMAX, operands or codes, and where they go.
    codes_done : ``Out(1)``
        All results and all row exponents of SOFTMAX have been given; from the cycle after `start`.
    last_exponent : ``Out(LOG2)``
        That of the last row.
    row_exponents : ``In(row_exponents_signature)``
        Those of the last SOFTMAX.
    multipliers : ``Out(lent_signature).array(LayerNorm.MULTIPLIERS * lanes)``
        During NORM and SOFTMAX.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        self._lanes = exact_log2(config.lanes)
        super().__init__({
            "rests": In(1), "instruction": In(instruction_layout), "start": In(1),
            "read": Out(read_signature(config)), "read_free": In(1),
            "load": In(1), "channels": In(stream.Signature(channel_layout)),
            "codebook": In(softmax_codebook_layout),
            "residuals": Out(stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))),
            "announced": Out(1),
            "norms": Out(stream.Signature(affine_layout(config))),
            "codes": Out(stream.Signature(placed_layout(config), always_ready=True)),
            "codes_done": Out(1), "last_exponent": Out(shape_of(formats.LOG2)),
            "row_exponents": In(row_exponents_signature),
            "multipliers": Out(lent_signature).array(LayerNorm.MULTIPLIERS * config.lanes),
        })

    def elaborate(self, platform):
        m = Module()
        config, op, lanes = self._config, self.instruction, self._lanes
        reader = MatrixReader(config)
        layernorm, softmax = (unit(config, borrows=True) for unit in (LayerNorm, Softmax))
        # Thousands of registers are reset: each unit's from near them.
        for name, unit in (("reader", reader), ("layernorm", layernorm), ("softmax", softmax)):
            rests = Signal(init=1, name=f"{name}_rests", attrs={"keep": 1})
            m.d.sync += rests.eq(self.rests)
            m.submodules[name] = ResetInserter(rests)(unit)
        kinds = [decoded(m, op, each) for each in (Opcode.GEMM, Opcode.NORM, Opcode.SOFTMAX)]
        self._read(m, kinds, reader, layernorm, softmax)
        self._lend(m, kinds, reader, layernorm, softmax)
        self._place(m, softmax)
        connect(m, flipped(self.channels), layernorm.constants)
        connect(m, layernorm.o, flipped(self.norms))
        last = Signal.like(op.n, name="last_column")
        m.d.sync += last.eq(op.n - 1)  # before its instruction runs
        m.d.comb += [
            layernorm.load.eq(self.load),
            layernorm.shape.channels.eq(op.n),
            layernorm.shape.last_word.eq(last >> lanes),
            layernorm.shape.epsilon.eq(op.epsilon),
            softmax.shape.last_word.eq(last >> lanes),
            softmax.shape.last_lane.eq(last[:lanes]),
            *joined(softmax.shape, op, "step", "factor", "shift"),
            softmax.codebook.eq(self.codebook),
        ]
        return m

    def _read(self, m, kinds, reader, layernorm, softmax):
        """Have the wide matrix of the instruction read, and lead it to whom it is for."""
        config, op = self._config, self.instruction
        product, norm, soft = kinds
        words, tile_words = Signal.like(reader.run.words), Signal.like(reader.run.tile_words)
        of_tile = Mux(op.mode[0], 2 * config.cols, config.cols) >> self._lanes
        m.d.sync += [words.eq((op.n + config.lanes - 1) >> self._lanes),
                     tile_words.eq(Mux(product, of_tile, words))]
        connect(m, reader.read, flipped(self.read))
        m.d.comb += self.announced.eq(reader.announced)
        m.d.comb += [
            reader.free.eq(self.read_free),
            reader.run.address.eq(Mux(product, op.residual_address, op.source)),
            reader.run.stride.eq(Mux(product, op.residual_stride, op.source_stride)),
            reader.run.rows.eq(op.m),
            reader.run.words.eq(words),
            reader.run.tile_words.eq(tile_words),
            reader.direct.eq(~product),
            reader.start.eq(self.start & (norm | soft | (product & op.residual))),
        ]
        m.d.comb += [
            self.residuals.valid.eq(reader.queued.valid),
            self.residuals.payload.eq(reader.queued.payload),
            reader.queued.ready.eq(self.residuals.ready),
        ]
        for wanted, user in ((norm, layernorm.i), (soft, softmax.i)):
            m.d.comb += [user.valid.eq(reader.o.valid & wanted),
                         user.payload.eq(reader.o.payload)]
            with m.If(wanted):
                m.d.comb += reader.o.ready.eq(user.ready)

    def _lend(self, m, kinds, reader, layernorm, softmax):
        """Give each the multipliers and the memory of rows that wait when it works."""
        *_, soft = kinds
        for user, multiplier in zip(layernorm.products, self.multipliers, strict=True):
            m.d.comb += lent_to(user, multiplier)
        for user, multiplier in zip(softmax.products, self.multipliers[:len(softmax.products)],
                                    strict=True):
            *operands, product = lent_to(user, multiplier)
            m.d.comb += product
            with m.If(soft):
                m.d.comb += operands

        # All words written are those that the reader has just read, or gives.
        users = (reader.store, layernorm.store, softmax.store)
        words = max(1 << len(user.write_address) for user in users)
        m.submodules.store = store = RowStore(self._config, words)
        for wanted, user in zip(kinds, users, strict=True):
            *asked, given = store_lent_to(user, store.port, writes=False)
            m.d.comb += given
            with m.If(wanted):
                m.d.comb += asked
        m.d.comb += [
            store.port.write_data.eq(Mux(reader.direct, reader.o.payload.as_value(),
                                         reader.store.write_data.as_value())),
            store.port.write_marks.eq(layernorm.store.write_marks),
        ]

    def _place(self, m, softmax):
        """Give the results of softmax their places, and keep the exponents of its rows."""
        op = self.instruction
        m.submodules.exponents = exponents = memory.Memory(
            shape=shape_of(formats.LOG2), depth=self._config.max_tokens, init=[])
        read, write = exponents.read_port(), exponents.write_port()
        row, word = Signal(FIELDS["m"].bits), Signal(FIELDS["n"].bits)
        done_rows = Signal(FIELDS["m"].bits)  # whose exponents are there
        m.d.comb += [
            softmax.o.ready.eq(1),
            self.codes.valid.eq(softmax.o.valid),
            self.codes.p.row.eq(row),
            self.codes.p.column.eq(word << self._lanes),
            *(placed.eq(value) for placed, value in zip(
                self.codes.p["values"], softmax.o.p["values"], strict=True)),
            softmax.exponent.ready.eq(1),
            write.en.eq(softmax.exponent.valid),
            write.addr.eq(done_rows),
            write.data.eq(softmax.exponent.payload),
            read.addr.eq(self.row_exponents.address),
            self.row_exponents.data.eq(read.data),
            self.codes_done.eq((row == op.m) & (done_rows == op.m)),
        ]
        with m.If(softmax.o.valid):
            m.d.sync += word.eq(word + 1)
            with m.If(softmax.o.p.last):
                m.d.sync += [word.eq(0), row.eq(row + 1)]
        with m.If(softmax.exponent.valid):
            m.d.sync += [done_rows.eq(done_rows + 1),
                         self.last_exponent.eq(softmax.exponent.payload)]
        with m.If(self.start | self.rests):
            m.d.sync += [word.eq(0), row.eq(0), done_rows.eq(0)]
        with m.If(self.rests):
            m.d.sync += self.last_exponent.eq(0)
