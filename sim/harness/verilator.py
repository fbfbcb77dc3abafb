"""Runs programs on the RTL of a whole core, compiled by Verilator (:mod:`sim.harness.core_build`).

Python prepares files, waits, and says what the result means.
"""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from golden.common.checks import integer
from golden.core.isa import INSTRUCTION_BYTES, Opcode, Status
from golden.core.program import Program, Region, payload_bytes, walk
from golden.cycles.memory_model import IDEAL, USUAL, MemoryModel

from ..cli import UserError, file_errors, one_line
from .core_build import build
from .disturbance import REGULAR, Disturbance
from .expected import Difference, Expected, golden_run, locate

STATUS = tuple(status.name.lower().replace("_", " ") for status in Status)
"""What the core's ``status`` says."""

TRACES = ("vcd", "fst")

LATENCY, BANDWIDTH = USUAL.latency, USUAL.bytes_per_cycle
"""Cycles and bytes per cycle of external memory, unless told otherwise."""

_AROUND = 1000  # cycles before and after what a trace is made for


@dataclass(frozen=True, slots=True)
class Windows:
    """What of a run is written as switching activity, in SAIF.

    Attributes
    ----------
    groups
        Of each instruction, 0 or more, or -1 for none; consecutive ones of the same group are one
        window.
    take
        Called with the group and the file of each window, which is removed afterwards; what it
        holds :mod:`sim.activity.saif` says.
    """

    groups: list[int]
    take: Callable[[int, Path], None]


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


def run(program: Program, pixels=None, *, latency: int = LATENCY, bandwidth: float = BANDWIDTH,
        ideal: bool = False, disturbance: Disturbance = REGULAR, check: bool | Expected = False,
        progress: Callable[[int, int, float], None] | None = None, trace: Path | None = None,
        window: tuple[int, int] | None = None, watchdog: int | None = None,
        reset_at: int | None = None, fail_at: int | None = None, runs: int = 1,
        stream: int | None = None, first: Region | None = None,
        factory: Callable | None = None, windows: Windows | None = None) -> Result:
    """Run a program on the RTL of its core.

    Parameters
    ----------
    program, pixels
        As :class:`golden.core.machine.Machine` takes them.
    latency
        Cycles from a request to its response, 1 or more.
    bandwidth
        Bytes per cycle of external memory. The port takes a request every
        ``bus_bytes / bandwidth`` cycles on average, and never more than one per cycle.
    ideal
        A request in every cycle, and the response in the next one.
    disturbance
        What keeps memory from that.
    check
        Compare after each instruction with the golden machine, which is run first, or with what
        :func:`sim.harness.expected.golden_run` has recorded of it.
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
    windows
        What is written as switching activity; not together with `trace`.

    Raises
    ------
    UserError
        If the core cannot be compiled or the simulation cannot be run.
    ProgramError
        If the golden machine cannot run the program.
    """
    config = program.config
    model = IDEAL if ideal else MemoryModel(latency, bandwidth)
    if trace is not None and _kind(trace) not in TRACES:
        raise UserError(f"a trace must be a file named *.{' or *.'.join(TRACES)}, not {trace}")
    expected = golden_run(program, pixels) if check is True else check or None
    memory = (np.frombuffer(program.memory, np.uint8) if pixels is None
              else program.with_image(pixels))
    pace = model.pace(config)
    options = {"stream": program.stream.address if stream is None else stream,
               "stream-bytes": program.stream.size, "latency": model.latency,
               "cost": pace.numerator, "unit": pace.denominator,
               "watchdog": watchdog or disturbance.longest(
                   patience(program, model.latency, pace)),
               **disturbance.options(),
               "reset-at": reset_at, "fail-at": fail_at, "runs": integer("runs", runs, 1)}
    if first is not None:
        options |= {"first": first.address, "first-bytes": first.size}
    if trace is not None and window is not None:
        result, _ = _execute(build(config, factory=factory, trace=_kind(trace)), program, memory,
                             options | _traced(trace, *window), expected, progress)
        return replace(result, trace=Path(trace))
    if windows is not None:
        return _execute(build(config, factory=factory, trace="saif"), program, memory, options,
                        expected, progress, windows)[0]
    result, raw = _execute(build(config, factory=factory, trace=None), program, memory, options,
                           expected, progress)
    if trace is None or result.ok:
        return result
    middle = result.cycles if result.outcome in ("mismatch", "protocol") else raw["activity"]
    _trace_around(middle, result, program, memory, options, trace, factory, progress)
    return replace(result, trace=Path(trace))


def _trace_around(middle: int, result: Result, program: Program, memory: np.ndarray, options: dict,
                  trace: Path, factory, progress) -> None:
    """Repeat a run that went wrong for a trace: around the write that is wrong, or a cycle."""
    config = program.config
    if result.difference is not None and result.difference.bank is not None:
        watch = {"watch-word": result.difference.place, "watch-bank": result.difference.bank,
                 "stop-at": result.cycles}
        _, again = _execute(build(config, factory=factory), program, memory, options | watch, None,
                            progress)
        middle = again.get("changed", middle)
    around = _traced(trace, max(0, middle - _AROUND), middle + _AROUND)
    _execute(build(config, factory=factory, trace=_kind(trace)), program, memory,
             options | around | {"stop-at": middle + _AROUND}, None, progress)


def _kind(trace: Path) -> str:
    return Path(trace).suffix[1:]


def _traced(trace: Path, first: int, last: int) -> dict:
    """Return the options of the executable for a trace of these cycles."""
    return {"trace": Path(trace).resolve(), "trace-from": first, "trace-to": last}


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
             expected: Expected | None, progress,
             windows: Windows | None = None) -> tuple[Result, dict]:
    """Run the executable; return the result, and what it said itself."""
    with contextlib.ExitStack() as opened:
        with file_errors("cannot simulate"):
            place = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="vernier-")))
            (place / "before").write_bytes(memory.tobytes())
            options = {**options, "memory": place / "before", "out": place}
            if expected is not None:
                (place / "check").write_bytes(expected.data)
                options["check"] = place / "check"
            if windows is not None:
                options["windows"] = place / "windows"
                np.array(windows.groups, "<i4").tofile(options["windows"])
            errors = opened.enter_context(open(place / "errors", "w+"))
            command = [binary, *(str(part) for name, value in options.items()
                                 if value is not None for part in (name, value))]
            started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        with started as process:
            try:
                for line in process.stdout:
                    if progress is not None and line.startswith("progress "):
                        _, index, cycles, speed = line.split()
                        progress(int(index), int(cycles), float(speed))
                    elif line.startswith("window "):
                        _, number, group = line.split()
                        windows.take(int(group), place / f"window.{number}")
                        (place / f"window.{number}").unlink()
            except BaseException:
                process.kill()
                raise
            status = process.wait()
        with file_errors("cannot simulate"):
            if status:
                errors.seek(0)
                said = errors.read() or f"status {status}"
                raise UserError(f"the simulation failed: {one_line(said)}")
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
