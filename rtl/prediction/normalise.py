"""Normalisation of the range unit: from the logarithm of a sum to a statistic."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.formats import IntFormat, round_shift
from golden.prediction import range_unit

from ..common.log2 import log2_layout
from ..common.shapes import saturated, shape_of

__all__ = ["Normalise", "normalisation_layout", "statistic_layout"]

normalisation_layout = data.StructLayout({
    "mean": shape_of(formats.LOG2),
    "gain": shape_of(formats.GAIN),
})
"""Mean of a logarithm and reciprocal of its standard deviation."""

statistic_layout = data.StructLayout({"value": shape_of(formats.STATISTIC), "last": 1})
"""A normalised statistic, and whether it is the last of its run."""


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
