"""GELU against float64, for every input there is."""

from math import erfc, sqrt

import numpy as np
import pytest

from golden.results import gelu as module
from golden.results.gelu import (
    COARSE,
    END,
    INPUT,
    OFFSET,
    RESULT,
    TABLE,
    TABLE_FRAC,
    gelu,
)

EVERY = np.arange(INPUT.min, INPUT.max + 1)
EXACT = np.array([t * erfc(-t / INPUT.one / sqrt(2)) / 2 for t in EVERY.tolist()]) + OFFSET
BOUND = 0.85  # stated error, in units of the last place
INSIDE = RESULT.max - OFFSET >= EVERY  # below saturation


def check_error(results):
    error = np.abs(results - EXACT)[INSIDE]
    at = int(error.argmax())
    assert error[at] <= BOUND, f"gelu({EVERY[at]}): off by {error[at]}"


def test_every_input_is_within_the_stated_error():
    check_error(gelu(EVERY))


def test_the_stated_error_is_not_generous():
    assert np.abs(gelu(EVERY) - EXACT)[INSIDE].max() > 0.95 * BOUND


def test_no_result_is_negative():
    results = gelu(EVERY)
    assert results.dtype == np.int16
    assert results.min() == 0


def test_the_offset_is_the_minimum_of_gelu():
    assert -0.5 < EXACT.min() <= 0


def test_inputs_near_the_top_saturate():
    results = gelu(EVERY)
    assert (results[~INSIDE] == RESULT.max).all()
    assert (results[INSIDE][:-1] < RESULT.max).all()


def test_beyond_the_table_inputs_pass_or_vanish():
    assert (gelu(EVERY[EVERY <= -END]) == OFFSET).all()
    above = EVERY[INSIDE & (EVERY >= END)]
    np.testing.assert_array_equal(gelu(above), above + OFFSET)


def test_the_table_joins_at_its_end():
    for end in (END, -END):
        results = gelu(np.arange(end - 64, end + 65)).astype(int)
        steps = np.diff(results)
        assert set(steps.tolist()) <= ({1} if end > 0 else {0})


def test_the_difference_of_opposite_inputs_is_the_input():
    t = EVERY[(EVERY >= 0) & INSIDE]
    np.testing.assert_array_equal(gelu(t).astype(int) - gelu(-t), t)


def test_larger_positive_inputs_give_larger_results():
    assert (np.diff(gelu(EVERY[INSIDE & (EVERY >= 0)]).astype(int)) >= 0).all()


def test_in_coarse_columns_every_input_is_within_the_stated_error():
    unit = INPUT.one >> COARSE
    exact = np.array([t * erfc(-t / unit / sqrt(2)) / 2 for t in EVERY.tolist()]) + OFFSET
    results = gelu(EVERY, np.ones(EVERY.shape, int))
    assert results.dtype == np.int16
    error = np.abs(results - exact)[INSIDE]
    assert 10.8 < error.max() <= 10.9
    assert (results[~INSIDE] == RESULT.max).all()
    np.testing.assert_array_equal(results, [min(max(t, 0) + OFFSET, RESULT.max)
                                            for t in EVERY.tolist()])


def test_coarse_columns_hold_what_is_far_beyond_the_others():
    t = np.array([217 * INPUT.one >> COARSE])
    (result,) = (gelu(t, [1]).astype(int) - OFFSET) << COARSE
    assert result == 217 * INPUT.one
    assert gelu([INPUT.max])[0] == RESULT.max


def test_table_samples_are_far_from_ties():
    # so that a last-place difference of another library's erfc changes no sample
    for index, sample in enumerate(TABLE.samples[:-1]):
        u = index / 16
        exact = 2**TABLE_FRAC * u * erfc(u / sqrt(2)) / 2
        assert abs(exact - sample) < 0.5 - 1e-6, index
    assert TABLE.samples[-1] == 0


def test_compiled_equals_interpreted():
    t = EVERY[::37]
    assert gelu(t).tolist() == [module.gelu_kernel.py_func(int(value)) for value in t]
    coarse = np.arange(t.size) % 2
    assert gelu(t, coarse).tolist() == [module.gelu_kernel.py_func(int(value), bool(flag))
                                        for value, flag in zip(t, coarse, strict=True)]


def test_a_flipped_table_bit_is_noticed(monkeypatch):
    values = module._VALUES.copy()
    values[20] ^= 32
    monkeypatch.setattr(module, "_VALUES", values)
    with pytest.raises(AssertionError, match="off by"):
        check_error(np.array([module.gelu_kernel.py_func(int(value)) for value in EVERY]))


@pytest.mark.parametrize(("error", "message", "t"), [
    (TypeError, "t must be an integer array, not float64", [0.5]),
    (ValueError, r"t\[1\] = 32768 is outside -32768..32767", [0, 1 << 15]),
    (ValueError, r"t must have shape \(any\), not \(1, 1\)", [[0]]),
])
def test_refuses(error, message, t):
    with pytest.raises(error, match=message):
        gelu(t)


@pytest.mark.parametrize(("message", "coarse"), [
    (r"coarse\[1\] = 2 is outside 0..1", [0, 2]),
    (r"coarse must have shape \(2\), not \(3,\)", [0, 1, 0]),
])
def test_refuses_flags_that_are_none(message, coarse):
    with pytest.raises(ValueError, match=message):
        gelu([5, 6], coarse)
