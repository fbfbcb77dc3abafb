"""Softmax unit, bit-exact with :func:`golden.rows.softmax.softmax` and ``softmax_codes``."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.rows import softmax, softmax_run

from ..common.checks import check_config
from ..common.log2 import Log2
from ..common.multiplier import lent_signature, lent_to, own_multipliers
from ..common.shapes import shape_of
from ..memory.row_store import store_signature
from .softmax_results import Results
from .softmax_rows import Largest, Rows, Words
from .softmax_words import (
    flags_layout,
    flags_of,
    reduced,
    softmax_codebook_layout,
    softmax_layout,
    softmax_shape_layout,
    softmax_word_layout,
)

__all__ = ["Softmax", "softmax_codebook_layout", "softmax_layout", "softmax_shape_layout"]


class Softmax(wiring.Component):
    """Turn rows of scores into exponentials or codes, and the exponent of each row.

    A word of ``config.lanes`` scores is accepted in every cycle, and a word of results given,
    however short the rows: a row waits in the row buffer for its largest score while the next one
    streams in behind it. Without stalls a run takes :func:`golden.rows.softmax_run.cycles` cycles.
    The exponent of a row is given :attr:`exponent_latency` cycles after its last word.

    Each of the two outputs waits for the other only where a whole pipeline is full between them:
    an exponent that is not taken does not hold up the words of its own row.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives lanes and the longest row.
    borrows : bool
        The multiplier of each lane and the memory of its rows are not its own.

    Members
    -------
    shape : ``In(softmax_shape_layout(config))``
        The run, as :func:`golden.rows.softmax_run.registers` gives it; stable from the first word
        accepted until the last word and the last exponent have been taken.
    codebook : ``In(softmax_codebook_layout)``
        Operands that codes stand for, ``golden.rows.softmax.codebook(step)``; as stable. Ignored
        where the step is 0.
    i : ``In(stream.Signature(ArrayLayout(SCORE, lanes)))``
        Words of a row in order, row after row. Lanes beyond the last key are ignored.
    o : ``Out(stream.Signature(softmax_layout(config)))``
        Operands where the step is 0, codes otherwise, in the order of the scores. Lanes beyond
        the last key are 0.
    exponent : ``Out(stream.Signature(LOG2))``
        ``lambda`` of each row.
    products : ``Out(lent_signature).array(lanes)``
    store : ``Out(store_signature(config, Rows.words(config)))``
        Multipliers and memory, from the first word of a run to its last result. Only if it
        `borrows`.
    """

    def __init__(self, config: AcceleratorConfig, borrows: bool = False):
        check_config(config)
        self._config, self._borrows = config, borrows
        borrowed = {"products": Out(lent_signature).array(config.lanes),
                    "store": Out(store_signature(config, Rows.words(config)))}
        super().__init__({
            "shape": In(softmax_shape_layout(config)),
            "codebook": In(softmax_codebook_layout),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(softmax.SCORE), config.lanes))),
            "o": Out(stream.Signature(softmax_layout(config))),
            "exponent": Out(stream.Signature(shape_of(formats.LOG2))),
            **(borrowed if borrows else {}),
        })

    @property
    def exponent_latency(self) -> int:
        """Cycles from the last word of a row to its exponent, without stalls."""
        return _Exponents.latency(self._config) - 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Words(self._config)
        m.submodules.rows = rows = Rows(self._config, self._borrows)
        m.submodules.largest = largest = Largest(self._config)
        m.submodules.results = results = Results(self._config)
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
        if self._borrows:
            connect(m, rows.store, flipped(self.store))
        products = self.products if self._borrows else own_multipliers(m, self._config.lanes)
        for user, product in zip(results.products, products, strict=True):
            m.d.comb += lent_to(user, product)
        return m


class _Exponents(wiring.Component):
    """Sum the operands of each row, and take the logarithm.

    A latency of :meth:`latency` cycles from the last word of a row, and a throughput of one word
    per cycle. Backpressure stalls all stages at once.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__({
            "i": In(stream.Signature(softmax_word_layout(shape_of(softmax.OPERAND), config))),
            "o": Out(stream.Signature(shape_of(formats.LOG2))),
        })

    @staticmethod
    def latency(config: AcceleratorConfig) -> int:
        """Cycles from the last word of a row at `i` to its exponent at `o`."""
        return -(-ceil_log2(config.lanes) // 2) + 2 + Log2.LATENCY

    def elaborate(self, platform):
        m = Module()
        bits = (softmax_run.highest_keys(self._config) * softmax.OPERAND.max).bit_length()
        m.submodules.log2 = log2 = Log2(bits)

        # Stage a: operands.
        a_flags = Signal(flags_layout)
        a_operands = Signal(self.i.p.values.shape(), reset_less=True)

        # Stage r: sum of the row so far.
        r_valid = Signal()
        r_sum = Signal(bits, reset_less=True)

        flags, value = reduced(m, self.i.ready, a_flags, list(a_operands), 4, _sum)
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
                a_flags.eq(flags_of(self.i)),
                a_operands.eq(self.i.p.values),
                r_valid.eq(flags.valid & flags.last),
            ]
            with m.If(flags.valid):
                m.d.sync += r_sum.eq(Mux(flags.first, 0, r_sum) + value)
        return m


def _sum(values):
    middle = len(values) // 2
    return _sum(values[:middle]) + _sum(values[middle:]) if middle else values[0]
