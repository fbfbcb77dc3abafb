"""Brings the leading one of a number to the top, a few steps of the shifter to a stage."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal, Value

__all__ = ["leading_one_up"]


def leading_one_up(m: Module, value: Value, stages: Sequence[Sequence[int]],
                   registered: int) -> tuple[Value, Value]:
    """Shift an unsigned number left as far as nothing is lost, in the steps of `stages`.

    Parameters
    ----------
    m
        The first `registered` stages end in registers of it.
    value
        The number, of as many bits as the result.
    stages
        Steps of each stage: powers of two, each half of the one before.

    Returns
    -------
    exponent, value
        Place of the leading one over the last step, rounded down, 0 if there is none; and the
        shifted number.
    """
    width = len(value)
    exponent = Cat()
    for stage, shifts in enumerate(stages):
        for shift in shifts:
            found = value[width - shift:].any()
            value = Mux(found, value, value << shift)[:width]
            exponent = Cat(found, exponent)
        if stage < registered:
            n_value = Signal(width, name=f"n{stage}_value", reset_less=True)
            n_exponent = Signal(len(exponent), name=f"n{stage}_exponent", reset_less=True)
            m.d.sync += [n_value.eq(value), n_exponent.eq(exponent)]
            value, exponent = n_value, n_exponent
    return exponent, value
