"""Nibbles in bytes become operands, and the fields of one product all the products they stand for.

From bytes to sums: the edge of the array and a processing element behind it.
"""

import pytest
from amaranth.hdl import Array, Mux, Shape, Signal

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import Mode
from golden.product.mac_array import CODES
from golden.product.packing import slot
from rtl.common import operands
from rtl.common.multiplier import Multiplier
from rtl.common.operands import NIBBLE, OperandEdge, TileActivation, TileMode
from rtl.product import processing_element
from rtl.product.processing_element import ProcessingElement
from tests.prove.proof import Setting, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=1, cols=1, lanes=1)
FULL = OperandEdge.LATENCY + Multiplier.LATENCY + 4
"""Cycle, an even one, in which the sums of a tile are there that only knew the same operands."""
DEPTH = FULL + 1


def setting(mode):
    """A tile of two cycles in a mode, over and over, with operands that are any but the same."""
    one = Setting()
    m = one.m
    edge, element = one.unit(OperandEdge(CONFIG), "edge"), one.unit(ProcessingElement(CONFIG))
    a, w = one.constant(8, "a"), one.constant(8, "w")
    kind = one.constant(Shape.cast(TileActivation).width, "kind")
    entry = one.constant(formats.OPERAND.bits, "entry").as_signed()
    last, cycle = Signal(), Signal(range(DEPTH + 1))
    m.d.sync += [last.eq(~last), cycle.eq(Mux(cycle == DEPTH, DEPTH, cycle + 1))]
    for port, value in ((edge.valid, 1), (edge.mode, TileMode[mode.name]),
                        (edge.activation.as_value(), kind), (edge.activation_bytes[0], a),
                        (edge.weight_bytes[0], w), (element.mode, TileMode[mode.name]),
                        (element.last, last)):
        one.assume(port == value)
    m.d.comb += [element.activation.eq(edge.activations[0]), element.weight.eq(edge.weights[0])]
    one.assume(Array(edge.codebook[code] for code in range(CODES))[a[:NIBBLE]] == entry)
    one.assume((kind == TileActivation.SIGNED) | (kind == TileActivation.UNSIGNED)
               | (kind == TileActivation.CODE))
    one.assume(entry >= formats.OPERAND.min)

    def nibbles(byte):
        return [byte[low:low + NIBBLE].as_signed() for low in (0, NIBBLE)]

    weights = nibbles(w) if mode.col_slots == 2 else [w.as_signed()]
    for weight in weights:
        one.assume(weight >= mode.weight.min)
    activations = nibbles(a) if mode.row_slots == 2 else [
        Mux(kind == TileActivation.CODE, entry,
            Mux(kind == TileActivation.UNSIGNED, a, a.as_signed()))]
    full = cycle == FULL
    for row, activation in enumerate(activations):
        for column, weight in enumerate(weights):
            found = getattr(element.sums, f"slot{slot(row, column)}")
            one.claim(f"slot {slot(row, column)}", ~full | (found == 2 * activation * weight))
            one.cover("less than zero", full & (found < 0))
    return one


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name)
def test_each_slot_has_its_product(mode, tmp_path):
    assert proved(setting(mode), tmp_path, depth=DEPTH) == set()
    assert reached(setting(mode), tmp_path / "cover", depth=DEPTH) == set()


@pytest.mark.parametrize(("owner", "function", "old", "new", "mode", "broken"), [
    (operands, "_nibbles", ".as_signed()", "", Mode.W4A4, "slot 0"),
    (operands, "_nibbles", "range(0, BYTE, NIBBLE)", "(NIBBLE, 0)", Mode.W4A8, "slot 1"),
    (processing_element, "borrow", "low - 1", "low", Mode.W4A4, "slot 2"),
    (processing_element, "_with_field", "Cat(1, accumulator)", "Cat(0, accumulator)", Mode.W4A8,
     "slot 1"),
    (OperandEdge, "elaborate", "byte.as_signed()", "byte", Mode.W8A8, "slot 0"),
    (OperandEdge, "_activation", "byte, byte.as_signed()", "byte, byte", Mode.W8A8, "slot 0"),
    (OperandEdge, "_activation", "byte[:NIBBLE]", "byte[NIBBLE:]", Mode.W4A8, "slot 0"),
])
def test_a_mutant_is_found(owner, function, old, new, mode, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, owner, function, old, new)
    assert broken in proved(setting(mode), tmp_path, depth=DEPTH)
