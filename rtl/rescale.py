"""Rescaling of 16-bit values, all lanes by one multiplier."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden import formats
from golden.config import AcceleratorConfig
from golden.formats import ACT16, IntFormat

from .shapes import multiplier_layout, saturated, shape_of

__all__ = ["OFFSET", "Rescale"]

OFFSET = 1 << (formats.UINT4.bits - 1)
"""Taken off unsigned 4-bit results, see :mod:`golden.mac_array`."""

PRODUCT = IntFormat(ACT16.bits + formats.MANTISSA.bits)


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
            m.d.sync += self._lane(lane, addend, low, high)
        return m

    def _lane(self, lane: int, addend, low, high):
        """Return the register updates of one lane."""
        # Stage p: exact product.
        p_product = Signal(shape_of(PRODUCT), name=f"p_product_{lane}")

        # Stage s: shifted, with one fractional bit left for the rounding.
        s_twice = Signal(signed(PRODUCT.bits + 1), name=f"s_twice_{lane}")

        # Stage o: rounded and clamped. The output stream itself is the stage register.
        return [
            p_product.eq(self.i.p[lane] * self.multiplier.mantissa),
            s_twice.eq((p_product << 1) >> self.multiplier.shift),
            self.o.p[lane].eq(saturated((s_twice + addend) >> 1, low, high)),
        ]
