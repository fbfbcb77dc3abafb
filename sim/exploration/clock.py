"""How fast a core is on an ECP5: a line, fitted to placements that were made.

Logic between two registers takes the same time in every core; wires grow with what they span, and
that with the square root of the area. So the period of the clock is a constant and a slope along
the square root of the LUTs, fitted to ``placements.json`` by least squares of relative errors.
:data:`PLACEMENTS` is made by

    python -m sim.exploration.placements

and has the clock that nextpnr estimates once a core is placed, before its wires are routed, of
each seed; the model is fitted to their means. :func:`error` says how far it is from each core when
fitted to the others.
"""

from functools import lru_cache
from math import sqrt
from pathlib import Path
from statistics import mean

from golden.common.config import AcceleratorConfig

from .area import area_of, line
from .cores_file import read

PLACEMENTS = Path(__file__).with_name("placements.json")
"""Cores that were placed, and their clocks by seed."""


def clock_of(config: AcceleratorConfig) -> float:
    """Return the estimated clock of a core as placed, in MHz."""
    return _predicted(config, _fit())


@lru_cache
def placed() -> tuple[tuple[AcceleratorConfig, float], ...]:
    """Return the cores of :data:`PLACEMENTS`, and their clocks in MHz, the mean over seeds."""
    return tuple((config, mean(clocks.values()))
                 for config, clocks in read(PLACEMENTS, "placements", "mhz").items())


def error() -> dict[str, float]:
    """Return the relative error of the clock of each core placed, when fitted to the others.

    Returns
    -------
    dict
        By name of the core, like ``8x16, 304 KiB``: predicted / placed - 1.
    """
    return {f"{config.rows}x{config.cols}, {config.sram_kib} KiB":
            _predicted(config, _fit(number)) / mhz - 1
            for number, (config, mhz) in enumerate(placed())}


@lru_cache
def _fit(without: int | None = None) -> tuple[float, float]:
    """Fit a constant and a slope, in nanoseconds, to all cores placed, or to all but one."""
    known = [one for number, one in enumerate(placed()) if number != without]
    return line([_span(config) for config, _ in known], [1000 / mhz for _, mhz in known])


def _span(config):
    return sqrt(area_of(config).luts)


def _predicted(config, fit):
    constant, slope = fit
    return 1000 / (constant + slope * _span(config))
