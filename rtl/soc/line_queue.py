"""Queue of what comes over a line, for those who cannot take it at once."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer

from .uart import line_layout

__all__ = ["LineQueue"]


class LineQueue(wiring.Component):
    """Keep what comes until it is taken; where something did not find room, an error.

    Parameters
    ----------
    depth : int
        Of what waits, 2 or more; what is offered is one more.

    Members
    -------
    i : ``In(stream.Signature(line_layout))``, always ready
    o : ``Out(stream.Signature(line_layout))``
    """

    i: In(stream.Signature(line_layout))
    o: Out(stream.Signature(line_layout))

    def __init__(self, depth: int):
        self._depth = integer("depth", depth, 2)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=line_layout.size,
                                                           depth=self._depth)
        lost = Signal()
        m.d.comb += [
            self.i.ready.eq(1),
            queue.w_en.eq(self.i.valid | lost),
            queue.w_data.eq(Cat(self.i.p.byte, self.i.p.error | lost)),
            queue.r_en.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(queue.r_en):  # a register, as block RAM is slow
            m.d.sync += [self.o.valid.eq(queue.r_rdy), self.o.payload.eq(queue.r_data)]
        m.d.sync += lost.eq((self.i.valid | lost) & ~queue.w_rdy)
        return m
