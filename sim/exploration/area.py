"""How large a core is on an ECP5: multipliers and block RAMs exactly, LUTs and flip-flops fitted.

Multipliers and block RAMs are counted from what each unit is made of, for the multipliers of the
array, the banks of the scratchpad and the bytes of the buffers are known. LUTs and flip-flops are a
constant and a slope for each unit, along what the unit grows with (:data:`_GROWS`), fitted to the
syntheses in ``syntheses.json`` by least squares of relative errors. :data:`SYNTHESES` is made by

    python -m sim.exploration.syntheses

and :func:`error` says how far the model is from each of them when fitted to the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.rows import softmax_run
from golden.rows.layernorm import LATENCY, highest_channels

from .cores_file import read

SYNTHESES = Path(__file__).with_name("syntheses.json")
"""Cores that were synthesised, and what each of their units takes."""

_BLOCK_WORDS = 1024  # of 16 bits, of a block RAM
_BLOCK_BYTES = 2048  # of 8 bits
_WIDEST = 36, 512  # bits of a word, and words, of a block RAM


@dataclass(frozen=True, slots=True)
class Area:
    """What a core takes of an ECP5, by :mod:`rtl.utilisation`'s rules.

    Attributes
    ----------
    luts, ffs
        Four-input LUTs and flip-flops; estimated.
    multipliers, block_rams
        18 x 18 multipliers and block RAMs of 18 Kibit.
    """

    luts: int
    ffs: int
    multipliers: int
    block_rams: int


def area_of(config: AcceleratorConfig) -> Area:
    """Return the estimated area of a core."""
    found = _predicted(config, _fits())
    return Area(*(round(found[name]) for name in ("LUT4", "FF")), multipliers(config),
                block_rams(config))


def multipliers(config: AcceleratorConfig) -> int:
    """Return the 18 x 18 multipliers of a core.

    One for each of the array's, two for each lane of the epilogue, one in LayerNorm and one in the
    range unit, and in the scale unit one for each lane and one for the monomials.
    """
    return config.multipliers + 2 * config.lanes + 3 + config.scale_lanes


def block_rams(config: AcceleratorConfig) -> int:
    """Return the block RAMs of a core: of each memory, as many as its words and bits take."""
    width, depth = _WIDEST
    words = -(-config.scratchpad_words // _BLOCK_WORDS)
    stream = -(-config.cols * config.stream_words // _BLOCK_BYTES)
    keys = -(-8 * config.cols // width) * -(-2 * config.key_words // depth)
    rows = _waiting(config)
    exponents = -(-config.max_tokens // _BLOCK_WORDS)
    extremes = config.rows * -(-config.range_entries // 1024)
    norm = 1 + 5 * config.rows // 4
    return words * config.rows + stream + keys + rows + exponents + extremes + norm + _SMALL


_SMALL = 4  # two in the scale unit; one each for the scales and the placement


def _waiting(config: AcceleratorConfig) -> int:
    """Block RAMs of rows that wait, 16 bits and a mark for each lane: LayerNorm's, softmax's."""
    channels = highest_channels(config) // config.lanes + LATENCY
    keys = softmax_run.highest_words(config) + 3  # a stage or two of the maximum more
    depth, width = 1 << max(channels.bit_length(), keys.bit_length()), _WIDEST[0]
    return -(-17 * config.lanes // (width * _WIDEST[1] // max(depth, _WIDEST[1])))


def _constant(config: AcceleratorConfig) -> float:
    return 0.0


def _lanes(config: AcceleratorConfig) -> float:
    return float(config.lanes)


def _array(config: AcceleratorConfig) -> float:
    return float(config.multipliers)


def _columns(config: AcceleratorConfig) -> float:
    return float(config.cols)


def _banks(config: AcceleratorConfig) -> float:
    """Banks, times the parts that are selected between (:mod:`rtl.memory.scratchpad`)."""
    words = -(-config.scratchpad_words // _BLOCK_WORDS)
    return float(config.rows * (words.bit_count() - 1))


_GROWS: dict[str, Callable[[AcceleratorConfig], float]] = {
    "product_path.array": _array, "result_path.epilogue": _lanes, "row_path.layernorm": _lanes,
    "prediction.range_unit": _lanes, "row_path.softmax": _lanes, "core": _lanes,
    "product_path.feed": _columns, "memory_side.dma": _lanes, "result_path.placement": _lanes,
    "program_stream.buffer": _columns, "row_path.reader": _lanes, "memory_side.ports": _columns,
    "scratchpad": _banks,
}
"""What the LUTs and flip-flops of a unit grow with; those of others are the same in all cores."""

_RESOURCES = ("LUT4", "FF")

Fits = dict[str, dict[str, tuple[float, float]]]
"""Of each unit and resource, a constant and a slope."""


@lru_cache
def synthesised() -> tuple[tuple[AcceleratorConfig, dict[str, dict[str, int]]], ...]:
    """Return the cores of :data:`SYNTHESES`, and by unit and resource what they take."""
    return tuple(read(SYNTHESES, "syntheses", "units").items())


@lru_cache
def _fits(without: int | None = None) -> Fits:
    """Fit all units to all syntheses, or to all but one."""
    known = [one for number, one in enumerate(synthesised()) if number != without]
    return {unit: {resource: line(
        [_GROWS.get(unit, _constant)(config) for config, _ in known],
        [units[unit][resource] for _, units in known]) for resource in _RESOURCES}
        for unit in known[0][1]}


def line(x: list[float], y: list[float]) -> tuple[float, float]:
    """Return constant and slope of the line through points that is best in relative errors."""
    if len(set(x)) < 2 or not any(y):
        return float(np.mean(y)), 0.0
    weight = 1 / np.maximum(y, 1.0)
    rows = np.stack((np.ones(len(x)), x), 1) * weight[:, None]
    constant, slope = np.linalg.lstsq(rows, np.array(y) * weight, rcond=None)[0]
    return float(constant), float(slope)


def _predicted(config: AcceleratorConfig, fits: Fits) -> dict[str, float]:
    return {resource: sum(max(0.0, line[resource][0] + line[resource][1] * _GROWS.get(
        unit, _constant)(config)) for unit, line in fits.items()) for resource in _RESOURCES}


def error(resource: str = "LUT4") -> dict[str, float]:
    """Return the relative error of the model for each synthesis, when fitted to the others.

    Parameters
    ----------
    resource
        ``LUT4`` or ``FF``.

    Returns
    -------
    dict
        By name of the core, like ``8x16``: predicted / synthesised - 1.
    """
    errors = {}
    for number, (config, units) in enumerate(synthesised()):
        actual = sum(unit[resource] for unit in units.values())
        name = f"{config.rows}x{config.cols}, {config.sram_kib} KiB"
        errors[name] = _predicted(config, _fits(number))[resource] / actual - 1
    return errors
