"""Multiplier made of carry chains, where blocks are worth more than LUTs."""

from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.formats import IntFormat

from .shapes import shape_of

__all__ = ["SoftMultiplier"]

_PAIR = 0x7888  # A & B plus C & D
_SUM = 0x5A5A  # A plus C


class SoftMultiplier(wiring.Component):
    """Multiply a number by an unsigned one, exactly and combinationally, without a block.

    On ECP5 it is a tree of carry chains: each of the first level adds two partial products, with
    the gates that make them in the LUTs of its adders, which yosys leaves beside them.

    Parameters
    ----------
    a, b : :class:`IntFormat`
        Formats of the operands; that of `b` is unsigned. It costs a LUT for each bit of `a` and
        two bits of `b`, and as many again for the other levels.

    Members
    -------
    a, b : ``In(a)``, ``In(b)``
        Operands.
    product : ``Out(IntFormat(a.bits + b.bits, a.signed))``
        ``a * b``.
    """

    def __init__(self, a: IntFormat, b: IntFormat):
        for name, fmt in (("a", a), ("b", b)):
            if not isinstance(fmt, IntFormat):
                raise TypeError(f"{name} must be an IntFormat, not {fmt!r}")
        if b.signed:
            raise ValueError(f"b must be unsigned, not {b}")
        self._signed = a.signed
        super().__init__({
            "a": In(shape_of(a)),
            "b": In(shape_of(b)),
            "product": Out(shape_of(IntFormat(a.bits + b.bits, a.signed))),
        })

    def elaborate(self, platform):
        m = Module()
        if not str(getattr(platform, "device", "")).startswith("LFE5U"):
            m.d.comb += self.product.eq(self.a * self.b)
            return m

        terms = [self._pair(m, place) for place in range(0, len(self.b), 2)]
        places = 2
        while len(terms) > 1:
            pairs = [self._sum(m, *terms[at:at + 2], places) if at + 1 < len(terms) else terms[at]
                     for at in range(0, len(terms), 2)]
            terms, places = pairs, 2 * places
        m.d.comb += self.product.eq(Cat(self._extended(terms[0], len(self.product))))
        return m

    def _extended(self, bits: list[Value], width: int) -> list[Value]:
        """Return the lowest `width` bits of a number, sign-extended if there are fewer."""
        return [*bits, *[bits[-1] if self._signed else Const(0, 1)] * width][:width]

    def _pair(self, m, place: int) -> list[Value]:
        """Return `a` times two bits of `b`."""
        width = len(self.a) + 2
        low = self._extended(list(self.a), width)
        high = [Const(0, 1), *low[:-1]]
        bits = [*self.b[place:place + 2], Const(0, 1)][:2]
        return _chain(m, _PAIR, low, [bits[0]] * width, high, [bits[1]] * width)

    def _sum(self, m, low: list[Value], high: list[Value], places: int) -> list[Value]:
        """Return the sum of two numbers, `high` that many places further left."""
        width = max(len(low) - places, len(high)) + 1
        zeros = [Const(0, 1)] * width
        return [*low[:places], *_chain(m, _SUM, self._extended(low[places:], width), zeros,
                                       self._extended(high, width), zeros)]


def _chain(m, init: int, *operands: list[Value]) -> list[Value]:
    """Return the sum that the LUTs of a chain of CCU2C, `init`, make of the bits of `operands`."""
    width = len(operands[0])
    carry, bits = Const(0, 1), []
    for at in range(0, width, 2):
        ports = {f"i_{name}{half}": operand[at + half] if at + half < width else Const(0, 1)
                 for name, operand in zip("ABCD", operands, strict=True) for half in range(2)}
        total, carry_out = Signal(2), Signal()
        m.submodules += Instance(
            "CCU2C", p_INIT0=Const(init, 16), p_INIT1=Const(init, 16), p_INJECT1_0="NO",
            p_INJECT1_1="NO", i_CIN=carry, **ports, o_S0=total[0], o_S1=total[1],
            o_COUT=carry_out)
        carry = carry_out
        bits.extend(list(total))
    return bits[:width]
