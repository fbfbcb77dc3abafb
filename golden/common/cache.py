"""Where compiled kernels and compiled cores are kept, so that they are not made at every start."""

import atexit
import functools
import os
import shutil
import stat
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Return the cache of this program, absolute.

    ``$VERNIER_CACHE`` if that is set, writable or not. Else the first that can be written to of
    ``$XDG_CACHE_HOME/vernier``, ``~/.cache/vernier``, and a private one among temporary files.

    Raises
    ------
    OSError
        If there is none.
    """
    named = os.environ.get("VERNIER_CACHE")
    if named:
        return Path(named).absolute()
    return next(filter(usable, _by_custom()), None) or private_folder()


def _by_custom() -> list[Path]:
    xdg = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    if xdg.is_absolute():  # the standard says to ignore others
        return [xdg / "vernier"]
    try:
        return [Path.home() / ".cache" / "vernier"]
    except RuntimeError:  # neither $HOME nor an account of this user
        return []


def kernel_folder(name: str) -> Path | None:
    """Return a folder that can be written to for compiled kernels, None if there is none.

    A cache that was asked for by ``$VERNIER_CACHE`` but cannot be used is replaced by a private
    one: a package that is imported cannot refuse in one line.
    """
    try:
        folder = cache_folder() / name
        return folder if usable(folder) else private_folder() / name
    except OSError:
        return None


def usable(folder: Path) -> bool:
    """Return whether a folder is there, or can be made, and takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))  # on a full disk an empty file can be made
    except OSError:
        return False
    return True


@functools.cache
def private_folder() -> Path:
    """Return a folder among temporary files that is this user's alone.

    The next process of the same user finds it again, unless somebody else has its name.

    Raises
    ------
    OSError
        If there is no place for temporary files.
    """
    user = os.getuid() if hasattr(os, "getuid") else ""
    folder = Path(tempfile.gettempdir()) / f"vernier-{user}"
    if _is_private(folder, user) and usable(folder):
        return folder
    folder = Path(tempfile.mkdtemp(prefix="vernier-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _is_private(folder: Path, user: int | str) -> bool:
    """Return whether a folder can be trusted: code is loaded from it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077
