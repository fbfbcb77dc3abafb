"""2**x against exact rational bounds, for every exponent there is."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest

from golden.common import exp2 as module
from golden.common.exp2 import ERROR, HIGHEST, LOWEST, TABLE, exp2
from golden.common.formats import EXPONENT, MANTISSA, SHIFT

EVERY = np.arange(EXPONENT.min, EXPONENT.max + 1)


def powers(exponents):
    """Return ``2**x`` in float64, within 1e-15 of the exact value."""
    return np.exp2(exponents / EXPONENT.one)


def check_error(mantissa, shift, exponents):
    approximate = mantissa / np.exp2(shift)  # exact in float64
    error = np.abs(approximate / powers(exponents) - 1)
    at = int(error.argmax())
    assert error[at] <= float(ERROR), f"2**{exponents[at]}: off by {error[at]}"


def test_every_exponent_is_within_the_stated_error():
    x = EVERY[(EVERY >= LOWEST) & (EVERY <= HIGHEST)]
    check_error(*exp2(x), x)


def test_the_stated_error_is_not_generous():
    x = np.arange(EXPONENT.one)
    mantissa, shift = exp2(x)
    assert np.abs(mantissa / np.exp2(shift) / powers(x) - 1).max() > 0.9 * float(ERROR)


def test_every_result_is_normalised():
    mantissa, shift = exp2(EVERY)
    assert mantissa.min() == MANTISSA.one
    assert mantissa.max() <= MANTISSA.max
    assert (shift.min(), shift.max()) == (0, SHIFT.max)


def test_exponents_beyond_the_ends_are_clamped():
    for beyond, end in ((EVERY[EVERY < LOWEST], LOWEST), (EVERY[EVERY > HIGHEST], HIGHEST)):
        mantissa, shift = exp2(beyond)
        (end_mantissa,), (end_shift,) = exp2([end])
        assert beyond.size > 0
        assert (mantissa == end_mantissa).all()
        assert (shift == end_shift).all()


def test_larger_exponents_never_give_smaller_powers():
    mantissa, shift = exp2(EVERY)
    assert (np.diff(mantissa / np.exp2(shift)) >= 0).all()


def test_whole_exponents_are_exact():
    whole = EVERY[(EVERY % EXPONENT.one == 0) & (EVERY >= LOWEST) & (EVERY <= HIGHEST)]
    mantissa, shift = exp2(whole)
    for x, m, s in zip(whole.tolist(), mantissa.tolist(), shift.tolist(), strict=True):
        assert Fraction(m, 2**s) == Fraction(2) ** (x // EXPONENT.one)


def test_table_samples_are_rounded_roots():
    # 2**15 * 2**(index / 32) by five exact square roots of an integer with 64 spare bits
    for index, sample in enumerate(TABLE.samples):
        root = 2 ** (32 * 64 + index)
        for _ in range(5):
            root = isqrt(root << 64 * 2) >> 64
        assert abs(Fraction(root, 2**49) - sample) <= Fraction(1, 2), index


def test_compiled_equals_interpreted():
    x = EVERY[::97]
    compiled = np.empty_like(x), np.empty_like(x)
    module._exp2(x, *compiled)
    interpreted = [module.exp2_kernel.py_func(int(value)) for value in x]
    assert list(zip(*map(np.ndarray.tolist, compiled), strict=True)) == interpreted


def test_a_flipped_table_bit_is_noticed(monkeypatch):
    values = list(TABLE.values)
    values[7] ^= 8
    monkeypatch.setattr(module, "_VALUES", values)
    x = np.arange(EXPONENT.one)
    results = np.array([module.exp2_kernel.py_func(int(value)) for value in x])
    with pytest.raises(AssertionError, match="off by"):
        check_error(results[:, 0], results[:, 1], x)


def test_refuses_floats():
    with pytest.raises(TypeError, match="x must be an integer array, not float64"):
        exp2([0.5])


def test_refuses_exponents_out_of_range():
    with pytest.raises(ValueError, match=r"x\[1\] = 131072 is outside -131072..131071"):
        exp2([0, EXPONENT.max + 1])


def test_refuses_more_dimensions():
    with pytest.raises(ValueError, match=r"x must have shape \(any\), not \(1, 1\)"):
        exp2([[0]])
