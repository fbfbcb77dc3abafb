"""Statistics of results: accuracy, paired differences, how well scales are predicted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from golden.common.formats import LAMBDA

from ..prediction.scale_costs import Cost
from .evaluation import Answers
from .preparation import FP32, Candidate

ORACLE = "oracle"
"""Method whose scales others should predict."""

RESAMPLES = 20_000
CONFIDENCE = 0.95
PERCENTILES = (5, 50, 95)
"""Of images, in :class:`Spread`."""


@dataclass(frozen=True)
class Difference:
    """What a method does better than another on the same images.

    Attributes
    ----------
    points
        Difference of the shares of images that are right, in percentage points.
    low, high
        Interval of :data:`CONFIDENCE`, by paired bootstrap over images.
    better, worse
        Images that only this one, and only the other one has right.
    p
        Two-sided, of McNemar's exact test.
    """

    points: float
    low: float
    high: float
    better: int
    worse: int
    p: float


def difference(mine: np.ndarray, other: np.ndarray, seed: int = 1) -> Difference:
    """Compare two methods, from which images each has right: bool arrays of the same images."""
    better, worse = int((mine & ~other).sum()), int((other & ~mine).sum())
    low, high = bootstrap(better, worse, len(mine), seed)
    return Difference(100 * (better - worse) / len(mine), low, high, better, worse,
                      mcnemar(better, worse))


def bootstrap(better: int, worse: int, images: int, seed: int = 1) -> tuple[float, float]:
    """Return the interval of :data:`CONFIDENCE` of a difference, in percentage points.

    By quantiles of :data:`RESAMPLES` differences on as many images drawn with repetition. An image
    counts 1, 0 or -1, so drawing images is drawing how many there are of each.
    """
    return interval((1, 0, -1), (better, images - better - worse, worse), seed)


def interval(values: Sequence[float], counts: Sequence[int], seed: int = 1) -> tuple[float, float]:
    """Return the interval of :data:`CONFIDENCE` of a mean, in percentage points.

    As :func:`bootstrap` does, for images that count any of some values.

    Parameters
    ----------
    values, counts
        What an image can count, and how many do.
    """
    counts = np.asarray(counts)
    images = int(counts.sum())
    drawn = np.random.default_rng(seed).multinomial(images, counts / images, RESAMPLES)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn @ np.asarray(values) / images, (tail, 1 - tail))
    return 100 * float(low), 100 * float(high)


def mcnemar(better: int, worse: int) -> float:
    """Return the two-sided p of McNemar's exact test: that of a fair coin's tosses."""
    tosses, few = better + worse, min(better, worse)
    ways = total = 1
    for heads in range(few):
        ways = ways * (tosses - heads) // (heads + 1)
        total += ways
    return min(1.0, 2 * total / (1 << tosses))


def r_squared(predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the share of each column's variance that is explained, offsets aside.

    ``1 - var(predicted - wanted) / var(wanted)``; not a number where nothing varies.
    """
    predicted, wanted = np.asarray(predicted, float), np.asarray(wanted, float)
    spread = wanted.var(0)
    error = (predicted - wanted).var(0)
    return np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), np.nan)


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of a row of values from 1 on, the mean rank for equal ones."""
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum()
    return (last - (count - 1) / 2)[which]


def spearman(predicted: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation of each column.

    Zero where all predictions are the same, not a number where all that is wanted is.
    """
    made = []
    for mine, other in zip(np.asarray(predicted).T, np.asarray(wanted).T, strict=True):
        a, b = ranks(mine) - (len(mine) + 1) / 2, ranks(other) - (len(other) + 1) / 2
        if not b.any():
            made.append(np.nan)
        else:
            made.append((a @ b) / math.sqrt((a @ a) * (b @ b)) if a.any() else 0.0)
    return np.array(made)


@dataclass(frozen=True)
class Site:
    """How well the scales of a site are predicted; None where those of the oracle are all one."""

    name: str
    r_squared: float | None
    spearman: float | None


@dataclass(frozen=True)
class Spread:
    """log2 of the scale of a site: its :data:`PERCENTILES` over images."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Row:
    """A method in one precision.

    Attributes
    ----------
    method, title, source, bits
        Which it is.
    integer
        Whether everything is an integer, or emulated in float.
    top1, top5
        Images whose label is the likeliest class, and among the five likeliest, in per cent; None
        without labels.
    agreement
        Images whose likeliest class is that of the float model, in per cent.
    baseline, against
        The method that it is held against; what it does better. By `top1`, or without labels by
        `agreement`. None without a baseline, or if that was not run.
    sites
        Sites whose scales are chosen image by image, held against the oracle's of the same
        precision. Empty without any, or without the oracle.
    cost
        Of its scales; None where hardware is not defined.
    spread
        Of all sites, in order; empty where scales are not those of integers.
    """

    method: str
    title: str
    source: str
    bits: str
    integer: bool
    top1: float | None
    top5: float | None
    agreement: float
    baseline: str | None
    against: Difference | None
    sites: tuple[Site, ...]
    cost: Cost | None
    spread: tuple[Spread, ...] = ()

    @property
    def r_squared(self) -> float | None:
        """Mean over sites."""
        return _mean([site.r_squared for site in self.sites])

    @property
    def spearman(self) -> float | None:
        """Mean over sites."""
        return _mean([site.spearman for site in self.sites])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Baseline:
    """A method that others are held against, in place of their own.

    Attributes
    ----------
    method
    bits
        None for the same as theirs.
    """

    method: str
    bits: str | None = None

    def __str__(self):
        return self.method if self.bits is None else f"{self.method}:{self.bits}"


def baseline(name: str, bits: str, methods: Mapping[str, Candidate],
             against: Baseline | None) -> tuple[str | None, tuple[str, str] | None]:
    """Return what a method is held against: as it is shown, and name and bits.

    Its own baseline, unless there is another for all. Nothing is held against itself, nor is the
    float model against any.
    """
    about = methods.get(name)
    if about is None:
        return None, None
    if against is None:
        return about.baseline, about.baseline and (about.baseline, bits)
    other = against.method, against.bits or bits
    return (None, None) if other == (name, bits) else (str(against), other)


def rows(answers: Sequence[Answers], labels: np.ndarray | None, methods: Mapping[str, Candidate],
         site_names: Sequence[str], seed: int = 1, against: Baseline | None = None) -> list[Row]:
    """Return the rows of a comparison in the order of what was run.

    Parameters
    ----------
    answers
        Of the float model, too.
    labels : int array, shape (images,), or None
    methods
        What is known about the methods.
    site_names
        Of all sites.
    seed
        Of the bootstrap.
    against
        What all are held against; their own baselines if None.
    """
    by_name = {(one.prepared.method, one.prepared.bits): one for one in answers}
    first = by_name[FP32, FP32].top[:, 0]

    def right(one):
        return one.top[:, 0] == (first if labels is None else labels)

    made = []
    for (name, bits), one in by_name.items():
        about = methods.get(name)
        shown, place = baseline(name, bits, methods, against)
        other, oracle = by_name.get(place), by_name.get((ORACLE, bits))
        made.append(Row(
            name, about.title if about else "float model", about.source if about else "", bits,
            one.prepared.integer,
            None if labels is None else _share(right(one)),
            None if labels is None else _share((one.top == labels[:, None]).any(1)),
            _share(one.top[:, 0] == first),
            shown, None if other is None else difference(right(one), right(other), seed),
            sites(one, oracle, site_names) if oracle not in (None, one) else (),
            one.prepared.cost, () if one.scales is None else spread(one.scales)))
    return made


def spread(scales: np.ndarray) -> tuple[Spread, ...]:
    """Return how the scales of each site spread over images.

    Parameters
    ----------
    scales : int array, shape (images, sites)
        lambda of each image at each site.
    """
    found = np.percentile(scales, PERCENTILES, axis=0) / LAMBDA.one
    return tuple(Spread(*site) for site in found.T.tolist())


def _share(right: np.ndarray) -> float:
    return 100 * float(right.mean())


def sites(mine: Answers, oracle: Answers, names: Sequence[str]) -> tuple[Site, ...]:
    """Hold the scales that are chosen image by image against the oracle's."""
    chosen = list(mine.prepared.predicted)
    if not chosen:
        return ()
    pair = mine.scales[:, chosen], oracle.scales[:, chosen]
    return tuple(
        Site(names[site], None if math.isnan(share) else float(share),
             None if math.isnan(rank) else float(rank))
        for site, share, rank in zip(chosen, r_squared(*pair), spearman(*pair), strict=True))
