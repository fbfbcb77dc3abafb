"""First pass of the softmax unit: the row buffer, and the largest score of each row."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from golden.common.config import AcceleratorConfig
from golden.rows import softmax, softmax_run

from ..common.checks import check_config
from ..common.shapes import shape_of
from ..memory.row_store import RowQueue, RowStore, store_lent_to, store_signature
from ..prediction.extremes import BIASED, rebiased
from .softmax_words import (
    BASE,
    NEAREST,
    flags_layout,
    flags_of,
    place,
    reduced,
    scores_layout,
    softmax_shape_layout,
    softmax_word_layout,
)

__all__ = ["Largest", "Rows", "Words"]


class Words(wiring.Component):
    """Count the words of a row, and pass each to the row buffer and to the maximum at once.

    Scores become ``BIASED``; for the maximum, lanes beyond the last key take the smallest.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "shape": In(softmax_shape_layout(config)),
            "i": In(stream.Signature(data.ArrayLayout(shape_of(softmax.SCORE), config.lanes))),
            "rows": Out(stream.Signature(scores_layout(config))),
            "largest": Out(stream.Signature(softmax_word_layout(shape_of(BIASED), config))),
        })

    def elaborate(self, platform):
        m = Module()
        first, last = place(m, self.shape, self.i)

        m.d.comb += [
            self.i.ready.eq(self.rows.ready & self.largest.ready),
            self.rows.valid.eq(self.i.valid & self.largest.ready),
            self.largest.valid.eq(self.i.valid & self.rows.ready),
            self.largest.p.first.eq(first),
            self.largest.p.last.eq(last),
        ]
        for lane, value in enumerate(self.i.p):
            unused = last & (self.shape.last_lane < lane) if lane else 0
            m.d.comb += [
                self.largest.p.values[lane].eq(Mux(unused, BIASED.min, rebiased(value))),
                self.rows.p[lane].eq(rebiased(value)),
            ]
        return m


class Rows(wiring.Component):
    """Row buffer: a queue of words with room for the longest row and the start of the next.

    A word appears two cycles after it was written, if all before it have been taken. What is
    stored is not ``BIASED``. `store` is the memory, if it `borrows` that.
    """

    def __init__(self, config: AcceleratorConfig, borrows: bool = False):
        check_config(config)
        self._config, self._borrows = config, borrows
        word = stream.Signature(scores_layout(config))
        store = {"store": Out(store_signature(config, self.words(config)))}
        super().__init__({"i": In(word), "o": Out(word), **(store if borrows else {})})

    @staticmethod
    def _depth(config: AcceleratorConfig) -> int:
        # As many as are written from the first word of a row until it is taken: all of its own,
        # and one for each stage of the maximum.
        return softmax_run.highest_words(config) + Largest.latency(config)

    @classmethod
    def words(cls, config: AcceleratorConfig) -> int:
        """Words of the memory."""
        return RowQueue.words(cls._depth(config))

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = RowQueue(self._config, self._depth(self._config))
        if self._borrows:
            connect(m, queue.store, flipped(self.store))
        else:
            m.submodules.store = own = RowStore(self._config, self.words(self._config))
            m.d.comb += store_lent_to(queue.store, own.port)
        m.d.comb += [
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
            self.o.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.o.ready),
        ]
        for stored, score in zip(queue.i.p, self.i.p, strict=True):
            m.d.comb += stored.eq(rebiased(score))
        for score, stored in zip(self.o.p, queue.o.p, strict=True):
            m.d.comb += score.eq(rebiased(stored))
        return m


class Largest(wiring.Component):
    """Find the largest score of each row.

    A latency of :meth:`latency` cycles from the last word of a row, and a throughput of one word
    per cycle. Room for a second result keeps `i.ready` independent of `o.ready`: all stages stall
    while two are not taken.

    Members
    -------
    shape : ``In(softmax_shape_layout(config))``
        As in :class:`rtl.rows.softmax.Softmax`.
    i : ``In(stream)``
        Words of scores, ``BIASED``.
    o : ``Out(stream)``
        The largest score plus what the distances from it are offset by: half a step, so that they
        round, or what turns them into exponents.
    """

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        super().__init__({
            "shape": In(softmax_shape_layout(config)),
            "i": In(stream.Signature(softmax_word_layout(shape_of(BIASED), config))),
            "o": Out(stream.Signature(shape_of(BASE))),
        })

    @staticmethod
    def latency(config: AcceleratorConfig) -> int:
        """Cycles from the last word of a row at `i` to its result at `o`."""
        return ceil_log2(config.lanes) + 3

    def elaborate(self, platform):
        m = Module()
        room = Signal()
        # Stage a: a word, as it was read far away.
        a_flags = Signal(flags_layout)
        a_values = Signal(self.i.p.values.shape(), reset_less=True)
        with m.If(self.i.ready):
            m.d.sync += [a_flags.eq(flags_of(self.i)), a_values.eq(self.i.p.values)]
        flags, value = reduced(m, self.i.ready, a_flags, list(a_values), 2, _larger)

        # Stage r: largest score of the row so far.
        r_valid = Signal()
        r_largest = Signal(shape_of(BIASED), reset_less=True)
        offset = Signal(range(max(NEAREST, softmax.STEP.max >> 1) + 1))
        step = self.shape.step
        base = r_largest + offset

        # Second result, where the first is still in stage o, the output stream itself.
        spare_valid = Signal()
        spare_base = Signal(shape_of(BASE), reset_less=True)

        m.d.sync += offset.eq(Mux(step == 0, NEAREST, step >> 1))
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


def _larger(values):
    return values[0] if len(values) == 1 else Mux(values[0] > values[1], *values)
