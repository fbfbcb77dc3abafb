"""Number formats of the design: the one definition of every width, rounding and saturation.

Nothing here imports numba or Amaranth, so the golden model, the RTL and the estimator can all
depend on it. :func:`round_shift` and :func:`saturate` are plain Python on unbounded integers;
:mod:`golden.common.jit` compiles the same two functions for the kernels.
"""

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntFormat:
    """A two's-complement or unsigned integer of a fixed width.

    A `symmetric` signed format leaves its most negative code unused: ``-max..max``.
    """

    bits: int
    signed: bool = True
    symmetric: bool = False

    def __post_init__(self):
        if not isinstance(self.bits, int) or isinstance(self.bits, bool) or self.bits < 1:
            raise ValueError(f"bits must be a positive integer, not {self.bits!r}")
        if self.symmetric and (not self.signed or self.bits < 2):
            raise ValueError(f"a symmetric format must be signed and of 2 bits or more, not {self}")

    @property
    def min(self) -> int:
        """Smallest value of the format."""
        if not self.signed:
            return 0
        return -self.max if self.symmetric else -(1 << (self.bits - 1))

    @property
    def max(self) -> int:
        """Largest value of the format."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def magnitude(self) -> int:
        """Largest absolute value of the format."""
        return max(self.max, -self.min)

    def __contains__(self, value: int) -> bool:
        return self.min <= value <= self.max

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}{'sym' if self.symmetric else ''}"


@dataclass(frozen=True, slots=True)
class FixedFormat(IntFormat):
    """A fixed-point number: the integer ``n`` stands for ``n / 2**frac``."""

    frac: int = 0

    @property
    def one(self) -> int:
        """Integer that stands for 1."""
        return 1 << self.frac

    def __str__(self) -> str:
        return f"{IntFormat.__str__(self)}.{self.frac}"


def round_shift(value, bits):
    """Divide by ``2**bits`` and round half up: ``floor(value / 2**bits + 1/2)``; 0 keeps `value`.

    Equal to ``(value + (1 << (bits - 1))) >> bits``, but without a power of two that could
    overflow: in 64 bits it holds for every `bits` up to 63 and values of up to 63 bits. Works on
    Amaranth values too, where nothing is ever lost.
    """
    return (((value << 1) >> bits) + 1) >> 1


def saturate(value, low, high):
    """Clamp `value` to ``low..high``."""
    return min(max(value, low), high)


# Operands of matrix products. 4-bit operands on the weight port are symmetric, so that a 2x2
# outer product fits one 18x18 multiplier.
INT8 = IntFormat(8)
UINT8 = IntFormat(8, signed=False)
MOST_COLOURS = 4  # of a pixel, each of UINT8
INT4 = IntFormat(4)
UINT4 = IntFormat(4, signed=False)
WEIGHT8 = INT8
WEIGHT4 = IntFormat(4, symmetric=True)
CODE = UINT4  # index into a codebook of 16 operands
OPERAND = IntFormat(9, symmetric=True)  # activation at a multiplier: INT8, UINT8, codebook entry

# Accumulators, the residual stream and the inputs of LayerNorm and GELU.
ACC = IntFormat(32)
ACT16 = IntFormat(16)

# Scales live in the log2 domain: lambda = log2(scale). A requantization multiplier is
# 2**(lambda_in + lambda_w - lambda_out) = mantissa / 2**shift.
LAMBDA = FixedFormat(16, frac=10)
EXPONENT = FixedFormat(18, frac=LAMBDA.frac)  # any sum of three LAMBDA, signs included
MANTISSA = FixedFormat(16, signed=False, frac=15)  # 1 <= mantissa < 2
SHIFT = IntFormat(6, signed=False)

# Scale prediction: statistics, their normalisation, projection, monomials and coefficients.
LOG2 = FixedFormat(16, frac=10)  # log2 of a statistic
GAIN = FixedFormat(16, signed=False, frac=8)  # 1 / standard deviation of a statistic
STATISTIC = FixedFormat(16, symmetric=True, frac=13)  # normalised statistic, within -4..4
PROJECTION = FixedFormat(16, frac=14)
MONOMIAL = {1: STATISTIC, 2: FixedFormat(18, frac=13), 3: FixedFormat(18, frac=11)}
COEFFICIENT = {1: FixedFormat(16, frac=14), 2: FixedFormat(16, frac=16),
               3: FixedFormat(16, frac=18)}  # each term covers -8..8 in the log2 domain
POLYNOMIAL = FixedFormat(48, frac=29)  # accumulator of coefficient * monomial


class Mode(enum.Enum):
    """Precision of a matrix product, and what one multiplier does with it per cycle.

    The operand byte of a PE row carries `row_slots` activations and that of a PE column
    `col_slots` weights, low nibble first; every multiplier forms all their products.
    """

    W8A8 = "w8a8"
    W4A8 = "w4a8"
    W4A4 = "w4a4"

    @property
    def row_slots(self) -> int:
        """Logical rows (tokens) per PE row."""
        return 2 if self is Mode.W4A4 else 1

    @property
    def col_slots(self) -> int:
        """Logical columns (output channels) per PE column."""
        return 1 if self is Mode.W8A8 else 2

    @property
    def macs(self) -> int:
        """Multiply-accumulates per multiplier and cycle."""
        return self.row_slots * self.col_slots

    @property
    def weight(self) -> IntFormat:
        """Format of the operands on the weight port."""
        return WEIGHT8 if self is Mode.W8A8 else WEIGHT4

    @property
    def operand(self) -> IntFormat:
        """Format of an activation at a multiplier; W4A4 stores unsigned ones with 8 taken off."""
        return INT4 if self is Mode.W4A4 else OPERAND

    @property
    def activation_bits(self) -> int:
        """Width of a stored activation."""
        return 4 if self is Mode.W4A4 else 8

    def activation(self, signed: bool) -> IntFormat:
        """Format of the activations of a site with or without negative values."""
        return IntFormat(self.activation_bits, signed)
