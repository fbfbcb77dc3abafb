"""Scale unit: evaluates a scale predictor, of :mod:`golden.prediction.scale_predictor`.

The hardware has no coefficient memory: every coefficient is used once per image and streams past,
in the order of :func:`pack`, ``config.scale_lanes`` at a time. What that costs is in
:mod:`golden.prediction.scale_cycles`.
"""

from functools import lru_cache

import numpy as np

from ..common import exp2
from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.formats import (
    COEFFICIENT,
    LAMBDA,
    MONOMIAL,
    POLYNOMIAL,
    PROJECTION,
    STATISTIC,
    IntFormat,
)
from ..common.jit import kernel, round_shift, saturate
from .scale_predictor import HIGHEST, MAX_DEGREE, PredictorShape, ScalePredictor, monomials_of

WORD = IntFormat(max(fmt.bits for fmt in (PROJECTION, STATISTIC, LAMBDA, *COEFFICIENT.values())))
"""A number of the coefficient stream."""

ALIGN = {d: POLYNOMIAL.frac - MONOMIAL[d].frac - COEFFICIENT[d].frac for d in MONOMIAL}
"""Bits by which a product of a degree is shifted left before it is added."""

ROUND = POLYNOMIAL.frac - LAMBDA.frac
"""Bits rounded off a sum; a constant is shifted left by as many."""

ALIGNED = IntFormat(max(MONOMIAL[d].bits + ALIGN[d] for d in MONOMIAL))
"""A monomial shifted left by its ALIGN: an operand of the multipliers."""

ONE = PROJECTION.one
"""Operand that multiplies a bias, and a constant too, whose product then lacks LIFT bits."""

LIFT = ROUND - PROJECTION.frac

DROP = {d: MONOMIAL[d - 1].frac + STATISTIC.frac - MONOMIAL[d].frac for d in MONOMIAL if d > 1}
"""Bits rounded off the product that makes a monomial of a degree."""

_PROJECTION_FRAC = PROJECTION.frac
_Z_LOW, _Z_HIGH = STATISTIC.min, STATISTIC.max
_LAMBDA_LOW = LAMBDA.min


@kernel
def _project(u, projection, bias, z):
    # u: int64[images, U], projection: int64[K, U], bias: int64[K] -> z: int64[images, K]
    for image in range(u.shape[0]):
        for k in range(bias.size):
            total = bias[k] << _PROJECTION_FRAC
            for i in range(u.shape[1]):
                total += projection[k, i] * u[image, i]
            z[image, k] = saturate(round_shift(total, _PROJECTION_FRAC), _Z_LOW, _Z_HIGH)


@kernel
def _expand(z, plan, phi):
    # z: int64[images, K], plan: int64[P, 3] -> phi: int64[images, P]
    for image in range(z.shape[0]):
        for j in range(phi.shape[1]):
            if j < z.shape[1]:
                phi[image, j] = z[image, j]
            else:
                product = phi[image, plan[j, 0]] * z[image, plan[j, 1]]
                phi[image, j] = round_shift(product, plan[j, 2])


@kernel
def _evaluate(phi, align, constant, coefficients, out):
    # phi: int64[images, P], align: int64[P], coefficients: int64[S, P] -> out: int64[images, S]
    for image in range(phi.shape[0]):
        for s in range(constant.size):
            total = constant[s] << ROUND
            for j in range(align.size):
                total += (coefficients[s, j] * phi[image, j]) << align[j]
            out[image, s] = saturate(round_shift(total, ROUND), _LAMBDA_LOW, HIGHEST)


@lru_cache(maxsize=16)
def _plan(variables: int, degree: int):
    """Return parent, factor and bits to drop of each monomial; parents of variables are unused."""
    terms = monomials_of(variables, degree)
    index = {term: j for j, term in enumerate(terms)}
    return np.array([(index.get(term[:-1], 0), term[-1], DROP.get(len(term), 0))
                     for term in terms], np.int64)


def project(statistics, predictor: ScalePredictor):
    """Return the variables of several images.

    Parameters
    ----------
    statistics : int array, shape (images, statistics)
        Normalised statistics in ``STATISTIC``.

    Returns
    -------
    int64 array, shape (images, variables)
        ``clip(floor(A u + b + 1/2))`` in ``STATISTIC``; `statistics` where there is no projection.
    """
    shape = check_predictor(predictor).shape
    u = integers("statistics", statistics, STATISTIC.min, STATISTIC.max,
                 shape=(None, shape.statistics))
    if not shape.projected:
        return u
    z = np.empty((len(u), shape.variables), np.int64)
    _project(u, predictor.projection, predictor.bias, z)
    return z


def expand(variables, degree: int):
    """Return the monomials of degree 1 to `degree` of the variables of several images.

    Parameters
    ----------
    variables : int array, shape (images, variables)
        In ``STATISTIC``.

    Returns
    -------
    int64 array, shape (images, monomials)
        In the order of :func:`~golden.prediction.scale_predictor.monomials_of`, each in the
        ``MONOMIAL`` format of its degree.
    """
    degree = integer("degree", degree, 1, MAX_DEGREE)
    z = integers("variables", variables, STATISTIC.min, STATISTIC.max, shape=(None, None))
    plan = _plan(z.shape[1], degree)
    phi = np.empty((len(z), len(plan)), np.int64)
    _expand(z, plan, phi)
    return phi


def predict_batch(statistics, predictor: ScalePredictor):
    """Predict the scales of all sites for several images.

    Parameters
    ----------
    statistics : int array, shape (images, statistics)
        Normalised statistics in ``STATISTIC``.

    Returns
    -------
    int64 array, shape (images, sites)
        log2 of the scales, in ``LAMBDA``, ``HIGHEST`` or less.
    """
    phi = expand(project(statistics, predictor), predictor.shape.degree)
    align = np.repeat(list(ALIGN.values())[:len(predictor.coefficients)],
                      [array.shape[1] for array in predictor.coefficients])
    out = np.empty((len(phi), predictor.constant.size), np.int64)
    _evaluate(phi, align, predictor.constant, np.hstack(predictor.coefficients), out)
    return out


def predict(statistics, predictor: ScalePredictor):
    """Predict the scales of all sites for one image.

    Parameters
    ----------
    statistics : int array, shape (statistics,)
        Normalised statistics in ``STATISTIC``, as :func:`golden.prediction.range_unit.statistics`
        gives them.

    Returns
    -------
    int64 array, shape (sites,)
        log2 of the scales, in ``LAMBDA``, ``HIGHEST`` or less.
    """
    count = check_predictor(predictor).shape.statistics
    u = integers("statistics", statistics, STATISTIC.min, STATISTIC.max, shape=(count,))
    return predict_batch(u[None], predictor)[0]


def scales(lambdas):
    """Return the scales ``2**lambda`` as mantissas and shifts.

    Parameters
    ----------
    lambdas : int array, shape (sites,)
        As :func:`predict` gives them: ``LAMBDA.min..HIGHEST``.

    Returns
    -------
    mantissa, shift : int64 arrays, shape (sites,)
        The scale is ``mantissa / 2**shift`` within :data:`golden.common.exp2.ERROR` relative.
    """
    return exp2.exp2(integers("lambdas", lambdas, LAMBDA.min, HIGHEST, shape=(None,)))


def pack(predictor: ScalePredictor, config: AcceleratorConfig):
    """Return the coefficients in the order the hardware eats them.

    First, if there is a projection, the variables in blocks of ``scale_lanes``: per block one beat
    per statistic and one with the biases. Then the sites in blocks of ``scale_lanes``: per block
    one beat per monomial and one with the constants. Lanes beyond the last result are zero.

    Returns
    -------
    int64 array, shape (beats, scale_lanes)
        Numbers in ``WORD``.

    Raises
    ------
    ValueError
        If the predictor is too large for `config`.
    """
    check_predictor(predictor).shape.check(config)
    tables = [np.column_stack((*predictor.coefficients, predictor.constant))]
    if predictor.projection is not None:
        tables.insert(0, np.column_stack((predictor.projection, predictor.bias)))
    lanes = config.scale_lanes
    beats = []
    for table in tables:  # results x terms
        padded = np.pad(table, ((0, -len(table) % lanes), (0, 0)))
        blocks = padded.reshape(-1, lanes, table.shape[1])
        beats.append(blocks.transpose(0, 2, 1).reshape(-1, lanes))
    return np.concatenate(beats)


def beats(shape: PredictorShape, config: AcceleratorConfig) -> int:
    """Return the beats of :func:`pack`."""
    lanes = config.scale_lanes
    count = -(-shape.sites // lanes) * (shape.monomials + 1)
    if shape.projected:
        count += -(-shape.variables // lanes) * (shape.statistics + 1)
    return count


def unpack(numbers, shape: PredictorShape, config: AcceleratorConfig) -> ScalePredictor:
    """Return the predictor whose :func:`pack` begins with these numbers, lane after lane."""
    lanes = config.scale_lanes

    def table(results: int, terms: int):
        nonlocal numbers
        blocks = -(-results // lanes)
        taken, numbers = np.split(np.asarray(numbers), [blocks * terms * lanes])
        return taken.reshape(blocks, terms, lanes).transpose(0, 2, 1).reshape(-1, terms)[:results]

    projection = bias = None
    if shape.projected:
        first = table(shape.variables, shape.statistics + 1)
        projection, bias = first[:, :-1], first[:, -1]
    second = table(shape.sites, shape.monomials + 1)
    ends = np.cumsum([shape.monomials_of_degree(degree) for degree in range(1, shape.degree + 1)])
    coefficients = np.split(second[:, :-1], ends[:-1], axis=1)
    return ScalePredictor(second[:, -1], tuple(coefficients), projection, bias)


def check_predictor(predictor) -> ScalePredictor:
    """Return a predictor; raise :exc:`TypeError` if it is something else."""
    if not isinstance(predictor, ScalePredictor):
        raise TypeError(f"predictor must be a ScalePredictor, not {predictor!r}")
    return predictor
