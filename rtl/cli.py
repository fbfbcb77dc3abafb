"""What the command lines share: one-line errors, exit statuses, an output that cannot be written.

Nothing but the standard library is needed.
"""

import argparse
import contextlib
import functools
import os
import sys
import unicodedata
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend; the message is one line and needs no traceback.

    Attributes
    ----------
    status
        Exit status of a command that it ends.
    """

    status = 2


class OutputError(Exception):
    """Standard output cannot be written to; the cause is the :class:`OSError`.

    It is none itself: what catches those of files does not take it for one of theirs.
    """


class Parser(argparse.ArgumentParser):
    """Reports what is wrong with the options in one line, with exit status 2."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")


def count(text: str) -> int:
    """Return the number of things that an option asks for, 1 to 1000.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.
    """
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"must be an integer from 1 to 1000, not {text!r}")
    return int(text)


def quiet_imports() -> None:
    """Have an interrupt end ``python -m`` in silence while it still imports what a command needs.

    To be called by a package as it is imported; if it is not the one that ``python -m`` looks for,
    nothing is done.
    """
    if sys.argv[:1] == ["-m"]:  # until the module has been found
        sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, trace) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


def command(prog: str) -> Callable:
    """Decorate a ``main(argv=None) -> int``: what ends it early is one line or none, no traceback.

    The exit status is that of a :class:`UserError`, whose message goes to stderr as ``prog: error:
    message``, as argparse prints its own; 2 where stdout is closed or full; 130 after an
    interrupt and 141 where the reader of a pipe has gone (``... | head``), both in silence.
    What the encoding of stdout lacks is printed as a backslash and its number.
    """
    def decorate(main):
        @functools.wraps(main)
        def wrapped(argv: list[str] | None = None) -> int:
            with _streams():
                try:
                    return _flushed(main, argv)
                except UserError as error:
                    _complain(prog, error)
                    return error.status
                except KeyboardInterrupt:
                    return 130
                except BrokenPipeError:
                    return 141
                except OutputError as error:
                    if isinstance(error.__cause__, BrokenPipeError):
                        return 141
                    _complain(prog, f"cannot write the output: {error}")
                    return 2
        return wrapped
    return decorate


def _flushed(main: Callable, argv: list[str] | None) -> int:
    """Call `main`; its output is written, or known not to be, also where it exits (--help)."""
    try:
        status = main(argv)
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _complain(prog: str, error: BaseException | str) -> None:
    with contextlib.suppress(OSError):  # there is nobody left to tell
        print(f"{prog}: error: {one_line(error)}", file=sys.stderr, flush=True)


_LONGEST = 1000  # characters of a message: what a file says may be quoted in it


def one_line(error: BaseException | str) -> str:
    """Return an error's message as one line that a terminal can show.

    Line breaks and runs of blanks become single blanks, and what cannot be printed (control
    characters, lone surrogates: messages quote files) becomes an escape like ``\\x1b``. A message
    longer than 1000 characters loses its middle.
    """
    text = printable(" ".join(str(error).split()))
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST // 2]} ... {text[5 - _LONGEST // 2:]}"
    return text or type(error).__name__


def printable(text: str) -> str:
    """Return a text with control characters, and bytes of file names that are no text, escaped."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs"
        else char.encode("unicode_escape").decode() for char in text)


class _Output:
    """A stream whose failures are :class:`OutputError`."""

    def __init__(self, stream):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._try(self._stream.write, text)

    def writelines(self, lines) -> None:
        self._try(self._stream.writelines, lines)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    @staticmethod
    def _try(function, *args):
        try:
            return function(*args)
        except OSError as error:
            raise OutputError(error.strerror or one_line(error)) from error


@contextlib.contextmanager
def _streams():
    """Make stdout and stderr such that a command can use them, and as they were at the end.

    Closed ones, which Python has as None, become streams: stdout one that fails when something is
    written, stderr one that swallows it, for ``print`` would take None for stdout.
    """
    before = sys.stdout, sys.stderr
    if not os.environ.get("COLUMNS", "").strip("0"):
        os.environ.pop("COLUMNS", None)  # no width at all, in which tables would vanish
    with contextlib.ExitStack() as opened:
        stdout, stderr = (
            opened.enter_context(open(os.open(os.devnull, flag), "w", encoding="utf-8"))
            if stream is None else stream
            for stream, flag in zip(before, (os.O_RDONLY, os.O_WRONLY), strict=True))
        errors = getattr(stdout, "errors", None)
        changed = errors in {"strict", "surrogateescape"} and hasattr(stdout, "reconfigure")
        if changed:
            stdout.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = _Output(stdout), stderr
        try:
            yield
        finally:
            _settle(stdout)
            if changed:
                stdout.reconfigure(errors=errors)
            sys.stdout, sys.stderr = before


def _settle(stream) -> None:
    """Write what a stream still holds, or drop it: Python tries once more at its exit."""
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
            stream.flush()
