"""Compiled forms of the shared arithmetic, and the decorator of every kernel."""

from functools import partial

import numba

from . import formats

kernel = partial(numba.njit, cache=True)
"""Decorator of a golden kernel: compiled once per source state (see :mod:`golden`)."""

inlined = partial(kernel, forceinline=True)
"""Decorator of a part of one, which costs no call there."""

round_shift = kernel(formats.round_shift)
saturate = kernel(formats.saturate)
