"""GELU, bit-exact with :func:`golden.results.gelu.gelu`."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat
from golden.results import gelu

from ..common.checks import check_config
from ..common.shapes import rom, shape_of
from ..common.soft_multiplier import SoftMultiplier

__all__ = ["Gelu", "gelu_layout"]

_MAGNITUDE = IntFormat(gelu.INPUT.bits, signed=False)
_POSITIVE = IntFormat(gelu.INPUT.bits - 1, signed=False)
_END_BITS = (gelu.END - 1).bit_length()
_DROP = gelu.TABLE_FRAC - gelu.RESULT.frac
_HALF = 1 << (_DROP - 1)
_VALUE = IntFormat((gelu.TABLE.value.max + _HALF).bit_length(), signed=False)


def gelu_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A value of each lane, and whether its column is coarse, see :mod:`golden.results.gelu`."""
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(gelu.INPUT), config.lanes),
        "coarse": config.lanes,
    })


class Gelu(wiring.Component):
    """Take the GELU of each lane, with the offset that makes it unsigned.

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
        Their GELU plus ``golden.results.gelu.OFFSET``.
    """

    LATENCY = 3

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._lanes = config.lanes
        super().__init__({
            "i": In(stream.Signature(gelu_layout(config))),
            "o": Out(stream.Signature(data.ArrayLayout(shape_of(gelu.RESULT), config.lanes))),
        })

    def elaborate(self, platform):
        m = Module()
        t_valid, p_valid = Signal(), Signal()

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

    def _lane(self, m, lane: int):
        table = gelu.TABLE
        rest = IntFormat(table.rest_bits, signed=False)
        m.submodules[f"multiplier_{lane}"] = rise = SoftMultiplier(table.slope, rest)
        t_slope, t_rest = rise.a, rise.b
        value = self.i.p["values"][lane]
        negative = value < 0
        magnitude = Mux(negative, -value, value)[:_MAGNITUDE.bits]
        index = magnitude[table.rest_bits:_END_BITS]

        # Stage t: both tables, which beyond their end and in coarse columns do nothing.
        t_positive = Signal(shape_of(_POSITIVE), name=f"t_positive_{lane}")
        t_beyond = Signal(name=f"t_beyond_{lane}")
        t_value = Signal(shape_of(_VALUE), name=f"t_value_{lane}")

        # Stage p: product of the interpolation; the result but for the table's part.
        p_rise = Signal(shape_of(IntFormat(table.slope.bits + table.rest_bits)),
                        name=f"p_rise_{lane}")
        p_value = Signal.like(t_value, name=f"p_value_{lane}")
        p_top = Signal(shape_of(gelu.RESULT), name=f"p_top_{lane}")
        top = t_positive + gelu.OFFSET

        # Stage o: both roundings of equation (2) in one addition, the inner one by its half in
        # front of the shift, the outer one by that in the table. The output stream itself is the
        # stage register.
        half = Const(1 << (table.rest_bits - 1), table.rest_bits)
        part = (p_rise + Cat(half, p_value)) >> (table.rest_bits + _DROP)
        m.d.sync += [
            t_positive.eq(Mux(negative, 0, value)[:_POSITIVE.bits]),
            t_beyond.eq(magnitude[_END_BITS:].any() | self.i.p.coarse[lane]),
            t_value.eq(rom([value + _HALF for value in table.values], index, _VALUE)),
            t_slope.eq(rom(table.slopes, index, table.slope)),
            t_rest.eq(magnitude[:table.rest_bits]),
            p_rise.eq(Mux(t_beyond, 0, rise.product)),
            p_value.eq(Mux(t_beyond, _HALF, t_value)),
            p_top.eq(Mux(top > gelu.RESULT.max, gelu.RESULT.max, top)),
            self.o.p[lane].eq(p_top - part),
        ]
