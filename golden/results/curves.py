"""Activations of an MLP: what lies between its two layers, each from one table.

All have the form that :mod:`golden.results.gelu` has for GELU, with an even ``h`` that is small,
and by its equations: a :class:`Curve` is the table of ``h``, 64 values in 2**-14, and the offset
that makes the result unsigned. The table goes over ``0 <= u < 4``, or, if it is `wide`, over
``0 <= u < 8``, where values are twice as far from each other, and the lowest bit of ``|t|`` is
left out for it; ``h`` is zero behind the end.

==========  =======================================  ======  =======  ======
name        ``h(u)``                                 offset  error    coarse
==========  =======================================  ======  =======  ======
gelu        ``u * (1 - Phi(u))``                        174     0.85    10.9
gelu_tanh   ``u * (1 - tanh(sqrt(2 / pi)                174     0.85    10.9
            * (u + 0.044715 * u**3))) / 2``
quick_gelu  ``u * (1 - sigmoid(1.702 * u))``, wide      168     2.53    10.5
silu        ``u * (1 - sigmoid(u))``, wide              285     2.80    17.9
relu        0                                             0     0        0
==========  =======================================  ======  =======  ======

Errors are in units of 1 / 1024, largest ones from ``act(t) + offset / 1024`` for every ``t`` below
saturation; those of coarse columns, which leave out ``h``, from ``act(16 * t) / 16``.

That of GELU is part of a core; others are loaded (:data:`golden.core.isa.Opcode.TABLE`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import exp, pi, sqrt, tanh

import numpy as np

from ..common.checks import integer, integers
from ..common.formats import IntFormat
from ..common.interpolation import Table
from ..common.jit import kernel
from . import gelu
from .gelu import INPUT, RESULT, TABLE_FRAC, curve_kernel

LENGTH = 1 << gelu.INDEX_BITS
"""Values of a table."""

OFFSETS = IntFormat(9, signed=False)
"""Format of an offset."""

_DROP = TABLE_FRAC - RESULT.frac
MOST = (OFFSETS.max << _DROP) + (1 << _DROP - 1) - 1
"""Largest value of a table."""

VALUE = IntFormat(MOST.bit_length(), signed=False)
"""Format of a table's values."""

SLOPE = IntFormat(11)
"""Format of the difference of two neighbouring values."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A table of ``h``.

    Attributes
    ----------
    values
        :data:`LENGTH` of them; what is behind the last is zero.
    offset
        What is added to the result.
    wide
        Whether it goes up to 8, not to 4.

    Raises
    ------
    TypeError, ValueError
        If a value or a slope leaves its format, or a result could be negative.
    """

    values: tuple[int, ...]
    offset: int
    wide: bool = False

    def __post_init__(self):
        integer("offset", self.offset, OFFSETS.min, OFFSETS.max)
        # rounded, none may be more than the offset
        integers("values", self.values, 0, (self.offset << _DROP) + (1 << _DROP - 1) - 1,
                 shape=(LENGTH,))
        integers("slopes", self.table.slopes, SLOPE.min, SLOPE.max, shape=(LENGTH,))

    @property
    def table(self) -> Table:
        """The table with its slopes."""
        return Table((*self.values, 0), gelu.TABLE.rest_bits, gelu.INDEX_BITS)

    @property
    def end(self) -> int:
        """Where the table ends, in units of the input."""
        return gelu.END << self.wide


def sampled(h: Callable[[float], float], wide: bool = False) -> Curve:
    """Return the curve of a function."""
    step = (8 if wide else 4) / LENGTH
    values = tuple(round(2**TABLE_FRAC * h(step * index)) for index in range(LENGTH))
    return Curve(values, (max(values) + (1 << _DROP - 1)) >> _DROP, wide)


def _gelu_tanh(u: float) -> float:
    return u * (1 - tanh(sqrt(2 / pi) * (u + 0.044715 * u**3))) / 2


GELU = Curve(gelu.TABLE.values, gelu.OFFSET)

CURVES = {
    "gelu": GELU,
    "gelu_tanh": sampled(_gelu_tanh),
    "quick_gelu": sampled(lambda u: u / (1 + exp(1.702 * u)), wide=True),
    "silu": sampled(lambda u: u / (1 + exp(u)), wide=True),
    "relu": sampled(lambda u: 0.0),
}
"""By name, as timm calls them."""

ERRORS = {"gelu": (0.85, 10.9), "gelu_tanh": (0.85, 10.9), "quick_gelu": (2.53, 10.5),
          "silu": (2.8, 17.9), "relu": (0.0, 0.0)}
"""Largest errors, and those of coarse columns, as above."""


@kernel
def _curve(t, coarse, values, slopes, wide, offset, out):
    for i in range(t.size):
        out[i] = curve_kernel(t[i], coarse, values, slopes, wide, offset)


@lru_cache(maxsize=32)
def curve_table(curve: Curve, coarse: bool = False):
    """Return the result of every input, for speed: that of ``t`` is at ``t + 32768``.

    int16 array, shape (65536,), read-only.
    """
    table = curve.table
    results = np.empty(INPUT.max - INPUT.min + 1, np.int16)
    _curve(np.arange(INPUT.min, INPUT.max + 1), coarse, np.array(table.values),
           np.array(table.slopes), int(curve.wide), curve.offset, results)
    results.setflags(write=False)
    return results


def curve_columns(curve: Curve, t, coarse):
    """Return the results of a matrix by the tables of its columns.

    Parameters
    ----------
    curve
        The function.
    t : int array, shape (rows, columns)
        As :func:`golden.results.gelu.gelu` takes them.
    coarse : int array, shape (columns,) or (0,)
        1 for coarse columns; without any entry none is.

    Returns
    -------
    int16 array, shape (rows, columns)
    """
    index = np.asarray(t, np.int64) - INPUT.min
    results, picked = curve_table(curve)[index], np.flatnonzero(coarse)
    results[:, picked] = curve_table(curve, True)[index[:, picked]]
    return results
