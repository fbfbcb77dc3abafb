"""Runs a compiled program on the RTL of the whole core, and compares it with the golden machine.

    python -m sim.simulate build/program --image cat.png
    python -m sim.simulate build/program --random 1 --check --trace build/core.vcd

DIR is what sim.compile has written. Exit status 0 if logits, memory and scratchpad are equal, and 1
if anything differs or the core does not come to its end.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from golden.core.machine import Machine
from golden.core.program import Program, ProgramError
from golden.cycles.memory_model import IDEAL, MemoryModel
from golden.cycles.timing import timing
from rtl.cli import Parser

from .cli import (
    TRACE,
    UserError,
    command,
    folder,
    one_line,
    positive,
    positive_float,
    printable,
    up_to,
)
from .common.tables import list_of, show
from .estimation.program_costs import estimate_program
from .estimation.trace_events import write_trace
from .harness import verilator
from .harness.checked_run import shown_progress
from .harness.disturbance import Disturbance
from .harness.expected import differences, golden_run
from .harness.verilator import BANDWIDTH, LATENCY, Result
from .inference.classes import class_names, guesses
from .inputs import images
from .inputs.model_lookup import preprocessing_for
from .inputs.programs import read_program

PROG = "python -m sim.simulate"
TOP = 3  # classes shown


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Run a program on the core's RTL, under Verilator.")
    parser.add_argument("program", type=Path, metavar="DIR", help="what sim.compile has written")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--image", type=Path, metavar="FILE", help="image file")
    which.add_argument("--random", type=up_to(None), metavar="SEED", help="random pixels")
    parser.add_argument("--latency", type=positive, default=LATENCY, metavar="CYCLES",
                        help="cycles from a request to its response (default: %(default)s)")
    parser.add_argument("--bandwidth", type=positive_float, default=BANDWIDTH, metavar="BYTES",
                        help="of external memory, per cycle (default: %(default)s)")
    parser.add_argument("--ideal", action="store_true",
                        help="a request in every cycle, its response in the next")
    parser.add_argument("--memory-seed", type=up_to((1 << 64) - 1), metavar="SEED",
                        help="random stalls and latencies of external memory on top")
    parser.add_argument("--refresh", type=positive, nargs=2, metavar=("INTERVAL", "PAUSE"),
                        help="external memory does nothing for PAUSE of INTERVAL cycles")
    parser.add_argument("--check", action="store_true",
                        help="compare after each instruction, and stop at the first difference")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="write a trace (*.vcd, *.fst) of the cycles around what goes wrong, "
                             f"if anything does; implies --check (default with it: {TRACE})")
    parser.add_argument("--trace-events", type=Path, metavar="FILE",
                        help="write the run's timeline, for Perfetto or chrome://tracing")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def pixels_of(program: Program, image: Path | None, seed: int) -> np.ndarray:
    """Return the pixels of an image file as the program takes them, or random ones.

    Raises
    ------
    UserError
        If the image cannot be read, or the program does not say how to prepare it.
    """
    if image is None:
        shape = program.side, program.side, program.colours
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    config = program.about.get("preprocessing")
    if config is None:
        raise UserError("the program does not say how its images are prepared; use --random")
    preprocessing = preprocessing_for(config, program.side, "program", program.colours)
    return preprocessing.pixels(images.read(image, program.colours)[1])


def summary(program: Program, result: Result, machine: Machine) -> dict:
    """Return what is worth knowing about a run, JSON values."""
    config = program.config
    by_opcode: dict[str, int] = {}
    for (_, op), cycles in zip(program.instructions(), result.instruction_cycles, strict=False):
        by_opcode[op.opcode.name] = by_opcode.get(op.opcode.name, 0) + cycles
    names = class_names(program.classes, program.about.get("classes"))
    equal, differing = False, [result.message]
    if result.ok:
        differing = [str(one) for one in differences(program, machine, result.memory,
                                                     result.scratchpad)]
        equal = not differing
    logits = result.memory[program.logits.address:][:program.logits.size].view("<i2")
    return {
        "equal": equal, "exited": machine.exited, "outcome": result.outcome,
        "status": result.status,
        "differs": differing, "trace": None if result.trace is None else str(result.trace),
        "cycles": result.cycles, "cycles_by_opcode": by_opcode,
        "instruction_cycles": result.instruction_cycles, "counters": result.counters,
        "array_busy": array_busy(result),
        "read_bytes": result.reads * config.bus_bytes,
        "written_bytes": result.writes * config.bus_bytes,
        "seconds": round(result.seconds, 3), "cycles_per_second": round(result.speed),
        "classes": [asdict(guess) for guess in guesses(
            logits[:program.classes] / 2.0**program.logit_point, names, TOP)]
        if result.ok else [],
    }


def array_busy(result: Result) -> float:
    """Return the share of cycles in which the array multiplies."""
    return result.counters["array"] / max(result.cycles, 1)


def _print(made: dict, program: Program, where: Path) -> None:
    console = Console(highlight=False)
    config = program.config
    console.print(Text(printable(
        f"{program.about.get('model', 'network')} {program.about.get('bits', '')} on a "
        f"{config.rows}x{config.cols} core: {where}")), soft_wrap=True)
    rows = [(printable(guess["name"]), f"{100 * guess['probability']:.1f} %")
            for guess in made["classes"]]
    if made["exited"] is not None:
        rows.append(("EXIT", f"at instruction {made['exited']}"))
    rows.append(("cycles", f"{made['cycles']:,}"))
    rows += [(f"  {name}", f"{cycles:,}") for name, cycles in sorted(
        made["cycles_by_opcode"].items(), key=lambda item: -item[1])]
    rows.append(("array busy", f"{100 * made['array_busy']:.1f} %"))
    rows += [(f"  {name}", f"{value:,}") for name, value in made["counters"].items()]
    rows += [("read from memory", f"{made['read_bytes']:,} bytes"),
             ("written to memory", f"{made['written_bytes']:,} bytes"),
             ("simulation", f"{made['cycles_per_second']:,} cycles/s")]
    show(console, list_of(rows, console.width))
    for line in made["differs"]:
        console.print(Text(printable(line), style="red"), soft_wrap=True)
    if made["trace"] is not None:
        console.print(Text(printable(f"trace: {made['trace']}")), soft_wrap=True)
    if made["equal"]:
        console.print(Text("equal to the golden machine", style="green"))


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    try:
        if not args.ideal:
            MemoryModel(args.latency, args.bandwidth)
    except ValueError as error:
        raise UserError(f"--latency, --bandwidth: {one_line(error)}") from None
    try:
        disturbance = Disturbance(args.memory_seed, *(args.refresh or ()))
    except ValueError as error:
        raise UserError(f"--refresh: {one_line(error)}") from None
    program = read_program(args.program)
    pixels = pixels_of(program, args.image, args.random)
    try:
        expected = golden_run(program, pixels)
    except ProgramError as error:
        raise UserError(one_line(error)) from None
    trace = args.trace or (TRACE if args.check else None)
    if trace is not None:
        folder(trace.resolve().parent)
    with shown_progress(program) as progress:
        result = verilator.run(program, pixels, latency=args.latency, bandwidth=args.bandwidth,
                               ideal=args.ideal, disturbance=disturbance, progress=progress,
                               trace=trace, check=expected if trace is not None else False)
    made = summary(program, result, expected.machine)
    if args.trace_events is not None:
        memory = IDEAL if args.ideal else MemoryModel(args.latency, args.bandwidth)
        timed = timing(program, memory, expected.machine.exited)
        write_trace(args.trace_events, estimate_program(program, memory, timed=timed),
                    result.instruction_cycles)
    if args.json:
        print(json.dumps(made, indent=2))
    else:
        _print(made, program, args.program)
    return 0 if made["equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
