"""Scale unit: all scales of an image, bit-exact with :mod:`golden.prediction.scale_unit`."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.prediction import scale_cycles, scale_unit
from golden.prediction.scale_predictor import HIGHEST

from ..common.checks import check_config
from ..common.exp2 import Exp2
from ..common.shapes import multiplier_layout, shape_of
from ..common.skid_buffer import SkidBuffer
from .monomials import Monomials
from .range_unit import statistic_layout
from .scale_feed import ScaleFeed, coefficient_layout, predictor_layout
from .scale_sums import (
    RoundSum,
    ScaleSums,
    SumSplitter,
    coefficient_beat_layout,
    rounded_layout,
)

__all__ = ["ScaleUnit", "coefficient_layout", "predictor_layout", "scale_layout"]

def scale_layout(multipliers: bool = True) -> data.StructLayout:
    """A scale as its lambda, maybe as a multiplier, and whether it is that of the last site."""
    multiplier = {"multiplier": multiplier_layout} if multipliers else {}
    return data.StructLayout({"exponent": shape_of(formats.LAMBDA), **multiplier, "last": 1})


class ScaleUnit(wiring.Component):
    """Evaluate a scale predictor: statistics and coefficients in, scales out.

    Takes the statistics of an image, then its coefficients as they stream past, and gives the
    scales in the order of the sites, ``config.scale_lanes`` multiplications per cycle. The
    statistics of the next image are accepted from the cycle after the last coefficients.
    Backpressure anywhere. From the last coefficients of a block to its first scale
    :attr:`LATENCY` cycles pass; a whole image takes
    :func:`golden.prediction.scale_cycles.scale_cycles`.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes and the largest predictor.
    multipliers : bool
        Give the scales as multipliers, too; takes no longer.

    Members
    -------
    predictor : ``In(predictor_layout(config))``
        Size of the predictor, as :meth:`golden.prediction.scale_predictor.ScalePredictor.registers`
        gives it; stable from the first statistic of an image to its last coefficients.
    statistics : ``In(stream.Signature(statistic_layout))``
        As many as `predictor` says, the last one marked.
    coefficients : ``In(stream.Signature(coefficient_layout(config)))``
        Beats in the order of :func:`golden.prediction.scale_unit.pack`.
    o : ``Out(stream.Signature(scale_layout(multipliers)))``
        Scales in the order of the sites, the last one marked.
    """

    LATENCY = scale_cycles.LATENCY

    def __init__(self, config: AcceleratorConfig, multipliers: bool = True):
        check_config(config)
        self._config, self._multipliers = config, multipliers
        super().__init__({
            "predictor": In(predictor_layout(config)),
            "statistics": In(stream.Signature(statistic_layout)),
            "coefficients": In(stream.Signature(coefficient_layout(config))),
            "o": Out(stream.Signature(scale_layout(multipliers))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.feed = feed = ScaleFeed(self._config)
        m.submodules.fed = fed = SkidBuffer(coefficient_beat_layout(self._config))
        m.submodules.sums = sums = ScaleSums(self._config)
        m.submodules.splitter = splitter = SumSplitter(self._config)
        m.submodules.round_variable = round_variable = RoundSum(
            formats.STATISTIC, formats.PROJECTION.frac, formats.STATISTIC.max)
        m.submodules.ahead = ahead = SkidBuffer(rounded_layout(formats.STATISTIC))
        m.submodules.merge = merge = _Merge()
        m.submodules.monomials = monomials = Monomials(self._config)
        m.submodules.round_lambda = round_lambda = RoundSum(
            formats.LAMBDA, scale_unit.ROUND, HIGHEST)
        m.submodules.output = output = _Output(self._multipliers)

        connect(m, flipped(self.statistics), feed.statistics)
        connect(m, flipped(self.coefficients), feed.coefficients)
        connect(m, feed.o, fed.i)
        connect(m, fed.o, sums.i)
        connect(m, sums.o, splitter.i)
        connect(m, splitter.variables, round_variable.i)
        connect(m, feed.variables, merge.a)
        connect(m, round_variable.o, ahead.i)
        connect(m, ahead.o, merge.b)
        connect(m, merge.o, monomials.i)
        connect(m, splitter.sites, round_lambda.i)
        connect(m, round_lambda.o, output.i)
        connect(m, output.o, flipped(self.o))
        m.d.comb += [
            feed.predictor.eq(self.predictor),
            monomials.variables.eq(self.predictor.variables),
            monomials.degree.eq(self.predictor.degree),
            monomials.address.eq(feed.address),
            monomials.enable.eq(feed.enable),
            feed.monomial.eq(monomials.operand),
            feed.expanded.eq(monomials.done),
        ]
        return m


class _Merge(wiring.Component):
    """Variables from either source; at any time only one of them has any."""

    a: In(stream.Signature(statistic_layout))
    b: In(stream.Signature(statistic_layout))
    o: Out(stream.Signature(statistic_layout))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.valid.eq(self.a.valid | self.b.valid),
            self.o.payload.eq(Mux(self.b.valid, self.b.payload, self.a.payload)),
            self.a.ready.eq(self.o.ready & ~self.b.valid),
            self.b.ready.eq(self.o.ready),
        ]
        return m


class _Output(wiring.Component):
    """Turn lambdas into scales; latency, throughput and stalls are those of :class:`Exp2`.

    Without `multipliers` as well: :data:`golden.prediction.scale_cycles.LATENCY` counts it.
    """

    def __init__(self, multipliers: bool):
        self._multipliers = multipliers
        super().__init__({
            "i": In(stream.Signature(rounded_layout(formats.LAMBDA))),
            "o": Out(stream.Signature(scale_layout(multipliers))),
        })

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        valid, beside = self.i.valid, self.i.payload
        for stage in range(Exp2.LATENCY):
            next_valid = Signal(name=f"valid_{stage}")
            register = Signal(rounded_layout(formats.LAMBDA), name=f"beside_{stage}")
            with m.If(advance):
                m.d.sync += [next_valid.eq(valid), register.eq(beside)]
            valid, beside = next_valid, register
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            self.o.valid.eq(valid),
            self.o.p.exponent.eq(beside.value),
            self.o.p.last.eq(beside.last),
        ]
        if self._multipliers:  # its stages move whenever those beside it do
            m.submodules.exp2 = exp2 = Exp2()
            m.d.comb += [
                exp2.i.valid.eq(self.i.valid),
                exp2.i.payload.eq(self.i.p.value),
                exp2.o.ready.eq(self.o.ready),
                self.o.p.multiplier.eq(exp2.o.payload),
            ]
        return m
