"""Every product of every operand pair, through the one multiplier that holds them."""

import itertools

import numpy as np
import pytest

from golden.common.formats import INT4, OPERAND, WEIGHT4, WEIGHT8, Mode
from golden.product import packing
from golden.product.packing import (
    ACTIVATION_PORT,
    WEIGHT_PORT,
    packed_activation,
    packed_weight,
    product_fields,
    slot,
    unpack_product,
)


def values(fmt):
    return range(fmt.min, fmt.max + 1)


def pairs(fmt):
    return np.array(list(itertools.product(values(fmt), repeat=2))).T


def check_outer_products(mode, weights, activations):
    """Compare each slot of every weight x activation operand with the plain product."""
    products = np.multiply.outer(packed_weight(weights), packed_activation(activations))
    places = itertools.product(range(mode.row_slots), range(mode.col_slots))
    for (row, col), got in zip(places, unpack_product(products, mode), strict=True):
        want = np.multiply.outer(weights[col], activations[row])
        assert np.array_equal(got, want), f"slot {slot(row, col)}"
    return products


def test_four_products_of_4_bit_operands_are_exact():
    products = check_outer_products(Mode.W4A4, pairs(WEIGHT4), pairs(INT4))
    assert products.size == 57_600


def test_two_products_with_an_8_bit_activation_are_exact():
    check_outer_products(Mode.W4A8, pairs(WEIGHT4), [np.array(values(OPERAND))])


def test_one_product_of_8_bit_operands_is_exact():
    check_outer_products(Mode.W8A8, [np.array(values(WEIGHT8))], [np.array(values(OPERAND))])


def test_unpacking_takes_python_integers():
    assert unpack_product(packed_weight((-7, 3)) * packed_activation((-8, 5)), Mode.W4A4) == (
        56, -24, -35, 15)


def test_slots_of_narrow_modes_come_first():
    for mode in Mode:
        slots = [slot(row, col) for row in range(mode.row_slots) for col in range(mode.col_slots)]
        assert slots == list(range(mode.macs))


def test_operands_fit_an_18_bit_multiplier():
    assert (WEIGHT_PORT.bits, ACTIVATION_PORT.bits) == (18, 12)
    for mode in Mode:
        for weight, operand in itertools.product((mode.weight.min, mode.weight.max),
                                                 (mode.operand.min, mode.operand.max)):
            assert packed_weight([weight] * mode.col_slots) in WEIGHT_PORT
            assert packed_activation([operand] * mode.row_slots) in ACTIVATION_PORT


def test_fields_do_not_overlap():
    for mode in Mode:
        fields = sorted(product_fields(mode), key=lambda field: field.low)
        for below, above in itertools.pairwise(fields):
            assert below.low + below.fmt.bits <= above.low


def test_the_unused_code_of_4_bit_weights_would_not_fit():
    assert packed_weight([WEIGHT4.min - 1] * 2) not in WEIGHT_PORT


@pytest.mark.parametrize(("name", "mode", "activations"), [
    ("ROW_SPACING", Mode.W4A4, pairs(INT4)), ("COL_SPACING", Mode.W4A4, pairs(INT4)),
    ("COL_SPACING", Mode.W4A8, [np.array(values(OPERAND))])])
def test_operands_too_close_are_noticed(monkeypatch, name, mode, activations):
    spacing = {("ROW_SPACING", Mode.W4A4): 6, ("COL_SPACING", Mode.W4A4): 13,
               ("COL_SPACING", Mode.W4A8): 11}[name, mode]
    monkeypatch.setattr(packing, name, spacing)
    with pytest.raises(AssertionError, match="slot"):
        check_outer_products(mode, pairs(WEIGHT4), activations)


def test_a_forgotten_borrow_is_noticed(monkeypatch):
    def extract(self, product):
        sign = 1 << (self.fmt.bits - 1)
        return ((product >> self.low & (2 * sign - 1)) ^ sign) - sign

    monkeypatch.setattr(packing.ProductField, "extract", extract)
    with pytest.raises(AssertionError, match="slot 1"):
        check_outer_products(Mode.W4A4, pairs(WEIGHT4), pairs(INT4))
