"""Registered signed multiplier: a DSP block with its own registers where they must be asked for."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.formats import IntFormat

from .shapes import shape_of

__all__ = ["PORT", "Multiplier", "lent_signature", "lent_to", "own_multipliers"]

_PORT_BITS = 18

PORT = IntFormat(_PORT_BITS)
"""Operand of a whole block."""

lent_signature = wiring.Signature({
    "a": Out(shape_of(PORT)),
    "b": Out(shape_of(PORT)),
    "enable": Out(1),
    "product": In(signed(2 * _PORT_BITS)),
})
"""A :class:`Multiplier` of two :data:`PORT` that somebody else has, as its user sees it."""


class Multiplier(wiring.Component):
    """Multiply two signed numbers of up to 18 bits, exactly.

    Registers at both inputs and at the output: a latency of :attr:`LATENCY` enabled cycles, one
    product per cycle. On ECP5 it is one MULT18X18D, whose registers yosys would leave unused;
    elsewhere the same registers are described for the tools to place.

    Parameters
    ----------
    a, b : :class:`IntFormat`
        Signed formats of the operands.

    Members
    -------
    a, b : ``In(a)``, ``In(b)``
        Operands.
    enable : ``In(1)``, 1 unless driven
        Advance; all registers hold their values while it is low.
    product : ``Out(signed(a.bits + b.bits))``
        ``a * b``.
    """

    LATENCY = 2

    def __init__(self, a: IntFormat, b: IntFormat):
        for name, fmt in (("a", a), ("b", b)):
            if not isinstance(fmt, IntFormat):
                raise TypeError(f"{name} must be an IntFormat, not {fmt!r}")
            if not fmt.signed or fmt.bits > _PORT_BITS:
                raise ValueError(f"{name} must be signed and of {_PORT_BITS} bits or fewer, "
                                 f"not {fmt}")
        super().__init__({
            "a": In(shape_of(a)),
            "b": In(shape_of(b)),
            "enable": In(1, init=1),
            "product": Out(signed(a.bits + b.bits)),
        })

    def elaborate(self, platform):
        m = Module()
        if str(getattr(platform, "device", "")).startswith("LFE5U"):
            m.submodules.block = self._block()
        else:
            a, b = Signal.like(self.a), Signal.like(self.b)
            with m.If(self.enable):
                m.d.sync += [a.eq(self.a), b.eq(self.b), self.product.eq(a * b)]
        return m

    def _block(self) -> Instance:
        """Return the ECP5 block with input and output registers, none in between."""
        ports = {"i_SIGNEDA": 1, "i_SIGNEDB": 1, "i_SOURCEA": 0, "i_SOURCEB": 0,
                 "i_CLK0": ClockSignal(), "i_CE0": self.enable,
                 "i_RST0": ResetSignal(allow_reset_less=True)}  # no reset: ECP5 has a global one
        for name, operand in (("A", self.a), ("B", self.b)):
            for bit in range(_PORT_BITS):  # sign-extended
                ports[f"i_{name}{bit}"] = operand[min(bit, len(operand) - 1)]
        ports |= {f"i_C{bit}": 0 for bit in range(_PORT_BITS)}
        ports |= {f"o_P{bit}": self.product[bit] for bit in range(len(self.product))}
        registers = {f"p_REG_{stage}_{kind}": f"{kind}0" for kind in ("CLK", "CE", "RST")
                     for stage in ("INPUTA", "INPUTB", "OUTPUT")}
        return Instance("MULT18X18D", **registers, p_REG_PIPELINE_CLK="NONE", **ports)


def own_multipliers(m: Module, count: int) -> list[Multiplier]:
    """Return multipliers for users of :data:`lent_signature`, as submodules of `m`."""
    multipliers = [Multiplier(PORT, PORT) for _ in range(count)]
    for index, multiplier in enumerate(multipliers):
        m.submodules[f"multiplier_{index}"] = multiplier
    return multipliers


def lent_to(user, multiplier):
    """Return the assignments that give `user`, of :data:`lent_signature`, a multiplier."""
    return [*(getattr(multiplier, name).eq(getattr(user, name)) for name in ("a", "b", "enable")),
            user.product.eq(multiplier.product)]
