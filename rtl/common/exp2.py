"""Powers of two, bit-exact with :func:`golden.common.exp2.exp2`."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import exp2, formats
from golden.common.formats import IntFormat, round_shift
from golden.common.interpolation import INDEX_BITS

from .shapes import multiplier_layout, rom, saturated, shape_of
from .soft_multiplier import SoftMultiplier

__all__ = ["Exp2"]


class Exp2(wiring.Component):
    """Turn a log2-domain exponent into a mantissa and a shift.

    Three-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload
    per cycle. Backpressure stalls all stages at once.

    Members
    -------
    i : ``In(stream.Signature(EXPONENT))``
        Exponent, 10 fractional bits; clamped to the range of :mod:`golden.common.exp2`.
    o : ``Out(stream.Signature(multiplier_layout))``
        ``2**i`` as ``mantissa / 2**shift``.
    """

    LATENCY = 3

    i: In(stream.Signature(shape_of(formats.EXPONENT)))
    o: Out(stream.Signature(multiplier_layout))

    def elaborate(self, platform):
        m = Module()
        rest_bits = exp2.TABLE.rest_bits
        index_end = rest_bits + INDEX_BITS

        # Stage x: exponent within the range of the shift.
        x_valid = Signal()
        x_exponent = Signal(shape_of(formats.EXPONENT))

        # Stage t: both tables.
        m.submodules.multiplier = multiplier = SoftMultiplier(
            exp2.TABLE.slope, IntFormat(rest_bits, signed=False))
        t_slope, t_rest = multiplier.a, multiplier.b
        t_valid = Signal()
        t_value = Signal(shape_of(formats.MANTISSA))
        t_shift = Signal(shape_of(formats.SHIFT))
        x_index = x_exponent[rest_bits:index_end]

        # Stage o: interpolation. The output stream itself is the stage register.
        rise = round_shift(multiplier.product, rest_bits)

        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                x_valid.eq(self.i.valid),
                x_exponent.eq(saturated(self.i.payload, exp2.LOWEST, exp2.HIGHEST)),
                t_valid.eq(x_valid),
                t_value.eq(rom(exp2.TABLE.values, x_index, formats.MANTISSA)),
                t_slope.eq(rom(exp2.TABLE.slopes, x_index, exp2.TABLE.slope)),
                t_rest.eq(x_exponent[:rest_bits]),
                t_shift.eq(formats.MANTISSA.frac - (x_exponent >> formats.EXPONENT.frac)),
                self.o.valid.eq(t_valid),
                self.o.p.mantissa.eq(t_value + rise),
                self.o.p.shift.eq(t_shift),
            ]

        return m
