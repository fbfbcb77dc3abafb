"""One run of the softmax unit, :mod:`golden.rows.softmax`: registers and cycles."""

from ..common.checks import integer
from ..common.config import AcceleratorConfig
from ..common.formats import IntFormat
from .softmax import HIGHEST_KEYS, RECIPROCAL, STEP, reciprocal

RECIPROCAL_SHIFT = IntFormat(5, signed=False)

LATENCY = 16
"""Cycles of a run besides words, maximum and sum over the lanes; see :func:`cycles`."""


def highest_keys(config: AcceleratorConfig) -> int:
    """Longest row that the hardware has room for."""
    return min(config.max_tokens, HIGHEST_KEYS)


def highest_words(config: AcceleratorConfig) -> int:
    """Words of `config.lanes` scores in the longest row."""
    return -(-highest_keys(config) // config.lanes)


def register_formats(config: AcceleratorConfig) -> dict[str, IntFormat]:
    """Formats of :func:`registers`, by name."""
    def up_to(limit: int) -> IntFormat:
        return IntFormat(max(limit.bit_length(), 1), signed=False)

    return {
        "last_word": up_to(highest_words(config) - 1),
        "last_lane": up_to(config.lanes - 1),
        "step": STEP,
        "factor": RECIPROCAL,
        "shift": RECIPROCAL_SHIFT,
    }


def registers(keys: int, step: int, config: AcceleratorConfig) -> dict[str, int]:
    """Return what the hardware is told of a run, in :func:`register_formats`.

    Parameters
    ----------
    keys : int
        Scores per row, 1 to :func:`highest_keys`.
    step : int
        Distance of neighbouring codes; 0 for exponentials.
    """
    keys = integer("keys", keys, 1, highest_keys(config))
    factor, shift = (0, 0) if integer("step", step, 0, STEP.max) == 0 else reciprocal(step)
    return {
        "last_word": -(-keys // config.lanes) - 1,
        "last_lane": (keys - 1) % config.lanes,
        "step": step,
        "factor": factor,
        "shift": shift,
    }


def cycles(rows: int, keys: int, config: AcceleratorConfig) -> int:
    """Cycles of a run without stalls, from the first word to the last exponent, both included.

    One cycle per word of every row, however short: the second pass over a row runs beside the
    first one over the next. To these add the second pass over the last row and the latency: of
    the maximum over the lanes, one cycle per halving; of the sum, one per division by four; and
    the rest of the pipeline. The last operands come before the last exponent.
    """
    rows = integer("rows", rows, 1)
    keys = integer("keys", keys, 1, highest_keys(config))
    halvings = (config.lanes - 1).bit_length()
    return (rows + 1) * -(-keys // config.lanes) + halvings + -(-halvings // 2) + LATENCY
