"""Sums of the epilogue: results, bias and residual."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16

from ..common.checks import check_config
from ..common.shapes import saturated, shape_of
from .gelu import gelu_layout

__all__ = ["ResultSums"]


class ResultSums(wiring.Component):
    """Add bias and residual, one saturation; what is known of the columns goes along.

    Three-stage pipeline, a latency of :attr:`LATENCY` cycles; it never stalls.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.

    Members
    -------
    residual, tap : ``In(1)``
        Which of the streams and values take part.
    i : ``In(stream.Signature(ArrayLayout(ACT16, lanes), always_ready=True))``
    residuals : ``In(stream.Signature(ArrayLayout(ACT16, lanes)))``
        If they take part, one has to be there :attr:`RESIDUAL` cycles after `i` gives something.
    biases : ``In(ArrayLayout(ACT16, lanes))``
    coarse : ``In(lanes)``
        Both of the payload that `i` gives.
    taps : ``Out(stream.Signature(ArrayLayout(ACT16, lanes), always_ready=True))``
    o : ``Out(stream.Signature(gelu_layout(config), always_ready=True))``
        The same results.
    """

    LATENCY = 3
    RESIDUAL = 1

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        values = data.ArrayLayout(shape_of(ACT16), config.lanes)
        self._lanes = config.lanes
        super().__init__({
            "residual": In(1),
            "tap": In(1),
            "i": In(stream.Signature(values, always_ready=True)),
            "residuals": In(stream.Signature(values)),
            "biases": In(values),
            "coarse": In(config.lanes),
            "taps": Out(stream.Signature(values, always_ready=True)),
            "o": Out(stream.Signature(gelu_layout(config), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        # Stage s: result and bias.
        s_valid = Signal()
        s_sums = Signal(data.ArrayLayout(signed(ACT16.bits + 1), self._lanes), reset_less=True)
        s_coarse = Signal(self._lanes)

        # Stage t: exact sums.
        t_valid = Signal()
        t_sums = Signal(data.ArrayLayout(signed(ACT16.bits + 2), self._lanes), reset_less=True)

        # Stage y: saturated.
        y_valid = Signal()
        y_values = Signal.like(self.taps.payload, reset_less=True)
        t_coarse, y_coarse = Signal(self._lanes), Signal(self._lanes)

        m.d.comb += [
            self.residuals.ready.eq(s_valid & self.residual),
            self.taps.valid.eq(y_valid & self.tap),
            self.taps.payload.eq(y_values),
            self.o.valid.eq(y_valid),
            self.o.p["values"].eq(y_values),
            self.o.p.coarse.eq(y_coarse),
        ]
        m.d.sync += [s_valid.eq(self.i.valid), t_valid.eq(s_valid), y_valid.eq(t_valid),
                     s_coarse.eq(self.coarse), t_coarse.eq(s_coarse), y_coarse.eq(t_coarse)]
        for lane in range(self._lanes):
            m.d.sync += [
                s_sums[lane].eq(self.i.p[lane] + self.biases[lane]),
                t_sums[lane].eq(s_sums[lane] + Mux(self.residual, self.residuals.p[lane], 0)),
                y_values[lane].eq(saturated(t_sums[lane], ACT16.min, ACT16.max)),
            ]
        return m
