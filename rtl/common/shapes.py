"""Amaranth shapes of the formats defined in :mod:`golden.common.formats`."""

from amaranth.hdl import Array, Const, Mux, Shape, Value
from amaranth.lib import data

from golden.common import formats
from golden.common.formats import IntFormat


def shape_of(fmt: IntFormat) -> Shape:
    """Amaranth shape with the same width and signedness as `fmt`."""
    return Shape(fmt.bits, signed=fmt.signed)


def saturated(value: Value, low, high) -> Value:
    """`value` clamped to ``low..high``, which are integers or signals."""
    bits = _signed_bits(low, high)
    if bits is None or not value.shape().signed or len(value) <= bits:
        return Mux(value > high, high, Mux(value < low, low, value))
    sign, top = value[-1], value[bits - 1:]
    return Mux(top.all() | ~top.any(), value[:bits].as_signed(), Mux(sign, low, high))


def _signed_bits(low, high) -> int | None:
    """Width of a signed number with these limits, if there is one."""
    if isinstance(low, int) and isinstance(high, int) and low + high == -1:
        bits = high.bit_length() + 1
        if high == (1 << (bits - 1)) - 1:
            return bits
    return None


def clamped(value: Value, low, high, above, below) -> Value:
    """`value` clamped to ``low..high``; `high` if `above` and `low` if `below` is set."""
    return Mux(above | ((value > high) & ~below), high, Mux(below | (value < low), low, value))


def narrowed(value: Value, amount: Value, bits: int) -> tuple[Value, Value]:
    """`value` shifted right by `amount` in `bits` bits, and whether it does not fit these.

    After each step of the shifter, bits that no further step can bring down to the result are
    looked at and dropped. `value` is signed.
    """
    sign, beyond = value[-1], Const(0, 1)
    for step in reversed(range(len(amount))):
        width = bits + (1 << step) - 1
        value = Mux(amount[step], value >> (1 << step), value)
        beyond |= (value[width - 1:] ^ sign.replicate(len(value[width - 1:]))).any()
        value = value[:width].as_signed()
    return value, beyond


def joined(target: data.View, source: data.View, *names: str) -> list:
    """Return the assignments of the fields of `source` to those of `target` with the same names.

    `names` of `target`, or all that it has. One may be narrower than in `source`, if what is
    assigned is known to fit, but never wider.

    Raises
    ------
    KeyError
        If `source` has no such field.
    ValueError
        If a field of `source` cannot hold what the one of `target` can.
    """
    updates = []
    for name in names or target.shape().members:
        wanted, given = (Shape.cast(each.shape()[name].shape) for each in (target, source))
        if wanted.signed != given.signed or wanted.width > given.width:
            raise ValueError(f"{name} must be {wanted!r} or wider, not {given!r}")
        updates.append(Value.cast(target[name]).eq(source[name]))
    return updates


def rom(values, index: Value, fmt: IntFormat) -> Value:
    """Constant of `values` at `index`, in `fmt`."""
    return Array(Const(value, shape_of(fmt)) for value in values)[index]


multiplier_layout = data.StructLayout({
    "mantissa": shape_of(formats.MANTISSA),
    "shift": shape_of(formats.SHIFT),
})
"""A requantization multiplier, ``mantissa / 2**shift``."""
