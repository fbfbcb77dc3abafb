"""Second pass of the softmax unit: exponentials or codes."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import exp2, formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat, round_shift
from golden.rows import softmax

from ..common.checks import check_config
from ..common.multiplier import lent_signature
from ..common.shapes import rom, shape_of
from .softmax_words import (
    BASE,
    NEAREST,
    flags_layout,
    place,
    scores_layout,
    softmax_codebook_layout,
    softmax_layout,
    softmax_shape_layout,
    softmax_word_layout,
)

__all__ = ["Results"]

_FRAC = softmax.SCORE.frac
_FIRST_SHIFT = formats.MANTISSA.frac + 1 - ((softmax.TOP + 1 + NEAREST) >> _FRAC)
_LAST_SHIFT = formats.MANTISSA.bits  # half of the mantissa's top bit is the last to round to one
_FACTOR_SHIFT = softmax.RECIPROCAL.bits - 1  # smallest shift of a reciprocal
_CODED = IntFormat((softmax.STEP.max * (softmax.CODES - 1) + (softmax.STEP.max >> 1)).bit_length(),
                   signed=False)
_PRODUCT = IntFormat(_CODED.bits + softmax.RECIPROCAL.bits, signed=False)
_AMOUNT = IntFormat((_LAST_SHIFT - 1).bit_length(), signed=False)
_TWICE = IntFormat(softmax.OPERAND.bits + 1, signed=False)  # operand, and a bit to round by


class Results(wiring.Component):
    """Turn scores into exponentials or codes, by their distances from the largest of the row.

    Six-stage pipeline with a throughput of one word per cycle. Backpressure of either output
    stalls all stages at once.

    Members
    -------
    shape, codebook, o
        As in :class:`rtl.rows.softmax.Softmax`.
    i : ``In(stream)``
        Words of scores; in lanes beyond the last key anything.
    base : ``In(stream)``
        Of each row, see :class:`rtl.rows.softmax_rows.Largest`; taken with its last word.
    operands : ``Out(stream)``
        Of each word, one cycle ahead of `o`: 0 in lanes beyond the last key.
    products : ``Out(lent_signature).array(lanes)``
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "shape": In(softmax_shape_layout(config)),
            "codebook": In(softmax_codebook_layout),
            "i": In(stream.Signature(scores_layout(config))),
            "base": In(stream.Signature(shape_of(BASE))),
            "o": Out(stream.Signature(softmax_layout(config))),
            "operands": Out(stream.Signature(
                softmax_word_layout(shape_of(softmax.OPERAND), config))),
            "products": Out(lent_signature).array(config.lanes),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        advance, room = Signal(), Signal()
        stages = [Signal(flags_layout, name=f"{stage}_flags") for stage in "ftpms"]
        s_flags = stages[-1]
        first, last = place(m, shape, self.i)

        # What follows from the shape; registered, for the clock's sake.
        coded = Signal()
        end = Signal(shape_of(_CODED), reset_less=True)
        amount = Signal(shape_of(_AMOUNT), reset_less=True)
        m.d.sync += [
            coded.eq(shape.step != 0),
            end.eq((shape.step << formats.CODE.bits) - shape.step + (shape.step >> 1)),
            amount.eq(shape.shift - _FACTOR_SHIFT),
        ]

        m.d.comb += [
            room.eq(~self.o.valid | self.o.ready),
            advance.eq(room & self.operands.ready),
            self.i.ready.eq(advance & self.base.valid),
            self.base.ready.eq(advance & self.i.valid & last),
            self.operands.valid.eq(s_flags.valid & room),
            self.operands.p.first.eq(s_flags.first),
            self.operands.p.last.eq(s_flags.last),
        ]
        with m.If(advance):
            m.d.sync += [
                stages[0].eq(Cat(self.i.valid & self.base.valid, first, last)),
                *(after.eq(before) for before, after in pairwise(stages)),
                self.o.valid.eq(s_flags.valid),
                self.o.p.last.eq(s_flags.last),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        for lane in range(self._config.lanes):
            s_twice = self._divide(m, advance, lane, coded, end, amount)
            self._result(m, advance, lane, coded, s_flags, s_twice)
        return m

    def _divide(self, m, advance, lane, coded, end, amount):
        """Return twice the exponential of a lane, yet to be rounded, or its code."""
        table = exp2.TABLE

        # Stage f: distance from the largest score, offset.
        f_distance = Signal(shape_of(BASE), name=f"f_distance_{lane}", reset_less=True)

        # Stage t: factors of the one product, in the registers of the multiplier: distance and
        # reciprocal, or those of the table.
        left = Signal(shape_of(_CODED), name=f"left_{lane}")
        right = Signal(shape_of(softmax.RECIPROCAL), name=f"right_{lane}")
        t_value = Signal(shape_of(formats.MANTISSA), name=f"t_value_{lane}", reset_less=True)
        t_amount = Signal(shape_of(_AMOUNT), name=f"t_amount_{lane}", reset_less=True)
        t_none = Signal(name=f"t_none_{lane}", reset_less=True)
        power = (~f_distance)[:_FRAC]
        rest, index = power[:table.rest_bits], power[table.rest_bits:]
        octaves = f_distance[_FRAC:]

        # Stage p: exact product.
        p_product = Signal(shape_of(_PRODUCT), name=f"p_product_{lane}")
        p_value = Signal.like(t_value, name=f"p_value_{lane}", reset_less=True)
        p_amount = Signal.like(t_amount, name=f"p_amount_{lane}", reset_less=True)
        p_none = Signal(name=f"p_none_{lane}", reset_less=True)

        # Stage m: mantissa, or the part of the product that codes come from.
        m_number = Signal(shape_of(formats.MANTISSA), name=f"m_number_{lane}", reset_less=True)
        m_amount = Signal.like(t_amount, name=f"m_amount_{lane}", reset_less=True)
        m_none = Signal(name=f"m_none_{lane}", reset_less=True)
        mantissa = p_value + round_shift(p_product[:table.slope.bits + table.rest_bits],
                                         table.rest_bits)

        # Stage s: shifted; the mantissa with one fractional bit left for the rounding.
        s_twice = Signal(shape_of(_TWICE), name=f"s_twice_{lane}", reset_less=True)

        product = self.products[lane]
        m.d.comb += [
            left.eq(Mux(coded, Mux(f_distance > end, end, f_distance),
                        rom(table.slopes, index, table.slope))),
            right.eq(Mux(coded, self.shape.factor, rest)),
            product.a.eq(left),
            product.b.eq(right),
            product.enable.eq(advance),
            p_product.eq(product.product),
        ]
        with m.If(advance):
            m.d.sync += [
                f_distance.eq(self.base.p - self.i.p[lane]),
                t_value.eq(rom(table.values, index, formats.MANTISSA)),
                t_amount.eq(Mux(coded, amount, octaves + _FIRST_SHIFT - 1)),
                t_none.eq(~coded & (octaves > _LAST_SHIFT - _FIRST_SHIFT)),
                p_value.eq(t_value),
                p_amount.eq(t_amount),
                p_none.eq(t_none),
                m_number.eq(Mux(coded, p_product >> _FACTOR_SHIFT, mantissa)),
                m_amount.eq(p_amount),
                m_none.eq(p_none),
                s_twice.eq(Mux(m_none, 0, m_number >> m_amount)),
            ]
        return s_twice

    def _result(self, m, advance, lane, coded, s_flags, s_twice):
        """Give the result of a lane and, for the sum, the operand that it stands for."""
        unused = s_flags.last & (self.shape.last_lane < lane) if lane else 0
        code = s_twice[:formats.CODE.bits]
        exponential = round_shift(s_twice, 1)[:softmax.OPERAND.bits]
        m.d.comb += self.operands.p.values[lane].eq(
            Mux(unused, 0, Mux(coded, self.codebook[code], exponential)))
        with m.If(advance):
            m.d.sync += self.o.p.values[lane].eq(
                Mux(unused, 0, Mux(coded, code, exponential)))
