"""Random scale predictors, and what float64 makes of them."""

from itertools import combinations_with_replacement
from math import comb

import numpy as np

from golden.common.formats import COEFFICIENT, GAIN, LAMBDA, LOG2, PROJECTION, STATISTIC
from golden.prediction.range_unit import log_ranges, statistics
from golden.prediction.scale_predictor import (
    HIGHEST,
    SCALE_ERROR_LIMIT,
    ScalePredictor,
    lambda_error_bound,
    monomial_error_bounds,
    scale_error_bound,
)
from golden.prediction.scale_unit import predict_batch, scales
from tests.cases.recorded import recorded

_SWING = 3  # standard deviation that the terms of a degree give a lambda, at most
_ERROR = 0.0012  # error of lambda that they allow, at most


def random_predictor(rng, *, variables, degree, sites, statistics=None) -> ScalePredictor:
    """Return a predictor whose variables and scales spread over their range.

    There is a projection if the number of `statistics` is given.
    """
    errors = monomial_error_bounds(projected=statistics is not None)
    coefficients = []
    for d in range(1, degree + 1):
        count = comb(variables + d - 1, d)
        spread = _SWING * 3**0.5 / (count**0.5 * (4 / 3**0.5) ** d)
        exact = _ERROR / (count * errors[d]) if errors[d] else spread
        limit = min(int(min(spread, exact) * COEFFICIENT[d].one) + 1, COEFFICIENT[d].max)
        coefficients.append(rng.integers(-limit, limit + 1, (sites, count)))
    constant = rng.integers(-12 * LAMBDA.one, 2 * LAMBDA.one, sites)
    if statistics is None:
        return ScalePredictor(constant, coefficients)
    limit = min(int(PROJECTION.one / statistics ** 0.5), PROJECTION.max)
    projection = rng.integers(-limit, limit + 1, (variables, statistics))
    bias = rng.integers(-STATISTIC.one, STATISTIC.one + 1, variables)
    return ScalePredictor(constant, coefficients, projection, bias)


def random_statistics(rng, count, images=1):
    """Return normalised statistics, an eighth of them at the ends of their range."""
    u = rng.integers(STATISTIC.min, STATISTIC.max + 1, (images, count))
    ends = rng.choice([STATISTIC.min, STATISTIC.max, -1, 0, 1], (images, count))
    return np.where(rng.random((images, count)) < 0.125, ends, u)


def recorded_statistics(groups):
    """Return the normalised range statistics of the recorded images, (images, 2 * groups).

    Mean and deviation are those of these few images themselves.
    """
    data = recorded()
    streams = [data.residual(image) for image in range(len(data.images))]
    logs = [log_ranges(stream, data.chunk_tokens, groups) for stream in streams]
    mean = np.rint(np.mean(logs, axis=0)).astype(int)
    deviation = np.std(logs, axis=0) / LOG2.one
    gain = np.rint(GAIN.one / np.maximum(deviation, GAIN.one / GAIN.max)).astype(int)
    return np.stack([statistics(stream, data.chunk_tokens, groups, mean, gain)
                     for stream in streams])


def predict_float(u, predictor):
    """Real arithmetic on the same integers, in float64: lambda of several images."""
    z = np.asarray(u) / STATISTIC.one
    if predictor.projection is not None:
        z = z @ (predictor.projection.T / PROJECTION.one) + predictor.bias / STATISTIC.one
        z = z.clip(STATISTIC.min / STATISTIC.one, STATISTIC.max / STATISTIC.one)
    total = predictor.constant / LAMBDA.one
    for d, array in enumerate(predictor.coefficients, 1):
        terms = np.array(list(combinations_with_replacement(range(z.shape[1]), d)))
        total = total + z[:, terms].prod(axis=2) @ (array.T / COEFFICIENT[d].one)
    return total.clip(LAMBDA.min / LAMBDA.one, HIGHEST / LAMBDA.one)


def check_against_float(u, predictor):
    """Check the bounds of lambda and scale; return the largest error of lambda over its bound."""
    real = predict_float(u, predictor)
    lambdas = predict_batch(u, predictor)
    error = np.abs(lambdas / LAMBDA.one - real)
    bound = np.array(lambda_error_bound(predictor), float)
    assert (error <= bound + 1e-10).all(), f"lambda off by {error.max()}"
    mantissa, shift = (part.reshape(lambdas.shape) for part in scales(lambdas.ravel()))
    scale_error = np.abs(mantissa / np.exp2(shift) / np.exp2(real) - 1)
    limit = np.array(scale_error_bound(predictor), float)
    assert (scale_error <= limit + 1e-10).all(), f"scale off by {scale_error.max()}"
    assert scale_error.max() <= SCALE_ERROR_LIMIT
    return (error / bound).max()
