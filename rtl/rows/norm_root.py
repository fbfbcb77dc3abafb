"""Between the passes of LayerNorm: the variance of a row and its reciprocal square root."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.formats import IntFormat, round_shift
from golden.common.interpolation import INDEX_BITS
from golden.rows.layernorm import (
    CHANNELS,
    EPSILON,
    INTERVAL,
    REST_BITS,
    ROOT,
    SQUARES,
    SUM,
    TABLES,
    VARIANCE,
)

from ..common.leading_one import leading_one_up
from ..common.shapes import rom, shape_of
from ..common.soft_multiplier import SoftMultiplier
from .norm_sums import row_sums_layout

__all__ = ["Root", "Variance", "row_scale_layout", "variance_layout"]

_LIMB = 17  # unsigned part of a factor, so that it fits a signed port of 18 bits
_WIDTH = 64
_SHIFTS = ((32, 16), (8, 4), (2,))  # steps of the normalisation, by stage; all even
_FRACTION_BITS = INDEX_BITS + REST_BITS
_VALUES = TABLES[0].values + TABLES[1].values
_SLOPES = TABLES[0].slopes + TABLES[1].slopes
_SLOPE = max((table.slope for table in TABLES), key=lambda fmt: fmt.bits)

variance_layout = data.StructLayout({"sum": shape_of(SUM), "variance": shape_of(VARIANCE)})
"""Sum of a row, and ``V`` of :mod:`golden.rows.layernorm` (1)."""

row_scale_layout = data.StructLayout({
    "sum": shape_of(SUM),
    "root": shape_of(ROOT),
    "exponent": range((VARIANCE.bits + 1) // 2 + 1),
})
"""Sum of a row, ``r`` and ``e`` of :mod:`golden.rows.layernorm`; these mean nothing if V = 0."""


class Variance(wiring.Component):
    """Work out ``channels * squares - sum**2 + epsilon`` on one multiplier of 18 x 18 bits.

    Takes a row every :data:`golden.rows.layernorm.INTERVAL` cycles; a latency of :attr:`LATENCY`
    cycles. Backpressure stalls all stages at once.

    Members
    -------
    channels : ``In(CHANNELS)``
    epsilon : ``In(EPSILON)``
        Both stable while a row is inside.
    i : ``In(stream.Signature(row_sums_layout))``
    o : ``Out(stream.Signature(variance_layout))``
    """

    LATENCY = INTERVAL + 3

    channels: In(shape_of(CHANNELS))
    epsilon: In(shape_of(EPSILON))
    i: In(stream.Signature(row_sums_layout))
    o: Out(stream.Signature(variance_layout))

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        last = INTERVAL - 1

        # Stage k: sums of a row, for as many cycles as there are products.
        k_valid, k_step = Signal(), Signal(range(INTERVAL))
        k_sums = Signal(row_sums_layout, reset_less=True)

        # Stage f: two factors.
        f_valid, f_step, f_sum = Signal(), Signal.like(k_step), Signal(shape_of(SUM))
        f_left, f_right = (Signal(signed(_LIMB + 1), name=name, reset_less=True)
                           for name in ("f_left", "f_right"))

        # Stage p: their product.
        p_valid, p_step, p_sum = Signal(), Signal.like(k_step), Signal(shape_of(SUM))
        p_product = Signal(signed(2 * _LIMB + 2), reset_less=True)

        # Stage o: sum of the products so far, signed until the last one.
        total = Signal(signed(VARIANCE.bits + 1), reset_less=True)
        o_sum = Signal(shape_of(SUM), reset_less=True)
        shifted = self._shifted(m, p_step, total)

        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance & (~k_valid | (k_step == last))),
            self.o.p.sum.eq(o_sum),
            self.o.p.variance.eq(total[:VARIANCE.bits]),
        ]
        with m.If(advance):
            m.d.sync += [
                k_step.eq(k_step + 1),
                f_valid.eq(k_valid),
                f_step.eq(k_step),
                f_sum.eq(k_sums.sum),
                p_valid.eq(f_valid),
                p_step.eq(f_step),
                p_sum.eq(f_sum),
                p_product.eq(f_left * f_right),
                self.o.valid.eq(p_valid & (p_step == last)),
                total.eq(shifted + p_product),
                o_sum.eq(p_sum),
            ]
            with m.Switch(k_step):
                for step, (left, right) in enumerate(self._factors(k_sums)):
                    with m.Case(step):
                        m.d.sync += [f_left.eq(left), f_right.eq(right)]
        with m.If(self.i.ready):
            m.d.sync += [
                k_valid.eq(self.i.valid),
                k_step.eq(0),
                k_sums.eq(self.i.payload),
            ]
        return m

    def _shifted(self, m, step, total):
        """Return the sum that the product of a step is added to: epsilon is, limb by limb."""
        shifted = Signal.like(total)
        # Every other product starts a new limb, 17 places to the right.
        low, middle, high = (self.epsilon[at:at + _LIMB] for at in range(0, EPSILON.bits, _LIMB))
        with m.Switch(step):
            with m.Case(0):
                m.d.comb += shifted.eq(high)
            with m.Case(2):
                m.d.comb += shifted.eq(Cat(middle, total))
            with m.Case(4):
                m.d.comb += shifted.eq(Cat(low, total))
            with m.Default():
                m.d.comb += shifted.eq(total)
        return shifted

    def _factors(self, sums):
        """Return the factors of each step: from the highest limb down, squares and sum in turn."""
        channels = self.channels
        squares = [sums.squares[at:at + _LIMB] for at in range(0, SQUARES.bits, _LIMB)]
        low, high = sums.sum[:_LIMB], sums.sum[_LIMB:].as_signed()
        return [
            (channels, squares[2]), (-high, high),
            (channels, squares[1]), (-(high << 1), low),
            (channels, squares[0]), (-low, low),
        ]


class Root(wiring.Component):
    """Look the reciprocal square root of a variance up.

    Six-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one row per
    cycle. Backpressure stalls all stages at once.

    Members
    -------
    long : ``In(1)``
        Rows are long (:data:`golden.rows.layernorm.LONG`); stable while one is inside.
    i : ``In(stream.Signature(variance_layout))``
    o : ``Out(stream.Signature(row_scale_layout))``
        ``r`` and ``e`` of :func:`golden.rows.layernorm.root_kernel`; of long rows ``e + 1``.
    """

    LATENCY = 6

    long: In(1)
    i: In(stream.Signature(variance_layout))
    o: Out(stream.Signature(row_scale_layout))

    def elaborate(self, platform):
        m = Module()
        valids = Signal(self.LATENCY - 1)
        total = self.i.p.sum

        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += Cat(valids, self.o.valid).eq(Cat(self.i.valid, valids))
            for stage in range(self.LATENCY - 1):
                register = Signal(shape_of(SUM), name=f"sum_{stage}", reset_less=True)
                m.d.sync += register.eq(total)
                total = register
            m.d.sync += self.o.p.sum.eq(total)
            self._interpolate(m, *self._normalise(m))
        return m

    def _normalise(self, m):
        """Bring the variance to 1..4 by an even shift; return exponent and address of the root."""
        value = Cat(self.i.p.variance, Const(0, _WIDTH - VARIANCE.bits))
        exponent, value = leading_one_up(m, value, _SHIFTS, len(_SHIFTS) - 1)

        # Stage a: address, the bits after the leading one below its parity.
        a_exponent = Signal(len(exponent), reset_less=True)
        a_address = Signal(1 + _FRACTION_BITS, reset_less=True)
        odd = value[-1]
        m.d.sync += [
            a_exponent.eq(exponent),
            a_address.eq(Cat(Mux(odd, value[-1 - _FRACTION_BITS:-1],
                                 value[-2 - _FRACTION_BITS:-2]), odd)),
        ]
        return a_exponent, a_address

    def _interpolate(self, m, exponent, address):
        """Look the root at `address` up and interpolate."""
        # Stage t: both tables.
        m.submodules.multiplier = multiplier = SoftMultiplier(
            _SLOPE, IntFormat(REST_BITS, signed=False))
        t_slope, t_rest = multiplier.a, multiplier.b
        t_value = Signal(shape_of(ROOT), reset_less=True)
        t_exponent = Signal.like(exponent, reset_less=True)

        # Stage p: product of the interpolation.
        p_rise = Signal(shape_of(IntFormat(_SLOPE.bits + REST_BITS)), reset_less=True)
        p_value = Signal.like(t_value, reset_less=True)
        p_exponent = Signal.like(exponent, reset_less=True)

        # Stage o: root. The output stream itself is the stage register.
        index = address[REST_BITS:]
        m.d.sync += [
            t_value.eq(rom(_VALUES, index, ROOT)),
            t_slope.eq(rom(_SLOPES, index, _SLOPE)),
            t_rest.eq(address[:REST_BITS]),
            t_exponent.eq(exponent),
            p_rise.eq(multiplier.product),
            p_value.eq(t_value),
            p_exponent.eq(t_exponent),
            self.o.p.root.eq(p_value + round_shift(p_rise, REST_BITS)),
            self.o.p.exponent.eq(p_exponent + self.long),
        ]
