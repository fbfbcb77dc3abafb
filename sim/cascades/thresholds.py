"""When the first network of a cascade suffices: thresholds and what they cost, on images.

On some images it is known how much each network doubts and whether it is right (or, without
labels, whether the first one says what the second one says). Of every threshold that makes a
difference there, :func:`points` says how many images the first network answers, how many answers
are right, and how many cycles an image takes; :func:`cheapest` takes one of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from golden.core.program import Program
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.cycles.timing import timing


@dataclass(frozen=True, slots=True)
class Answers:
    """What the networks of a cascade, each on its own, make of images.

    Attributes
    ----------
    doubts : int array, shape (images,)
        Of the first network's answers, :mod:`golden.network.cascade`.
    first, second : bool arrays, shape (images,)
        Whether the answer of each is right.
    """

    doubts: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True, slots=True)
class Cycles:
    """Cycles of an image.

    Attributes
    ----------
    early
        If the first network answers.
    late
        If the second one does.
    """

    early: int
    late: int


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold on some images.

    Attributes
    ----------
    threshold
        Largest doubt with which the first network answers; 0: it never does.
    exited
        Share of images that it answers.
    right
        Share of images whose answer is right.
    cycles
        Of an image, on average.
    """

    threshold: int
    exited: float
    right: float
    cycles: float


def cycles_of(program: Program, memory: MemoryModel | SdramMemory = USUAL) -> Cycles:
    """Return what :func:`sim.compiler.compile_cascade`'s program takes for an image."""
    exited = program.about["cascade"]["exit"]
    return Cycles(timing(program, memory, exited).cycles, timing(program, memory).cycles)


def points(found: Answers, cycles: Cycles) -> list[Point]:
    """Return every threshold that makes a difference on these images, rising from 0.

    Raises
    ------
    ValueError
        If there are no images.
    """
    count = len(found.doubts)
    if not count:
        raise ValueError("there must be an image or more")
    made = []
    for threshold in (0, *np.unique(found.doubts).tolist()):
        early = found.doubts <= threshold
        right = np.where(early, found.first, found.second)
        share = early.mean()
        made.append(Point(threshold, float(share), float(right.mean()),
                          float(cycles.late + (cycles.early - cycles.late) * share)))
    return made


def cheapest(made: Iterable[Point], least: float) -> Point:
    """Return the point with the fewest cycles of those with at least this share of right answers.

    Raises
    ------
    ValueError
        If there is none.
    """
    enough = [point for point in made if point.right >= least]
    if not enough:
        raise ValueError(f"no threshold has a share of right answers of {least} or more")
    return min(enough, key=lambda point: (point.cycles, -point.right))
