"""First pass of LayerNorm: the sums of a row and of its squares."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer
from golden.common.formats import ACT16, IntFormat
from golden.rows.layernorm import COARSE, SQUARES, SUM, VALUE

from ..common.multiplier import lent_signature
from ..common.shapes import shape_of

__all__ = ["RowSums", "norm_word_layout", "row_sums_layout"]

_SQUARE = IntFormat(2 * ACT16.bits - 1, signed=False)
_SHIFTED = IntFormat(_SQUARE.bits + 2 * COARSE, signed=False)

row_sums_layout = data.StructLayout({"sum": shape_of(SUM), "squares": shape_of(SQUARES)})
"""Sum of a row, and sum of its squares."""

_place_layout = data.StructLayout({"valid": 1, "first": 1, "last": 1})


def norm_word_layout(lanes: int) -> data.StructLayout:
    """A word of a row, which of its channels are coarse, and whether it is the first or the last.
    """
    return data.StructLayout({
        "values": data.ArrayLayout(shape_of(ACT16), lanes),
        "coarse": lanes,
        "first": 1,
        "last": 1,
    })


class RowSums(wiring.Component):
    """Sum rows and their squares, exactly.

    Takes one word per cycle; the sums of a row appear :attr:`latency` cycles after its last word.
    Backpressure stalls all stages at once.

    Members
    -------
    i : ``In(stream.Signature(norm_word_layout(lanes)))``
        Words of a row.
    o : ``Out(stream.Signature(row_sums_layout))``
        Sums of each row.
    products : ``Out(lent_signature).array(lanes)``
    """

    def __init__(self, lanes: int):
        self._lanes = integer("lanes", lanes, 1)
        super().__init__({
            "i": In(stream.Signature(norm_word_layout(lanes))),
            "o": Out(stream.Signature(row_sums_layout)),
            "products": Out(lent_signature).array(lanes),
        })

    @property
    def latency(self) -> int:
        """Cycles from the last word of a row to its sums."""
        return 3 + (self._lanes - 1).bit_length()

    def elaborate(self, platform):
        m = Module()
        word, sums = self.i.p, self.o.p

        # Stage x: values, which are in the multipliers, too.
        x_place, x_values = Signal(_place_layout), Signal.like(word.values, reset_less=True)
        x_coarse = Signal(self._lanes, reset_less=True)

        # Stage q: squares. Coarse channels are shifted here.
        q_place = Signal(_place_layout)
        q_values = Signal(data.ArrayLayout(shape_of(VALUE), self._lanes), reset_less=True)
        q_coarse = Signal(self._lanes, reset_less=True)
        q_squares = [Signal(shape_of(_SHIFTED), name=f"q_square_{lane}")
                     for lane in range(self._lanes)]
        for lane, (product, square) in enumerate(zip(self.products, q_squares, strict=True)):
            exact = Signal(shape_of(_SQUARE), name=f"exact_{lane}")
            m.d.comb += [
                product.a.eq(word.values[lane]),
                product.b.eq(word.values[lane]),
                product.enable.eq(self.i.ready),
                exact.eq(product.product),
                square.eq(Mux(q_coarse[lane], exact << 2 * COARSE, exact)),
            ]

        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [
                x_place.valid.eq(self.i.valid),
                x_place.first.eq(word.first),
                x_place.last.eq(word.last),
                x_values.eq(word.values),
                x_coarse.eq(word.coarse),
                q_place.eq(x_place),
                q_coarse.eq(x_coarse),
                *(q_values[lane].eq(Mux(x_coarse[lane], value << COARSE, value))
                  for lane, value in enumerate(x_values)),
            ]
            place, values, squares = q_place, list(q_values), q_squares
            for level in range((self._lanes - 1).bit_length()):
                t_place = Signal(_place_layout, name=f"t{level}_place")
                m.d.sync += t_place.eq(place)
                place = t_place
                values = self._halved(m, values, f"t{level}_value")
                squares = self._halved(m, squares, f"t{level}_square")

            # Stage o: sums over the words. The output stream itself is the stage register.
            m.d.sync += self.o.valid.eq(place.valid & place.last)
            with m.If(place.valid):
                m.d.sync += [
                    sums.sum.eq(Mux(place.first, 0, sums.sum) + values[0]),
                    sums.squares.eq(Mux(place.first, 0, sums.squares) + squares[0]),
                ]
        return m

    def _halved(self, m, numbers, name):
        """Return registers of the sums of pairs; an odd one out goes along."""
        sums = []
        for index in range(0, len(numbers), 2):
            value = sum(numbers[index + 1:index + 2], numbers[index])
            register = Signal(value.shape(), name=f"{name}_{index // 2}", reset_less=True)
            m.d.sync += register.eq(value)
            sums.append(register)
        return sums
