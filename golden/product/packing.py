"""How several narrow products share one multiplier.

Two 4-bit weights make the multiplier operand ``W = (w1 << 14) + w0``, two 4-bit activations make
``A = (a1 << 7) + a0``. Then ``W * A`` holds the four products 7 bits apart, ``w0*a0``, ``w0*a1``,
``w1*a0``, ``w1*a1`` from the bottom, and an 8-bit activation in place of `A` leaves two products
14 bits apart. Weights are symmetric (-7..7), so that `W` fits 18 bits.

A negative product borrows one from the field above it; the sign bit below a field says so, and
adding that bit to the field gives the product back. Checked for every operand by the tests.
"""

from dataclasses import dataclass

from ..common.formats import IntFormat, Mode

ROW_SPACING = 7  # bits between the two activations of an operand
COL_SPACING = 14  # bits between the two weights of an operand


def slot(row_slot: int, col_slot: int) -> int:
    """Index of the accumulator of one result of a multiplier.

    `row_slot` and `col_slot` say which activation and which weight of the operand bytes it is the
    product of. Narrower modes use the first :attr:`Mode.macs <golden.common.formats.Mode.macs>`
    slots.
    """
    return 2 * row_slot + col_slot


@dataclass(frozen=True, slots=True)
class ProductField:
    """Where one product lies in the output of a multiplier: `fmt.bits` bits from bit `low` up."""

    low: int
    fmt: IntFormat

    def extract(self, product: int) -> int:
        """Return the product that lies here, the borrow of the fields below undone."""
        borrow = (product >> (self.low - 1)) & 1 if self.low else 0
        sign = 1 << (self.fmt.bits - 1)
        value = ((product >> self.low) + borrow) & (2 * sign - 1)
        return (value ^ sign) - sign


def _signed(magnitude: int) -> IntFormat:
    return IntFormat(magnitude.bit_length() + 1)


def product_fields(mode: Mode) -> tuple[ProductField, ...]:
    """Fields of the multiplier output in `mode`, in the order of :func:`slot`."""
    fmt = _signed(mode.operand.magnitude * mode.weight.magnitude)
    return tuple(ProductField(row * ROW_SPACING + col * COL_SPACING, fmt)
                 for row in range(mode.row_slots) for col in range(mode.col_slots))


def packed_weight(weights):
    """Operand of one or two weights, the first in the low bits; integers or Amaranth values."""
    return weights[0] if len(weights) == 1 else (weights[1] << COL_SPACING) + weights[0]


def packed_activation(activations):
    """Operand of one or two activations, the first in the low bits; integers or Amaranth values."""
    if len(activations) == 1:
        return activations[0]
    return (activations[1] << ROW_SPACING) + activations[0]


def unpack_product(product: int, mode: Mode) -> tuple[int, ...]:
    """Return the products held by a multiplier output, in the order of :func:`slot`."""
    return tuple(field.extract(product) for field in product_fields(mode))


def _widest(operands) -> IntFormat:
    return _signed(max(abs(operand) for operand in operands))


WEIGHT_PORT = _widest(packed_weight([mode.weight.min] * mode.col_slots) for mode in Mode)
ACTIVATION_PORT = _widest(packed_activation([mode.operand.min] * mode.row_slots) for mode in Mode)
