"""Base-2 logarithm, bit-exact with :func:`golden.common.log2.log2`."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats, log2
from golden.common.checks import integer
from golden.common.formats import IntFormat, round_shift

from .leading_one import leading_one_up
from .shapes import rom, shape_of
from .soft_multiplier import SoftMultiplier

__all__ = ["Log2", "log2_layout"]

_FRACTION = IntFormat(log2.FRAC + 1, signed=False)  # log2 of the fraction: 0 to 1, both included
_VALUE = IntFormat(log2.FRAC, signed=False)
_SHIFTS = ((16,), (8, 4), (2, 1))  # steps of the normalisation, by stage
_WIDTH = 32


def log2_layout(shape) -> data.StructLayout:
    """A number, and whether it is the last of its packet."""
    return data.StructLayout({"value": shape, "last": 1})


class Log2(wiring.Component):
    """Take the base-2 logarithm of an unsigned integer; zero counts as one.

    Seven-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload
    per cycle. Backpressure stalls all stages at once.

    Parameters
    ----------
    bits : int
        Width of the integer.

    Members
    -------
    i : ``In(stream.Signature(log2_layout(bits)))``
        Integer, at most ``golden.common.log2.HIGHEST``.
    o : ``Out(stream.Signature(log2_layout(LOG2)))``
        Its logarithm, 10 fractional bits.
    """

    LATENCY = 7

    def __init__(self, bits: int):
        self._bits = integer("bits", bits, 1, log2.HIGHEST.bit_length())
        super().__init__({
            "i": In(stream.Signature(log2_layout(bits))),
            "o": Out(stream.Signature(log2_layout(shape_of(formats.LOG2)))),
        })

    def elaborate(self, platform):
        m = Module()
        valids = Signal(self.LATENCY - 1)
        lasts = Signal(self.LATENCY - 1)

        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                Cat(valids, self.o.valid).eq(Cat(self.i.valid, valids)),
                Cat(lasts, self.o.p.last).eq(Cat(self.i.p.last, lasts)),
            ]
            self._interpolate(m, *self._normalise(m))
        return m

    def _normalise(self, m):
        """Shift the leading one to the top; return the integer part and the bits that follow."""
        value = Cat(self.i.p.value, Const(0, _WIDTH - self._bits))
        exponent, value = leading_one_up(m, value, _SHIFTS, len(_SHIFTS))
        return exponent, value[_WIDTH - 1 - log2.FRAC:_WIDTH - 1]

    def _interpolate(self, m, exponent, fraction):
        """Look the logarithm of 1 + `fraction` up, interpolate, add the integer part and round."""
        rest_bits = log2.REST_BITS

        # Stage t: both tables.
        m.submodules.multiplier = multiplier = SoftMultiplier(
            log2.TABLE.slope, IntFormat(rest_bits, signed=False))
        t_slope, t_rest = multiplier.a, multiplier.b
        t_value = Signal(shape_of(_VALUE), reset_less=True)
        t_exponent = Signal.like(exponent, reset_less=True)

        # Stage p: product of the interpolation.
        p_rise = Signal.like(multiplier.product, reset_less=True)
        p_value = Signal.like(t_value, reset_less=True)
        p_exponent = Signal.like(exponent, reset_less=True)

        # Stage r: logarithm of the fraction.
        r_fraction = Signal(shape_of(_FRACTION), reset_less=True)
        r_exponent = Signal.like(exponent, reset_less=True)

        # Stage o: whole logarithm, rounded. The output stream itself is the stage register.
        whole = (r_exponent << log2.FRAC) + r_fraction
        index = fraction[rest_bits:]
        m.d.sync += [
            t_value.eq(rom(log2.TABLE.values, index, _VALUE)),
            t_slope.eq(rom(log2.TABLE.slopes, index, log2.TABLE.slope)),
            t_rest.eq(fraction[:rest_bits]),
            t_exponent.eq(exponent),
            p_rise.eq(multiplier.product),
            p_value.eq(t_value),
            p_exponent.eq(t_exponent),
            r_fraction.eq(p_value + round_shift(p_rise, rest_bits)),
            r_exponent.eq(p_exponent),
            self.o.p.value.eq(round_shift(whole, log2.FRAC - formats.LOG2.frac)),
        ]
