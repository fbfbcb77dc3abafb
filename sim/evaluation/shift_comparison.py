"""Statistics of results on shifted images: beside those on the images as they are, and paired."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..shifts.shift import Shift
from .comparison import Baseline, Difference, baseline, difference, interval
from .evaluation import Answers
from .preparation import FP32, Candidate


@dataclass(frozen=True)
class MeanDifference:
    """What a method does better than another on average over shifts of the same images.

    Attributes
    ----------
    points
        Difference of the means over shifts, in percentage points.
    low, high
        Interval of :data:`~.comparison.CONFIDENCE`, by paired bootstrap over images: an image is
        drawn with all its shifts.
    """

    points: float
    low: float
    high: float


@dataclass(frozen=True)
class Cell:
    """A method on images under one shift, or as they are.

    Attributes
    ----------
    shift
        As it is written, like ``fog:3``; None for images as they are.
    top1
        Images whose label is the likeliest class, in per cent; None without labels.
    agreement
        Images whose likeliest class is that of the float model on the same pixels, in per cent.
    against
        What it does better than the method that it is held against, as in
        :class:`~.comparison.Row`.
    """

    shift: str | None
    top1: float | None
    agreement: float
    against: Difference | None

    @property
    def share(self) -> float:
        """What methods are compared by: `top1`, or without labels `agreement`."""
        return self.agreement if self.top1 is None else self.top1


@dataclass(frozen=True)
class ShiftRow:
    """A method in one precision, under all shifts.

    Attributes
    ----------
    method, title, bits, integer, baseline
        As in :class:`~.comparison.Row`.
    clean, cells
        On images as they are, and under each shift.
    against
        What it does better on average over the shifts; None without a baseline, or if that was not
        run.
    """

    method: str
    title: str
    bits: str
    integer: bool
    baseline: str | None
    clean: Cell
    cells: tuple[Cell, ...]
    against: MeanDifference | None

    @property
    def mean(self) -> float:
        """Mean share over the shifts, without images as they are."""
        return sum(cell.share for cell in self.cells) / len(self.cells)

    @property
    def worst(self) -> Cell:
        """The shift with the least share, the first of several."""
        return min(self.cells, key=lambda cell: cell.share)


def rows(answers: Sequence[Answers], labels: np.ndarray | None, methods: Mapping[str, Candidate],
         seed: int = 1, against: Baseline | None = None) -> list[ShiftRow]:
    """Return the rows of a comparison under shifts, in the order of what was run.

    Parameters
    ----------
    answers
        Of the float model, too; of each on images as they are and under the same shifts.
    labels : int array, shape (images,), or None
    methods
        What is known about the methods.
    seed
        Of the bootstrap.
    against
        As :func:`~.comparison.rows` takes it.
    """
    found: dict[tuple[str, str], dict[Shift | None, Answers]] = {}
    for one in answers:
        shift = one.shifted and one.shifted.shift
        found.setdefault((one.prepared.method, one.prepared.bits), {})[shift] = one
    first = {shift: one.top[:, 0] for shift, one in found[FP32, FP32].items()}

    def right(every):
        return {shift: one.top[:, 0] == (first[shift] if labels is None else labels)
                for shift, one in every.items()}

    made = []
    for (name, bits), every in found.items():
        about = methods.get(name)
        shown, place = baseline(name, bits, methods, against)
        other = found.get(place)
        mine, theirs = right(every), None if other is None else right(other)
        clean, *cells = (
            Cell(None if shift is None else str(shift),
                 None if labels is None else 100 * float(mine[shift].mean()),
                 100 * float((every[shift].top[:, 0] == first[shift]).mean()),
                 None if theirs is None else difference(mine[shift], theirs[shift], seed))
            for shift in sorted(every, key=lambda shift: shift is not None))
        made.append(ShiftRow(name, about.title if about else "float model", bits,
                             every[None].prepared.integer, shown, clean, tuple(cells),
                             None if theirs is None else _mean_difference(mine, theirs, seed)))
    return made


def _mean_difference(mine: dict, theirs: dict, seed: int) -> MeanDifference:
    shifts = [shift for shift in mine if shift is not None]
    scores = sum(mine[shift].astype(int) - theirs[shift] for shift in shifts)
    values, counts = np.unique(scores, return_counts=True)
    low, high = interval(values / len(shifts), counts, seed)
    return MeanDifference(100 * float(scores.mean()) / len(shifts), low, high)
