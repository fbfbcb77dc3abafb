"""Words between the data pins of an SDRAM chip and the memory port."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.sdram.sdram import WORD_BITS, Schedule

from ..common.checks import check_config
from ..common.operands import BYTE
from ..memory.memory_port import response_layout

__all__ = ["Words"]


class Words(wiring.Component):
    """Cut beats into words, put words together to beats, and answer after a fixed latency.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
    schedule : :class:`Schedule`

    Members
    -------
    served : ``In(1)``
        READ or WRITE in this cycle.
    write, outside, data : ``In(1)``, ``In(1)``, ``In(8 * bus_bytes)``
        Of the request, while `served`.
    word, driven : ``Out(16)``, ``Out(1)``
        Data pins of the next cycle, from `served` on.
    read : ``In(16)``
        Data pins of the cycle before.
    response : ``Out(stream.Signature(response_layout(config)))``
        ``schedule.latency`` cycles after `served`.
    """

    def __init__(self, config: AcceleratorConfig, schedule: Schedule):
        check_config(config)
        self._config, self._schedule = config, schedule
        super().__init__({
            "served": In(1), "write": In(1), "outside": In(1),
            "data": In(BYTE * config.bus_bytes),
            "word": Out(WORD_BITS), "driven": Out(1), "read": In(WORD_BITS),
            "response": Out(stream.Signature(response_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        latency, burst = self._schedule.latency, self._schedule.burst

        # Words of a beat that have still to be driven, and as many ones.
        rest, left = Signal((burst - 1) * WORD_BITS), Signal(burst - 1)
        beat = Mux(left[0], rest, self.data)
        begins = self.served & self.write
        m.d.comb += [self.word.eq(beat[:WORD_BITS]), self.driven.eq(left[0] | begins)]
        m.d.sync += [rest.eq(beat[WORD_BITS:]), left.eq(Mux(begins, -1, left >> 1))]

        words = Signal((burst - 1) * WORD_BITS)
        answers, errors = Signal(latency), Signal(latency)
        m.d.sync += [
            words.eq(Cat(words, self.read)[WORD_BITS:]),
            answers.eq(Cat(self.served, answers)),
            errors.eq(Cat(self.outside, errors)),
        ]
        m.d.comb += [
            self.response.valid.eq(answers[-1]),
            self.response.p.data.eq(Cat(words, self.read)),
            self.response.p.error.eq(errors[-1]),
        ]
        return m
