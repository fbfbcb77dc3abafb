"""One multiplier of the MAC array with the accumulators behind it."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import AcceleratorConfig
from golden.formats import Mode
from golden.packing import ACTIVATION_PORT, WEIGHT_PORT, product_fields

from .multiplier import Multiplier
from .operands import TileMode, by_mode
from .shapes import shape_of

__all__ = ["ProcessingElement", "sums_layout"]

SLOTS = max(mode.macs for mode in Mode)


def sums_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Dot products of one multiplier, ``slot0`` upwards (:func:`golden.packing.slot`)."""
    return data.StructLayout({
        f"slot{index}": shape_of(config.accumulator(index)) for index in range(SLOTS)})


class ProcessingElement(wiring.Component):
    """Multiply operands every cycle and add up the products they hold.

    A product reaches the accumulators ``Multiplier.LATENCY`` cycles after its operands; `mode` and
    `last` go with the product. With the last product of a tile the sums move to `sums`, and the
    accumulators start from zero again. A zero activation leaves them as they are.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the widths of the accumulators, which are wide enough never to wrap.

    Members
    -------
    activation : ``In(ACTIVATION_PORT)``
    weight : ``In(WEIGHT_PORT)``
    mode : ``In(TileMode)``
    last : ``In(1)``
    shift : ``In(1)``
        Replace `sums` by `below`, unless `last`.
    below : ``In(sums_layout(config))``
        Sums of the next PE row.
    sums : ``Out(sums_layout(config))``
        Finished dot products.
    """

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        super().__init__({
            "activation": In(shape_of(ACTIVATION_PORT)),
            "weight": In(shape_of(WEIGHT_PORT)),
            "mode": In(TileMode),
            "last": In(1),
            "shift": In(1),
            "below": In(sums_layout(config)),
            "sums": Out(sums_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(ACTIVATION_PORT, WEIGHT_PORT)
        m.d.comb += [multiplier.a.eq(self.activation), multiplier.b.eq(self.weight)]

        accumulators = Signal.like(self.sums)
        totals = Signal.like(self.sums)
        for index in range(SLOTS):
            slot = f"slot{index}"
            m.d.comb += totals[slot].eq(_with_field(accumulators[slot], multiplier.product,
                                                    index, self.mode))
        m.d.sync += accumulators.eq(totals)
        with m.If(self.last):
            m.d.sync += [self.sums.eq(totals), accumulators.eq(0)]
        with m.Elif(self.shift):
            m.d.sync += self.sums.eq(self.below)
        return m


def _with_field(accumulator: Value, product: Value, index: int, mode: Value) -> Value:
    """`accumulator` plus the field `index` of `product`."""
    fields = {each: product_fields(each)[index] for each in Mode if each.macs > index}
    low, = {field.low for field in fields.values()}
    value = by_mode(mode, {each: product[low:low + field.fmt.bits].as_signed()
                           for each, field in fields.items()})
    if low == 0:
        return accumulator + value
    # One more bit below the sum turns the borrow into the carry into its adder.
    borrow = product[low - 1]
    return (Cat(1, accumulator).as_signed() + Cat(borrow, value).as_signed()) >> 1
