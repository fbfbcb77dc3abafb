"""What reading a damaged archive raises: zip files, and NumPy's arrays in them."""

import lzma
import struct
import tokenize
import zipfile
import zlib

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError,
          OverflowError, MemoryError, RuntimeError, SyntaxError, tokenize.TokenError,
          struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""Exceptions of :mod:`zipfile` and :func:`numpy.load`, which promise none in particular; beside
those of files, :exc:`OSError`.
"""
