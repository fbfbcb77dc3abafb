"""Bit-accurate integer model of the accelerator: the specification the RTL is held to.

Compiled kernels are cached in a directory named by a hash of this package's sources: numba
notices an edit of a kernel's own file only, so any edit here starts a fresh cache.
"""

import hashlib
import os
from pathlib import Path

import numba


def source_digest(folder: Path) -> str:
    """Return the SHA-256 of all Python sources of a folder and of the folders in it."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix()
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vernier" / f"numba-{source_digest(Path(__file__).parent)[:16]}"


if "NUMBA_CACHE_DIR" not in os.environ:
    numba.config.CACHE_DIR = str(_cache_dir())
