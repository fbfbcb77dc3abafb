"""What a scale predictor may be, and how far its scales may be from float64."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from golden.common.formats import COEFFICIENT, LAMBDA, MONOMIAL, PROJECTION, STATISTIC
from golden.prediction.scale_predictor import (
    HIGHEST,
    SCALE_ERROR_LIMIT,
    PredictorShape,
    ScalePredictor,
    monomial_error_bounds,
    monomials_of,
    scale_error_bound,
)
from golden.prediction.scale_unit import expand, project
from tests.cases.predictors import check_against_float, predict_float, random_predictor


def test_monomials_are_in_the_documented_order():
    assert monomials_of(3, 2) == [(0,), (1,), (2,), (0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    for variables, degree in [(1, 3), (4, 3), (24, 2)]:
        terms = monomials_of(variables, degree)
        below = [()]
        for d in range(1, degree + 1):
            below = [(*term, k) for term in below for k in range(max(term[-1:], default=0),
                                                                 variables)]
            assert [term for term in terms if len(term) == d] == below
        assert len(terms) == PredictorShape(variables, variables, 1, degree, False).monomials


def test_registers_give_the_shape():
    predictor = random_predictor(np.random.default_rng(9), variables=3, degree=2, sites=5)
    assert predictor.registers() == {"statistics": 3, "variables": 3, "sites": 5, "degree": 2,
                                     "projected": 0, "monomials": 9}


def adverse_predictor(u, projection=None, bias=None):
    """Return a predictor of two variables whose terms all push lambda off in the same direction."""
    zeros = [np.zeros((1, d + 1), np.int64) for d in MONOMIAL]
    blank = ScalePredictor([0], zeros, projection, bias)
    exact = u / STATISTIC.one
    if projection is not None:
        exact = exact @ blank.projection.T / PROJECTION.one + blank.bias / STATISTIC.one
    terms = monomials_of(2, 3)
    phi = expand(project(u, blank), 3)[0] / [MONOMIAL[len(term)].one for term in terms]
    away = np.sign(phi - [exact[0, list(term)].prod() for term in terms])
    limits = [COEFFICIENT[len(term)].max // 5 for term in terms]
    coefficients = np.split((away * limits).astype(int)[None], [2, 5], axis=1)
    swing = predict_float(u, ScalePredictor([0], coefficients, projection, bias))
    return ScalePredictor((-swing * LAMBDA.one).astype(int)[0], coefficients, projection, bias)


def test_the_bound_of_a_lambda_is_nearly_reached():
    # The worst of many: large variables half a unit off, all terms in the same direction.
    rng = np.random.default_rng(3)
    u = np.full((1, 2), PROJECTION.one // 4)  # half a unit after this projection
    worst = max(check_against_float(u, adverse_predictor(u, [[1, 1], [1, 1]], bias))
                for bias in rng.integers(STATISTIC.max - 2000, STATISTIC.max, (600, 2)))
    assert worst > 0.8


def test_the_bound_of_a_monomial_is_nearly_reached():
    z = np.random.default_rng(4).integers(STATISTIC.max - 2000, STATISTIC.max + 1, (20000, 2))
    phi = expand(z, 3)
    bounds = monomial_error_bounds(projected=False)
    for column, term in enumerate(monomials_of(2, 3)):
        d = len(term)
        exact = (z / STATISTIC.one)[:, term].prod(axis=1)
        worst = np.abs(phi[:, column] / MONOMIAL[d].one - exact).max()
        assert 0.9 * float(bounds[d]) <= worst <= float(bounds[d]), term


CUBIC = [np.zeros((2, 2), np.int64), np.zeros((2, 3), np.int64), np.zeros((2, 4), np.int64)]


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (([0, 0], np.zeros((1, 2, 2))), TypeError, "coefficients must be a tuple of arrays"),
    (([0, 0], [*CUBIC, CUBIC[0]]), ValueError, "degree must be within 1..3, not 4"),
    (([0, 0], []), ValueError, "degree must be within 1..3, not 0"),
    (([0.0, 0.0], CUBIC), TypeError, "constant must be an integer array, not float64"),
    (([0, HIGHEST + 1], CUBIC), ValueError, "constant.1. = 16384 is outside -32768..16383"),
    (([0], CUBIC), ValueError, r"coefficients.0. must have shape \(1, any\), not \(2, 2\)"),
    (([0, 0], [CUBIC[0], CUBIC[0]]), ValueError, r"coefficients.1. must have shape \(2, 3\)"),
    (([0, 0], [CUBIC[0], CUBIC[1] - 40000]), ValueError, "is outside -32768..32767"),
    (([0, 0], CUBIC, [[1], [1]]), ValueError, "projection and bias must be given together"),
    (([0, 0], CUBIC, [[1]], [0]), ValueError, r"projection must have shape \(2, any\)"),
    (([0, 0], CUBIC, [[1], [1]], [0]), ValueError, r"bias must have shape \(2\)"),
    (([0, 0], CUBIC, [[], []], [0, 0]), ValueError, "statistics must be 1 or more, not 0"),
    (([], [[[]]]), ValueError, r"coefficients.0. must have shape \(0, any\)"),
    (([0], [[[]]]), ValueError, "statistics must be 1 or more, not 0"),
])
def test_refuses_what_is_no_predictor(arguments, error, message):
    with pytest.raises(error, match=message):
        ScalePredictor(*arguments)


def test_refuses_coefficients_that_allow_too_large_an_error():
    cubes = comb(10, 3)
    coefficients = [np.zeros((3, size), np.int64) for size in (8, 36, cubes)]
    budget = (Fraction(4191, 1_000_000) - Fraction(1, 2048)) / monomial_error_bounds(False)[3]
    fits = int(budget * COEFFICIENT[3].one / cubes)
    coefficients[2][1] = -fits
    predictor = ScalePredictor([0, 0, 0], coefficients)
    assert Fraction(299, 100_000) < scale_error_bound(predictor)[1] <= SCALE_ERROR_LIMIT
    coefficients[2][1] -= fits // 50
    with pytest.raises(ValueError, match="coefficients must keep every scale within 3000 ppm, but "
                                         "site 1 can be 30[0-9][0-9] ppm off"):
        ScalePredictor([0, 0, 0], coefficients)


def test_keeps_its_own_copy_of_the_coefficients():
    constant = np.zeros(1, np.int64)
    predictor = ScalePredictor(constant, [np.zeros((1, 1), np.int64)])
    constant[0] = 7
    assert predictor.constant[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        predictor.constant[0] = 7
