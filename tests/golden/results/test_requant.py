"""Requantization against its definition on unbounded integers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.common import formats
from golden.common.exp2 import exp2
from golden.results import requant as module
from golden.results.requant import OUT, requant

ACCUMULATORS = st.integers(formats.ACC.min, formats.ACC.max)
SITES = [(-128, 127), (0, 255), (-8, 7), (-7, 7), (0, 15), (-4, 3), (0, 7), (OUT.min, OUT.max)]
CORNERS = {
    "acc": [formats.ACC.min, formats.ACC.min + 1, -3, -2, -1, 0, 1, 2, 3, formats.ACC.max],
    "mantissa": [0, 1, formats.MANTISSA.one, formats.MANTISSA.max],
    "shift": [0, 1, 2, 15, 16, 31, 32, 46, 47, 48, 62, 63],
}


def exact(acc, mantissa, shift, low, high):
    """Definition: ``clip(floor(acc * mantissa / 2**shift + 1/2), low, high)``."""
    return min(max((2 * acc * mantissa + (1 << shift)) // (1 << (shift + 1)), low), high)


def check(acc, mantissa, shift, low, high):
    want = [[exact(int(x), int(m), int(s), low, high)
             for x, m, s in zip(row, mantissa, shift, strict=True)] for row in acc]
    got = requant(acc, mantissa, shift, low, high)
    assert got.dtype == np.int16
    assert got.tolist() == want


@st.composite
def columns(draw):
    count = draw(st.integers(1, 6))
    def several(strategy, size=count):
        return draw(st.lists(strategy, min_size=size, max_size=size))
    acc = [several(ACCUMULATORS) for _ in range(draw(st.integers(1, 4)))]
    return (acc, several(st.integers(0, formats.MANTISSA.max)),
            several(st.integers(0, formats.SHIFT.max)))


@settings(deadline=None)
@given(columns(), st.sampled_from(SITES))
def test_matches_the_definition(operands, site):
    check(*operands, *site)


def test_matches_the_definition_at_every_corner():
    mantissa, shift = map(list, zip(*itertools.product(CORNERS["mantissa"], CORNERS["shift"]),
                                    strict=False))
    acc = [[value] * len(shift) for value in CORNERS["acc"]]
    for site in SITES:
        check(acc, mantissa, shift, *site)


@pytest.mark.parametrize("site", SITES)
def test_matches_the_definition_where_few_results_saturate(site):
    rng = np.random.default_rng(5)
    low, high = site
    acc = rng.integers(-200_000 if low < 0 else -50_000, 200_000, (40, 12))
    ratio = high / 200_000
    mantissa, shift = exp2(np.full(12, round(np.log2(ratio) * formats.EXPONENT.one)))
    results = requant(acc, mantissa, shift, low, high)
    assert ((results > low) & (results < high)).mean() > 0.4
    check(acc.tolist(), mantissa, shift, low, high)


def test_is_the_same_compiled_and_interpreted():
    rng = np.random.default_rng(6)
    acc = rng.integers(formats.ACC.min, formats.ACC.max + 1, (20, 30))
    mantissa = rng.integers(0, formats.MANTISSA.max + 1, 30)
    shift = rng.integers(0, formats.SHIFT.max + 1, 30)
    compiled, interpreted = np.empty((2, *acc.shape), np.int16)
    module._requant(acc, mantissa, shift, OUT.min, OUT.max, compiled)
    module._requant.py_func(acc, mantissa, shift, OUT.min, OUT.max, interpreted)
    assert np.array_equal(compiled, interpreted)


def test_a_scale_of_one_keeps_the_accumulator():
    mantissa, shift = exp2([0])
    acc = np.arange(-128, 128)[:, None]
    assert np.array_equal(requant(acc, mantissa, shift, -128, 127), acc)


def test_rounds_half_up():
    assert requant([[-3], [-1], [1], [3]], [1], [1], -8, 7).tolist() == [[-1], [0], [1], [2]]


def test_an_empty_tile_stays_empty():
    assert requant(np.zeros((0, 2), int), [1, 1], [0, 0], -8, 7).shape == (0, 2)
    assert requant(np.zeros((3, 0), int), [], [], -8, 7).shape == (3, 0)


@pytest.mark.parametrize(("error", "message", "arguments"), [
    (TypeError, "acc must be an integer array, not float64", {"acc": [[1.0]]}),
    (ValueError, r"acc must have shape \(any, any\), not \(1,\)", {"acc": [1]}),
    (ValueError, r"acc\[0, 0\] = 2147483648 is outside", {"acc": [[1 << 31]]}),
    (ValueError, r"mantissa must have shape \(1\), not \(2,\)", {"mantissa": [1, 1]}),
    (ValueError, r"mantissa\[0\] = -1 is outside 0..65535", {"mantissa": [-1]}),
    (ValueError, r"shift\[0\] = 64 is outside 0..63", {"shift": [64]}),
    (ValueError, "low must be within -32768..32767, not -32769", {"low": -32769}),
    (ValueError, "high must be within -8..32767, not -9", {"high": -9}),
    (TypeError, "high must be an integer, not 7.0", {"high": 7.0}),
])
def test_refuses(error, message, arguments):
    given = {"acc": [[1]], "mantissa": [1], "shift": [0], "low": -8, "high": 7} | arguments
    with pytest.raises(error, match=message):
        requant(**given)


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(module, "round_shift", lambda value, bits: value >> bits)
    for name in ("_requant", "requant_kernel"):
        monkeypatch.setattr(module, name, getattr(module, name).py_func)
    with pytest.raises(AssertionError):
        test_matches_the_definition_at_every_corner()
