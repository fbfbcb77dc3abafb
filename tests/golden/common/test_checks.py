"""What the golden functions take, and the one line they say about anything else."""

import numpy as np
import pytest

from golden.common.checks import integer, integers


@pytest.mark.parametrize("value", [[[1, 2], [3, 4]], ((1, 2), (3, 4)),
                                   np.array([[1, 2], [3, 4]], np.uint8),
                                   np.array([[1, 3], [2, 4]], np.int16).T])
def test_any_integers_become_a_contiguous_array(value):
    array = integers("x", value, 0, 9, shape=(2, None))
    assert array.dtype == np.int64
    assert array.flags.c_contiguous
    assert array.tolist() == [[1, 2], [3, 4]]


def test_the_wanted_type_is_given():
    assert integers("x", [1, 2], 0, 9, shape=(2,), dtype=np.int16).dtype == np.int16


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_nothing_is_made_of_integers(shape):
    assert integers("x", np.empty(shape), 0, 9, shape=(None,) * len(shape)).shape == shape
    assert integers("x", [], 0, 9, shape=(None,)).dtype == np.int64


@pytest.mark.parametrize("value", [[1.0], [True], ["1"], [1j], [None], [1 << 70]])
def test_refuses_what_is_not_made_of_integers(value):
    with pytest.raises(TypeError, match="x must be an integer array, not "):
        integers("x", value, 0, 9, shape=(None,))


@pytest.mark.parametrize(("shape", "text"), [((3,), "3"), ((2, None), "2, any"),
                                             ((None, None), "any, any"), ((), "")])
def test_refuses_another_shape(shape, text):
    with pytest.raises(ValueError, match=rf"x must have shape \({text}\), not \(2,\)"):
        integers("x", [1, 2], 0, 9, shape=shape)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
def test_limits_belong_to_the_range(dtype):
    assert integers("x", np.array([3, 7], dtype), 3, 7, shape=(2,)).tolist() == [3, 7]


@pytest.mark.parametrize(("value", "dtype", "low", "high", "message"), [
    ([[0, 1], [10, 12]], np.int64, 0, 9, r"x\[1, 0\] = 10 is outside 0..9"),
    ([[0, 1], [-1, 2]], np.int8, 0, 9, r"x\[1, 0\] = -1 is outside 0..9"),
    ([[0, 128]], np.uint8, -128, 127, r"x\[0, 1\] = 128 is outside -128..127"),
    ([[0, -1]], np.int8, 0, 255, r"x\[0, 1\] = -1 is outside 0..255"),
    ([[0, (1 << 64) - 1]], np.uint64, 0, 9, r"x\[0, 1\] = 18446744073709551615 is outside 0..9"),
    ([[-(1 << 63), 0]], np.int64, -9, 9, r"x\[0, 0\] = -9223372036854775808 is outside -9..9"),
])
def test_names_the_first_element_outside_the_range(value, dtype, low, high, message):
    with pytest.raises(ValueError, match=message):
        integers("x", np.array(value, dtype), low, high, shape=(None, None))


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3)])
def test_any_integer_becomes_a_python_integer(value):
    assert type(integer("x", value, 3, 3)) is int


@pytest.mark.parametrize("value", [3.0, True, "3", None, np.float64(3), np.array([3])])
def test_refuses_what_is_no_integer(value):
    with pytest.raises(TypeError, match="x must be an integer, not "):
        integer("x", value, 0)


@pytest.mark.parametrize(("value", "high", "message"), [
    (-1, None, "x must be 0 or more, not -1"), (10, 9, "x must be within 0..9, not 10"),
    (-1, 9, "x must be within 0..9, not -1")])
def test_refuses_an_integer_outside_the_range(value, high, message):
    with pytest.raises(ValueError, match=message):
        integer("x", value, 0, high)


def test_refuses_rows_of_different_lengths():
    with pytest.raises(TypeError, match="x must be an integer array, not ragged"):
        integers("x", [[1], [1, 2]], 0, 9, shape=(None, None))
