"""Places for payloads that come whether they are taken or not."""

from amaranth.hdl import Module, Signal, Value, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from golden.common.checks import integer

__all__ = ["Places"]


class Places(wiring.Component):
    """Keep payloads until they are taken, the first one first.

    Whoever sends them knows how many there are, and sends no more than there is room for: nothing
    is refused. What comes in a cycle is offered from the next one on.

    Parameters
    ----------
    bits : int
        Of a payload.
    depth : int
        Most that may be inside: 1 or more, rounded up to a power of two.

    Members
    -------
    i, o : ``In``, ``Out`` of ``stream.Signature(unsigned(bits))``
        `i` is always ready.
    """

    def __init__(self, bits: int, depth: int):
        self._bits, self._depth = integer("bits", bits, 1), integer("depth", depth, 1)
        super().__init__({
            "i": In(stream.Signature(unsigned(bits))),
            "o": Out(stream.Signature(unsigned(bits))),
        })

    def elaborate(self, platform):
        m = Module()
        size = ceil_log2(self._depth)
        m.submodules.places = places = memory.Memory(
            shape=unsigned(self._bits), depth=1 << size, init=[])
        write, read = places.write_port(), places.read_port(domain="comb")
        came, left = Signal(size + 1), Signal(size + 1)  # so many payloads, modulo twice the places
        m.d.comb += [
            self.i.ready.eq(1),
            write.en.eq(self.i.valid),
            write.addr.eq(came[:size]), write.data.eq(self.i.payload),
            read.addr.eq(left[:size]), Value.cast(self.o.payload).eq(read.data),
            self.o.valid.eq(came != left),
        ]
        with m.If(self.i.valid):
            m.d.sync += came.eq(came + 1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left + 1)
        return m
