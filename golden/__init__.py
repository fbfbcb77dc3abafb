"""Bit-accurate integer model of the accelerator: the specification the RTL is held to.

Compiled kernels are cached in a directory named by a hash of this package's sources: numba
notices an edit of a kernel's own file only, so any edit here starts a fresh cache. Where there is
no place for a cache, kernels are compiled at every start.
"""

import hashlib
import os
from pathlib import Path

import numba

from .common.cache import kernel_folder, usable


def source_digest(folder: Path) -> str:
    """Return the SHA-256 of all Python sources of a folder and of the folders in it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _use_cache() -> bool:
    """Tell numba where to keep compiled kernels; return whether there is such a place."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named and usable(Path(named)):
        return True
    folder = kernel_folder(f"numba-{source_digest(Path(__file__).parent)[:16]}")
    numba.config.CACHE_DIR = str(folder or "")
    return folder is not None


CACHED = _use_cache()
"""Whether compiled kernels are kept."""
