from fractions import Fraction

import numpy as np
import pytest

from golden.common.formats import INT4, INT8, LAMBDA, UINT4, UINT8, WEIGHT4
from sim.recordings import mse_quantizers
from sim.recordings.sites import CODEBOOK, SITES


def test_quantizer_rounds_half_up_and_saturates():
    x = np.array([-10.0, -1.75, -0.75, -0.25, 0.0, 0.25, 0.75, 1.0, 10.0])
    q = mse_quantizers.quantize(x, -LAMBDA.one, WEIGHT4)  # steps of 1/2
    assert q.tolist() == [-7, -3, -1, 0, 0, 1, 2, 2, 7]
    assert q.dtype == np.int8
    assert mse_quantizers.quantize(x, 0, UINT8).dtype == np.uint8


def test_quantizer_by_its_definition():
    x = np.random.default_rng(1).normal(0, 3, 1000)
    for q, value in zip(mse_quantizers.quantize(x, -2 * LAMBDA.one, INT4), x, strict=True):
        exact = (Fraction(value) * 4 + Fraction(1, 2)).__floor__()
        assert q == min(max(exact, -8), 7)


def test_codes_are_those_of_the_nearest_entry():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(0, 400, 500), 2.0 ** rng.uniform(-4, 9, 500)])
    levels = np.array(CODEBOOK)
    decoded = levels[mse_quantizers.encode(x, 0, CODEBOOK)]
    np.testing.assert_array_equal(abs(decoded - x), abs(levels - x[:, None]).min(axis=1))
    assert mse_quantizers.encode(np.array([154.5]), 0, CODEBOOK).tolist() == [1]  # of 181 and 128


def _error(x, lam, fmt):
    return ((mse_quantizers.quantize(x, lam, fmt) * mse_quantizers.scale(lam) - x) ** 2).sum()


@pytest.mark.parametrize("fmt", [INT8, INT4, WEIGHT4], ids=str)
@pytest.mark.parametrize("spread", [1e-3, 1.0, 50.0])
def test_scale_loses_least(fmt, spread):
    x = np.random.default_rng(3).normal(0, spread, 400)
    lam = mse_quantizers.mse_lambda(x, fmt)
    least = _error(x, lam, fmt)
    assert all(least <= _error(x, lam + step, fmt) for step in (-64, -8, -1, 1, 8, 64))


def test_scale_of_a_uniform_grid_is_found_exactly():
    lam = -1234
    x = np.arange(16.0) * mse_quantizers.scale(lam)
    assert mse_quantizers.mse_lambda(x, UINT4) == lam


def test_scale_of_a_codebook_is_found_exactly():
    lam = -8000
    x = np.array(CODEBOOK, float) * mse_quantizers.scale(lam)
    assert mse_quantizers.mse_lambda_codebook(x, CODEBOOK) == lam


@pytest.mark.parametrize("x", [np.zeros(5), np.zeros(0)], ids=["zeros", "nothing"])
def test_scale_of_nothing(x):
    assert mse_quantizers.mse_lambda(x, INT8) == 0


@pytest.mark.parametrize("value", [1e-30, 1e-9, 1e9, 1e30])
def test_scale_stays_in_its_format(value):
    assert mse_quantizers.mse_lambda(np.full(3, value), INT8) in LAMBDA


def test_order_does_not_matter():
    x = np.random.default_rng(4).normal(0, 1, (20, 30))
    assert mse_quantizers.mse_lambda(x, INT4) == mse_quantizers.mse_lambda(x.T, INT4)


def test_formats_of_the_sites():
    assert SITES["k"].format(4) == SITES["v"].format(4) == WEIGHT4
    assert SITES["q"].format(4) == INT4
    assert SITES["probs"].format(4) == UINT4
    assert SITES["probs"].format(8) == UINT8
    assert SITES["fc2"].format(8) == INT8
    with pytest.raises(ValueError, match="bits must be 4 or 8, not 3"):
        SITES["fc2"].format(3)


def test_codebook_is_logarithmic():
    assert list(CODEBOOK) == [min(round(2 ** (8 - code / 2)), 255) for code in range(16)]
