"""The predictor that an accelerator gets unless told otherwise: what it watches, and its size."""

from golden.common.config import AcceleratorConfig
from golden.prediction.range_shape import RangeShape
from golden.prediction.scale_predictor import PredictorShape

DEFAULT_CHUNK_TOKENS = 16


def tap_shape(tokens: int, channels: int, config: AcceleratorConfig) -> RangeShape:
    """Return how the range unit watches a tensor: in as fine groups of channels as fit.

    Single channels if possible, then groups of whole words, then the whole tensor; in chunks of 16
    tokens or, where there are too many for the range unit, more.
    """
    words = -(-channels // config.lanes)
    groups = [channels, *(n for n in range(words, 1, -1)
                          if channels % n == 0 and channels // n % config.lanes == 0), 1]
    for group in groups:
        entries = words if group == channels else group
        if 2 * group <= config.max_statistics and entries <= config.range_entries:
            break
    chunks = config.range_entries // entries
    return RangeShape(tokens, channels, max(DEFAULT_CHUNK_TOKENS, -(-tokens // chunks)), group)


def predictor_shape(tap: RangeShape, sites: int, config: AcceleratorConfig) -> PredictorShape:
    """Return the default predictor: statistics projected to 8 variables or as fit, degree 2."""
    variables = min(8, config.max_projected, tap.statistics)
    while True:
        shape = PredictorShape(tap.statistics, variables, sites, degree=2,
                               projected=variables < tap.statistics)
        if shape.monomials <= config.max_monomials or variables == 1:
            return shape
        variables -= 1
