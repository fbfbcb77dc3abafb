"""Rescaling of 16-bit values, all lanes by one multiplier."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, IntFormat

from ..common.checks import check_config
from ..common.shapes import clamped, multiplier_layout, narrowed, shape_of
from ..common.soft_multiplier import SoftMultiplier

__all__ = ["OFFSET", "Rescale"]

OFFSET = 1 << (formats.UINT4.bits - 1)
"""Taken off unsigned 4-bit results, see :mod:`golden.product.operand_bytes`."""

PRODUCT = IntFormat(ACT16.bits + formats.MANTISSA.bits)

_TWICE = IntFormat(ACT16.bits + 2)  # of numbers out of it, those near the limits with any offset


class Rescale(wiring.Component):
    """Multiply, round half up and clamp: ``clip(round(i * multiplier), low, high) - offset * 8``.

    Three-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload
    of ``config.lanes`` values per cycle; it never stalls.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.

    Members
    -------
    multiplier : ``In(multiplier_layout)``
    low, high : ``In(ACT16)``
    offset : ``In(1)``
        The result, offset included, keeps within ``ACT16``. All of these are stable from the
        cycle before a payload until it is out.
    i, o : ``In``, ``Out`` of ``stream.Signature(ArrayLayout(ACT16, lanes), always_ready=True)``
        Values and results.
    """

    LATENCY = 3

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._lanes = config.lanes
        values = stream.Signature(data.ArrayLayout(shape_of(ACT16), config.lanes),
                                  always_ready=True)
        super().__init__({
            "multiplier": In(multiplier_layout),
            "low": In(shape_of(ACT16)),
            "high": In(shape_of(ACT16)),
            "offset": In(1),
            "i": In(values),
            "o": Out(values),
        })

    def elaborate(self, platform):
        m = Module()
        offset = Mux(self.offset, OFFSET, 0)
        low, high = Signal(signed(ACT16.bits + 1)), Signal(signed(ACT16.bits + 1))
        addend = Signal(signed(OFFSET.bit_length() + 2))  # half a unit, the offset taken off
        p_valid, s_valid = Signal(), Signal()
        m.d.sync += [
            low.eq(self.low - offset),
            high.eq(self.high - offset),
            addend.eq(1 - (offset << 1)),
            p_valid.eq(self.i.valid),
            s_valid.eq(p_valid),
            self.o.valid.eq(s_valid),
        ]
        for lane in range(self._lanes):
            self._lane(m, lane, addend, low, high)
        return m

    def _lane(self, m, lane: int, addend, low, high):
        m.submodules[f"multiplier_{lane}"] = multiplier = SoftMultiplier(ACT16, formats.MANTISSA)
        # Each lane has a copy of its own, near to it.
        factor = Signal(multiplier_layout, name=f"factor_{lane}", reset_less=True,
                        attrs={"keep": 1})
        m.d.sync += factor.eq(self.multiplier)
        m.d.comb += [multiplier.a.eq(self.i.p[lane]), multiplier.b.eq(factor.mantissa)]

        # Stage p: exact product.
        p_product = Signal(shape_of(PRODUCT), name=f"p_product_{lane}", reset_less=True)

        # Stage s: shifted, with one fractional bit left for the rounding, or beyond all limits.
        s_twice = Signal(shape_of(_TWICE), name=f"s_twice_{lane}", reset_less=True)
        s_above, s_below = (Signal(name=f"{name}_{lane}", reset_less=True)
                            for name in ("s_above", "s_below"))
        twice, beyond = narrowed(p_product << 1, factor.shift, _TWICE.bits)

        # Stage o: rounded and clamped. The output stream itself is the stage register.
        m.d.sync += [
            p_product.eq(multiplier.product),
            s_twice.eq(twice),
            s_above.eq(beyond & ~p_product[-1]),
            s_below.eq(beyond & p_product[-1]),
            self.o.p[lane].eq(clamped((s_twice + addend) >> 1, low, high, s_above, s_below)),
        ]
