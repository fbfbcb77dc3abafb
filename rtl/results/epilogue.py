"""Epilogue: from the accumulators behind the MAC array, or of LayerNorm, to stored results."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.core.isa import Path
from golden.cycles.product_cycles import EPILOGUE, FRONT, QUEUED

from ..common.checks import check_config
from ..common.operands import TileMode
from ..common.shapes import shape_of
from ..common.unit_splitter import UNIT_BITS
from ..memory.placement import placed_layout
from ..product.tile_drain import accumulators_layout
from .gelu import Gelu, curve_layout, entry_layout
from .requant import Requant
from .rescale import Rescale
from .result_constants import BASE, ResultConstants, row_exponents_signature
from .result_order import SIZE, ResultOrder, word_shape
from .result_sums import ResultSums

__all__ = ["Epilogue", "epilogue_layout"]

_PLACES = 16  # beats between input and output; no more are on their way than there are stages

epilogue_layout = data.StructLayout({
    "path": Path,
    "gelu": 1,
    "residual": 1,
    "tap": 1,
    "offset": 1,
    "by_tiles": 1,
    "columns": 1,
    "per_row": 1,
    "mode": TileMode,
    "m": SIZE,
    "n": SIZE,
    "low": shape_of(ACT16),
    "high": shape_of(ACT16),
    "base": BASE,
    "base_out": BASE,
})
"""A matrix of results, `m` rows and `n` columns, and what becomes of its accumulators.

path, gelu, residual, tap, low, high
    As in :mod:`golden.core.isa`. Only SITE has GELU, DIRECT has no residual: there they do nothing.
offset
    8 is taken off the results of SITE and DIRECT.
by_tiles
    Beats come tile by tile, in the tiles of `mode`; otherwise row by row.
columns
    Units of columns are supplied. Otherwise bias and start are zero.
per_row
    Row exponents are taken off `base`; not together with `columns`.
base, base_out
    Exponents of the multipliers, scales included; the column's is added to `base`.
"""


class Epilogue(wiring.Component):
    """Requantize accumulators, add bias and residual, take the GELU, requantize to a site.

    One pipeline for all paths, with a latency of :attr:`LATENCY` cycles and a throughput of one
    beat of ``config.lanes`` results per cycle; what a path does not do passes through unchanged::

        i --> + start --> Requant --> + bias --> saturate --> Gelu --> . --> Rescale --> o
                                    + residual       |    (or 3 cycles)
                                                     +--> taps

    Only the input waits: for constants, see :class:`ResultConstants`, and for residuals that have
    been announced. What has been accepted never stalls.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core: gives lanes and tiles.

    Members
    -------
    run : ``In(epilogue_layout)``
        Stable from `start` until `done`.
    start : ``In(1)``
        A run begins, the first beat of `i` from the next cycle on; only while `done`.
    done : ``Out(1)``
        Low from the cycle after `start`, high again from the cycle after the last beat of the run
        was at `o`, when all beats at `i`, also those that are dropped, units and residuals have
        been accepted, and all `taps` given. High after reset.
    curve, entry
        ``In(curve_layout)``, ``In(entry_layout)``: as in :class:`.gelu.Gelu`.
    units : ``In(stream.Signature(64))``
        If `columns`, :data:`golden.core.isa.COLUMN` units, whole tile columns one after the other.
    i : ``In(stream.Signature(accumulators_layout(config)))``
        Accumulators; with `start` values added they keep within ``ACC``. By tiles, as
        :func:`golden.product.tiling.tiles` orders them: whole tiles, of which all beats beyond
        `m` and `n` are dropped. Row by row, those inside only. `last` is ignored.
    residuals : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        If `residual`, one per beat inside, in the order of the beats.
    announced : ``In(1)``
        One more of `residuals` will be offered, at the latest :attr:`SUMS` cycles after this one;
        no more than ``QUEUED`` of which no beat has been accepted yet.
    row_exponents : ``Out(row_exponents_signature)``
        If `per_row`, each row's is read once per tile column, ahead of the beats; from the cycle
        after `start` on.
    taps : ``Out(stream.Signature(ArrayLayout(ACT16, lanes), always_ready=True))``
        If `tap`, ``y`` of each beat inside, in the order of the beats. Lanes beyond `n` are
        anything.
    o : ``Out(stream.Signature(placed_layout(config), always_ready=True))``
        Results of the beats inside, in their order. Lanes beyond `n` are anything.
    """

    LATENCY = EPILOGUE
    SUMS = FRONT

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        wide = stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))
        super().__init__({
            "run": In(epilogue_layout),
            "start": In(1),
            "done": Out(1),
            "curve": In(curve_layout),
            "entry": In(entry_layout),
            "units": In(stream.Signature(UNIT_BITS)),
            "i": In(stream.Signature(accumulators_layout(config))),
            "residuals": In(wide),
            "announced": In(1),
            "row_exponents": Out(row_exponents_signature),
            "taps": Out(stream.Signature(wide.members["payload"].shape, always_ready=True)),
            "o": Out(stream.Signature(placed_layout(config), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.order = order = ResultOrder(self._config)
        m.submodules.constants = constants = ResultConstants(self._config)
        m.submodules.requant = requant = Requant(self._config)
        m.submodules.sums = sums = ResultSums(self._config)
        m.submodules.gelu = Gelu(self._config)
        m.submodules.rescale = rescale = Rescale(self._config)
        run = self.run
        direct, wide = run.path == Path.DIRECT, run.path == Path.WIDE

        active, accept = Signal(), Signal()
        residual = Signal()
        m.d.sync += residual.eq(run.residual & ~direct)  # from the cycle after `start` on
        m.d.comb += [
            self.i.ready.eq(active & constants.valid & self._residual_there(m, accept)),
            accept.eq(self.i.valid & self.i.ready),
            order.start.eq(self.start),
            order.step.eq(accept),
            constants.start.eq(self.start),
            constants.active.eq(active),
            constants.columns.eq(run.columns),
            constants.per_row.eq(run.per_row),
            constants.biased.eq(run.columns & ~direct),
            constants.base.eq(run.base),
            constants.base_out.eq(Mux(run.path == Path.SITE, run.base_out, 0)),
            constants.word.eq(order.word), constants.next_word.eq(order.next_word),
            constants.step.eq(accept), constants.row_end.eq(order.row_end),
            *(getattr(part, name).eq(run[name]) for part in (order, constants)
              for name in ("by_tiles", "mode", "m", "n")),
        ]
        with m.If(self.start):
            m.d.sync += active.eq(1)
        with m.Elif(accept & order.last):
            m.d.sync += active.eq(0)

        connect(m, constants.row_exponents, flipped(self.row_exponents))
        connect(m, flipped(self.units), constants.units)
        self._front(m, accept)
        connect(m, requant.o, sums.i)
        connect(m, flipped(self.residuals), sums.residuals)
        connect(m, sums.taps, flipped(self.taps))
        m.d.sync += [
            requant.low.eq(Mux(direct, run.low, ACT16.min)),
            requant.high.eq(Mux(direct, run.high, ACT16.max)),
        ]
        m.d.comb += [
            sums.tap.eq(run.tap),
            sums.residual.eq(residual),
            sums.biases.eq(Cat(each.bias for each in constants.biases)),
            sums.coarse.eq(Cat(each.coarse for each in constants.biases)),
            rescale.multiplier.eq(constants.multiplier_out),
            rescale.low.eq(Mux(wide, ACT16.min, run.low)),
            rescale.high.eq(Mux(wide, ACT16.max, run.high)),
            rescale.offset.eq(run.offset & ~wide),
        ]
        self._back(m, run.gelu & (run.path == Path.SITE))
        m.d.comb += self.done.eq(~active & self._places(m, accept & order.inside))
        return m

    def _residual_there(self, m, accept):
        """Return whether the beat at the input will find its residual, if it takes one."""
        order, residual = m.submodules.order, m.submodules.sums.residual
        spare = Signal(range(QUEUED + 1))  # residuals announced, those for accepted beats taken off
        some = Signal()  # it is not 0
        taken = accept & order.inside & residual
        m.d.sync += [
            spare.eq(spare + self.announced - taken),
            some.eq(Mux(taken, self.announced | (spare != 1), self.announced | (spare != 0))),
        ]
        return ~residual | ~order.inside | some

    def _front(self, m, accept):
        """Stage a: accumulators with their start values; biases are read behind the others."""
        order, constants, requant = (m.submodules[name]
                                     for name in ("order", "constants", "requant"))
        m.d.sync += requant.i.valid.eq(accept & order.inside)
        for operand, acc, values in zip(requant.i.p, self.i.p["values"], constants.values,
                                        strict=True):
            m.d.sync += [
                operand.acc.eq(acc + values.start),
                operand.multiplier.eq(values.multiplier),
            ]
        word, last = order.word, accept & order.column_end
        for stage in range(Requant.LATENCY):
            next_word = Signal(order.word.shape(), name=f"word_{stage}")
            next_last = Signal(name=f"last_{stage}")
            m.d.sync += [next_word.eq(word), next_last.eq(last & ~self.start)]
            word, last = next_word, next_last
        m.d.comb += [
            constants.bias_word.eq(word),
            constants.release.eq(last),
        ]

    def _back(self, m, with_gelu):
        """Behind the taps: GELU, or the same time without, and the second multiplier."""
        sums, gelu, rescale = (m.submodules[name] for name in ("sums", "gelu", "rescale"))
        m.d.comb += [
            gelu.i.valid.eq(sums.o.valid),
            gelu.i.payload.eq(sums.o.payload),
            gelu.o.ready.eq(1),
            gelu.curve.eq(self.curve),
            gelu.entry.eq(self.entry),
            self.o.valid.eq(rescale.o.valid),
            self.o.p["values"].eq(rescale.o.payload),
        ]
        plain = sums.o.p["values"]
        for stage in range(Gelu.LATENCY):
            register = Signal.like(plain, name=f"plain_{stage}", reset_less=True)
            m.d.sync += register.eq(plain)
            plain = register
        # Stage g: what is rescaled, as its multipliers take most of a cycle.
        m.d.sync += [
            rescale.i.valid.eq(gelu.o.valid),
            *(value.eq(Mux(with_gelu, gelu.o.p[lane], plain[lane]))
              for lane, value in enumerate(rescale.i.p)),
        ]

    def _places(self, m, enter):
        """Keep row and word of the beats inside; return whether none is left."""
        order = m.submodules.order
        m.submodules.places = places = memory.Memory(
            shape=data.StructLayout({"row": SIZE, "word": word_shape(self._config)}),
            depth=_PLACES, init=[])
        write, read = places.write_port(), places.read_port()
        entered, left = Signal(range(_PLACES)), Signal(range(_PLACES))
        m.d.comb += [
            write.addr.eq(entered),
            write.data.row.eq(order.row),
            write.data.word.eq(order.word),
            write.en.eq(enter),
            read.addr.eq(left + self.o.valid),
            read.en.eq(1),
            self.o.p.row.eq(read.data.row),
            self.o.p.column.eq(read.data.word << exact_log2(self._config.lanes)),
        ]
        m.d.sync += [
            entered.eq(entered + enter),
            left.eq(left + self.o.valid),
        ]
        return entered == left


assert Epilogue.LATENCY == (1 + Requant.LATENCY + ResultSums.LATENCY + Gelu.LATENCY + 1
                            + Rescale.LATENCY) < _PLACES
assert Epilogue.SUMS == 1 + Requant.LATENCY + ResultSums.RESIDUAL
