"""Sums of chunk extremes: the extremes of a chunk over its lanes, their sums over the chunks."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.prediction.range_unit import sum_format

from ..common.checks import check_config
from ..common.log2 import log2_layout
from ..common.shapes import shape_of
from .extremes import rebiased, visit_layout
from .range_order import range_shape_layout

__all__ = ["RangeSums"]


def _chunk_sums_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Sums of maxima and of negated minima, alternating, and whether they are the last."""
    return data.StructLayout({
        "sums": data.ArrayLayout(shape_of(sum_format(config)), 2 * config.lanes),
        "last": 1,
    })


class RangeSums(wiring.Component):
    """Sum the extremes of the chunks of each group, or of each channel, and give one sum a beat.

    Takes one visit per cycle, until a group is complete before all sums of the one before are
    given. The first sum appears :attr:`LATENCY` cycles after the last visit of its group, and
    :attr:`LaneExtremes.latency` cycles later where a group has several channels.

    Members
    -------
    shape : ``In(range_shape_layout(config))``
        The run; stable while a visit is inside.
    i : ``In(stream.Signature(visit_layout(config.lanes)))``
        Extremes of the chunks, group after group.
    o : ``Out(stream.Signature(log2_layout(bits)))``
        Sum of maxima, then of negated minima, of each group; zero where that is negative.
    """

    LATENCY = 2

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "shape": In(range_shape_layout(config)),
            "i": In(stream.Signature(visit_layout(config.lanes))),
            "o": Out(stream.Signature(log2_layout(sum_format(config).bits - 1))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.lanes = lanes = LaneExtremes(self._config.lanes)
        m.submodules.sums = sums = _ChunkSums(self._config)
        m.submodules.beats = beats = _SumBeats(self._config)

        m.d.comb += [
            beats.shape.eq(self.shape),
            lanes.i.payload.eq(self.i.payload),
            sums.i.payload.eq(self.i.payload),
        ]
        with m.If(self.shape.per_channel):
            m.d.comb += [
                sums.i.valid.eq(self.i.valid),
                self.i.ready.eq(sums.i.ready),
            ]
        with m.Else():
            m.d.comb += [
                lanes.i.valid.eq(self.i.valid),
                self.i.ready.eq(lanes.i.ready),
                sums.i.valid.eq(lanes.o.valid),
                lanes.o.ready.eq(sums.i.ready),
                sums.i.p.extremes[0].eq(lanes.o.p.extremes[0]),
                *(sums.i.p[name].eq(lanes.o.p[name])
                  for name in ("first_chunk", "last_chunk", "last")),
            ]
        connect(m, sums.o, beats.i)
        connect(m, beats.o, flipped(self.o))
        return m


class LaneExtremes(wiring.Component):
    """Maximum and minimum over all lanes.

    A tree of one stage per level: a latency of :attr:`latency` cycles and a throughput of one
    visit per cycle. Backpressure stalls all stages at once.

    Members
    -------
    i : ``In(stream.Signature(visit_layout(lanes)))``
        Extremes of each lane.
    o : ``Out(stream.Signature(visit_layout(1)))``
        Extremes of all lanes.
    """

    def __init__(self, lanes: int):
        self._lanes = integer("lanes", lanes, 1)
        super().__init__({
            "i": In(stream.Signature(visit_layout(lanes))),
            "o": Out(stream.Signature(visit_layout(1))),
        })

    @property
    def latency(self) -> int:
        """Cycles from a visit at `i` to its extremes at `o`."""
        return (self._lanes - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        valid, visit = self.i.valid, self.i.p
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        for level in range(self.latency):
            lanes = (len(visit.extremes) + 1) // 2
            t_valid = Signal(name=f"t{level}_valid")
            t_visit = Signal(visit_layout(lanes), name=f"t{level}_visit")
            with m.If(self.i.ready):
                m.d.sync += t_valid.eq(valid)
                m.d.sync += _halve(t_visit, visit)
            valid, visit = t_valid, t_visit
        m.d.comb += self.o.valid.eq(valid)
        m.d.comb += self.o.payload.eq(visit)
        return m


def _halve(result, visit):
    """Return the assignments of one level of the tree."""
    pairs = len(visit.extremes) // 2
    statements = [result[name].eq(visit[name]) for name in ("first_chunk", "last_chunk", "last")]
    for index in range(pairs):
        a, b = visit.extremes[2 * index], visit.extremes[2 * index + 1]
        statements += [
            result.extremes[index].high.eq(Mux(a.high > b.high, a.high, b.high)),
            result.extremes[index].low.eq(Mux(a.low < b.low, a.low, b.low)),
        ]
    if len(visit.extremes) % 2:
        statements.append(result.extremes[pairs].eq(visit.extremes[2 * pairs]))
    return statements


class _ChunkSums(wiring.Component):
    """Sums of the extremes of consecutive chunks, each lane on its own."""

    def __init__(self, config: AcceleratorConfig):
        self._lanes = config.lanes
        super().__init__({
            "i": In(stream.Signature(visit_layout(config.lanes))),
            "o": Out(stream.Signature(_chunk_sums_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        visit, sums = self.i.p, self.o.p.sums
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & visit.last_chunk)
            m.d.sync += self.o.p.last.eq(visit.last)
        with m.If(self.i.ready & self.i.valid):
            for lane, extremes in enumerate(visit.extremes):
                high, low = sums[2 * lane], sums[2 * lane + 1]
                m.d.sync += [
                    high.eq(Mux(visit.first_chunk, 0, high) + rebiased(extremes.high).as_signed()),
                    low.eq(Mux(visit.first_chunk, 0, low) - rebiased(extremes.low).as_signed()),
                ]
        return m


class _SumBeats(wiring.Component):
    """Give the sums that belong to a channel or group, one a beat."""

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "shape": In(range_shape_layout(config)),
            "i": In(stream.Signature(_chunk_sums_layout(config))),
            "o": Out(stream.Signature(log2_layout(sum_format(config).bits - 1))),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        held = Signal(_chunk_sums_layout(self._config))
        left = Signal(range(2 * self._config.lanes + 1))
        next_sum = held.sums[0]

        m.d.comb += [
            self.i.ready.eq((left == 0) | ((left == 1) & self.o.ready)),
            self.o.valid.eq(left != 0),
            self.o.p.value.eq(Mux(next_sum < 0, 0, next_sum)),
            self.o.p.last.eq(held.last & (left == 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
            for now, following in zip(held.sums, list(held.sums)[1:], strict=False):
                m.d.sync += now.eq(following)
        with m.If(self.i.valid & self.i.ready):
            lanes = Mux(self.i.p.last, shape.last_lane + 1, self._config.lanes)
            m.d.sync += held.eq(self.i.payload)
            m.d.sync += left.eq(2 * Mux(shape.per_channel, lanes, 1))
        return m
