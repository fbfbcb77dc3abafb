"""Scale predictor: the coefficients that the scale unit evaluates, and how exact they come out.

``scale_s = 2**lambda_s`` with ``lambda_s = constant_s + sum_j coefficient_sj * phi_j(z)``. The
variables ``z`` are the statistics ``u`` of the range unit or, where these are many, an affine
projection ``z = A u + b``. The monomials ``phi_j`` are the Taylor terms of ``z`` up to degree 1, 2
or 3, cross terms included, in the order of :func:`monomials_of`. With all coefficients zero the
scales are the constants: static quantization. After ScalePredictor (Li et al., arXiv 2606.21947);
the integer form is this project's own.

Roundings, all half up: each ``z_k`` to ``STATISTIC``, saturating; each monomial to ``MONOMIAL``,
from the product of a rounded one of a degree less and a variable (``|z| < 4``, so none can
saturate); and ``lambda`` to ``LAMBDA``, saturated to ``LAMBDA.min..HIGHEST``, which keeps the shift
of the scale at 0 or more. Sums are exact.

Worst case against real arithmetic on the same integers: with ``Z`` the largest ``|z|``, the error
``e_d`` of a monomial of degree ``d`` obeys ``e_d <= Z * e_(d-1) + Z**(d-1) * e_z + h_d``, where
``h_d`` is half a unit of ``MONOMIAL[d]`` for ``d > 1`` and ``e_z`` half a unit of ``STATISTIC`` if
there is a projection, else 0. Then ``lambda`` is wrong by at most ``sum |coefficient| * e_d`` and
half a unit of ``LAMBDA``, and the scale by :data:`golden.common.exp2.ERROR` more. A predictor is
supported if that keeps every scale within :data:`SCALE_ERROR_LIMIT`.
"""

from dataclasses import dataclass, fields
from fractions import Fraction
from itertools import combinations_with_replacement
from math import comb

import numpy as np

from ..common import exp2
from ..common.checks import integer, integers
from ..common.config import AcceleratorConfig
from ..common.formats import COEFFICIENT, LAMBDA, MONOMIAL, PROJECTION, STATISTIC

MAX_DEGREE = max(MONOMIAL)

HIGHEST = exp2.HIGHEST
"""Largest lambda, in ``LAMBDA``: just below 16."""

SCALE_ERROR_LIMIT = Fraction(3, 1000)
"""Largest relative error of a scale that a predictor may allow."""

_LN2 = Fraction(693_148, 1_000_000)  # rounded up


def register_limits(config: AcceleratorConfig) -> dict[str, int]:
    """Return the registers that describe a predictor to the hardware, and their largest values."""
    if not isinstance(config, AcceleratorConfig):
        raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
    return {"statistics": config.max_statistics, "variables": config.max_projected,
            "monomials": config.max_monomials, "sites": config.max_sites,
            "degree": MAX_DEGREE, "projected": 1}


@dataclass(frozen=True, slots=True)
class PredictorShape:
    """Size of a scale predictor: all that its cost depends on.

    Attributes
    ----------
    statistics
        Statistics that the range unit gives.
    variables
        Variables of the polynomials; as many as statistics unless `projected`.
    sites
        Predicted scales.
    degree
        Degree of the polynomials, 1 to 3.
    projected
        Whether the variables are an affine projection of the statistics.
    """

    statistics: int
    variables: int
    sites: int
    degree: int
    projected: bool

    def __post_init__(self):
        for name in ("statistics", "variables", "sites"):
            integer(name, getattr(self, name), 1)
        integer("degree", self.degree, 1, MAX_DEGREE)
        if not self.projected and self.variables != self.statistics:
            raise ValueError(f"variables must be the {self.statistics} statistics where there is "
                             f"no projection, not {self.variables}")

    def monomials_of_degree(self, degree: int) -> int:
        """Number of monomials of exactly `degree`."""
        return comb(self.variables + degree - 1, degree)

    @property
    def monomials(self) -> int:
        """Number of monomials of all degrees, from 1 on."""
        return sum(map(self.monomials_of_degree, range(1, self.degree + 1)))

    def registers(self) -> dict[str, int]:
        """Return the registers of the hardware, see :func:`register_limits`."""
        own = {field.name: int(getattr(self, field.name)) for field in fields(self)}
        return own | {"monomials": self.monomials}

    def check(self, config: AcceleratorConfig):
        """Raise :exc:`ValueError` if the hardware of `config` is too small."""
        registers = self.registers()
        for name, limit in register_limits(config).items():
            if registers[name] > limit:
                raise ValueError(f"{name} must be {limit} or less in this configuration, "
                                 f"not {registers[name]}")


@dataclass(frozen=True, slots=True, eq=False)
class ScalePredictor:
    """Coefficients of a scale predictor, all integers.

    Attributes
    ----------
    constant : int array, shape (sites,)
        lambda of each site at ``z = 0``, in ``LAMBDA`` and at most :data:`HIGHEST`.
    coefficients : tuple of int arrays, shape (sites, monomials of the degree)
        Of degree 1, 2, ... in ``COEFFICIENT[degree]``; columns in the order of
        :func:`monomials_of`.
    projection : int array, shape (variables, statistics), optional
        In ``PROJECTION``; without it the statistics are the variables.
    bias : int array, shape (variables,), optional
        In ``STATISTIC``; given exactly when `projection` is.

    Raises
    ------
    ValueError
        If shapes disagree, a number leaves its format, or the coefficients of a site allow a scale
        error beyond :data:`SCALE_ERROR_LIMIT`.
    """

    constant: np.ndarray
    coefficients: tuple[np.ndarray, ...]
    projection: np.ndarray | None = None
    bias: np.ndarray | None = None

    def __post_init__(self):
        if not isinstance(self.coefficients, tuple | list):
            raise TypeError("coefficients must be a tuple of arrays, one per degree, not a "
                            f"{type(self.coefficients).__name__}")
        degree = integer("degree", len(self.coefficients), 1, MAX_DEGREE)
        if (self.projection is None) != (self.bias is None):
            raise ValueError("projection and bias must be given together")
        constant = integers("constant", self.constant, LAMBDA.min, HIGHEST, shape=(None,))
        self._set("constant", constant)
        columns = None
        coefficients = []
        for d in range(1, degree + 1):
            array = integers(f"coefficients[{d - 1}]", self.coefficients[d - 1],
                             COEFFICIENT[d].min, COEFFICIENT[d].max,
                             shape=(constant.size, columns))
            coefficients.append(_frozen(array))
            columns = comb(coefficients[0].shape[1] + d, d + 1)
        object.__setattr__(self, "coefficients", tuple(coefficients))
        if self.projection is not None:
            variables = coefficients[0].shape[1]
            self._set("projection", integers("projection", self.projection, PROJECTION.min,
                                             PROJECTION.max, shape=(variables, None)))
            self._set("bias", integers("bias", self.bias, STATISTIC.min, STATISTIC.max,
                                       shape=(variables,)))
        _ = self.shape  # refuses a predictor with nothing in it
        self._check_error()

    def _set(self, name, array):
        object.__setattr__(self, name, _frozen(array))

    def _check_error(self):
        bounds = scale_error_bound(self)
        site = max(range(len(bounds)), key=bounds.__getitem__)
        if bounds[site] > SCALE_ERROR_LIMIT:
            raise ValueError(f"coefficients must keep every scale within "
                             f"{_ppm(SCALE_ERROR_LIMIT)} ppm, but site {site} can be "
                             f"{_ppm(bounds[site])} ppm off")

    @property
    def shape(self) -> PredictorShape:
        """Size of the predictor."""
        sites, variables = self.coefficients[0].shape
        projected = self.projection is not None
        statistics = self.projection.shape[1] if projected else variables
        return PredictorShape(statistics, variables, sites, len(self.coefficients), projected)

    def registers(self) -> dict[str, int]:
        """Return the registers of the hardware, see :func:`register_limits`."""
        return self.shape.registers()


def _frozen(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def _ppm(ratio: Fraction) -> int:
    """Parts per million, rounded up."""
    return -(-ratio * 1_000_000 // 1)


def monomials_of(variables: int, degree: int) -> list[tuple[int, ...]]:
    """Return the monomials of degree 1 to `degree`, each as the indices of its variables.

    Degree by degree, and within a degree in lexicographic order of non-decreasing indices: each
    monomial of the degree below, times each variable from its last one on.
    """
    return [term for d in range(1, degree + 1)
            for term in combinations_with_replacement(range(variables), d)]


def monomial_error_bounds(projected: bool) -> dict[int, Fraction]:
    """Return for each degree the largest error of a monomial against real arithmetic."""
    reach = Fraction(STATISTIC.max, STATISTIC.one)
    variable = Fraction(projected, 2 * STATISTIC.one)
    bounds = {1: variable}
    for degree in range(2, MAX_DEGREE + 1):
        rounding = Fraction(1, 2 * MONOMIAL[degree].one)
        bounds[degree] = reach * bounds[degree - 1] + reach ** (degree - 1) * variable + rounding
    return bounds


def lambda_error_bound(predictor: ScalePredictor) -> list[Fraction]:
    """Return for each site the largest error of lambda against real arithmetic."""
    errors = monomial_error_bounds(predictor.shape.projected)
    bounds = [Fraction(1, 2 * LAMBDA.one)] * predictor.constant.size
    for degree, coefficients in enumerate(predictor.coefficients, start=1):
        unit = errors[degree] / COEFFICIENT[degree].one
        sums = np.abs(coefficients).sum(axis=1).tolist()
        bounds = [bound + total * unit for bound, total in zip(bounds, sums, strict=True)]
    return bounds


def scale_error_bound(predictor: ScalePredictor) -> list[Fraction]:
    """Return for each site the largest relative error of its scale against real arithmetic.

    It is ``(1 + ERROR) * 2**d - 1`` for an error ``d`` of lambda, with
    ``1 + x + x**2 / 2 + x**3`` at ``x = f * ln(2)`` for the upper bound of ``2**f``, ``f`` being
    the fraction of ``d``.
    """
    bounds = []
    for bound in lambda_error_bound(predictor):
        x = bound % 1 * _LN2
        bounds.append((1 + exp2.ERROR) * (1 << bound // 1) * (1 + x + x**2 / 2 + x**3) - 1)
    return bounds
