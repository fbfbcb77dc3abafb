"""Pseudo-random words that feed the units in the self-test, and where operands lie in them."""

from dataclasses import dataclass

WORD_BITS = 32
MASK = (1 << WORD_BITS) - 1


def advance(word):
    """Return the word that follows `word` in its sequence (xorshift32, period 2**32 - 1).

    Works on Python integers and, truncated to 32 bits, on Amaranth values.
    """
    word = word ^ ((word << 13) & MASK)
    word = word ^ (word >> 17)
    return word ^ ((word << 5) & MASK)


def seed(index: int) -> int:
    """Return the first word of the `index`-th sequence."""
    return (0x9E3779B9 * (index + 1)) & MASK


def stimulus(words: int, beats: int) -> list[tuple[int, ...]]:
    """Return the first `beats` beats of `words` sequences side by side."""
    beat = tuple(map(seed, range(words)))
    sequence = []
    for _ in range(beats):
        sequence.append(beat)
        beat = tuple(map(advance, beat))
    return sequence


@dataclass(frozen=True, slots=True)
class Field:
    """Where a number lies in a beat of words: ``offset`` plus some bits of word ``word``."""

    word: int
    low: int
    bits: int
    signed: bool = False
    offset: int = 0

    @classmethod
    def packed(cls, index: int, bits: int, signed: bool = False) -> "Field":
        """Return the `index`-th of numbers that fill one word after another."""
        count = WORD_BITS // bits
        return cls(index // count, index % count * bits, bits, signed)

    def __call__(self, beat: tuple[int, ...]) -> int:
        value = (beat[self.word] >> self.low) & ((1 << self.bits) - 1)
        if self.signed and value >> (self.bits - 1):
            value -= 1 << self.bits
        return value + self.offset


def words_for(fields: list[Field]) -> int:
    """Return the words of a beat that holds `fields`."""
    return max(field.word for field in fields) + 1
