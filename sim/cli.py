"""What the command lines share: one-line errors, argument types, whole-file writes."""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track

TRACE = Path("build/core.vcd")
"""Where a run that is checked leaves a trace of what went wrong, unless told otherwise."""


class UserError(Exception):
    """Something the user can mend; the message is one line and needs no traceback."""


def command(prog: str) -> Callable:
    """Decorate a ``main(argv=None) -> int``: a :class:`UserError` ends it with exit status 2.

    The message goes to stderr as ``prog: error: message``, as argparse prints its own. An
    interrupt ends with 130, a closed output pipe (``... | head``) with 141, both in silence.
    """
    def decorate(main):
        @functools.wraps(main)
        def wrapped(argv: list[str] | None = None) -> int:
            try:
                status = main(argv)
                sys.stdout.flush()
            except UserError as error:
                print(f"{prog}: error: {one_line(error)}", file=sys.stderr)
                return 2
            except KeyboardInterrupt:
                return 130
            except BrokenPipeError:
                # Python flushes stdout once more at exit; give it somewhere to go.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return 141
            return status
        return wrapped
    return decorate


_LONGEST = 1000  # characters of a message: what a file says may be quoted in it


def one_line(error: BaseException | str) -> str:
    """Return an error's message as one line that a terminal can show.

    Line breaks and runs of blanks become single blanks, and what cannot be printed (control
    characters, lone surrogates: messages quote files) becomes an escape like ``\\x1b``. A message
    longer than 1000 characters loses its middle.
    """
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode()
                   for one in " ".join(str(error).split()))
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST // 2]} ... {text[5 - _LONGEST // 2:]}"
    return text or type(error).__name__


def positive(text: str) -> int:
    """Argument type: an integer of 1 or more."""
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def positive_float(text: str) -> float:
    """Argument type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value


def up_to(limit: int | None) -> Callable[[str], int]:
    """Argument type: an integer of 0 or more, up to a limit if there is one."""
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or (limit is not None and int(text) > limit):
            allowed = "of 0 or more" if limit is None else f"within 0..{limit}"
            raise argparse.ArgumentTypeError(f"must be an integer {allowed}, not {text!r}")
        return int(text)
    return parse


def precision(text: str):
    """Argument type: a :class:`golden.network.network.Precision`, like ``w4a4``."""
    from golden.network.network import Precision  # numba's import, which other commands do without

    try:
        return Precision.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def core(text: str):
    """Argument type: a core by name, or a TOML file with a table ``[accelerator]``."""
    from golden.common.config import CORES, load_core  # numba's import, as below

    if text in CORES:
        return CORES[text]
    try:
        return load_core(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"must be one of {', '.join(CORES)} or a TOML file, not {text!r} "
            f"({error.strerror})") from None
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"cannot use {text}: {one_line(error)}") from None


def one_of(*names: str) -> Callable[[str], str]:
    """Argument type: one of `names`, in either case."""
    def parse(text: str) -> str:
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, not {text!r}")
        return text.lower()
    return parse


def progress(steps, what: str):
    """Iterate over steps, with a progress bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    return track(steps, what, console=console, transient=True, disable=not console.is_terminal)


def folder(path: Path) -> Path:
    """Make a folder if it is missing, and return it.

    Raises
    ------
    UserError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror}") from None
    return path


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and put that file in its place at a clean exit.

    Whatever goes wrong before leaves `path` as it was.

    Raises
    ------
    UserError
        If the directory cannot be written to.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes it private
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
