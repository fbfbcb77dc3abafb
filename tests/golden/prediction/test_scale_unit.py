"""The scale unit against its definition on rational numbers and against float64."""

from dataclasses import replace
from fractions import Fraction
from itertools import combinations_with_replacement
from math import comb, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.common import config as config_module
from golden.common.config import CORES
from golden.common.formats import (
    COEFFICIENT,
    LAMBDA,
    MONOMIAL,
    POLYNOMIAL,
    PROJECTION,
    STATISTIC,
    round_shift,
)
from golden.prediction import scale_unit
from golden.prediction.scale_predictor import HIGHEST, PredictorShape, ScalePredictor, monomials_of
from golden.prediction.scale_unit import expand, pack, predict, predict_batch, project, scales
from tests.cases.predictors import (
    check_against_float,
    random_predictor,
    random_statistics,
    recorded_statistics,
)

SHAPES = [  # variables, degree, statistics
    (1, 1, None), (1, 3, 1), (2, 1, 7), (2, 2, None), (2, 3, None), (2, 3, 5), (6, 1, None),
    (6, 2, 48), (6, 3, None), (24, 1, 192), (24, 2, 384), (24, 3, None),
]


def rounded(value: Fraction, fmt, high=None):
    """The definition of every rounding: half up, then saturation."""
    return min(max(floor(value * fmt.one + Fraction(1, 2)), fmt.min),
               fmt.max if high is None else high)


def predict_exact(u, predictor):
    """Definition of the prediction, on rational numbers; also returns the monomials."""
    u = [Fraction(n, STATISTIC.one) for n in np.asarray(u).tolist()]
    if predictor.projection is not None:
        products = [sum(Fraction(a, PROJECTION.one) * x for a, x in zip(row, u, strict=True))
                    for row in predictor.projection.tolist()]
        u = [Fraction(rounded(product + Fraction(b, STATISTIC.one), STATISTIC), STATISTIC.one)
             for product, b in zip(products, predictor.bias.tolist(), strict=True)]
    phi = {(): Fraction(1)}
    for d in range(1, len(predictor.coefficients) + 1):
        for term in combinations_with_replacement(range(len(u)), d):
            exact = phi[term[:-1]] * u[term[-1]]
            phi[term] = Fraction(rounded(exact, MONOMIAL[d]), MONOMIAL[d].one)
    monomials = list(phi.values())[1:]
    lambdas = []
    for s, constant in enumerate(predictor.constant.tolist()):
        c = [Fraction(n, COEFFICIENT[d].one) for d, array in enumerate(predictor.coefficients, 1)
             for n in array[s].tolist()]
        total = sum(map(Fraction.__mul__, c, monomials)) + Fraction(constant, LAMBDA.one)
        lambdas.append(rounded(total, LAMBDA, HIGHEST))
    return lambdas, monomials


@pytest.mark.parametrize(("variables", "degree", "statistics"), SHAPES)
def test_matches_definition(variables, degree, statistics):
    rng = np.random.default_rng(1)
    predictor = random_predictor(rng, variables=variables, degree=degree, sites=3,
                                 statistics=statistics)
    u = random_statistics(rng, predictor.shape.statistics, images=2)
    for image in u:
        lambdas, monomials = predict_exact(image, predictor)
        assert predict(image, predictor).tolist() == lambdas
        phi = expand(project(image[None], predictor), degree)[0].tolist()
        assert phi == [int(value * MONOMIAL[len(term)].one) for value, term in
                       zip(monomials, monomials_of(variables, degree), strict=True)]


@pytest.mark.parametrize(("variables", "degree", "statistics"), SHAPES)
def test_scales_are_within_the_bound(variables, degree, statistics):
    rng = np.random.default_rng(2)
    predictor = random_predictor(rng, variables=variables, degree=degree, sites=40,
                                 statistics=statistics)
    u = random_statistics(rng, predictor.shape.statistics, images=100)
    check_against_float(u, predictor)
    lambdas = predict_batch(u, predictor)
    assert np.mean((lambdas == LAMBDA.min) | (lambdas == HIGHEST)) < 0.25
    assert lambdas.std() > LAMBDA.one


def numbers(fmt, size, high=None):
    """Lists of integers of a format, its ends and zero often."""
    high = fmt.max if high is None else high
    number = st.sampled_from([fmt.min, high, 0, -1, 1]) | st.integers(fmt.min, high)
    return st.lists(number, min_size=size, max_size=size)


@pytest.mark.parametrize(("groups", "variables"), [(192, 8), (8, 24), (1, None)])
def test_recorded_statistics_are_within_the_bound(groups, variables):
    rng = np.random.default_rng(11)
    u = recorded_statistics(groups)
    predictor = random_predictor(rng, variables=variables or u.shape[1], degree=2, sites=97,
                                 statistics=variables and u.shape[1])
    check_against_float(u, predictor)
    for image in u:
        assert predict(image, predictor).tolist() == predict_exact(image, predictor)[0]


@st.composite
def predictions(draw):
    """Statistics and a predictor of one site, over the whole of every format."""
    variables, degree = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    coefficients = [[draw(numbers(COEFFICIENT[d], comb(variables + d - 1, d)))]
                    for d in range(1, degree + 1)]
    constant = draw(numbers(LAMBDA, 1, HIGHEST))
    if draw(st.booleans()):
        return (draw(numbers(STATISTIC, variables)), ScalePredictor(constant, coefficients))
    statistics = draw(st.integers(1, 4))
    projection = [draw(numbers(PROJECTION, statistics)) for _ in range(variables)]
    return (draw(numbers(STATISTIC, statistics)),
            ScalePredictor(constant, coefficients, projection, draw(numbers(STATISTIC, variables))))


@settings(max_examples=300, deadline=None)
@given(predictions())
def test_any_prediction_matches_definition_and_bound(prediction):
    u, predictor = prediction
    assert predict(u, predictor).tolist() == predict_exact(u, predictor)[0]
    check_against_float([u], predictor)


def test_every_value_of_one_variable():
    u = np.arange(STATISTIC.min, STATISTIC.max + 1)[:, None]
    ends = [[fmt.min, fmt.max, -fmt.max // 3, 1] for fmt in COEFFICIENT.values()]
    predictor = ScalePredictor([-20000, -16384, 5000, HIGHEST],
                               [np.array(column)[:, None] for column in ends])
    expected = []
    for z in u[:, 0].tolist():
        square = round_shift(z * z, 13)
        cube = round_shift(square * z, 15)
        expected.append([min(max(round_shift((c << 19) + (a * z << 2) + b * square + d * cube, 19),
                                 LAMBDA.min), HIGHEST)
                         for c, a, b, d in zip(predictor.constant.tolist(), *ends, strict=True)])
    np.testing.assert_array_equal(predict_batch(u, predictor), expected)
    check_against_float(u, predictor)


def test_no_monomial_can_saturate():
    largest = STATISTIC.max
    for d in (2, 3):
        exact = Fraction(largest * STATISTIC.max, MONOMIAL[d - 1].one * STATISTIC.one)
        largest = floor(exact * MONOMIAL[d].one + Fraction(1, 2))
        assert largest < MONOMIAL[d].max, d
    z = [[STATISTIC.min], [STATISTIC.max]]
    np.testing.assert_array_equal(expand(z, 3)[:, 2], [-largest, largest])


def test_no_sum_can_leave_the_accumulator():
    limits = config_module.LIMITS
    monomial = max(fmt.magnitude * COEFFICIENT[d].magnitude << scale_unit.ALIGN[d]
                   for d, fmt in MONOMIAL.items())
    constant = LAMBDA.magnitude << scale_unit.ROUND
    assert limits["max_monomials"][1] * monomial + constant <= POLYNOMIAL.max
    product = PROJECTION.magnitude * STATISTIC.magnitude
    bias = STATISTIC.magnitude << PROJECTION.frac
    assert limits["max_statistics"][1] * product + bias <= POLYNOMIAL.max


@pytest.mark.parametrize("statistics", [None, 12])
def test_zero_coefficients_reproduce_the_constants(statistics):
    rng = np.random.default_rng(5)
    constant = np.append(rng.integers(LAMBDA.min, HIGHEST + 1, 50), [LAMBDA.min, HIGHEST])
    zeros = [np.zeros((52, comb(4 + d - 1, d)), np.int64) for d in MONOMIAL]
    projection = None if statistics is None else rng.integers(-9999, 9999, (4, statistics))
    bias = None if statistics is None else rng.integers(-9999, 9999, 4)
    predictor = ScalePredictor(constant, zeros, projection, bias)
    for u in random_statistics(rng, predictor.shape.statistics, images=5):
        np.testing.assert_array_equal(predict(u, predictor), constant)


def test_compiled_equals_interpreted():
    rng = np.random.default_rng(6)
    predictor = random_predictor(rng, variables=3, degree=3, sites=4, statistics=5)
    u = random_statistics(rng, 5, images=3)
    z, phi, out = (np.empty((3, size), np.int64) for size in (3, 19, 4))
    scale_unit._project.py_func(u, predictor.projection, predictor.bias, z)
    scale_unit._expand.py_func(z, scale_unit._plan(3, 3), phi)
    align = np.repeat([2, 0, 0], [3, 6, 10])
    scale_unit._evaluate.py_func(phi, align, predictor.constant,
                                 np.hstack(predictor.coefficients), out)
    np.testing.assert_array_equal(z, project(u, predictor))
    np.testing.assert_array_equal(phi, expand(z, 3))
    np.testing.assert_array_equal(out, predict_batch(u, predictor))


def test_a_flipped_format_bit_is_noticed(monkeypatch):
    monkeypatch.setitem(scale_unit.ALIGN, 1, scale_unit.ALIGN[1] ^ 1)
    with pytest.raises(AssertionError, match="lambda off by"):
        test_scales_are_within_the_bound(2, 2, None)


@pytest.mark.parametrize("lanes", [1, 3, 4])
@pytest.mark.parametrize(("variables", "degree", "statistics"), [(2, 3, None), (4, 2, 7)])
def test_packs_coefficients_in_the_order_they_are_used(lanes, variables, degree, statistics):
    config = replace(CORES["8x16"], scale_lanes=lanes)
    rng = np.random.default_rng(7)
    predictor = random_predictor(rng, variables=variables, degree=degree, sites=10,
                                 statistics=statistics)
    beats = iter(pack(predictor, config).tolist())
    tables = []
    if statistics is not None:
        tables.append([[*row, b] for row, b in zip(predictor.projection.tolist(),
                                                   predictor.bias.tolist(), strict=True)])
    tables.append([[*row, c] for row, c in zip(np.hstack(predictor.coefficients).tolist(),
                                               predictor.constant.tolist(), strict=True)])
    for table in tables:
        for first in range(0, len(table), lanes):
            block = table[first:first + lanes]
            for column in zip(*block, strict=True):
                assert next(beats) == [*column, *[0] * (lanes - len(block))]
    assert next(beats, None) is None


def test_refuses_wrong_arguments():
    predictor = random_predictor(np.random.default_rng(10), variables=2, degree=1, sites=1)
    for call, error, message in [
        (lambda: predict([0, 0, 0], predictor), ValueError, r"must have shape \(2\), not \(3,\)"),
        (lambda: predict([0, -32768], predictor), ValueError, "is outside -32767..32767"),
        (lambda: predict([0.0, 0.0], predictor), TypeError, "statistics must be an integer array"),
        (lambda: predict([0, 0], 3), TypeError, "predictor must be a ScalePredictor, not 3"),
        (lambda: pack(predictor, 3), TypeError, "config must be an AcceleratorConfig, not 3"),
        (lambda: expand([[0]], 4), ValueError, "degree must be within 1..3, not 4"),
        (lambda: scales([HIGHEST + 1]), ValueError, "16384 is outside -32768..16383"),
        (lambda: PredictorShape(3, 2, 1, 1, False), ValueError, "variables must be the 3 statis"),
        (lambda: PredictorShape(2, 2, 1, 4, False), ValueError, "degree must be within 1..3"),
    ]:
        with pytest.raises(error, match=message):
            call()
