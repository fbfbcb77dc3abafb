"""Whole-file writes: a file has all of its new content, or what it had before."""

import contextlib
import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..cli import UserError

_LINKS = 40  # in a row, as many as Linux follows


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` as :func:`whole_file` does; directories on the way are made.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary path, and put what is written there in the place of `path` at a clean exit.

    Whatever goes wrong before leaves `path` as it was. Links are followed, and a file keeps its
    mode and owner. What is no regular file (a pipe, a device, ``/dev/fd/N``), and a file in a
    directory that takes no new ones, is written to and stays what it is.

    Raises
    ------
    UserError
        If `path` cannot be written to, which is found before anything is done where that is
        possible, or `temporary` cannot.
    BrokenPipeError
        If `path` is a pipe that nobody reads any more.
    """
    path = Path(path)
    with contextlib.ExitStack() as cleanup:
        try:
            target = _followed(path)
            known = None if isinstance(target, int) else _writable(target)
            replaces = not isinstance(target, int) and (known is None or stat.S_ISREG(known))
            temporary = _beside(target, known, cleanup) if replaces else None
            if temporary is None:
                temporary = Path(cleanup.enter_context(tempfile.TemporaryDirectory())) / path.name
                temporary.touch()
                replaces = False
            yield temporary
            if replaces:
                _dress(temporary, target, known)
                temporary.replace(target)
            else:
                _pour(temporary, target)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _followed(path: Path) -> Path | int:
    """Return what links lead to; where that is a descriptor of this process, its number."""
    own = re.compile(rf"/proc/{os.getpid()}(/task/\d+)?/fd")
    for _ in range(_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if own.fullmatch(str(path.parent)) and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _writable(path: Path) -> int | None:
    """Return the mode of what is to be written to, None if there is nothing yet.

    Raises
    ------
    OSError
        If it must not be written to, though its directory would let it be replaced.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISREG(mode):
        os.close(os.open(path, os.O_WRONLY))
    elif not os.access(path, os.W_OK):  # opening a pipe would wait for its reader
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return mode


def _beside(target: Path, mode: int | None, cleanup: contextlib.ExitStack) -> Path | None:
    """Make a file beside `target`; None if only `target` itself can be written."""
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.",
                                        suffix=".tmp")
    except PermissionError:
        if mode is None:
            raise
        return None
    os.close(handle)
    cleanup.callback(Path(name).unlink, missing_ok=True)
    return Path(name)


def _dress(temporary: Path, target: Path, mode: int | None) -> None:
    """Give a file the mode and owner of the one it replaces, or those of a new one."""
    if mode is None:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask  # mkstemp makes it private
    else:
        known = target.stat()
        with contextlib.suppress(OSError):  # another's file: it becomes ours
            os.chown(temporary, known.st_uid, known.st_gid)
    temporary.chmod(stat.S_IMODE(mode))


def _pour(source: Path, target: Path | int) -> None:
    """Copy a file into what is there and stays."""
    if isinstance(target, int):
        if sys.stdout is not None:
            sys.stdout.flush()  # it may be the same, and what was printed before comes first
        target = os.dup(target)  # opened anew, a file would be cut, and a socket refuses
    else:
        target = os.open(target, os.O_WRONLY | os.O_TRUNC)
    with open(source, "rb") as content, open(target, "wb") as file:
        shutil.copyfileobj(content, file)
