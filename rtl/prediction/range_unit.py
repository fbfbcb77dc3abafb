"""Robust range of an activation tensor, bit-exact with :mod:`golden.prediction.range_unit`."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, IntFormat, round_shift
from golden.prediction import range_unit

from ..common.log2 import Log2, log2_layout
from ..common.shapes import saturated, shape_of
from .extremes import Extremes, access_layout, rebiased
from .range_order import FlushOrder, WatchOrder, shape_layout
from .range_sums import RangeSums

__all__ = ["RangeUnit", "normalisation_layout", "shape_layout", "statistic_layout"]

normalisation_layout = data.StructLayout({
    "mean": shape_of(formats.LOG2),
    "gain": shape_of(formats.GAIN),
})
"""Mean of a logarithm and reciprocal of its standard deviation."""

statistic_layout = data.StructLayout({"value": shape_of(formats.STATISTIC), "last": 1})
"""A normalised statistic, and whether it is the last of its run."""


class RangeUnit(wiring.Component):
    """Watch an activation tensor go by; give its normalised log2 range statistics.

    A sink of the stream it watches: tee the stream, and let it proceed where both ends are ready.
    Beats are accepted one per cycle from the first of a tensor to its last, without exception.
    From then on none is accepted until the last statistic has been taken; the next tensor may
    begin, and `shape` may change, in the cycle after. Without stalls at `normalisation` and `o`
    that takes :func:`golden.prediction.range_unit.range_cycles` cycles.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives lanes, entries and the largest tensor.

    Members
    -------
    shape : ``In(shape_layout(config))``
        The run, as :meth:`golden.prediction.range_unit.RangeShape.registers` gives it; stable from
        the first beat to the last statistic.
    i : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        Beats in the order of :func:`golden.prediction.range_unit.beats`. Lanes beyond the last
        channel are ignored.
    normalisation : ``In(stream.Signature(normalisation_layout))``
        One mean and gain per statistic, in the order of the statistics.
    o : ``Out(stream.Signature(statistic_layout))``
        Statistics in the order of :func:`golden.prediction.range_unit.statistics`.
    """

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "shape": In(shape_layout(config)),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))),
            "normalisation": In(stream.Signature(normalisation_layout)),
            "o": Out(stream.Signature(statistic_layout)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.access = access = _Access(self._config)
        m.submodules.extremes = extremes = Extremes(self._config)
        m.submodules.sums = sums = RangeSums(self._config)
        m.submodules.log2 = log2 = Log2(range_unit.sum_format(self._config).bits - 1)
        m.submodules.normalise = normalise = Normalise()

        connect(m, flipped(self.i), access.i)
        connect(m, access.o, extremes.i)
        connect(m, extremes.o, sums.i)
        connect(m, sums.o, log2.i)
        connect(m, log2.o, normalise.i)
        connect(m, flipped(self.normalisation), normalise.normalisation)
        connect(m, normalise.o, flipped(self.o))
        m.d.comb += [
            access.shape.eq(self.shape),
            access.done.eq(self.o.valid & self.o.ready & self.o.p.last),
            sums.shape.eq(self.shape),
            normalise.log2_chunks.eq(self.shape.log2_chunks),
        ]
        return m


class _Access(wiring.Component):
    """Accesses to the running extremes: one per beat, then one per entry, then none until `done`.

    A lane beyond the last channel takes the value of lane 0, which changes no extreme of a group
    of several lanes.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "shape": In(shape_layout(config)),
            "done": In(1),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))),
            "o": Out(stream.Signature(access_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.watch = watch = WatchOrder(self._config)
        m.submodules.flush = flush = FlushOrder(self._config)
        m.d.comb += [
            watch.shape.eq(self.shape),
            flush.shape.eq(self.shape),
        ]
        for lane, value in enumerate(self.i.p):
            m.d.comb += self.o.p.values[lane].eq(rebiased(value))
        for lane in range(1, self._config.lanes):
            with m.If(watch.o.p.last_word & (self.shape.last_lane < lane)):
                m.d.comb += self.o.p.values[lane].eq(rebiased(self.i.p[0]))

        with m.FSM():
            with m.State("WATCH"):  # a tensor arrives
                m.d.comb += [
                    self.o.valid.eq(self.i.valid),
                    self.i.ready.eq(self.o.ready),
                    self.o.p.entry.eq(watch.o.p.entry),
                    self.o.p.first.eq(watch.o.p.first),
                    watch.o.ready.eq(self.o.valid & self.o.ready),
                ]
                with m.If(watch.o.ready & watch.o.p.last):
                    m.next = "FLUSH"
            with m.State("FLUSH"):  # its entries are visited
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.p.entry.eq(flush.o.p.entry),
                    self.o.p.visit.eq(1),
                    *(self.o.p[name].eq(flush.o.p[name])
                      for name in ("first_chunk", "last_chunk", "last")),
                    flush.o.ready.eq(self.o.ready),
                ]
                with m.If(self.o.ready & flush.o.p.last_chunk & flush.o.p.last):
                    m.next = "WAIT"
            with m.State("WAIT"), m.If(self.done):  # until its statistics have been taken
                m.next = "WATCH"
        return m


class Normalise(wiring.Component):
    """Turn the logarithm of a sum into a normalised statistic.

    Four-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload
    per cycle, if one is offered at both inputs. Backpressure stalls all stages at once.

    Members
    -------
    log2_chunks : ``In(LOG2)``
        Logarithm of the number of chunks; stable while a payload is inside.
    i : ``In(stream.Signature(log2_layout(LOG2)))``
        Logarithm of a sum over the chunks.
    normalisation : ``In(stream.Signature(normalisation_layout))``
        Its mean and gain.
    o : ``Out(stream.Signature(statistic_layout))``
        ``saturate(round((i - log2_chunks - mean) * gain))``.
    """

    LATENCY = 4

    log2_chunks: In(shape_of(formats.LOG2))
    i: In(stream.Signature(log2_layout(shape_of(formats.LOG2))))
    normalisation: In(stream.Signature(normalisation_layout))
    o: Out(stream.Signature(statistic_layout))

    def elaborate(self, platform):
        m = Module()
        advance = Signal()

        # Stage m: logarithm of the mean over the chunks.
        m_valid, m_last = Signal(), Signal()
        m_log = Signal(shape_of(IntFormat(formats.LOG2.bits + 1)))
        m_normalisation = Signal(normalisation_layout)

        # Stage d: difference from the expected logarithm.
        d_valid, d_last = Signal(), Signal()
        d_difference = Signal(shape_of(range_unit.DIFFERENCE))
        d_gain = Signal(shape_of(formats.GAIN))

        # Stage p: exact product.
        p_valid, p_last = Signal(), Signal()
        p_product = Signal(shape_of(range_unit.PRODUCT))

        # Stage o: rounded and saturated. The output stream itself is the stage register.
        rounded = round_shift(p_product, range_unit.DROP)

        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance & self.normalisation.valid),
            self.normalisation.ready.eq(advance & self.i.valid),
        ]
        with m.If(advance):
            m.d.sync += [
                m_valid.eq(self.i.valid & self.normalisation.valid),
                m_last.eq(self.i.p.last),
                m_log.eq(self.i.p.value - self.log2_chunks),
                m_normalisation.eq(self.normalisation.payload),
                d_valid.eq(m_valid),
                d_last.eq(m_last),
                d_difference.eq(m_log - m_normalisation.mean),
                d_gain.eq(m_normalisation.gain),
                p_valid.eq(d_valid),
                p_last.eq(d_last),
                p_product.eq(d_difference * d_gain),
                self.o.valid.eq(p_valid),
                self.o.p.value.eq(saturated(rounded, formats.STATISTIC.min,
                                            formats.STATISTIC.max)),
                self.o.p.last.eq(p_last),
            ]
        return m
