"""Activations of MLPs, bit-exact with :func:`golden.results.curves.curve_table`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat
from golden.results import curves, gelu

from ..common.checks import check_config
from ..common.shapes import shape_of
from ..common.soft_multiplier import SoftMultiplier

__all__ = ["Gelu", "curve_layout", "entry_layout", "gelu_layout"]

_MAGNITUDE = IntFormat(gelu.INPUT.bits, signed=False)
_POSITIVE = IntFormat(gelu.INPUT.bits - 1, signed=False)
_END_BITS = (gelu.END - 1).bit_length()
_REST_BITS = gelu.TABLE.rest_bits
_REST = IntFormat(_REST_BITS, signed=False)
_DROP = gelu.TABLE_FRAC - gelu.RESULT.frac
_HALF = 1 << (_DROP - 1)
_VALUE = IntFormat((curves.MOST + _HALF).bit_length(), signed=False)

curve_layout = data.StructLayout({"wide": 1, "offset": shape_of(curves.OFFSETS)})
"""What a :class:`golden.results.curves.Curve` has besides its table."""

entry_layout = data.StructLayout({
    "valid": 1,
    "index": gelu.INDEX_BITS,
    "value": shape_of(curves.VALUE),
    "slope": shape_of(curves.SLOPE),
})
"""An entry of its table, if there is one now: a value, and the next one less it."""

_stored_layout = data.StructLayout({"value": shape_of(_VALUE), "slope": shape_of(curves.SLOPE)})


def gelu_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A value of each lane, and whether its column is coarse, see :mod:`golden.results.gelu`."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(gelu.INPUT), config.lanes),
        "coarse": config.lanes,
    })


class Gelu(wiring.Component):
    """Take of each lane what its table is for, with the offset that makes it unsigned.

    Three-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload
    of ``config.lanes`` values per cycle. Backpressure stalls all stages at once.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.

    Members
    -------
    i : ``In(stream.Signature(gelu_layout(config)))``
        Values of the residual format, ``ACT16``.
    o : ``Out(stream.Signature(ArrayLayout(golden.results.gelu.RESULT, lanes)))``
        Their activations plus the offset.
    entry : ``In(entry_layout)``
        Written to the table of every lane; it stays there. There is none before.
    curve : ``In(curve_layout)``
        What else there is to the table; stable from a cycle before the first payload of `i` until
        all results have been at `o`.
    """

    LATENCY = 3

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._lanes = config.lanes
        super().__init__({
            "i": In(stream.Signature(gelu_layout(config))),
            "o": Out(stream.Signature(data.ArrayLayout(shape_of(gelu.RESULT), config.lanes))),
            "entry": In(entry_layout),
            "curve": In(curve_layout),
        })

    def elaborate(self, platform):
        m = Module()
        t_valid, p_valid = Signal(), Signal()

        self._curve = Signal(curve_layout)
        m.d.sync += self._curve.eq(self.curve)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                t_valid.eq(self.i.valid),
                p_valid.eq(t_valid),
                self.o.valid.eq(p_valid),
            ]
            for lane in range(self._lanes):
                self._lane(m, lane)
        return m

    def _table(self, m, lane: int, index):
        """Return the entry at an index."""
        m.submodules[f"table_{lane}"] = table = memory.Memory(
            shape=_stored_layout, depth=curves.LENGTH, init=[])
        write, read = table.write_port(), table.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.entry.valid),
            write.addr.eq(self.entry.index),
            write.data["value"].eq(self.entry.value + _HALF),
            write.data.slope.eq(self.entry.slope),
            read.addr.eq(index),
        ]
        return read.data

    def _lane(self, m, lane: int):
        m.submodules[f"multiplier_{lane}"] = rise = SoftMultiplier(curves.SLOPE, _REST)
        t_slope, t_rest = rise.a, rise.b
        value = self.i.p["values"][lane]
        negative = value < 0
        magnitude = Mux(negative, -value, value)[:_MAGNITUDE.bits]
        u = Mux(self._curve.wide, magnitude >> 1, magnitude)
        beyond = u[_END_BITS:].any()
        entry = self._table(m, lane, u[_REST_BITS:_END_BITS])

        # Stage t: the table, which beyond its end and in coarse columns does nothing.
        t_positive = Signal(shape_of(_POSITIVE), name=f"t_positive_{lane}", reset_less=True)
        t_beyond = Signal(name=f"t_beyond_{lane}", reset_less=True)
        t_value = Signal(shape_of(_VALUE), name=f"t_value_{lane}", reset_less=True)

        # Stage p: product of the interpolation; the result but for the table's part.
        p_rise = Signal.like(rise.product, name=f"p_rise_{lane}", reset_less=True)
        p_value = Signal.like(t_value, name=f"p_value_{lane}", reset_less=True)
        p_top = Signal(shape_of(gelu.RESULT), name=f"p_top_{lane}", reset_less=True)
        top = t_positive + self._curve.offset

        # Stage o: both roundings of equation (2) in one addition, the inner one by its half in
        # front of the shift, the outer one by that in the table. The output stream itself is the
        # stage register.
        half = Const(1 << (_REST_BITS - 1), _REST_BITS)
        part = (p_rise + Cat(half, p_value)) >> (_REST_BITS + _DROP)
        m.d.sync += [
            t_positive.eq(Mux(negative, 0, value)[:_POSITIVE.bits]),
            t_beyond.eq(beyond | self.i.p.coarse[lane]),
            t_value.eq(entry["value"]),
            t_slope.eq(entry.slope),
            t_rest.eq(u[:_REST_BITS]),
            p_rise.eq(Mux(t_beyond, 0, rise.product)),
            p_value.eq(Mux(t_beyond, _HALF, t_value)),
            p_top.eq(Mux(top > gelu.RESULT.max, gelu.RESULT.max, top)),
            self.o.p[lane].eq(p_top - part),
        ]
