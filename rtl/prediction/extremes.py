"""Memory of running extremes."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, IntFormat

from ..common.checks import check_config
from ..common.shapes import shape_of
from .range_order import entry_shape

__all__ = ["Extremes", "access_layout", "extremes_layout", "rebiased", "visit_layout"]


BIASED = IntFormat(ACT16.bits, signed=False)
"""An activation less ``ACT16.min``: unsigned numbers are compared by their carry alone."""


def rebiased(value: Value) -> Value:
    """Activation as ``BIASED``, and back; both as unsigned bits."""
    return value.as_unsigned() ^ (1 << (BIASED.bits - 1))


def extremes_layout(lanes: int) -> data.ArrayLayout:
    """Maximum and minimum of each lane, ``BIASED``."""
    return data.ArrayLayout(data.StructLayout({
        "high": shape_of(BIASED),
        "low": shape_of(BIASED),
    }), lanes)


def visit_layout(lanes: int) -> data.StructLayout:
    """Extremes of one chunk of a group, and its place in the run."""
    return data.StructLayout({
        "extremes": extremes_layout(lanes),
        "first_chunk": 1,
        "last_chunk": 1,
        "last": 1,
    })


def access_layout(config: AcceleratorConfig) -> data.StructLayout:
    """An update of an entry by `values` (``BIASED``), or a visit to it if `visit`.

    `first` replaces the extremes of the entry instead of extending them.
    """
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(BIASED), config.lanes),
        "entry": entry_shape(config),
        "first": 1,
        "visit": 1,
        "first_chunk": 1,
        "last_chunk": 1,
        "last": 1,
    })


class Extremes(wiring.Component):
    """Keep the running extremes of many entries, lane by lane.

    One update or visit per cycle, whatever the entries: the extremes that are still on their way
    to the memory are forwarded. A visit comes out after :attr:`LATENCY` cycles; only a visit that
    is not taken stalls.

    Members
    -------
    i : ``In(stream.Signature(access_layout(config)))``
        Updates and visits.
    o : ``Out(stream.Signature(visit_layout(config.lanes)))``
        Extremes of the visited entries.
    """

    LATENCY = 3

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._config = config
        super().__init__({
            "i": In(stream.Signature(access_layout(config))),
            "o": Out(stream.Signature(visit_layout(config.lanes))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.store = store = memory.Memory(
            shape=extremes_layout(config.lanes), depth=config.range_entries, init=[])
        read = store.read_port()
        write = store.write_port()

        # Stage a: extremes on their way from the memory, or found among those of stages c and d.
        a_valid = Signal()
        a_access = Signal(access_layout(config))
        a_in_c, a_in_d = Signal(), Signal()

        # Stage b: extremes read, unless the beat before changes them just now.
        b_valid = Signal()
        b_access = Signal(access_layout(config))
        b_in_c = Signal()
        b_extremes = Signal(extremes_layout(config.lanes), reset_less=True)

        # Stage c: extremes extended; about to be written, or given.
        c_valid = Signal()
        c_access = Signal(access_layout(config))
        c_extremes = Signal(extremes_layout(config.lanes), reset_less=True)

        # Stage d: extremes just written; the memory may not have given them yet.
        d_extremes = Signal(extremes_layout(config.lanes), reset_less=True)

        m.d.comb += [
            self.o.valid.eq(c_valid & c_access.visit),
            self.o.p.extremes.eq(c_extremes),
            *(self.o.p[name].eq(c_access[name]) for name in ("first_chunk", "last_chunk", "last")),
            self.i.ready.eq(~self.o.valid | self.o.ready),
            read.addr.eq(self.i.p.entry),
            read.en.eq(self.i.ready),
            write.addr.eq(c_access.entry),
            write.data.eq(c_extremes),
            write.en.eq(c_valid & ~c_access.visit),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                a_valid.eq(self.i.valid),
                a_access.eq(self.i.payload),
                a_in_c.eq(b_valid & (b_access.entry == self.i.p.entry)),
                a_in_d.eq(c_valid & (c_access.entry == self.i.p.entry)),
                b_valid.eq(a_valid),
                b_access.eq(a_access),
                b_in_c.eq(b_valid & (b_access.entry == a_access.entry)),
                b_extremes.eq(Mux(a_in_c, c_extremes.as_value(),
                                  Mux(a_in_d, d_extremes.as_value(), read.data.as_value()))),
                c_valid.eq(b_valid),
                c_access.eq(b_access),
                d_extremes.eq(c_extremes),
            ]
            for lane in range(config.lanes):
                m.d.sync += _extend(c_extremes[lane], b_extremes[lane], b_in_c, b_access, lane)
        return m


def _extend(extremes, read, hit, access, lane):
    """Return the assignments of the `extremes` of a lane, extended by those of an access.

    They continue the `extremes` of the beat before if `hit`, those `read` otherwise.
    """
    value = access.values[lane]
    high = Mux(hit, extremes.high, read.high)
    low = Mux(hit, extremes.low, read.low)
    above = access.first | (~access.visit & (value > high))
    below = access.first | (~access.visit & (value < low))
    return [
        extremes.high.eq(Mux(above, value, high)),
        extremes.low.eq(Mux(below, value, low)),
    ]
