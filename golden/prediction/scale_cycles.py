"""What a prediction of the scale unit costs: cycles and multiplications."""

from ..common.config import AcceleratorConfig
from .scale_predictor import PredictorShape, ScalePredictor
from .scale_unit import check_predictor

LATENCY = 12
"""Cycles from the last coefficient beat of a block of sites to the first of its scales."""

_VARIABLE_LATENCY = 9  # from the last coefficient beat of a block of variables to its first
_EXPAND_LATENCY = 2  # from the last variable to the first coefficient beat of the sites

DEGREE_LATENCY = 4
"""Cycles between two degrees."""


def scale_cycles(predictor: ScalePredictor | PredictorShape, config: AcceleratorConfig) -> int:
    """Return the cycles from the first statistic accepted to the last scale, both included.

    With L lanes: one cycle per statistic; if there is a projection, ``ceil(variables / L)`` blocks
    of ``statistics + 1`` beats; one cycle per monomial of degree 2 and 3; ``ceil(sites / L)``
    blocks of ``monomials + 1`` beats; and constants. A block takes L cycles at least, as its
    results leave one by one. Holds when neither side makes the unit wait.

    Raises
    ------
    ValueError
        If the predictor is too large for `config`.
    """
    shape = _shape(predictor)
    shape.check(config)
    lanes = config.scale_lanes

    def blocks(results, terms):  # cycles from the first beat to the last result but a latency
        full = (results - 1) // lanes
        return full * max(terms + 1, lanes) + terms + results - full * lanes

    total = shape.statistics + _EXPAND_LATENCY
    if shape.projected:
        total += blocks(shape.variables, shape.statistics) + _VARIABLE_LATENCY
    for degree in range(2, shape.degree + 1):
        total += shape.monomials_of_degree(degree) + DEGREE_LATENCY
    return total + blocks(shape.sites, shape.monomials) + LATENCY - 1


def multiply_accumulates(predictor: ScalePredictor | PredictorShape) -> int:
    """Return the multiplications of one prediction: projection, monomials and polynomials."""
    shape = _shape(predictor)
    projection = shape.variables * shape.statistics if shape.projected else 0
    return projection + shape.monomials - shape.variables + shape.sites * shape.monomials


def _shape(predictor) -> PredictorShape:
    if isinstance(predictor, PredictorShape):
        return predictor
    return check_predictor(predictor).shape
