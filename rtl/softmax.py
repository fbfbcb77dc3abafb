"""Softmax unit, bit-exact with :func:`golden.softmax.softmax` and ``softmax_codes``."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from golden import exp2, formats, softmax
from golden.config import AcceleratorConfig
from golden.formats import IntFormat, round_shift

from .extremes import BIASED, rebiased
from .log2 import Log2
from .shapes import rom, shape_of

__all__ = ["Softmax", "codebook_layout", "result_layout", "shape_layout"]

_FRAC = softmax.SCORE.frac
_NEAREST = -(softmax.TOP + 1) % softmax.SCORE.one
"""What is added to a distance, so that its inverted bits are the exponent of its power of two."""

_FIRST_SHIFT = formats.MANTISSA.frac + 1 - ((softmax.TOP + 1 + _NEAREST) >> _FRAC)
_LAST_SHIFT = formats.MANTISSA.bits  # half of the mantissa's top bit is the last to round to one
_FACTOR_SHIFT = softmax.RECIPROCAL.bits - 1  # smallest shift of a reciprocal

_BASE = IntFormat((BIASED.max + (softmax.STEP.max >> 1)).bit_length(), signed=False)
_CODED = IntFormat((softmax.STEP.max * (softmax.CODES - 1) + (softmax.STEP.max >> 1)).bit_length(),
                   signed=False)
_PRODUCT = IntFormat(_CODED.bits + softmax.RECIPROCAL.bits, signed=False)
_AMOUNT = IntFormat((_LAST_SHIFT - 1).bit_length(), signed=False)
_TWICE = IntFormat(softmax.OPERAND.bits + 1, signed=False)  # operand, and a bit to round by


def shape_layout(config: AcceleratorConfig) -> data.StructLayout:
    """What the hardware is told of a run: :func:`golden.softmax.registers`."""
    return data.StructLayout({name: shape_of(fmt)
                              for name, fmt in softmax.register_formats(config).items()})


codebook_layout = data.ArrayLayout(shape_of(softmax.OPERAND), softmax.CODES)
"""Operand of each code."""


def result_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Operands or codes of adjacent keys; the last word of a row marked."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(softmax.OPERAND), config.lanes),
        "last": 1,
    })


def _scores_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """``BIASED`` scores of adjacent keys."""
    return data.ArrayLayout(shape_of(BIASED), config.lanes)


def _word_layout(shape, config: AcceleratorConfig) -> data.StructLayout:
    """A value of `shape` per lane, and the place of the word in its row."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape, config.lanes),
        "first": 1,
        "last": 1,
    })


_flags_layout = data.StructLayout({"valid": 1, "first": 1, "last": 1})


class Softmax(wiring.Component):
    """Turn rows of scores into exponentials or codes, and the exponent of each row.

    A word of ``config.lanes`` scores is accepted in every cycle, and a word of results given,
    however short the rows: a row waits in the row buffer for its largest score while the next one
    streams in behind it. Without stalls a run takes :func:`golden.softmax.cycles` cycles. The
    exponent of a row is given :attr:`exponent_latency` cycles after its last word.

    Each of the two outputs waits for the other only where a whole pipeline is full between them:
    an exponent that is not taken does not hold up the words of its own row.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives lanes and the longest row.

    Members
    -------
    shape : ``In(shape_layout(config))``
        The run, as :func:`golden.softmax.registers` gives it; stable from the first word accepted
        until the last word and the last exponent have been taken.
    codebook : ``In(codebook_layout)``
        Operands that codes stand for, ``golden.softmax.codebook(step)``; as stable. Ignored where
        the step is 0.
    i : ``In(stream.Signature(ArrayLayout(SCORE, lanes)))``
        Words of a row in order, row after row. Lanes beyond the last key are ignored.
    o : ``Out(stream.Signature(result_layout(config)))``
        Operands where the step is 0, codes otherwise, in the order of the scores. Lanes beyond
        the last key are 0.
    exponent : ``Out(stream.Signature(LOG2))``
        ``lambda`` of each row.
    """

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "shape": In(shape_layout(config)),
            "codebook": In(codebook_layout),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(softmax.SCORE), config.lanes))),
            "o": Out(stream.Signature(result_layout(config))),
            "exponent": Out(stream.Signature(shape_of(formats.LOG2))),
        })

    @property
    def exponent_latency(self) -> int:
        """Cycles from the last word of a row to its exponent, without stalls."""
        return _Exponents.latency(self._config) - 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = _Words(self._config)
        m.submodules.rows = rows = _Rows(self._config)
        m.submodules.largest = largest = _Largest(self._config)
        m.submodules.results = results = _Results(self._config)
        m.submodules.exponents = exponents = _Exponents(self._config)

        connect(m, flipped(self.i), words.i)
        connect(m, words.rows, rows.i)
        connect(m, words.largest, largest.i)
        connect(m, rows.o, results.i)
        connect(m, largest.o, results.base)
        connect(m, results.o, flipped(self.o))
        connect(m, results.operands, exponents.i)
        connect(m, exponents.o, flipped(self.exponent))
        m.d.comb += [
            words.shape.eq(self.shape),
            largest.shape.eq(self.shape),
            results.shape.eq(self.shape),
            results.codebook.eq(self.codebook),
        ]
        return m


class _Words(wiring.Component):
    """Count the words of a row, and pass each to the row buffer and to the maximum at once.

    Scores become ``BIASED``; for the maximum, lanes beyond the last key take the smallest.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "shape": In(shape_layout(config)),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(softmax.SCORE), config.lanes))),
            "rows": Out(stream.Signature(_scores_layout(config))),
            "largest": Out(stream.Signature(_word_layout(shape_of(BIASED), config))),
        })

    def elaborate(self, platform):
        m = Module()
        first, last = _place(m, self.shape, self.i)

        m.d.comb += [
            self.i.ready.eq(self.rows.ready & self.largest.ready),
            self.rows.valid.eq(self.i.valid & self.largest.ready),
            self.largest.valid.eq(self.i.valid & self.rows.ready),
            self.largest.p.first.eq(first),
            self.largest.p.last.eq(last),
        ]
        for lane, value in enumerate(self.i.p):
            unused = last & (self.shape.last_lane < lane)
            m.d.comb += [
                self.largest.p.values[lane].eq(Mux(unused, BIASED.min, rebiased(value))),
                self.rows.p[lane].eq(rebiased(value)),
            ]
        return m


class _Rows(wiring.Component):
    """Row buffer: a queue of words with room for the longest row and the start of the next.

    A word appears two cycles after it was written, if all before it have been taken.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        word = stream.Signature(_scores_layout(config))
        super().__init__({"i": In(word), "o": Out(word)})

    def elaborate(self, platform):
        m = Module()
        # As many as are written from the first word of a row until it is taken: all of its own,
        # and one for each stage of the maximum.
        depth = softmax.highest_words(self._config) + _Largest.latency(self._config)
        m.submodules.queue = queue = SyncFIFOBuffered(width=self.i.p.shape().size, depth=depth)
        m.d.comb += [
            queue.w_en.eq(self.i.valid),
            queue.w_data.eq(self.i.payload),
            self.i.ready.eq(queue.w_rdy),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]
        return m


class _Largest(wiring.Component):
    """Find the largest score of each row.

    A latency of :meth:`latency` cycles from the last word of a row, and a throughput of one word
    per cycle. Room for a second result keeps `i.ready` independent of `o.ready`: all stages stall
    while two are not taken.

    Members
    -------
    shape : ``In(shape_layout(config))``
        As in :class:`Softmax`.
    i : ``In(stream)``
        Words of scores, ``BIASED``.
    o : ``Out(stream)``
        The largest score plus what the distances from it are offset by: half a step, so that they
        round, or what turns them into exponents.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__({
            "shape": In(shape_layout(config)),
            "i": In(stream.Signature(_word_layout(shape_of(BIASED), config))),
            "o": Out(stream.Signature(shape_of(_BASE))),
        })

    @staticmethod
    def latency(config: AcceleratorConfig) -> int:
        """Cycles from the last word of a row at `i` to its result at `o`."""
        return ceil_log2(config.lanes) + 2

    def elaborate(self, platform):
        m = Module()
        room = Signal()
        flags, value = _reduce(m, self.i.ready, _flags(self.i), list(self.i.p.values), 2, _larger)

        # Stage r: largest score of the row so far.
        r_valid = Signal()
        r_largest = Signal(shape_of(BIASED))
        offset = Signal(range(max(_NEAREST, softmax.STEP.max >> 1) + 1))
        step = self.shape.step
        base = r_largest + offset

        # Second result, where the first is still in stage o, the output stream itself.
        spare_valid = Signal()
        spare_base = Signal(shape_of(_BASE))

        m.d.sync += offset.eq(Mux(step == 0, _NEAREST, step >> 1))
        m.d.comb += [
            room.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~spare_valid),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                r_valid.eq(flags.valid & flags.last),
                spare_valid.eq(r_valid & ~room),
                spare_base.eq(base),
            ]
            with m.If(flags.valid & (flags.first | (value > r_largest))):
                m.d.sync += r_largest.eq(value)
        with m.Elif(room):
            m.d.sync += spare_valid.eq(0)
        with m.If(room):
            m.d.sync += [
                self.o.valid.eq(spare_valid | r_valid),
                self.o.payload.eq(Mux(spare_valid, spare_base, base)),
            ]
        return m


class _Results(wiring.Component):
    """Turn scores into exponentials or codes, by their distances from the largest of the row.

    Six-stage pipeline with a throughput of one word per cycle. Backpressure of either output
    stalls all stages at once.

    Members
    -------
    shape, codebook, o
        As in :class:`Softmax`.
    i : ``In(stream)``
        Words of scores; in lanes beyond the last key anything.
    base : ``In(stream)``
        Of each row, see :class:`_Largest`; taken with its last word.
    operands : ``Out(stream)``
        Of each word, one cycle ahead of `o`: 0 in lanes beyond the last key.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "shape": In(shape_layout(config)),
            "codebook": In(codebook_layout),
            "i": In(stream.Signature(_scores_layout(config))),
            "base": In(stream.Signature(shape_of(_BASE))),
            "o": Out(stream.Signature(result_layout(config))),
            "operands": Out(stream.Signature(
                _word_layout(shape_of(softmax.OPERAND), config))),
        })

    def elaborate(self, platform):
        m = Module()
        shape = self.shape
        advance, room = Signal(), Signal()
        stages = [Signal(_flags_layout, name=f"{stage}_flags") for stage in "ftpms"]
        s_flags = stages[-1]
        first, last = _place(m, shape, self.i)

        # What follows from the shape; registered, for the clock's sake.
        coded = Signal()
        end = Signal(shape_of(_CODED))
        amount = Signal(shape_of(_AMOUNT))
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
        f_distance = Signal(shape_of(_BASE), name=f"f_distance_{lane}")

        # Stage t: factors of the one product: distance and reciprocal, or those of the table.
        t_left = Signal(shape_of(_CODED), name=f"t_left_{lane}")
        t_right = Signal(shape_of(softmax.RECIPROCAL), name=f"t_right_{lane}")
        t_value = Signal(shape_of(formats.MANTISSA), name=f"t_value_{lane}")
        t_amount = Signal(shape_of(_AMOUNT), name=f"t_amount_{lane}")
        t_none = Signal(name=f"t_none_{lane}")
        power = (~f_distance)[:_FRAC]
        rest, index = power[:table.rest_bits], power[table.rest_bits:]
        octaves = f_distance[_FRAC:]

        # Stage p: exact product.
        p_product = Signal(shape_of(_PRODUCT), name=f"p_product_{lane}")
        p_value = Signal.like(t_value, name=f"p_value_{lane}")
        p_amount = Signal.like(t_amount, name=f"p_amount_{lane}")
        p_none = Signal(name=f"p_none_{lane}")

        # Stage m: mantissa, or the part of the product that codes come from.
        m_number = Signal(shape_of(formats.MANTISSA), name=f"m_number_{lane}")
        m_amount = Signal.like(t_amount, name=f"m_amount_{lane}")
        m_none = Signal(name=f"m_none_{lane}")
        mantissa = p_value + round_shift(p_product[:table.slope.bits + table.rest_bits],
                                         table.rest_bits)

        # Stage s: shifted; the mantissa with one fractional bit left for the rounding.
        s_twice = Signal(shape_of(_TWICE), name=f"s_twice_{lane}")

        with m.If(advance):
            m.d.sync += [
                f_distance.eq(self.base.p - self.i.p[lane]),
                t_left.eq(Mux(coded, Mux(f_distance > end, end, f_distance),
                              rom(table.slopes, index, table.slope))),
                t_right.eq(Mux(coded, self.shape.factor, rest)),
                t_value.eq(rom(table.values, index, formats.MANTISSA)),
                t_amount.eq(Mux(coded, amount, octaves + _FIRST_SHIFT - 1)),
                t_none.eq(~coded & (octaves > _LAST_SHIFT - _FIRST_SHIFT)),
                p_product.eq(t_left * t_right),
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
        unused = s_flags.last & (self.shape.last_lane < lane)
        code = s_twice[:formats.CODE.bits]
        exponential = round_shift(s_twice, 1)[:softmax.OPERAND.bits]
        m.d.comb += self.operands.p.values[lane].eq(
            Mux(unused, 0, Mux(coded, self.codebook[code], exponential)))
        with m.If(advance):
            m.d.sync += self.o.p.values[lane].eq(
                Mux(unused, 0, Mux(coded, code, exponential)))


class _Exponents(wiring.Component):
    """Sum the operands of each row, and take the logarithm.

    A latency of :meth:`latency` cycles from the last word of a row, and a throughput of one word
    per cycle. Backpressure stalls all stages at once.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(_word_layout(shape_of(softmax.OPERAND), config))),
            "o": Out(stream.Signature(shape_of(formats.LOG2))),
        })

    @staticmethod
    def latency(config: AcceleratorConfig) -> int:
        """Cycles from the last word of a row at `i` to its exponent at `o`."""
        return -(-ceil_log2(config.lanes) // 2) + 2 + Log2.LATENCY

    def elaborate(self, platform):
        m = Module()
        bits = (softmax.highest_keys(self._config) * softmax.OPERAND.max).bit_length()
        m.submodules.log2 = log2 = Log2(bits)

        # Stage a: operands.
        a_flags = Signal(_flags_layout)
        a_operands = Signal(self.i.p.values.shape())

        # Stage r: sum of the row so far.
        r_valid = Signal()
        r_sum = Signal(bits)

        flags, value = _reduce(m, self.i.ready, a_flags, list(a_operands), 4, _sum)
        m.d.comb += [
            self.i.ready.eq(log2.i.ready),
            log2.i.valid.eq(r_valid),
            log2.i.p.value.eq(r_sum),
            self.o.valid.eq(log2.o.valid),
            self.o.payload.eq(log2.o.p.value),
            log2.o.ready.eq(self.o.ready),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                a_flags.eq(_flags(self.i)),
                a_operands.eq(self.i.p.values),
                r_valid.eq(flags.valid & flags.last),
            ]
            with m.If(flags.valid):
                m.d.sync += r_sum.eq(Mux(flags.first, 0, r_sum) + value)
        return m


def _place(m, shape, words):
    """Count the words that a stream gives; return whether the next is the first, or last, of a row.
    """
    count = Signal.like(shape.last_word)
    last = count == shape.last_word
    with m.If(words.valid & words.ready):
        m.d.sync += count.eq(Mux(last, 0, count + 1))
    return count == 0, last


def _flags(words):
    """Return the flags of the word that a stream offers."""
    return data.View(_flags_layout, Cat(words.valid, words.p.first, words.p.last))


def _larger(values):
    return values[0] if len(values) == 1 else Mux(values[0] > values[1], *values)


def _sum(values):
    middle = len(values) // 2
    return _sum(values[:middle]) + _sum(values[middle:]) if middle else values[0]


def _reduce(m, advance, flags, values, ways, merge):
    """Merge `values` into one, `ways` at a time, with a register behind each `merge`.

    Return the flags of the word and the merged value, as many cycles later as there are levels.
    """
    level = 0
    while len(values) > 1:
        merged = [merge(values[n:n + ways]) for n in range(0, len(values), ways)]
        values = [Signal(value.shape(), name=f"v{level}_value_{n}")
                  for n, value in enumerate(merged)]
        v_flags = Signal(_flags_layout, name=f"v{level}_flags")
        with m.If(advance):
            m.d.sync += v_flags.eq(flags)
            m.d.sync += [value.eq(new) for value, new in zip(values, merged, strict=True)]
        flags = v_flags
        level += 1
    return flags, values[0]
