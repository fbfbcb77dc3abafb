"""Nibbles in bytes become operands, and the fields of one product all the products they stand for.

From bytes to operands, to their product, to sums. Of operands ``(w1 << 14) + w0`` and
``(a1 << 7) + a0`` the product is that of each pair, shifted by its own distance; that much is not
left to the solver, to which such a product is any sum of any four that can be.
"""

import pytest
from amaranth.hdl import Array, Mux, Signal, signed

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.common.formats import IntFormat, Mode
from golden.product.mac_array import CODES
from golden.product.packing import ACTIVATION_PORT, COL_SPACING, ROW_SPACING, WEIGHT_PORT, slot
from rtl.common import operands
from rtl.common.multiplier import Multiplier
from rtl.common.operands import NIBBLE, OperandEdge, TileActivation, TileMode
from rtl.product import processing_element
from rtl.product.processing_element import ProcessingElement
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=1, cols=1, lanes=1)


def edge():
    """The edge of an array of one row and one column: any bytes, and no nibble of a weight is -8.

    Of a byte that is one weight, no more is asked than that it is none that is missing, either.
    """
    one = Setting()
    dut = one.unit(OperandEdge(CONFIG))
    entries = Array(dut.codebook[code] for code in range(CODES))
    began = one.before(one.before(1))

    def nibbles(byte):
        return [byte[low:low + NIBBLE].as_signed() for low in (0, NIBBLE)]

    a, w, mode, kind = (one.before(one.before(each)) for each in (
        dut.activation_bytes[0], dut.weight_bytes[0], dut.mode.as_value(),
        dut.activation.as_value()))
    entry = one.before(entries[one.before(dut.activation_bytes[0])[:NIBBLE]]).as_signed()
    valid = one.before(one.before(dut.valid))
    by_kind = Mux(kind == TileActivation.CODE.value, entry, Mux(
        kind == TileActivation.UNSIGNED.value, a, a.as_signed()))
    pair = nibbles(a)[1] * (1 << ROW_SPACING) + nibbles(a)[0]
    fine = nibbles(w)[0] >= formats.WEIGHT4.min
    fine &= nibbles(w)[1] >= formats.WEIGHT4.min
    weights = nibbles(w)[1] * (1 << COL_SPACING) + nibbles(w)[0]
    found, weight = dut.activations[0][0], dut.weights[0]
    for each in Mode:
        here = began & (mode == TileMode[each.name].value)
        activation = pair if each.row_slots == 2 else by_kind
        one.claim(f"activation of {each.value}", ~(here & valid) | (found == activation))
        if each.col_slots == 2:
            one.claim(f"weight of {each.value}", ~(here & fine) | (weight == weights))
        else:
            one.claim(f"weight of {each.value}", ~here | (weight == w.as_signed()))
    one.claim("zero without operands", ~began | valid | (found == 0))
    one.cover("the least of both", began & (weight == WEIGHT_PORT.min + 1) & (found < 0))
    return one


def multiplier():
    """A multiplier of the array, which may be held."""
    one = Setting()
    dut = one.unit(Multiplier(ACTIVATION_PORT, WEIGHT_PORT))
    a, b, product = (Signal.like(each, name="kept") for each in (dut.a, dut.b, dut.product))
    with one.m.If(dut.enable):
        one.m.d.sync += [a.eq(dut.a), b.eq(dut.b), product.eq(a * b)]
    one.claim("the product, two steps later", dut.product == product)
    return one


def element(mode):
    """An element in a mode, whose multiplier gives any products that there are in this mode."""
    one = Setting()
    dut = ProcessingElement(CONFIG)
    *accumulators, product = one.apart(
        dut, *(f"accumulator{index}" for index in range(mode.macs)), cut=("multiplier.product",))
    one.assume(dut.mode.as_value() == TileMode[mode.name].value)
    magnitude = mode.operand.magnitude * mode.weight.magnitude
    sent = 0
    for row in range(mode.row_slots):
        for column in range(mode.col_slots):
            index = slot(row, column)
            term = one.free(signed(IntFormat(magnitude.bit_length() + 1).bits), f"term{index}")
            one.assume((term >= -magnitude) & (term <= magnitude))
            sent += term << (ROW_SPACING * row + COL_SPACING * column)
            found = getattr(dut.sums, f"slot{index}")
            total, finished = (Signal.like(found, name=f"{name}_{index}")
                               for name in ("total", "finished"))
            one.m.d.sync += total.eq(Mux(dut.fresh, 0, total + term))
            with one.m.If(dut.last):
                one.m.d.sync += finished.eq(total + term)
            one.claim(f"sum {index}", accumulators[index] == total)
            one.claim(f"slot {index}", found == finished)
            one.cover("less than zero", found < 0)
    one.assume(product == sent)
    return one


def test_the_edge_makes_operands_of_all_bytes(tmp_path):
    assert proved(edge(), tmp_path, depth=3, induction=True) == set()
    assert reached(edge(), tmp_path / "cover", depth=5) == set()


def test_a_multiplier_multiplies(tmp_path):
    assert proved(multiplier(), tmp_path, depth=6) == set()


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.name)
def test_each_slot_has_the_sum_of_its_products(mode, tmp_path):
    assert proved(element(mode), tmp_path, depth=2, induction=True) == set()
    assert reached(element(mode), tmp_path / "cover", depth=5) == set()


@pytest.mark.parametrize(("owner", "function", "old", "new", "broken"), [
    (operands, "_nibbles", ".as_signed()", "", "activation of w4a4"),
    (operands, "_nibbles", "range(0, BYTE, NIBBLE)", "(NIBBLE, 0)",
     "weight of w4a8"),
    (OperandEdge, "elaborate", "byte.as_signed()", "byte", "weight of w8a8"),
    (OperandEdge, "elaborate", "Mux(b_valid, value, 0)", "value", "zero without operands"),
    (OperandEdge, "_activation", "byte, byte.as_signed()", "byte, byte", "activation of w8a8"),
    (OperandEdge, "_activation", "byte[:NIBBLE]", "byte[NIBBLE:]",
     "activation of w4a8"),
])
def test_a_mutant_of_the_edge_is_found(owner, function, old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, owner, function, old, new)
    assert breaks(broken, edge(), tmp_path, depth=6)


@pytest.mark.parametrize(("old", "new"), [
    ("self.product.eq(a * b)", "self.product.eq(a * a)"),
    ("with m.If(self.enable)", "if True"),
])
def test_a_mutant_of_a_multiplier_is_found(old, new, tmp_path, monkeypatch):
    mutate(monkeypatch, Multiplier, "elaborate", old, new)
    assert breaks("the product, two steps later", multiplier(), tmp_path, depth=6)


@pytest.mark.parametrize(("function", "old", "new", "mode", "broken"), [
    ("borrow", "low - 1", "low", Mode.W4A4, "sum 2"),
    ("_with_field", "Cat(1, accumulator)", "Cat(0, accumulator)", Mode.W4A8, "sum 1"),
    ("_with_field", "product[low:low + field.fmt.bits].as_signed()",
     "product[low:low + field.fmt.bits]", Mode.W8A8, "sum 0"),
])
def test_a_mutant_of_an_element_is_found(function, old, new, mode, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, processing_element, function, old, new)
    assert breaks(broken, element(mode), tmp_path, depth=6)


@pytest.mark.parametrize(("old", "new", "broken"), [
    ("Mux(self.fresh, 0, total)", "total", "sum 3"),
    ("m.d.sync += kept.eq(total)", "m.d.sync += kept.eq(accumulator)", "slot 3"),
])
def test_a_mutant_of_the_sums_is_found(old, new, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, ProcessingElement, "elaborate", old, new)
    assert breaks(broken, element(Mode.W4A4), tmp_path, depth=6)
