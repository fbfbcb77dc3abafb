"""Tables with linear interpolation, the shared mechanism of :mod:`exp2 <golden.common.exp2>`,
:mod:`log2 <golden.common.log2>`, :mod:`layernorm <golden.rows.layernorm>` and :mod:`gelu
<golden.results.gelu>`.

``f(index + rest / 2**rest_bits)`` is ``value[index] + round(slope[index] * rest / 2**rest_bits)``,
where ``slope`` is the difference of neighbouring values. In hardware: two small ROMs (five-input
functions, two LUT4 a bit) and one narrow multiplier.
"""

from dataclasses import dataclass

from .formats import IntFormat

INDEX_BITS = 5


@dataclass(frozen=True, slots=True)
class Table:
    """Sampled function: ``2**index_bits + 1`` values of zero or more, `rest_bits` between them."""

    samples: tuple[int, ...]
    rest_bits: int
    index_bits: int = INDEX_BITS

    def __post_init__(self):
        if len(self.samples) != (1 << self.index_bits) + 1:
            raise ValueError(
                f"samples must be {(1 << self.index_bits) + 1}, not {len(self.samples)}")

    @property
    def values(self) -> tuple[int, ...]:
        """Value at each index."""
        return self.samples[:-1]

    @property
    def slopes(self) -> tuple[int, ...]:
        """Rise from each index to the next; negative where the function falls."""
        return tuple(b - a for a, b in zip(self.samples, self.samples[1:], strict=False))

    @property
    def value(self) -> IntFormat:
        """Format of a value."""
        return IntFormat(max(self.values).bit_length(), signed=False)

    @property
    def slope(self) -> IntFormat:
        """Format of a slope: unsigned, unless the function falls somewhere."""
        low, high = min(self.slopes), max(self.slopes)
        if low >= 0:
            return IntFormat(high.bit_length(), signed=False)
        return IntFormat(max((-low - 1).bit_length(), max(high, 0).bit_length()) + 1)
