"""A place for one payload, so that a ready does not go through."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SkidBuffer"]


class SkidBuffer(wiring.Component):
    """Hand payloads on in the same cycle, and keep one that is not taken.

    `i.ready` comes out of a register: it falls in the cycle after a payload was kept. So a chain of
    stages that all stall at once is cut in two, for no latency and no loss of throughput.

    Parameters
    ----------
    shape
        Of a payload.

    Members
    -------
    i, o : ``In``, ``Out`` of ``stream.Signature(shape)``
    """

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        full, kept = Signal(), Signal(self._shape)
        m.d.comb += [
            self.i.ready.eq(~full),
            self.o.valid.eq(full | self.i.valid),
            Value.cast(self.o.payload).eq(Mux(full, Value.cast(kept),
                                              Value.cast(self.i.payload))),
        ]
        m.d.sync += full.eq(self.o.valid & ~self.o.ready)
        with m.If(~full):
            m.d.sync += kept.eq(self.i.payload)
        return m
