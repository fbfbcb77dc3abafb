"""Amaranth shapes of the formats defined in :mod:`golden.formats`."""

from amaranth.hdl import Array, Const, Mux, Shape, Value
from amaranth.lib import data

from golden import formats
from golden.formats import IntFormat


def shape_of(fmt: IntFormat) -> Shape:
    """Amaranth shape with the same width and signedness as `fmt`."""
    return Shape(fmt.bits, signed=fmt.signed)


def saturated(value: Value, low, high) -> Value:
    """`value` clamped to ``low..high``, which are integers or signals."""
    return Mux(value > high, high, Mux(value < low, low, value))


def rom(values, index: Value, fmt: IntFormat) -> Value:
    """Constant of `values` at `index`, in `fmt`."""
    return Array(Const(value, shape_of(fmt)) for value in values)[index]


multiplier_layout = data.StructLayout({
    "mantissa": shape_of(formats.MANTISSA),
    "shift": shape_of(formats.SHIFT),
})
"""A requantization multiplier, ``mantissa / 2**shift``."""
