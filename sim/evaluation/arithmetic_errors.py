"""What golden's fixed-point arithmetic costs: its tensors, and its classes, beside real ones.

:mod:`sim.evaluation.emulator` runs the same quantizers with real arithmetic around them. What
counts in the end is whether golden gives the same class. But at few bits any two such runs part
from each other, whatever the arithmetic: a value that is within an error of the middle between two
steps is now and then rounded to the other one, which moves many values after it by a good part of a
step. ``--jitter`` shows how far that goes, by a relative error put on every value that is about to
be quantized; 6e-8 is that of float32. So there are two more comparisons, which do not go through
it:

:func:`follow` runs the network in real arithmetic, from pixels to logits, in the network's own
formats, but takes what enters the matrix products as golden rounded it. Whether the class is the
same says what the multipliers and the non-linear functions cost by themselves. How far a value is
from what golden rounded it to, over half a step, says how much golden's quantizers would have
had to be moved for the two to be the same.

:func:`compare` goes through golden's own tensors, one step at a time: each is what the real
function makes of golden's tensors before it, within the error that the unit's docstring states.
Largest errors, in units of the last place, for an exponent ``x`` of a multiplier:

    site, 16 bits    acc * 2**x, bias and residual       1/2 + 9e-5 * abs(acc * 2**x)
    LayerNorm        n * gamma + beta                    (0.75 + 0.14 * abs(n)) * abs(gamma),
                                                         0.07 in long rows
    exponentials     255 * 2**-d                         0.55
    codes            d / step                            1/2
    row exponents    1024 * log2(sum(a))                 0.75
    GELU             gelu(t) + 174 / 1024                0.85, of coarse columns 10.9; others'
                                                         as golden.results.curves has them

All tensors here are float64 in the units of golden's integers. Saturation, which the bounds do
not cover, is applied to both sides of a comparison.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from golden.common import exp2, formats
from golden.common.formats import ACC, UINT8, IntFormat
from golden.network.network import Network
from golden.results import gelu
from golden.results.curves import ERRORS
from golden.rows import layernorm

from .emulator import (
    FORMATS,
    ONE,
    Emulation,
    Walk,
    codes,
    exponentials,
    normalize,
    power,
    real,
    shifted,
)

EXPONENTIAL_ERROR = 0.55
ROW_ERROR = 0.75
NORM_ERROR, NORM_SLOPE = 0.75, 0.14
_TIGHT = 1e-9  # of float64 itself, for tensors of 16 bits


@dataclass(frozen=True, slots=True)
class Error:
    """Error of golden's tensors of one kind, in units of the last place.

    Attributes
    ----------
    name
        Of the tensor with the largest error for its bound, like ``3.fc1``.
    error, bound
        Of the number with the largest error for its bound.
    beyond, count
        Numbers beyond their bound, and all numbers compared.
    """

    name: str
    error: float
    bound: float
    beyond: int
    count: int

    @property
    def ratio(self) -> float:
        """Error over bound."""
        return self.error / self.bound


Errors = dict[str, Error]


def merge(one: Errors, other: Errors) -> Errors:
    """Return what two comparisons found together, by kind of tensor."""
    merged = one | other
    for kind in one.keys() & other.keys():
        pair = one[kind], other[kind]
        worse = max(pair, key=lambda error: error.ratio)
        merged[kind] = replace(worse, beyond=sum(error.beyond for error in pair),
                               count=sum(error.count for error in pair))
    return merged


class _Beside:
    """Golden's tensors, and how far they are from others."""

    def __init__(self, tensors: dict[str, np.ndarray]):
        self._tensors = tensors
        self.errors: Errors = {}

    def compare(self, kind: str, name: str, wanted, bound, fmt: IntFormat):
        """Return golden's tensor; take in its error as one of a kind."""
        found = real(self._tensors[name])
        if name == "embedding":
            found = found[:, -wanted.shape[1]:]  # the prefix is not computed
        elif name.partition(".")[0] == "logits":
            found = found[:, None]
        error = (found - wanted.clamp(fmt.min, fmt.max)).abs()
        bound = torch.as_tensor(bound, dtype=torch.float64).expand(error.shape)
        worst = (error / bound).argmax()
        made = Error(name, float(error.flatten()[worst]), float(bound.flatten()[worst]),
                     int((error > bound).sum()), error.numel())
        self.errors = merge(self.errors, {kind: made})
        return found


class _Comparison(Walk):
    """Golden's tensors, each compared with the real function of those before it."""

    def __init__(self, network, lambdas, beside: _Beside):
        super().__init__(network, lambdas, predicted=False)
        self._beside = beside

    def requantized(self, kind, name, acc, exponent, fmt, *terms):
        made = acc * power(exponent)
        bound = 0.5 + float(exp2.ERROR) * made.abs() + _TIGHT
        if terms:
            made = sum(terms, made.clamp(fmt.min, fmt.max))
        return self._beside.compare(kind, name, made, bound, fmt)

    def normalized(self, name, x, norm, coarse, epsilon):
        n, gamma = normalize(x, coarse, epsilon), real(norm.gamma)
        unit = 2.0**layernorm.fraction_of(x.shape[-1])
        slope = NORM_SLOPE * unit / layernorm.NORMALIZED.one
        bound = (NORM_ERROR + slope * n.abs()) * gamma.abs() + _TIGHT * ACC.max
        affine = n * unit * gamma + real(norm.beta)
        return self._beside.compare("layernorm", name, affine, bound, ACC)

    def stored(self, name, scores, step):
        if step:
            return self._beside.compare("codes", name, codes(scores, step), 0.5 + _TIGHT,
                                        formats.CODE)
        return self._beside.compare("exponentials", name, exponentials(scores), EXPONENTIAL_ERROR,
                                    UINT8)

    def row_exponent(self, name, total):
        return self._beside.compare("row exponents", name, ONE * torch.log2(total), ROW_ERROR,
                                    formats.LOG2)

    def activated(self, name, t, coarse):
        activation = self.network.shape.activation
        bound, of_coarse = (error + _TIGHT for error in ERRORS[activation])
        if coarse is not None:
            bound = torch.where(torch.from_numpy(coarse != 0), of_coarse, bound)
        return self._beside.compare("gelu", name, shifted(activation, t, coarse), bound,
                                    gelu.RESULT)


class _Following(Emulation):
    """Real functions, with golden's integers wherever something is quantized."""

    def __init__(self, network, lambdas, beside: _Beside):
        super().__init__(network, lambdas, predicted=False, integer=FORMATS)
        self._beside = beside

    def requantized(self, kind, name, acc, exponent, fmt, *terms):
        if kind != "site":
            return super().requantized(kind, name, acc, exponent, fmt, *terms)
        return self._beside.compare(name.rpartition(".")[2], name, acc * power(exponent),
                                    0.5 + _TIGHT, fmt)

    def stored(self, name, scores, step):
        made, fmt = (codes(scores, step), formats.CODE) if step else (exponentials(scores), UINT8)
        return self._beside.compare("probs", name, made, 0.5 + _TIGHT, fmt)


def compare(network: Network, pixels: np.ndarray, lambdas: np.ndarray,
            tensors: dict[str, np.ndarray]) -> Errors:
    """Compare golden's tensors with the real functions of the tensors before them.

    Parameters
    ----------
    network
        The quantized network.
    pixels : uint8 array, shape (images, side, side, 3)
    lambdas, tensors
        What :meth:`golden.network.vit.Vit.run` returned as scales and showed to `watch`.

    Returns
    -------
    dict
        By kind of tensor: one of :data:`UNITS`, ``site``, ``exponentials``, ``codes`` or ``row
        exponents``. Whatever is beyond its bound is a mistake.
    """
    beside = _Beside(tensors)
    _Comparison(network, lambdas, beside).run(pixels)
    return beside.errors


def follow(network: Network, pixels: np.ndarray, lambdas: np.ndarray,
           tensors: dict[str, np.ndarray]) -> tuple[np.ndarray, Errors]:
    """Run a network in real arithmetic, but round as golden did.

    Parameters
    ----------
    network, pixels, lambdas, tensors
        As :func:`compare` takes them.

    Returns
    -------
    logits : float64 array, shape (images, classes)
        In golden's units.
    errors : dict
        By site, and ``probs``: how far the real values are from what golden rounded them to, in
        steps; beyond a half, they would have been rounded otherwise.
    """
    beside = _Beside(tensors)
    logits = _Following(network, lambdas, beside).run(pixels).numpy()
    return logits, beside.errors
