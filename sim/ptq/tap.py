"""Scales predicted from the residual stream, in float with gradients.

What :mod:`golden.prediction.range_unit` and :mod:`golden.prediction.scale_unit` compute, but for
their roundings: the float twin of :class:`golden.network.network.Tap`, trained in its place and
exported to it.
"""

import math

import numpy as np
import torch
from torch import nn

from golden.common.formats import COEFFICIENT, GAIN, LAMBDA, LOG2, PROJECTION, STATISTIC
from golden.network import network
from golden.prediction.scale_predictor import (
    HIGHEST,
    SCALE_ERROR_LIMIT,
    ScalePredictor,
    monomial_error_bounds,
    monomials_of,
)

from .export import ResidualFormat

REACH = STATISTIC.max / STATISTIC.one


def log_ranges(x: torch.Tensor, chunk_tokens: int, groups: int, floor: float) -> torch.Tensor:
    """Return log2 of the averaged extremes of each image, see :mod:`golden.prediction.range_unit`.

    ``(images, tokens, channels)`` to ``(images, 2 * groups)``: maximum and minus minimum of each
    group in turn. `floor` is the smallest sum of extremes there is.
    """
    parts = [part.unflatten(2, (groups, -1)) for part in x.split(chunk_tokens, 1)]
    high = torch.stack([part.amax((1, 3)) for part in parts]).sum(0)
    low = torch.stack([part.amin((1, 3)) for part in parts]).sum(0)
    sums = torch.stack((high, -low), -1).flatten(1)
    return torch.log2(sums.clamp_min(floor) / len(parts))


QUANTILES = (0.9, 0.99, 0.999)


def quantiles(x: torch.Tensor) -> torch.Tensor:
    """Return the statistics of QPP (Kryzhanovskiy et al., CVPR 2021), ``(images, 5)``.

    Three quantiles, mean and maximum of the whole tensor of each image. Hardware would have to
    sort; there is no integer form.
    """
    flat = x.flatten(1)
    ordered = flat.sort(1).values
    last = flat.shape[1] - 1
    kept = [ordered[:, round(share * last)] for share in (*QUANTILES, 1.0)]
    return torch.stack((*kept, flat.mean(1)), 1)


def statistics(x: torch.Tensor, chunk_tokens: int, groups: int, floor: float) -> torch.Tensor:
    """Return :func:`log_ranges`, or :func:`quantiles` where there are no chunks."""
    return log_ranges(x, chunk_tokens, groups, floor) if chunk_tokens else quantiles(x)


def monomials(z: torch.Tensor, degree: int) -> torch.Tensor:
    """Return the monomials of degree 1 to `degree` of ``z (images, variables)``."""
    return torch.stack([z[:, list(term)].prod(1) for term in monomials_of(z.shape[1], degree)], 1)


class Tap(nn.Module):
    """Scales of some sites, from the residual stream behind some blocks.

    Parameters
    ----------
    after, chunk_tokens, groups
        As in :class:`golden.network.network.Tap`; no chunk tokens are QPP's statistics.
    stream
        Format of the residual stream: its unit is the smallest sum of extremes, and extremes are
        those of what is stored.
    mean, gain : tensors, shape (2 * groups,)
        Of the logarithms.
    projection, bias : tensors, shapes (variables, 2 * groups) and (variables,), or None
        From statistics to variables; None takes the statistics as they are.
    degree
        Of the polynomials.
    sites : list of int
        Whose scales are predicted.

    Attributes
    ----------
    coefficients : parameter, shape (sites, monomials)
        Of all degrees; zero at first, which leaves the scales static.
    """

    def __init__(self, after: int, chunk_tokens: int, groups: int, stream: ResidualFormat,
                 mean: torch.Tensor, gain: torch.Tensor, projection: torch.Tensor | None,
                 bias: torch.Tensor | None, degree: int, sites: list[int]):
        super().__init__()
        self.after, self.chunk_tokens, self.groups = after, chunk_tokens, groups
        self.stream, self.degree = stream, degree
        self.projected = projection is not None
        self.register_buffer("mean", _snap(mean, LOG2))
        self.register_buffer("gain", _snap(gain, GAIN))
        if projection is None:
            projection, bias = torch.eye(len(mean)), torch.zeros(len(mean))
        self.register_buffer("projection", _snap(projection, PROJECTION))
        self.register_buffer("bias", _snap(bias, STATISTIC))
        self.register_buffer("sites", torch.tensor(sites))
        terms = monomials_of(len(self.bias), degree)
        self.coefficients = nn.Parameter(torch.zeros(len(sites), len(terms)))

    def variables(self, logs: torch.Tensor) -> torch.Tensor:
        """Turn what :func:`statistics` returns into the variables of the polynomials."""
        u = ((logs - self.mean) * self.gain).clamp(-REACH, REACH)
        return (u @ self.projection.T + self.bias).clamp(-REACH, REACH)

    def forward(self, x: torch.Tensor, constants: torch.Tensor,
                scales: torch.Tensor) -> torch.Tensor:
        """Return log2 of the scales ``(images, all sites)`` with those of this tap predicted.

        Parameters
        ----------
        x : tensor, shape (images, tokens, channels)
            The residual stream.
        constants : tensor, shape (all sites,)
            The static scales; those of this tap's sites are the polynomials' constants.
        scales : tensor, shape (images, all sites)
            As they are so far.
        """
        with torch.no_grad():
            logs = statistics(self.stream.stored(x), self.chunk_tokens, self.groups,
                              self.stream.unit)
            phi = monomials(self.variables(logs), self.degree)
        predicted = constants[self.sites] + phi @ self.coefficients.T
        return scales.index_copy(1, self.sites, predicted)

    def _degrees(self) -> torch.Tensor:
        return torch.tensor([len(term) for term in monomials_of(len(self.bias), self.degree)])

    @torch.no_grad()
    def limit(self) -> None:
        """Make coefficients smaller where a site's would allow too large an error of its scale.

        The limit is :data:`golden.prediction.scale_predictor.SCALE_ERROR_LIMIT`.
        """
        errors = monomial_error_bounds(self.projected)
        unit = torch.tensor([float(errors[degree]) for degree in self._degrees().tolist()])
        room = math.log2(1 + float(SCALE_ERROR_LIMIT)) - 1 / LAMBDA.one  # of lambda, roundings off
        share = (room / (self.coefficients.abs() @ unit).clamp_min(1e-9)).clamp_max(1.0)
        self.coefficients.mul_(share[:, None])

    def export(self, constants: np.ndarray) -> network.Tap:
        """Return the tap in integers; :meth:`limit` first.

        Parameters
        ----------
        constants : int array, shape (all sites,)
            lambda of the static scales.

        Raises
        ------
        ValueError
            If the statistics are QPP's.
        """
        if not self.chunk_tokens:
            raise ValueError("statistics must be extremes of chunks: QPP's have no integer form")
        sites, degrees = self.sites.numpy(), self._degrees()
        coefficients = self.coefficients.detach()
        predictor = ScalePredictor(
            np.minimum(constants[sites], HIGHEST),
            tuple(_integers(coefficients[:, degrees == degree], COEFFICIENT[degree])
                  for degree in range(1, self.degree + 1)),
            _integers(self.projection, PROJECTION) if self.projected else None,
            _integers(self.bias, STATISTIC) if self.projected else None)
        return network.Tap(self.after, self.chunk_tokens, self.groups,
                           _integers(self.mean + self.stream.point, LOG2),
                           _integers(self.gain, GAIN), predictor, sites)


def _integers(values: torch.Tensor, fmt) -> np.ndarray:
    scaled = np.floor(values.double().numpy() * fmt.one + 0.5)
    return np.clip(scaled, fmt.min, fmt.max).astype(np.int64)


def _snap(values: torch.Tensor, fmt) -> torch.Tensor:
    return torch.from_numpy(_integers(values, fmt) / fmt.one).float()
