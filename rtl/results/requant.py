"""Streaming requantizer, bit-exact with :func:`golden.results.requant.requant`."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat, round_shift
from golden.results.requant import OUT, PRODUCT

from ..common.checks import check_config
from ..common.shapes import clamped, multiplier_layout, narrowed, shape_of

__all__ = ["Requant", "requant_layout"]

_HALF = formats.ACC.bits // 2
_TWICE = IntFormat(OUT.bits + 1)


def requant_layout(lanes: int) -> data.ArrayLayout:
    """One accumulator and its multiplier per lane."""
    return data.ArrayLayout(data.StructLayout({
        "acc": shape_of(formats.ACC),
        "multiplier": multiplier_layout,
    }), lanes)


class Requant(wiring.Component):
    """Rescale accumulators, round half up and clamp.

    Four-stage pipeline with a latency of :attr:`LATENCY` cycles and a throughput of one payload of
    ``config.lanes`` accumulators per cycle. Backpressure stalls all stages at once.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the number of lanes.

    Members
    -------
    i : ``In(stream.Signature(requant_layout(lanes)))``
        Accumulator and multiplier of each lane.
    low, high : ``In(OUT)``
        Clamp limits; stable while a payload is inside.
    o : ``Out(stream.Signature(ArrayLayout(OUT, lanes)))``
        Clamped results.
    """

    LATENCY = 4

    def __init__(self, config: AcceleratorConfig):
        check_config(config)
        self._lanes = config.lanes
        super().__init__({
            "i": In(stream.Signature(requant_layout(config.lanes))),
            "low": In(shape_of(OUT)),
            "high": In(shape_of(OUT)),
            "o": Out(stream.Signature(data.ArrayLayout(shape_of(OUT), config.lanes))),
        })

    def elaborate(self, platform):
        m = Module()
        p_valid, q_valid, s_valid = Signal(), Signal(), Signal()

        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                p_valid.eq(self.i.valid),
                q_valid.eq(p_valid),
                s_valid.eq(q_valid),
                self.o.valid.eq(s_valid),
            ]
            for lane in range(self._lanes):
                m.d.sync += self._lane(lane)
        return m

    def _lane(self, lane: int):
        """Return the register updates of one lane."""
        operand = self.i.p[lane]
        acc, multiplier = operand.acc, operand.multiplier

        # Stage p: products of the halves of the accumulator, one 18x18 multiplier each.
        p_low = Signal(_HALF + formats.MANTISSA.bits, name=f"p_low_{lane}", reset_less=True)
        p_high = Signal(signed(_HALF + formats.MANTISSA.bits), name=f"p_high_{lane}",
                        reset_less=True)
        p_shift = Signal(shape_of(formats.SHIFT), name=f"p_shift_{lane}", reset_less=True)

        # Stage q: exact product.
        q_product = Signal(shape_of(PRODUCT), name=f"q_product_{lane}", reset_less=True)
        q_shift = Signal.like(p_shift, name=f"q_shift_{lane}", reset_less=True)

        # Stage s: shifted, with one fractional bit left for the rounding, or beyond all limits.
        s_twice = Signal(shape_of(_TWICE), name=f"s_twice_{lane}", reset_less=True)
        s_above, s_below = (Signal(name=f"{name}_{lane}", reset_less=True)
                            for name in ("s_above", "s_below"))
        twice, beyond = narrowed(q_product << 1, q_shift, _TWICE.bits)

        # Stage o: rounded and clamped. The output stream itself is the stage register.
        rounded = round_shift(s_twice, 1)
        return [
            p_low.eq(acc[:_HALF] * multiplier.mantissa),
            p_high.eq(acc[_HALF:].as_signed() * multiplier.mantissa),
            p_shift.eq(multiplier.shift),
            q_product.eq((p_high << _HALF) + p_low),
            q_shift.eq(p_shift),
            s_twice.eq(twice),
            s_above.eq(beyond & ~q_product[-1]),
            s_below.eq(beyond & q_product[-1]),
            self.o.p[lane].eq(clamped(rounded, self.low, self.high, s_above, s_below)),
        ]
