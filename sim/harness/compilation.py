"""Runs Verilator and make on the files of a core, in a folder that is gone afterwards.

Whatever ends a build, an error, an interrupt or a request to terminate, its processes are ended and
its folder is removed. That of a build which was killed is removed by the next build.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..cli import UserError, one_line

_PLAIN = re.compile(r"[\w./+@,=~-]+", re.ASCII)  # what make and the shell leave as it is
_WRAPPER = re.compile(r"%Error: (make\b|Command Failed)|exited with \d+$|"
                      r"^make(\[\d+\])?: (\*\*\* \[|Entering|Leaving)|%Error: Exiting due to")
_CAUSE = re.compile(r"(?i)\berror\b|\*\*\*|no space left|not found|killed|undefined reference")


def compile_files(files: dict[str, str], options: list[str], makeflags: str, program: Path,
                  root: Path | None, target: Path, locks: Path) -> None:
    """Make `target` with the executable ``core``, ``core.v`` and the log, whole or not at all.

    The caller holds the lock of this build, the file in `locks` of the same name as `target`.

    Parameters
    ----------
    files
        What Verilator is given, by name; ``core.v`` among them.
    options
        Of Verilator, which makes ``obj/core``.
    makeflags
        Variables of Verilator's makefile.
    program, root
        Verilator's executable, and ``VERILATOR_ROOT`` where it has to be told.

    Raises
    ------
    UserError
        If Verilator or make cannot compile the core, or there is no folder they can work in.
    """
    _remove_stale(target.parent, locks, target.name)
    with _terminable(), contextlib.ExitStack() as stack:
        work = _folder(target)
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        for name, text in files.items():
            (work / name).write_text(text)
        python = _plain(Path(sys.executable), work / "python")
        environment = {**os.environ, "MAKEFLAGS": f"{makeflags} PYTHON3={python}"}
        environment.pop("CXXFLAGS", None)
        if root is not None:
            root, program = _plain_root(root, program, work / "verilator")
            environment["VERILATOR_ROOT"] = str(root)
        done = _run([str(program), *options], work, environment)
        if done.returncode:
            if re.search(r"(lz4|zlib)\.h: No such file", done.stderr):
                raise UserError("traces in FST need the headers of lz4 and zlib (apt-get install "
                                "liblz4-dev zlib1g-dev); write one to a file named *.vcd")
            raise UserError(f"Verilator cannot compile the core: {_reason(done)}")
        made = work if work.parent == target.parent else Path(
            tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
        stack.callback(shutil.rmtree, made, ignore_errors=True)
        whole = made / "whole"
        whole.mkdir()
        shutil.move(work / "obj" / "core", whole / "core")
        shutil.move(work / "core.v", whole / "core.v")
        (whole / "build.log").write_text(done.stdout + done.stderr)
        whole.rename(target)


def _run(command: list[str], work: Path, environment: dict) -> subprocess.CompletedProcess:
    """Run a command and what it starts; all of them are killed if this is interrupted."""
    with subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="replace",
                          start_new_session=True) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _reason(done: subprocess.CompletedProcess) -> str:
    """Return what went wrong first: what make and compilers say before Verilator's wrapper."""
    lines = [line for line in (*done.stderr.splitlines(), *done.stdout.splitlines())
             if line.strip()]
    said = [line for line in lines if not _WRAPPER.search(line)]
    causes = [line for line in said if _CAUSE.search(line)]
    errors = [line for line in causes if "%Error" in line]
    wrapper = [line for line in lines if _CAUSE.search(line)]
    status = (f"signal {-done.returncode}" if done.returncode < 0
              else f"exit status {done.returncode}")
    return one_line((errors or causes or wrapper or lines or [status])[0])[:300]


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program by way of its clean-ups, with status 128 + signal."""
    def leave(number, frame):
        raise SystemExit(128 + number)

    mine = []
    if threading.current_thread() is threading.main_thread():
        mine = [number for number in (signal.SIGTERM, signal.SIGHUP)
                if signal.getsignal(number) is signal.SIG_DFL]
    for number in mine:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _plain(path: Path, link: Path) -> Path:
    """Return `path`, or a link to it where make would not take its name as one word."""
    if _PLAIN.fullmatch(str(path)):
        return path
    link.symlink_to(path)
    return link


def _plain_root(root: Path, program: Path, link: Path) -> tuple[Path, Path]:
    """Return Verilator's root and executable, or links to what they hold, as :func:`_plain`.

    The executable is a script that finds the rest from where it really is, so it is copied.
    """
    if _PLAIN.fullmatch(str(root)):
        return root, program
    (link / "bin").mkdir(parents=True)
    for folder, made in (root, link), (program.parent, link / "bin"):
        for path in folder.iterdir():
            if path != program and path != program.parent:
                (made / path.name).symlink_to(path)
    shutil.copy(program, link / "bin")
    return link, link / "bin" / program.name


def _prefix(target: Path) -> str:
    return f".building-{target.name}-"


def _apart(cache: Path) -> str:
    """Return the start of names among temporary files that belong to a cache."""
    return f"vernier-{hashlib.sha256(os.fsencode(cache)).hexdigest()[:8]}"


def _folder(target: Path) -> Path:
    """Make a folder to build in: in the cache, or where make takes its name as one word."""
    if _PLAIN.fullmatch(str(target)):
        return Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
    for place in tempfile.gettempdir(), "/tmp", "/var/tmp":
        if _PLAIN.fullmatch(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(dir=place, prefix=_apart(target.parent) + _prefix(target)))
    raise UserError(f"the cache {target.parent} must be a path without spaces and signs that make "
                    f"has a use for, or $TMPDIR, and not also {tempfile.gettempdir()!r}")


def _remove_stale(cache: Path, locks: Path, mine: str) -> None:
    """Remove folders of builds that were killed: those whose locks nobody else holds."""
    stale = [*cache.glob(".building-*")]
    for place in {tempfile.gettempdir(), "/tmp", "/var/tmp"}:
        stale += Path(place).glob(f"{_apart(cache)}.building-*")
    for folder in stale:
        digest = folder.name.partition(".building-")[2].partition("-")[0]
        try:
            if digest == mine:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                with FileLock(locks / digest, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
        except Timeout:  # it is being built
            continue
