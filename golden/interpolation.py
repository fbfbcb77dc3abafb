"""Tables with linear interpolation, the shared mechanism of :mod:`exp2 <golden.exp2>` and
:mod:`log2 <golden.log2>`.

``f(index + rest / 2**rest_bits)`` is ``value[index] + round(slope[index] * rest / 2**rest_bits)``,
where ``slope`` is the difference of neighbouring values. In hardware: two small ROMs (five-input
functions, two LUT4 a bit) and one narrow multiplier.
"""

from dataclasses import dataclass

from .formats import IntFormat

INDEX_BITS = 5


@dataclass(frozen=True, slots=True)
class Table:
    """Sampled function: ``2**INDEX_BITS + 1`` increasing values and `rest_bits` between them."""

    samples: tuple[int, ...]
    rest_bits: int

    def __post_init__(self):
        if len(self.samples) != (1 << INDEX_BITS) + 1:
            raise ValueError(f"samples must be {(1 << INDEX_BITS) + 1}, not {len(self.samples)}")

    @property
    def values(self) -> tuple[int, ...]:
        """Value at each index."""
        return self.samples[:-1]

    @property
    def slopes(self) -> tuple[int, ...]:
        """Rise from each index to the next."""
        return tuple(b - a for a, b in zip(self.samples, self.samples[1:], strict=False))

    @property
    def slope(self) -> IntFormat:
        """Format of a slope."""
        return IntFormat(max(self.slopes).bit_length(), signed=False)

