"""Robust range of an activation tensor, bit-exact with :mod:`golden.prediction.range_unit`."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.prediction import range_unit

from ..common.checks import check_config
from ..common.log2 import Log2
from ..common.shapes import shape_of
from ..common.skid_buffer import SkidBuffer
from .extremes import Extremes, access_layout, rebiased
from .normalise import Normalise, normalisation_layout, statistic_layout
from .range_order import FlushOrder, WatchOrder, range_shape_layout
from .range_sums import RangeSums

__all__ = ["RangeUnit", "normalisation_layout", "range_shape_layout", "statistic_layout"]


class RangeUnit(wiring.Component):
    """Watch an activation tensor go by; give its normalised log2 range statistics.

    A sink of the stream it watches: tee the stream, and let it proceed where both ends are ready.
    Beats are accepted one per cycle from the first of a tensor to its last, without exception.
    From then on none is accepted until the last statistic has been taken; the next tensor may
    begin, and `shape` may change, in the cycle after. Without stalls at `normalisation` and `o`
    that takes :func:`golden.prediction.range_shape.range_cycles` cycles.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives lanes, entries and the largest tensor.

    Members
    -------
    shape : ``In(range_shape_layout(config))``
        The run, as :meth:`golden.prediction.range_shape.RangeShape.registers` gives it; stable from
        the first beat to the last statistic.
    i : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        Beats in the order of :func:`golden.prediction.range_shape.beats`. Lanes beyond the last
        channel are ignored.
    normalisation : ``In(stream.Signature(normalisation_layout))``
        One mean and gain per statistic, in the order of the statistics.
    o : ``Out(stream.Signature(statistic_layout))``
        Statistics in the order of :func:`golden.prediction.range_unit.statistics`.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "shape": In(range_shape_layout(config)),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))),
            "normalisation": In(stream.Signature(normalisation_layout)),
            "o": Out(stream.Signature(statistic_layout)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.access = access = _Access(self._config)
        m.submodules.extremes = extremes = Extremes(self._config)
        m.submodules.sums = sums = RangeSums(self._config)
        m.submodules.ahead = ahead = SkidBuffer(sums.o.payload.shape())
        m.submodules.log2 = log2 = Log2(range_unit.sum_format(self._config).bits - 1)
        m.submodules.normalise = normalise = Normalise()

        connect(m, flipped(self.i), access.i)
        connect(m, access.o, extremes.i)
        connect(m, extremes.o, sums.i)
        connect(m, sums.o, ahead.i)
        connect(m, ahead.o, log2.i)
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
            "shape": In(range_shape_layout(config)),
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
            # A tensor arrives. No visit is on its way, so an update is always taken: to ask
            # for it would tie what gives the tensor to all that takes the statistics.
            with m.State("WATCH"):
                m.d.comb += [
                    self.o.valid.eq(self.i.valid),
                    self.i.ready.eq(1),
                    self.o.p.entry.eq(watch.o.p.entry),
                    self.o.p.first.eq(watch.o.p.first),
                    watch.o.ready.eq(self.i.valid),
                ]
                with m.If(self.i.valid & watch.o.p.last):
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
