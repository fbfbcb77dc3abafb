"""Scale file: the scales of an image by slots, and the exponents that instructions make of them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.core.isa import FIELDS
from golden.cycles.timing import RESOLVE

from ..common.checks import check_config
from ..common.shapes import shape_of
from ..results.result_constants import BASE

__all__ = ["ScaleFile", "exponents_layout"]

exponents_layout = data.StructLayout({
    name: shape_of(FIELDS[name]) for name in (
        "exponent", "exponent_out", "scale_a", "scale_b", "scale_out", "subtract_b")})
"""The fields of an instruction that say which multipliers it has."""


class ScaleFile(wiring.Component):
    """Keep a lambda in each slot, and add up those of an instruction.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of slots, `max_sites`.

    Members
    -------
    write : ``In(stream.Signature(LAMBDA, always_ready=True))``
        Goes to the next slot.
    first, begin
        ``In(slot)``, ``In(1)``: the next slot is `first`.
    run, start, done
        ``In(exponents_layout)``, stable from `start` on; ``In(1)``; ``Out(1)``, low from the cycle
        after `start` for :attr:`LATENCY` cycles.
    base, base_out : ``Out(BASE)``
        ``exponent + file[scale_a] +- file[scale_b]`` and ``exponent_out - file[scale_out]``, from
        `done` on, until the next `start`.
    """

    LATENCY = RESOLVE

    def __init__(self, config: AcceleratorConfig):
        check_config(config, core=True)
        self._slots = config.max_sites
        super().__init__({
            "write": In(stream.Signature(shape_of(formats.LAMBDA), always_ready=True)),
            "first": In(shape_of(FIELDS["scale_a"])), "begin": In(1),
            "run": In(exponents_layout), "start": In(1), "done": Out(1, init=1),
            "base": Out(BASE), "base_out": Out(BASE),
        })

    def elaborate(self, platform):
        m = Module()
        run = self.run
        m.submodules.memory = slots = memory.Memory(shape=shape_of(formats.LAMBDA),
                                                    depth=self._slots, init=[])
        write, read = slots.write_port(), slots.read_port()
        slot = Signal(range(self._slots))
        m.d.comb += [write.en.eq(self.write.valid), write.addr.eq(slot),
                     write.data.eq(self.write.payload)]
        with m.If(self.begin):
            m.d.sync += slot.eq(self.first)
        with m.Elif(self.write.valid):
            m.d.sync += slot.eq(slot + 1)

        # One slot is read per cycle, from `start` on: a, b, out; each is added two cycles later, as
        # a block RAM takes most of one.
        lam = Signal(shape_of(formats.LAMBDA))
        m.d.sync += lam.eq(read.data)
        m.d.comb += read.addr.eq(run.scale_a)
        step = Signal(range(self.LATENCY))
        with m.If(self.start):
            m.d.sync += [step.eq(0), self.done.eq(0),
                         self.base.eq(run.exponent), self.base_out.eq(run.exponent_out)]
        with m.Elif(~self.done):
            m.d.sync += [step.eq(step + 1), self.done.eq(step == self.LATENCY - 1)]
            with m.Switch(step):
                with m.Case(0):
                    m.d.comb += read.addr.eq(run.scale_b)
                with m.Case(1):
                    m.d.comb += read.addr.eq(run.scale_out)
                    m.d.sync += self.base.eq(self.base + lam)
                with m.Case(2):
                    m.d.sync += self.base.eq(self.base + Mux(run.subtract_b, -lam, lam))
                with m.Case(3):
                    m.d.sync += self.base_out.eq(self.base_out - lam)
        return m
