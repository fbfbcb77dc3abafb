"""Prediction: the range unit and the scale unit as one, fed by taps and by units of the stream."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16
from golden.core.isa import FIELDS, PAIRS, PREDICTOR_FIELDS, RANGE_FIELDS

from ..common.checks import check_config
from ..common.places import Places
from ..common.shapes import joined, shape_of
from ..common.skid_buffer import SkidBuffer
from ..common.unit_splitter import UNIT_BITS, UnitSplitter, units_for
from .range_unit import RangeUnit, normalisation_layout, statistic_layout
from .scale_unit import ScaleUnit, coefficient_layout

__all__ = ["Prediction", "predict_layout", "tap_layout"]

tap_layout = data.StructLayout({name: shape_of(FIELDS[name]) for name in RANGE_FIELDS})
"""How a tensor that is tapped is watched."""

predict_layout = data.StructLayout({name: shape_of(FIELDS[name]) for name in PREDICTOR_FIELDS})
"""Size of a predictor."""


class Prediction(wiring.Component):
    """Watch one tensor, and later turn its ranges into scales.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Of a core.

    Members
    -------
    tap, watch : ``In(tap_layout)``, ``In(1)``
        A tensor is about to be watched as `tap` says, which is remembered.
    taps : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        The tensor.
    run, start : ``In(predict_layout)``, ``In(1)``
        Predict, with `run` stable until the last scale.
    units : ``In(stream.Signature(64))``
        From `start` on: statistics, then the predictor, as :mod:`golden.core.isa` has them.
    o : ``Out(stream.Signature(LAMBDA, always_ready=True))``
        Scales.
    done : ``Out(1)``
        The last scale has been given; low from the cycle after `start`.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._config = config
        super().__init__({
            "tap": In(tap_layout), "watch": In(1),
            "taps": In(stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes))),
            "run": In(predict_layout), "start": In(1),
            "units": In(stream.Signature(UNIT_BITS)),
            "o": Out(stream.Signature(shape_of(formats.LAMBDA), always_ready=True)),
            "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.range_unit = ranges = RangeUnit(config)
        m.submodules.scale_unit = scales = ScaleUnit(config, multipliers=False)
        m.submodules.normalisations = normalisations = UnitSplitter(normalisation_layout.size)
        m.submodules.coefficients = coefficients = UnitSplitter(coefficient_layout(config).size)
        connect(m, flipped(self.taps), ranges.i)
        m.submodules.ahead = ahead = SkidBuffer(statistic_layout)
        connect(m, ranges.o, ahead.i)
        connect(m, ahead.o, scales.statistics)
        tap = Signal(tap_layout)
        with m.If(self.watch):
            m.d.sync += tap.eq(self.tap)

        # Two units from far away, so that one is given in every cycle.
        m.submodules.read_ahead = read_ahead = Places(UNIT_BITS, 2)
        units, kept = read_ahead.o, Signal(range(3))
        accepted = self.units.valid & self.units.ready
        m.d.sync += kept.eq(kept + accepted - (units.valid & units.ready))
        m.d.comb += [
            self.units.ready.eq(kept != 2),
            read_ahead.i.valid.eq(accepted),
            read_ahead.i.payload.eq(self.units.payload),
        ]
        statistics = Signal(FIELDS["statistics"].bits)  # units of them still to come
        first = statistics != 0
        with m.If(self.start):
            m.d.sync += statistics.eq(units_for(self.run.statistics, PAIRS))
        with m.Elif(first & units.valid & units.ready):
            m.d.sync += statistics.eq(statistics - 1)
        m.d.comb += [
            *joined(ranges.shape, tap),
            *joined(scales.predictor, self.run),
            normalisations.clear.eq(self.start),
            normalisations.i.valid.eq(units.valid & first),
            normalisations.i.payload.eq(units.payload),
            coefficients.clear.eq(self.start),
            coefficients.i.valid.eq(units.valid & ~first),
            coefficients.i.payload.eq(units.payload),
            units.ready.eq(normalisations.i.ready & first | coefficients.i.ready & ~first),
            ranges.normalisation.valid.eq(normalisations.o.valid),
            ranges.normalisation.payload.eq(normalisations.o.payload),
            normalisations.o.ready.eq(ranges.normalisation.ready),
            scales.coefficients.valid.eq(coefficients.o.valid),
            scales.coefficients.payload.eq(coefficients.o.payload),
            coefficients.o.ready.eq(scales.coefficients.ready),
            self.o.valid.eq(scales.o.valid),
            self.o.payload.eq(scales.o.p.exponent),
            scales.o.ready.eq(1),
        ]
        with m.If(self.start):
            m.d.sync += self.done.eq(0)
        with m.Elif(scales.o.valid & scales.o.p.last):
            m.d.sync += self.done.eq(1)
        return m
