"""Stimulus of the self-test, the sequences of :mod:`golden.selftest.pattern`."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer
from golden.selftest.pattern import WORD_BITS, advance, seed

__all__ = ["PatternGenerator", "words_layout"]


def words_layout(words: int) -> data.ArrayLayout:
    """A beat of `words` words."""
    return data.ArrayLayout(WORD_BITS, words)


class PatternGenerator(wiring.Component):
    """Endless pseudo-random words, side by side, a beat every cycle.

    Parameters
    ----------
    words : int
        Words per beat.

    Members
    -------
    restart : ``In(1)``
        Go back to the first beat; no beat may be accepted meanwhile.
    o : ``Out(stream.Signature(words_layout(words)))``
        Beats; always valid.
    """

    def __init__(self, words: int):
        self._words = integer("words", words, 1)
        super().__init__({
            "restart": In(1),
            "o": Out(stream.Signature(words_layout(words))),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.valid.eq(1)
        for index in range(self._words):
            word = Signal(WORD_BITS, init=seed(index), name=f"word_{index}")
            m.d.comb += self.o.p[index].eq(word)
            with m.If(self.restart):
                m.d.sync += word.eq(seed(index))
            with m.Elif(self.o.ready):
                m.d.sync += word.eq(advance(word))
        return m
