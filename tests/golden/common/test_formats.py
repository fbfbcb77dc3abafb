"""Number formats: corners, rounding, saturation, and the same compiled."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.common import formats, jit
from golden.common.formats import FixedFormat, IntFormat, Mode, round_shift, saturate


@pytest.mark.parametrize(("fmt", "low", "high", "magnitude", "text"), [
    (IntFormat(8), -128, 127, 128, "s8"),
    (IntFormat(8, signed=False), 0, 255, 255, "u8"),
    (IntFormat(8, symmetric=True), -127, 127, 127, "s8sym"),
    (IntFormat(1), -1, 0, 1, "s1"),
    (IntFormat(1, signed=False), 0, 1, 1, "u1"),
    (IntFormat(2, symmetric=True), -1, 1, 1, "s2sym"),
    (IntFormat(64), -1 << 63, (1 << 63) - 1, 1 << 63, "s64"),
    (FixedFormat(16, frac=10), -32768, 32767, 32768, "s16.10"),
    (FixedFormat(16, signed=False, frac=15), 0, 65535, 65535, "u16.15"),
])
def test_range_of_a_format(fmt, low, high, magnitude, text):
    assert (fmt.min, fmt.max, fmt.magnitude, str(fmt)) == (low, high, magnitude, text)
    assert low in fmt
    assert high in fmt
    assert low - 1 not in fmt
    assert high + 1 not in fmt


def test_one_of_a_fixed_point_format():
    assert FixedFormat(16, frac=10).one == 1024
    assert FixedFormat(8).one == 1


@pytest.mark.parametrize("bits", [0, -1, True, 8.0, "8", None])
def test_refuses_bits_that_are_no_positive_integer(bits):
    with pytest.raises(ValueError, match=f"bits must be a positive integer, not {bits!r}"):
        IntFormat(bits)


@pytest.mark.parametrize(("bits", "signed"), [(1, True), (8, False)])
def test_refuses_a_symmetric_format_without_two_signs(bits, signed):
    with pytest.raises(ValueError, match="must be signed and of 2 bits or more, not [su]"):
        IntFormat(bits, signed, symmetric=True)


@settings(deadline=None)  # the first call compiles
@given(st.integers(-(1 << 62), (1 << 62) - 1), st.integers(0, 63))
def test_rounds_half_up(value, bits):
    want = floor(Fraction(value, 1 << bits) + Fraction(1, 2)) if bits else value
    assert round_shift(value, bits) == want
    assert jit.round_shift(value, bits) == want


@pytest.mark.parametrize(("value", "bits", "want"), [
    (5, 0, 5), (5, 1, 3), (-5, 1, -2), (-6, 2, -1), (-7, 2, -2), (6, 2, 2), (5, 2, 1),
    ((1 << 62) - 1, 63, 0), (1 << 61, 62, 1), (-(1 << 62), 63, 0), (-1, 63, 0),
    (-(1 << 62), 62, -1)])
def test_rounding_of_ties_and_of_the_longest_shifts(value, bits, want):
    assert round_shift(value, bits) == want
    assert jit.round_shift(value, bits) == want


@given(st.integers(-(1 << 70), 1 << 70), st.integers(1, 80))
def test_rounding_is_the_usual_formula(value, bits):
    assert round_shift(value, bits) == (value + (1 << (bits - 1))) >> bits


@settings(deadline=None)
@given(st.integers(-200, 200), st.integers(-100, 0), st.integers(0, 100))
def test_saturation_clamps(value, low, high):
    want = low if value < low else high if value > high else value
    assert saturate(value, low, high) == want
    assert jit.saturate(value, low, high) == want


def test_slots_of_the_modes():
    assert [(mode.row_slots, mode.col_slots, mode.macs) for mode in Mode] == [
        (1, 1, 1), (1, 2, 2), (2, 2, 4)]
    assert [mode.activation_bits for mode in Mode] == [8, 8, 4]


def test_operands_of_the_modes():
    assert [str(mode.weight) for mode in Mode] == ["s8", "s4sym", "s4sym"]
    assert [str(mode.operand) for mode in Mode] == ["s9sym", "s9sym", "s4"]
    for mode in Mode:
        offset = 8 if mode is Mode.W4A4 else 0
        for signed in (True, False):
            fmt = mode.activation(signed)
            stored = 0 if signed else offset
            assert fmt.min - stored in mode.operand
            assert fmt.max - stored in mode.operand


def test_exponents_hold_any_sum_of_three_scales():
    assert 3 * formats.LAMBDA.magnitude <= formats.EXPONENT.max + 1
    assert formats.EXPONENT.frac == formats.LAMBDA.frac
