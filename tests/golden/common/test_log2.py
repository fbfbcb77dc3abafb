import math

import numpy as np
import pytest

from golden.common import formats
from golden.common.log2 import HIGHEST, TABLE, _log2, log2
from golden.common.log2 import _sample as sample

ONE = formats.LOG2.one
BOUND = 0.75  # stated error, in units of the last place
FRACTION_BITS = 15  # bits below the leading one that count


def error(values):
    """Return the largest error of `log2` over `values`, in units of the last place."""
    return np.abs(log2(values) - ONE * np.log2(values.astype(np.float64))).max()


def test_exact_at_powers_of_two():
    exponents = np.arange(HIGHEST.bit_length())
    np.testing.assert_array_equal(log2(1 << exponents), exponents * ONE)


def test_error_is_within_the_stated_bound_for_every_fraction():
    leading = np.arange(1 << FRACTION_BITS, 2 << FRACTION_BITS)
    for bits in range(FRACTION_BITS + 1, HIGHEST.bit_length()):
        dropped = bits - FRACTION_BITS - 1
        lowest = leading << dropped
        highest = lowest + (1 << dropped) - 1
        np.testing.assert_array_equal(log2(highest), log2(lowest))
        assert max(error(lowest), error(highest)) <= BOUND, f"{bits} bits"


def test_error_is_within_the_stated_bound_for_small_integers():
    assert error(np.arange(1, 1 << 16)) <= BOUND


def test_never_decreases():
    values = np.arange(1, 1 << 18)
    assert (np.diff(log2(values)) >= 0).all()


def test_highest_result_is_within_the_format():
    assert log2([HIGHEST])[0] in formats.LOG2


def test_table_samples_are_rounded_exactly():
    for index, value in enumerate(TABLE.samples):
        assert value == sample(index)
        assert abs(value - math.log2(1 + index / 32) * 2**15) < 0.501


def test_compiled_and_interpreted_kernels_agree():
    values = np.array([1, 2, 3, 1000, 32767, 32768, 98765, HIGHEST])
    compiled, interpreted = np.empty_like(values), np.empty_like(values)
    _log2(values, compiled)
    _log2.py_func(values, interpreted)
    np.testing.assert_array_equal(compiled, interpreted)


@pytest.mark.parametrize("value", [0, -1, HIGHEST + 1])
def test_refuses_what_has_no_logarithm_in_range(value):
    with pytest.raises(ValueError, match=rf"value\[1\] = {value} is outside 1\.\.\d+"):
        log2([1, value])


def test_refuses_floats():
    with pytest.raises(TypeError, match="value must be an integer array, not float64"):
        log2([1.0])
