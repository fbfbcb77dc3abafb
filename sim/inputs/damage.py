"""What reading a damaged archive raises: zip files, and NumPy's arrays in them."""

import contextlib
import lzma
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError,
          OverflowError, MemoryError, RuntimeError, SyntaxError, SystemError, tokenize.TokenError,
          struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""Exceptions of :mod:`zipfile` and :func:`numpy.load`, which promise none in particular; beside
those of files, :exc:`OSError`.
"""


@contextlib.contextmanager
def arrays_of(file) -> Iterator[np.lib.npyio.NpzFile]:
    """Give the arrays of a file of :func:`numpy.savez`, a path or what is open for reading.

    What NumPy warns of, such as a header that Python 2 may have written, harms nobody here.

    Raises
    ------
    OSError, and those of :data:`DAMAGE`
        If it cannot be read; also as its arrays are looked at.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.load(file, allow_pickle=False) as stored:
            yield stored
