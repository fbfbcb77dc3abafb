"""Words of a row of scores on their way through the softmax unit."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import data

from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat
from golden.rows import softmax, softmax_run

from ..common.shapes import shape_of
from ..prediction.extremes import BIASED

__all__ = [
    "BASE",
    "NEAREST",
    "flags_layout",
    "flags_of",
    "place",
    "reduced",
    "scores_layout",
    "softmax_codebook_layout",
    "softmax_layout",
    "softmax_shape_layout",
    "softmax_word_layout",
]

NEAREST = -(softmax.TOP + 1) % softmax.SCORE.one
"""What is added to a distance, so that its inverted bits are the exponent of its power of two."""

BASE = IntFormat((BIASED.max + (softmax.STEP.max >> 1)).bit_length(), signed=False)
"""Largest score of a row and an offset, see :class:`rtl.rows.softmax_rows.Largest`."""


def softmax_shape_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the hardware is told of a run: :func:`golden.rows.softmax_run.registers`."""
    return data.StructLayout({name: shape_of(fmt)
                              for name, fmt in softmax_run.register_formats(config).items()})


softmax_codebook_layout = data.ArrayLayout(shape_of(softmax.OPERAND), softmax.CODES)
"""Operand of each code."""


def softmax_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Operands or codes of adjacent keys; the last word of a row marked."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(softmax.OPERAND), config.lanes),
        "last": 1,
    })


def scores_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """``BIASED`` scores of adjacent keys."""
    return data.ArrayLayout(shape_of(BIASED), config.lanes)


def softmax_word_layout(shape, config: AcceleratorConfig) -> data.StructLayout:
    """A value of `shape` per lane, and the place of the word in its row."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape, config.lanes),
        "first": 1,
        "last": 1,
    })


flags_layout = data.StructLayout({"valid": 1, "first": 1, "last": 1})
"""Whether there is a word, and its place in its row."""


def place(m, shape, words):
    """Count the words of a stream; return whether the next is the first or last of its row."""
    count = Signal.like(shape.last_word)
    last = count == shape.last_word
    with m.If(words.valid & words.ready):
        m.d.sync += count.eq(Mux(last, 0, count + 1))
    return count == 0, last


def flags_of(words):
    """Return the flags of the word that a stream offers."""
    return data.View(flags_layout, Cat(words.valid, words.p.first, words.p.last))


def reduced(m, advance, flags, values, ways, merge):
    """Merge `values` into one, `ways` at a time, with a register behind each `merge`.

    Return the flags of the word and the merged value, as many cycles later as there are levels.
    """
    level = 0
    while len(values) > 1:
        merged = [merge(values[n:n + ways]) for n in range(0, len(values), ways)]
        values = [Signal(value.shape(), name=f"v{level}_value_{n}", reset_less=True)
                  for n, value in enumerate(merged)]
        v_flags = Signal(flags_layout, name=f"v{level}_flags")
        with m.If(advance):
            m.d.sync += v_flags.eq(flags)
            m.d.sync += [value.eq(new) for value, new in zip(values, merged, strict=True)]
        flags = v_flags
        level += 1
    return flags, values[0]
