"""One multiplier of the MAC array with the accumulators behind it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.product.packing import ACTIVATION_PORT, WEIGHT_PORT, product_fields

from ..common.checks import check_config
from ..common.multiplier import PORT, Multiplier, lent_signature
from ..common.operands import TileMode, by_mode
from ..common.shapes import shape_of

__all__ = ["ProcessingElement", "sums_signature"]

SLOTS = max(mode.macs for mode in Mode)


def sums_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Dot products of one multiplier, ``slot0`` upwards (:func:`golden.product.packing.slot`)."""
    return wiring.Signature({
        f"slot{index}": Out(shape_of(config.partial_sum(index))) for index in range(SLOTS)})


class ProcessingElement(wiring.Component):
    """Multiply operands every cycle and add up the products they hold.

    A product reaches the accumulators ``Multiplier.LATENCY`` cycles after its operands; `mode`,
    `last` and `fresh` go with the product. With the last product of a tile the sums move to `sums`.
    A zero activation leaves the accumulators as they are. Finished sums leave from element to
    element: with `move`, `sums` take the place of those `behind`. No register is reset.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Gives the widths of the accumulators, which are wide enough never to wrap.
    lends : bool
        The multiplier can be lent.
    followed : bool
        There is an element behind this one.

    Members
    -------
    activation : ``In(ACTIVATION_PORT)``
    weight : ``In(WEIGHT_PORT)``
    mode : ``In(TileMode)``
    last : ``In(1)``
    fresh : ``In(1)``
        The accumulators start from zero in the next cycle, as they must with `last`, before the
        first tile, while the multiplier is lent, and as long after as products of its user come.
    sums : ``Out(sums_signature(config))``
        Finished dot products.
    move, behind : ``In(1)``, ``In(sums_signature(config))``
        Those of the element behind become this one's; with `last` it is high, too, and they do
        not. Only if `followed`.
    lend, lent : ``In(1)``, ``In(lent_signature)``
        The multiplier is lent, and as its user has it. Only if it `lends`.
    """

    def __init__(self, config: AcceleratorConfig, lends: bool = False, followed: bool = False):
        check_config(config)
        self._lends, self._followed = lends, followed
        borrower = {"lend": In(1), "lent": In(lent_signature)}
        super().__init__({
            "activation": In(shape_of(ACTIVATION_PORT)),
            "weight": In(shape_of(WEIGHT_PORT)),
            "mode": In(TileMode),
            "last": In(1),
            "fresh": In(1),
            "sums": Out(sums_signature(config)),
            **({"move": In(1), "behind": In(sums_signature(config))} if followed else {}),
            **(borrower if lends else {}),
        })

    def elaborate(self, platform):
        m = Module()
        ports = (PORT, PORT) if self._lends else (ACTIVATION_PORT, WEIGHT_PORT)
        m.submodules.multiplier = multiplier = Multiplier(*ports)
        m.d.comb += [multiplier.a.eq(self.activation), multiplier.b.eq(self.weight)]
        if self._lends:
            m.d.comb += self.lent.product.eq(multiplier.product)
            with m.If(self.lend):
                m.d.comb += [getattr(multiplier, name).eq(getattr(self.lent, name))
                             for name in ("a", "b", "enable")]

        for index in range(SLOTS):
            finished = getattr(self.sums, f"slot{index}")
            accumulator = Signal.like(finished, name=f"accumulator{index}", reset_less=True)
            total = Signal.like(finished, name=f"total{index}")
            m.d.comb += total.eq(_with_field(accumulator, multiplier.product, index, self.mode))
            m.d.sync += accumulator.eq(Mux(self.fresh, 0, total))
            kept = Signal.like(finished, name=f"kept{index}", reset_less=True)
            m.d.comb += finished.eq(kept)
            if self._followed:
                with m.If(self.move):
                    m.d.sync += kept.eq(Mux(self.last, total,
                                            getattr(self.behind, f"slot{index}")))
            else:
                with m.If(self.last):
                    m.d.sync += kept.eq(total)
        return m


def _with_field(accumulator: Value, product: Value, index: int, mode: Value) -> Value:
    """`accumulator` plus the field `index` of `product`."""
    fields = {each: product_fields(each)[index] for each in Mode if each.macs > index}
    low, = {field.low for field in fields.values()}
    value = by_mode(mode, {each: product[low:low + field.fmt.bits].as_signed()
                           for each, field in fields.items()})
    if low == 0:
        return accumulator + value
    # One more bit below the sum makes the borrow the carry into the same adder.
    return (Cat(1, accumulator).as_signed()
            + Cat(borrow(product, low), value).as_signed()) >> 1


def borrow(product: Value, low: int) -> Value:
    """What negative fields below bit `low` have taken from the field that begins there."""
    return product[low - 1]
