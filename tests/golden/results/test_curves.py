"""Activations against float64, for every input there is."""

from math import erfc, exp, pi, sqrt, tanh

import numpy as np
import pytest

from golden.results import curves as module
from golden.results.curves import (
    CURVES,
    ERRORS,
    GELU,
    LENGTH,
    OFFSETS,
    SLOPE,
    VALUE,
    Curve,
    curve_columns,
    curve_table,
)
from golden.results.gelu import COARSE, INPUT, RESULT, TABLE_FRAC, gelu

EVERY = np.arange(INPUT.min, INPUT.max + 1)

EXACT = {
    "gelu": lambda t: t * erfc(-t / sqrt(2)) / 2,
    "gelu_tanh": lambda t: t * (1 + tanh(sqrt(2 / pi) * (t + 0.044715 * t**3))) / 2,
    "quick_gelu": lambda t: t / (1 + exp(min(-1.702 * t, 700))),
    "silu": lambda t: t / (1 + exp(min(-t, 700))),
    "relu": lambda t: max(t, 0.0),
}


def exact(name, unit):
    """What results should be, in their unit."""
    return (np.array([EXACT[name](t / unit) for t in EVERY.tolist()]) * unit
            + CURVES[name].offset)


def inside(name):
    """Which inputs are below saturation."""
    return RESULT.max - CURVES[name].offset >= EVERY


def check_error(name, results):
    error = np.abs(results - exact(name, INPUT.one))[inside(name)]
    at = int(error.argmax())
    assert error[at] <= ERRORS[name][0], f"{name}({EVERY[at]}): off by {error[at]}"
    return error[at]


def test_there_is_a_definition_of_each():
    assert CURVES.keys() == ERRORS.keys() == EXACT.keys()


@pytest.mark.parametrize("name", CURVES)
def test_every_input_is_within_the_stated_error(name):
    assert check_error(name, curve_table(CURVES[name])) >= 0.95 * ERRORS[name][0]


@pytest.mark.parametrize("name", CURVES)
def test_in_coarse_columns_every_input_is_within_the_stated_error(name):
    results, bound = curve_table(CURVES[name], True), ERRORS[name][1]
    error = np.abs(results - exact(name, INPUT.one >> COARSE))[inside(name)].max()
    assert 0.95 * bound <= error <= bound
    np.testing.assert_array_equal(results, np.minimum(np.maximum(EVERY, 0) + CURVES[name].offset,
                                                      RESULT.max))


@pytest.mark.parametrize("name", CURVES)
def test_no_result_is_negative(name):
    for coarse in (False, True):
        results = curve_table(CURVES[name], coarse)
        assert results.dtype == np.int16
        assert results.min() == (CURVES[name].offset if coarse else 0)
        assert (results[~inside(name)] == RESULT.max).all()


@pytest.mark.parametrize("name", CURVES)
def test_samples_are_far_from_ties(name):
    curve = CURVES[name]
    for index, sample in enumerate(curve.values):
        u = index / (8 if curve.wide else 16)
        h = 2**TABLE_FRAC * (u - EXACT[name](u))
        assert abs(h - sample) < 0.5 - 1e-6, index


def test_that_of_gelu_is_what_a_core_has():
    np.testing.assert_array_equal(curve_table(GELU), gelu(EVERY))
    np.testing.assert_array_equal(curve_table(GELU, True), gelu(EVERY, np.ones(EVERY.shape, int)))


def test_every_table_within_the_limits_gives_results_of_the_format():
    high = (OFFSETS.max << 4) + 7
    assert VALUE.max >= high
    rise = np.minimum(np.arange(LENGTH) * SLOPE.max, high)
    values = tuple(np.minimum(rise, np.arange(LENGTH, 0, -1) * -SLOPE.min).tolist())
    for wide in (False, True):
        curve = Curve(values, OFFSETS.max, wide)
        results = curve_table(curve)
        assert (results.min(), results.max()) == (0, RESULT.max)
        beyond = np.abs(EVERY) >= curve.end
        np.testing.assert_array_equal(results[beyond], curve_table(curve, True)[beyond])


def test_compiled_equals_interpreted():
    for curve in CURVES.values():
        table, t = curve.table, EVERY[::301]
        args = (np.array(table.values), np.array(table.slopes), int(curve.wide), curve.offset)
        for coarse in (False, True):
            assert curve_table(curve, coarse)[::301].tolist() == [
                module.curve_kernel.py_func(int(value), coarse, *args) for value in t]


def test_columns_have_the_table_that_is_theirs():
    t = np.random.default_rng(1).integers(INPUT.min, INPUT.max + 1, (50, 6)).astype(np.int16)
    t[:3] = [[INPUT.min], [0], [INPUT.max]]
    coarse = [0, 1, 0, 0, 1, 1]
    flags = np.broadcast_to(coarse, t.shape)
    np.testing.assert_array_equal(curve_columns(GELU, t, coarse).ravel(),
                                  gelu(t.ravel(), flags.ravel()))
    np.testing.assert_array_equal(curve_columns(GELU, t, []).ravel(), gelu(t.ravel()))
    silu = CURVES["silu"]
    np.testing.assert_array_equal(curve_columns(silu, t, [])[:, 2],
                                  curve_table(silu)[t[:, 2].astype(int) - INPUT.min])


def test_a_changed_value_is_noticed():
    values = list(CURVES["silu"].values)
    values[20] ^= 64
    with pytest.raises(AssertionError, match="off by"):
        check_error("silu", curve_table(Curve(tuple(values), 285, True)))


@pytest.mark.parametrize(("message", "values", "offset"), [
    (r"offset must be within 0..511, not 512", [0] * 64, 512),
    (r"values must have shape \(64\), not \(63,\)", [0] * 63, 0),
    (r"values\[3\] = 2792 is outside 0..2791", [0, 900, 1800, 2792, *[0] * 60], 174),
    (r"values\[0\] = -1 is outside 0..7", [-1] + [0] * 63, 0),
    (r"slopes\[0\] = 1024 is outside -1024..1023", [0, 1024] + [0] * 62, 174),
    (r"slopes\[63\] = -1025 is outside -1024..1023", [1025] * 64, 174),
])
def test_refuses(message, values, offset):
    with pytest.raises(ValueError, match=message):
        Curve(tuple(values), offset)
