"""Compiled forms of the shared arithmetic, and the decorator of every kernel."""

from collections.abc import Callable
from functools import partial

import numba
from numba.core.caching import FunctionCache

from .. import CACHED
from . import formats


class _Cache(FunctionCache):
    """numba's cache of a function, which is done without once it cannot be written to."""

    def save_overload(self, sig, data):
        """Keep what was compiled; a disk that is full is no reason not to run it."""
        try:
            super().save_overload(sig, data)
        except OSError:
            self.disable()


def kernel(function: Callable | None = None, **options):
    """Decorate a kernel: compiled once per source state (see :mod:`golden`).

    `options` are those of :func:`numba.njit`.
    """
    if function is None:
        return lambda function: kernel(function, **options)
    compiled = numba.njit(function, cache=CACHED, **options)
    if CACHED and hasattr(compiled, "_cache"):  # not where numba is told to compile nothing
        compiled._cache = _Cache(function)
    return compiled


inlined = partial(kernel, forceinline=True)
"""Decorator of a part of one, which costs no call there."""

round_shift = kernel(formats.round_shift)
saturate = kernel(formats.saturate)
