"""Fields of fixed widths side by side in one integer, the first in the lowest bits."""

from ..common.checks import integer
from ..common.formats import IntFormat


def pack(values: dict[str, int], layout: dict[str, IntFormat]) -> int:
    """Return fields, missing ones being zero, as one integer, the first in the lowest bits."""
    word = low = 0
    for name, fmt in layout.items():
        value = integer(name, values.get(name, 0), fmt.min, fmt.max)
        word |= (value & ((1 << fmt.bits) - 1)) << low
        low += fmt.bits
    return word


def unpack(word: int, layout: dict[str, IntFormat]) -> dict[str, int]:
    """Return the fields of :func:`pack`."""
    values = {}
    for name, fmt in layout.items():
        value = word & ((1 << fmt.bits) - 1)
        if fmt.signed and value >> (fmt.bits - 1):
            value -= 1 << fmt.bits
        values[name] = value
        word >>= fmt.bits
    return values
