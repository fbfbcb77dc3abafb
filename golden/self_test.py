"""The self-test of a board: what each unit is fed, and every byte the design must print.

Each unit eats beats of pseudo-random words, one :func:`advance` generator per word, and its
results are folded into a 32-bit signature (:func:`compress`). No single wrong result, whichever it
is, leaves the signature unchanged: the fold is a bijection of the signature and of the result.
The design carries the signatures computed here and compares them itself; :func:`script` is the
program of its printer, :func:`report` the text a terminal must show.
"""

from dataclasses import dataclass

from . import formats
from .config import AcceleratorConfig
from .exp2 import exp2
from .formats import INT8
from .requant import requant

WORD_BITS = 32
_MASK = (1 << WORD_BITS) - 1
_POLYNOMIAL = 0x04C11DB7  # CRC-32

# Commands of the printer; any other byte is printed.
RUN = 0x80  # run the next unit and keep its signature
SIGNATURE = 0x81  # print the signature, 8 hexadecimal digits
VERDICT = 0x82  # print PASS or FAIL for the unit run last
RESULT = 0x83  # print PASS or FAIL for all units
REPEAT = 0x84  # wait, then start over
PASS, FAIL = b"PASS", b"FAIL"


def advance(word):
    """Return the word that follows `word` in its sequence (xorshift32, period 2**32 - 1).

    Works on Python integers and, truncated to 32 bits, on Amaranth values.
    """
    word = word ^ ((word << 13) & _MASK)
    word = word ^ (word >> 17)
    return word ^ ((word << 5) & _MASK)


def seed(index: int) -> int:
    """Return the first word of the `index`-th sequence."""
    return (0x9E3779B9 * (index + 1)) & _MASK


def compress(signature, result):
    """Return the 32-bit `signature` with one more result, taken modulo 2**32, folded in.

    Works on Python integers and, truncated to 32 bits, on Amaranth values.
    """
    carry = -(signature >> (WORD_BITS - 1)) & _POLYNOMIAL
    return ((signature << 1) & _MASK) ^ carry ^ (result & _MASK)


@dataclass(frozen=True, slots=True)
class Field:
    """Where a number lies in a beat of words: ``offset`` plus some bits of word ``word``."""

    word: int
    low: int
    bits: int
    signed: bool = False
    offset: int = 0

    def __call__(self, beat: tuple[int, ...]) -> int:
        value = (beat[self.word] >> self.low) & ((1 << self.bits) - 1)
        if self.signed and value >> (self.bits - 1):
            value -= 1 << self.bits
        return value + self.offset


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one unit: `beats` beats of `words` words in, `results` out."""

    name: str
    words: int
    beats: int
    results: tuple[int, ...]

    @property
    def signature(self) -> int:
        """Signature of the right results."""
        signature = _MASK
        for result in self.results:
            signature = compress(signature, result)
        return signature


def stimulus(words: int, beats: int) -> list[tuple[int, ...]]:
    """Return the first `beats` beats of `words` sequences side by side."""
    beat = tuple(seed(index) for index in range(words))
    sequence = []
    for _ in range(beats):
        sequence.append(beat)
        beat = tuple(map(advance, beat))
    return sequence


BEATS = 256  # of the units that keep nothing from beat to beat

EXP2_X = Field(0, 0, formats.EXPONENT.bits, signed=True)


def _exp2_check(config: AcceleratorConfig) -> Check:
    mantissa, shift = exp2([EXP2_X(beat) for beat in stimulus(1, BEATS)])
    results = (mantissa + (shift << formats.MANTISSA.bits)).tolist()
    return Check("exp2", 1, BEATS, tuple(results))


REQUANT_LOW, REQUANT_HIGH = INT8.min, INT8.max


def requant_fields(lane: int) -> tuple[Field, Field, Field]:
    """Return accumulator, mantissa and shift of one lane; about half the results saturate."""
    return (Field(2 * lane, 0, formats.ACC.bits, signed=True),
            Field(2 * lane + 1, 0, formats.MANTISSA.frac, offset=formats.MANTISSA.one),
            Field(2 * lane + 1, formats.MANTISSA.bits, 3, offset=36))


def _requant_check(config: AcceleratorConfig) -> Check:
    words = 2 * config.lanes
    results = []
    for beat in stimulus(words, BEATS):
        acc, mantissa, shift = zip(*([field(beat) for field in requant_fields(lane)]
                                     for lane in range(config.lanes)), strict=True)
        results += requant([acc], mantissa, shift, REQUANT_LOW, REQUANT_HIGH)[0].tolist()
    return Check("requant", words, BEATS, tuple(results))


def checks(config: AcceleratorConfig) -> tuple[Check, ...]:
    """Return the checks of all units, in the order they run."""
    return (_exp2_check(config), _requant_check(config))


def script(config: AcceleratorConfig, names: tuple[str, ...]) -> bytes:
    """Return the printer's program for the units `names`, in the order they run."""
    width = max(map(len, names))
    lines = [b"".join((f"{name:<{width}} ".encode(), bytes([RUN, SIGNATURE]), b" ",
                       bytes([VERDICT]))) for name in names]
    title = f"vernier self-test, array {config.rows}x{config.cols}, lanes {config.lanes}".encode()
    result = "result".ljust(width + 10).encode() + bytes([RESULT])
    return b"\r\n".join([b"", title, *lines, result, bytes([REPEAT])])


def report(config: AcceleratorConfig) -> str:
    """Return the text of one round of a design whose units all work."""
    units = checks(config)
    waiting = iter(units)
    text = bytearray()
    for byte in script(config, tuple(unit.name for unit in units)):
        if byte == RUN:
            unit = next(waiting)
        elif byte == SIGNATURE:
            text += f"{unit.signature:08X}".encode()
        elif byte in {VERDICT, RESULT}:
            text += PASS
        elif byte != REPEAT:
            text.append(byte)
    return text.decode()
