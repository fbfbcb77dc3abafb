"""ScalePredictor: fit to calibration images, choice of its options by cross-validation.

The predictor's variables are the leading directions in which the statistics of a tap explain the
per-image scales of the sites behind it (reduced-rank ridge regression); its polynomials are
ridge-regressed to the oracle's scales (:func:`sim.ptq.dynamic.mse`) on calibration images. After
ScalePredictor (Li et al., arXiv 2606.21947), whose text gives shallow range statistics, a
polynomial and straight-through training; statistics of single channels, several taps, the
projection and the choice of sites are this project's. :mod:`sim.study` compares options.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from golden.common.formats import COEFFICIENT, GAIN, LAMBDA, PROJECTION
from golden.network.shape import BLOCK_SITES, VitShape

from ..ptq import dynamic
from ..ptq.export import ResidualFormat
from ..ptq.tap import REACH, Tap, monomials, statistics
from ..ptq.twin import Twin

FOLDS = 5
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Penalties tried, relative to the mean variance of what they penalise."""


@dataclass(frozen=True)
class Options:
    """What is chosen about a predictor.

    Attributes
    ----------
    taps
        Blocks before each tap; a site is predicted from the last tap before it. None taps behind
        the first block and behind one and two thirds of all, :meth:`placed`.
    chunk_tokens
        Tokens of a chunk whose extremes are averaged; 0 for the statistics of QPP instead.
    groups
        Channel groups: 1 for the whole tensor, 0 for single channels.
    rank
        Variables of a tap that its statistics are projected to; 0 takes them as they are.
    degree
        Of the polynomials, 1 to 3.
    sites
        Names of the sites of blocks that may be predicted; those between and behind them may, too.
    least
        Only sites are predicted whose variance is explained to this share at least, on held-out
        calibration images.
    """

    taps: tuple[int, ...] | None = None
    chunk_tokens: int = 16
    groups: int = 0
    rank: int = 12
    degree: int = 1
    sites: tuple[str, ...] = BLOCK_SITES
    least: float = 0.05

    def placed(self, depth: int) -> "Options":
        """Return the options for a network of so many blocks, taps given."""
        if self.taps is not None:
            return self
        return replace(self, taps=tuple(sorted({min(1, depth), depth // 3, 2 * depth // 3} - {0})))

    def key(self, after: int, shape: VitShape) -> tuple[int, int, int]:
        """Return what names the statistics of a tap in :class:`Observed`."""
        return after, self.chunk_tokens, self.groups or shape.behind(after).dim

    def sites_of(self, after: int, shape: VitShape) -> list[int]:
        """Return the sites that a tap may predict."""
        later = min((tap for tap in self.taps if tap > after), default=None)
        end = shape.sites if later is None else shape.first_site(later)
        return [site for site in range(shape.first_site(after), end)
                if shape.kind(site) in self.sites or shape.kind(site) not in BLOCK_SITES]


@dataclass
class Observed:
    """Statistics and oracle scales of calibration images.

    Attributes
    ----------
    logs
        By ``(after, chunk_tokens, groups)``: tensors ``(images, 2 * groups)``.
    oracle : tensor, shape (images, sites)
        log2 of the scales of least squared error.
    """

    logs: dict[tuple[int, int, int], torch.Tensor]
    oracle: torch.Tensor

    def state(self) -> dict:
        """Return plain values for a checkpoint."""
        return {"logs": dict(self.logs), "oracle": self.oracle}


@torch.inference_mode()
def observe(twin: Twin, pixels: torch.Tensor, keys: Sequence[tuple[int, int, int]],
            streams: Sequence[ResidualFormat],
            progress: Callable = lambda steps, what: steps, batch: int = 20) -> Observed:
    """Run a quantized network at static scales and collect what a predictor is fitted to.

    Parameters
    ----------
    keys
        ``(after, chunk_tokens, groups)`` of the wanted statistics.
    streams
        Formats of the residual stream, as :func:`sim.ptq.export.residual_formats` gives them.
    """
    shape = twin.shape
    logs, oracle = {key: [] for key in keys}, []
    for part in progress(list(pixels.split(batch)), "Observing"):
        found = torch.empty(len(part), shape.sites)

        def best(site, values, found=found):
            flat = values.reshape(len(values), -1).contiguous().numpy()
            found[:, site] = torch.from_numpy(dynamic.mse(flat, twin.formats[site])) / LAMBDA.one

        scales, x = twin.scales.expand(len(part), -1), twin.embed(part)
        for index in range(shape.depth + 1):
            for key in keys:
                if key[0] == index:
                    stream = streams[shape.stage(index - 1)]
                    logs[key].append(statistics(stream.stored(x), key[1], key[2], stream.unit))
            if index < shape.depth:
                x = twin.block(index, x, scales, best)
        twin.classify(x, scales, best)
        oracle.append(found)
    return Observed({key: torch.cat(parts) for key, parts in logs.items()}, torch.cat(oracle))


@dataclass
class Fit:
    """A predictor of some sites from the statistics of one tap, in real numbers."""

    mean: torch.Tensor
    gain: torch.Tensor
    projection: torch.Tensor | None
    coefficients: torch.Tensor  # (sites, monomials)
    constant: torch.Tensor  # (sites,)
    degree: int

    def __call__(self, logs: torch.Tensor) -> torch.Tensor:
        """Return log2 of the scales, ``(images, sites)``."""
        phi = monomials(self.variables(logs), self.degree)
        return self.constant + phi @ self.coefficients.T

    def variables(self, logs: torch.Tensor) -> torch.Tensor:
        """Return the variables of the polynomials."""
        u = ((logs - self.mean) * self.gain).clamp(-REACH, REACH)
        return u if self.projection is None else (u @ self.projection.T).clamp(-REACH, REACH)


def _ridge(x: torch.Tensor, y: torch.Tensor, penalty: float) -> torch.Tensor:
    """Return the coefficients ``(columns of x, columns of y)``."""
    square = x.T @ x / len(x)
    weight = penalty * square.diagonal().mean().clamp_min(1e-9)
    return torch.linalg.solve(square + weight * torch.eye(len(square)).to(x), x.T @ y / len(x))


def fit(logs: torch.Tensor, oracle: torch.Tensor, options: Options, penalty: float) -> Fit:
    """Fit the scales of some sites to the statistics of a tap.

    Parameters
    ----------
    logs : tensor, shape (images, statistics)
    oracle : tensor, shape (images, sites)
    penalty
        One of :data:`RIDGES`.
    """
    logs, oracle = logs.double(), oracle.double()
    mean, spread = logs.mean(0), logs.std(0)
    gain = torch.where(spread > 0, 1 / spread.clamp_min(1 / GAIN.max * GAIN.one), 0.0)
    u = ((logs - mean) * gain).clamp(-REACH, REACH)
    middle = oracle.mean(0)
    projection = None
    if options.rank and options.rank < u.shape[1]:
        slopes = _ridge(u, oracle - middle, penalty)
        leading = torch.linalg.svd(u @ slopes, full_matrices=False).Vh[:options.rank]
        directions = slopes @ leading.T
        projection = (directions / (u @ directions).std(0).clamp_min(1e-9)).T
        largest = projection.abs().amax(1, keepdim=True)
        projection = projection * (0.99 * PROJECTION.max / PROJECTION.one / largest).clamp_max(1)
    made = Fit(mean, gain, projection, torch.empty(0), middle, options.degree)
    phi = monomials(made.variables(logs), options.degree)
    centre = phi.mean(0)
    coefficients = _ridge(phi - centre, oracle - middle, penalty * 0.1).T
    count, start = len(made.mean) if projection is None else len(projection), 0
    for degree in range(1, options.degree + 1):
        limit = COEFFICIENT[degree].max / COEFFICIENT[degree].one
        terms = count if degree == 1 else monomials(torch.zeros(1, count), degree).shape[1] - start
        coefficients[:, start:start + terms].clamp_(-limit, limit)
        start += terms
    return replace(made, coefficients=coefficients, constant=middle - coefficients @ centre)


def r_squared(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return the share of each site's variance that is explained, offsets aside."""
    error, spread = (predicted - wanted).var(0), wanted.var(0)
    return torch.where(spread > 0, 1 - error / spread.clamp_min(1e-12), 0.0)


def cross_validate(logs: torch.Tensor, oracle: torch.Tensor, options: Options, penalty: float,
                   ) -> torch.Tensor:
    """Return each site's share of variance explained on images left out of the fit."""
    predicted = torch.empty_like(oracle, dtype=torch.float64)
    fold = torch.arange(len(logs)) % FOLDS
    for number in range(FOLDS):
        held = fold == number
        predicted[held] = fit(logs[~held], oracle[~held], options, penalty)(logs[held].double())
    return r_squared(predicted, oracle.double())


@dataclass
class Choice:
    """The penalty that cross-validates best for a tap, and each site's share explained."""

    penalty: float
    sites: list[int]
    explained: torch.Tensor


def choose(observed: Observed, options: Options, shape: VitShape) -> dict[int, Choice]:
    """Cross-validate the penalties; return the best one of each tap."""
    made = {}
    for after in options.taps:
        sites = options.sites_of(after, shape)
        logs, oracle = observed.logs[options.key(after, shape)], observed.oracle[:, sites]
        tries = [Choice(penalty, sites, cross_validate(logs, oracle, options, penalty))
                 for penalty in RIDGES]
        made[after] = max(tries, key=lambda one: float(one.explained.clamp_min(0).mean()))
    return made


def taps(observed: Observed, options: Options, twin: Twin,
         streams: Sequence[ResidualFormat]) -> list[Tap]:
    """Return fitted taps for a twin; its static scales become the polynomials' constants.

    The constants of predicted sites are moved so that the mean over the images stays.
    """
    shape, made = twin.shape, []
    for after, choice in choose(observed, options, shape).items():
        kept = [number for number, share in enumerate(choice.explained.tolist())
                if share >= options.least]
        if not kept:
            continue
        sites = [choice.sites[number] for number in kept]
        logs, oracle = observed.logs[options.key(after, shape)], observed.oracle[:, sites]
        found = fit(logs, oracle, options, choice.penalty)
        zero = None if found.projection is None else torch.zeros(len(found.projection))
        _, chunk_tokens, groups = options.key(after, shape)
        tap = Tap(after, chunk_tokens, groups, streams[shape.stage(after - 1)], found.mean,
                  found.gain, found.projection, zero, options.degree, sites)
        with torch.no_grad():
            tap.coefficients.copy_(found.coefficients)
            twin.scales[sites] += (found.constant - oracle.double().mean(0)).float()
        made.append(tap)
    return made
