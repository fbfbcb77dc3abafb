"""Compiled forms of the shared arithmetic, and the decorator of every kernel."""

from functools import partial

import numba

from .. import CACHED
from . import formats

kernel = partial(numba.njit, cache=CACHED)
"""Decorator of a kernel: compiled once per source state (see :mod:`golden`)."""

round_shift = kernel(formats.round_shift)
saturate = kernel(formats.saturate)
