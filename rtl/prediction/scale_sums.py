"""Sums of the scale unit: products of one operand with many coefficients, accumulated per lane."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.checks import integer
from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat, round_shift
from golden.prediction import scale_unit

from ..common.checks import check_config
from ..common.multiplier import Multiplier
from ..common.shapes import saturated, shape_of

__all__ = ["RoundSum", "ScaleSums", "SumSplitter", "coefficient_beat_layout", "rounded_layout",
           "sum_layout"]


def block_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What a block of results is for: sites or variables, how many, and whether the last ones."""
    return data.StructLayout({"site": 1, "count": range(config.scale_lanes + 1), "last": 1})


def coefficient_beat_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One operand, its coefficient in each lane, and where they stand in their block."""
    return data.StructLayout({
        "operand": shape_of(scale_unit.ALIGNED),
        "coefficients": data.ArrayLayout(shape_of(scale_unit.WORD), config.scale_lanes),
        "first": 1,
        "final": 1,
        "block": block_layout(config),
    })


def block_sums_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Sums of a block, one per lane."""
    return data.StructLayout({
        "sums": data.ArrayLayout(shape_of(formats.POLYNOMIAL), config.scale_lanes),
        "block": block_layout(config),
    })


sum_layout = data.StructLayout({"sum": shape_of(formats.POLYNOMIAL), "last": 1})
"""One sum, and whether it is the last variable or site."""


def rounded_layout(fmt: IntFormat) -> data.StructLayout:
    """One rounded sum, and whether it is the last variable or site."""
    return data.StructLayout({"value": shape_of(fmt), "last": 1})


class ScaleSums(wiring.Component):
    """Multiply an operand by one coefficient per lane and accumulate over the beats of a block.

    Pipeline with a latency of :attr:`LATENCY` cycles from the final beat of a block to its sums
    and a throughput of one beat per cycle. Backpressure stalls all stages at once.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.

    Members
    -------
    i : ``In(stream.Signature(coefficient_beat_layout(config)))``
        The final beat of a block holds the constants, and :data:`golden.prediction.scale_unit.ONE`
        as the operand.
    o : ``Out(stream.Signature(block_sums_layout(config)))``
        One payload per block; lanes beyond its count hold nothing of use.
    """

    LATENCY = Multiplier.LATENCY + 2

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "i": In(stream.Signature(coefficient_beat_layout(config))),
            "o": Out(stream.Signature(block_sums_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        control = data.StructLayout({"valid": 1, "first": 1, "final": 1,
                                     "block": block_layout(self._config)})

        # Stages x and p: operands and products, the registers of the multipliers.
        x, p = Signal(control), Signal(control)

        # Stage t: term, aligned to the accumulator.
        t = Signal(control)

        # Stage o: sums. The output stream itself is the accumulator.
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                x.valid.eq(self.i.valid),
                *(x[name].eq(self.i.p[name]) for name in ("first", "final", "block")),
                p.eq(x),
                t.eq(p),
                self.o.valid.eq(t.valid & t.final),
                self.o.p.block.eq(t.block),
            ]
        for lane in range(self._config.scale_lanes):
            self._lane(m, lane, p, t)
        return m

    def _lane(self, m, lane, p, t):
        m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier(scale_unit.ALIGNED,
                                                                    scale_unit.WORD)
        t_term = Signal(shape_of(formats.POLYNOMIAL), name=f"t_term_{lane}")
        total = self.o.p.sums[lane]
        product = multiplier.product
        m.d.comb += [
            multiplier.a.eq(self.i.p.operand),
            multiplier.b.eq(self.i.p.coefficients[lane]),
            multiplier.enable.eq(self.i.ready),
        ]
        with m.If(self.i.ready):
            m.d.sync += t_term.eq(Mux(p.final & p.block.site, product << scale_unit.LIFT, product))
            with m.If(t.valid):  # golden.prediction.scale_unit: no sum leaves POLYNOMIAL
                m.d.sync += total.eq(Mux(t.first, 0, total) + t_term)


class SumSplitter(wiring.Component):
    """Give the sums of a block one after another, variables and sites at different outputs.

    Latency of one cycle, throughput of one sum per cycle.

    Members
    -------
    i : ``In(stream.Signature(block_sums_layout(config)))``
        Blocks of 1 sum or more.
    variables, sites : ``Out(stream.Signature(sum_layout))``
        Sums in the order of their lanes.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "i": In(stream.Signature(block_sums_layout(config))),
            "variables": Out(stream.Signature(sum_layout)),
            "sites": Out(stream.Signature(sum_layout)),
        })

    def elaborate(self, platform):
        m = Module()
        valid = Signal()
        block = Signal(block_sums_layout(self._config))
        final = Signal()  # this is the last sum of the block
        taken = Signal()
        m.d.comb += [
            self.variables.valid.eq(valid & ~block.block.site),
            self.sites.valid.eq(valid & block.block.site),
            taken.eq(Mux(block.block.site, self.sites.ready, self.variables.ready)),
            final.eq(block.block.count == 1),
            self.i.ready.eq(~valid | (taken & final)),
        ]
        for output in (self.variables, self.sites):
            m.d.comb += [
                output.p.sum.eq(block.sums[0]),
                output.p.last.eq(block.block.last & final),
            ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), block.eq(self.i.payload)]
        with m.Elif(taken):
            m.d.sync += block.block.count.eq(block.block.count - 1)
            for lane in range(1, self._config.scale_lanes):
                m.d.sync += block.sums[lane - 1].eq(block.sums[lane])
        return m


class RoundSum(wiring.Component):
    """Round a sum half up and clamp it.

    Three-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload
    per cycle. Backpressure stalls all stages at once.

    Parameters
    ----------
    fmt : :class:`IntFormat`
        Format of the result.
    bits : int
        Bits to round off, 1 or more.
    high : int
        Largest result; the smallest is that of `fmt`.

    Members
    -------
    i : ``In(stream.Signature(sum_layout))``
    o : ``Out(stream.Signature(rounded_layout(fmt)))``
    """

    LATENCY = 3

    def __init__(self, fmt: IntFormat, bits: int, high: int):
        if not isinstance(fmt, IntFormat):
            raise TypeError(f"fmt must be an IntFormat, not {fmt!r}")
        self._fmt, self._bits = fmt, integer("bits", bits, 1)
        self._high = integer("high", high, fmt.min, fmt.max)
        super().__init__({
            "i": In(stream.Signature(sum_layout)),
            "o": Out(stream.Signature(rounded_layout(fmt))),
        })

    def elaborate(self, platform):
        m = Module()

        # Stage h: with one fractional bit left for the rounding.
        h_valid, h_last = Signal(), Signal()
        h_twice = Signal(shape_of(IntFormat(formats.POLYNOMIAL.bits - self._bits + 1)))

        # Stage r: rounded.
        r_valid, r_last = Signal(), Signal()
        r_value = Signal.like(h_twice)

        # Stage o: clamped. The output stream itself is the stage register.
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                h_valid.eq(self.i.valid),
                h_last.eq(self.i.p.last),
                h_twice.eq(self.i.p.sum >> (self._bits - 1)),
                r_valid.eq(h_valid),
                r_last.eq(h_last),
                r_value.eq(round_shift(h_twice, 1)),
                self.o.valid.eq(r_valid),
                self.o.p.last.eq(r_last),
                self.o.p.value.eq(saturated(r_value, self._fmt.min, self._high)),
            ]
        return m
