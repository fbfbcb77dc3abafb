"""Estimates cycles and energy of a Vision Transformer on the accelerator, and what its scales cost.

    python -m sim.estimate --model deit_t --array 8x16 --bits w4a4
    python -m sim.estimate --program build/deit_t
    python -m sim.estimate --model deit_t --bits w4a4 --scales all
    python -m sim.estimate --workload network.onnx --topology network.csv --products costs.csv

A plain ViT that the core has room for is compiled, without its weights, and timed to the cycle, as
a program of sim.compile is: see :mod:`sim.estimation.program_costs`. Any other timm model, traced
without its weights, is put on the array by a generic mapping; :func:`estimate` is the library
function of that, and what it assumes is said in :mod:`sim.estimation.generic_mapping`,
:mod:`sim.estimation.residency` and :mod:`sim.estimation.energy`. The options can come from a TOML
file: the accelerator's choices in a table ``[accelerator]``, the options of this command, by their
long names, in ``[estimate]``.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from golden.common.config import CORES, AcceleratorConfig
from golden.common.config_file import config_from_table, core_from_table
from golden.common.formats import Mode
from golden.core.isa import Opcode
from golden.core.program import Program, ProgramError, load
from golden.core.rules import verify
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.cycles.timing import timing
from golden.network.precision import parse
from golden.soc.boards import BOARDS

from .cli import UserError, command, one_line, whole_file
from .compiler import DoesNotFit, compile_network, compile_with_room
from .compiler.blank import begins_with_norm, blank_network, default_tap, has_qk_norm, shape_of
from .estimation import estimate_report as report
from .estimation import program_report
from .estimation.costs import SCALES, Estimate, Layer, Options
from .estimation.estimate_options import ALL, STDOUT, resolve
from .estimation.generic_estimator import estimate
from .estimation.program_costs import ProgramEstimate, estimate_program
from .estimation.trace_events import trace_events
from .estimation.workload import Workload
from .workloads.product_lines import product_lines, topology
from .workloads.workload_files import read_workload

__all__ = ["Estimate", "Layer", "Options", "estimate", "main", "workload_of"]

PROG = "python -m sim.estimate"

Found = ProgramEstimate | Estimate | Workload | None
Answer = tuple[dict, list[dict], Callable[[Console], None], Found]
"""A document, the rows that CSV has of it, what prints it, and what it is of if that is one."""


def workload_of(model: str, image_size: int | None = None) -> Workload:
    """Return the workload of a timm model, by short or full name; `image_size` is as for
    :func:`sim.inputs.models.create`.

    Raises
    ------
    UserError
        If there is no such model or it cannot be traced.
    """
    # PyTorch takes seconds to import: only once there is something to trace.
    from .estimation.tracing import trace
    from .inputs.models import meta_model
    return trace(meta_model(model, image_size), model)


def _configuration(array: str, table: dict, path: Path | None) -> AcceleratorConfig:
    """Return the configuration of an array, changed by the ``[accelerator]`` table of a file."""
    rows, cols = map(int, array.split("x"))
    base = _named(array)
    try:
        if {"rows", "cols"} & set(table) and "lanes" not in table:
            base = replace(base, lanes=AcceleratorConfig.for_array(
                table.get("rows", rows), table.get("cols", cols)).lanes,
                rows=table.get("rows", rows), cols=table.get("cols", cols))
        return config_from_table(table, base)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {one_line(error)}") from None


def _write(args, document: dict, rows: list[dict], found: Found):
    """Write the files that were asked for, all or none."""
    trace = lines = costs = ""
    if args.trace_events:
        trace = json.dumps(trace_events(found)) + "\n"
    if args.topology or args.products:
        products = product_lines(found)
        lines = topology(products)
        costs = report.as_csv([one.as_dict(number) for number, one in enumerate(products)])
    with contextlib.ExitStack() as files:
        for name, text in ((args.json, json.dumps(document, indent=2) + "\n"),
                           (args.csv, report.as_csv(rows)), (args.trace_events, trace),
                           (args.topology, lines), (args.products, costs)):
            if name and name != STDOUT:
                files.enter_context(whole_file(Path(name))).write_text(
                    text, "utf-8", "backslashreplace")


def _timed(program: Program, args) -> ProgramEstimate:
    memory = _memory(args)
    exited = None
    if args.exited:
        exited = next((index for index, (_, op) in enumerate(program.instructions())
                       if op.opcode is Opcode.EXIT), None)
        if exited is None:
            raise UserError(f"--exited needs the program of a cascade, and {args.program} has no "
                            "EXIT")
    return estimate_program(program, memory, args.clock, args.tech,
                            timing(program, memory, exited))


def _memory(args) -> MemoryModel | SdramMemory:
    """Return the external memory that is asked for."""
    if args.memory:
        memory = replace(BOARDS[args.memory], clock_hz=round(args.clock * 1e6))
        try:
            memory.schedule(CORES["8x16"])
        except ValueError as error:
            raise UserError(f"--clock with --memory {args.memory}: {one_line(error)}") from None
        return memory
    speed = args.dram_bandwidth and args.dram_bandwidth * 1000 / args.clock
    try:
        return MemoryModel(args.latency or USUAL.latency, speed)
    except ValueError as error:
        raise UserError(f"--latency, --dram-bandwidth: {one_line(error)}") from None


def _compiled(args, table: dict) -> ProgramEstimate:
    """Return the estimate of a model as compiled for a core.

    `table` are the choices of an ``[accelerator]`` table that change the core of the array.

    Raises
    ------
    DoesNotFit
        If it cannot be: why.
    """
    shape = shape_of(args.model, args.image_size)
    try:
        core = core_from_table(table, _named(args.array))
        tap = default_tap(shape, core) if args.scales == "predicted" else None
        network = blank_network(shape, parse(args.bits), tap,
                                norm_pre=begins_with_norm(args.model, args.image_size),
                                qk_norm=has_qk_norm(args.model, args.image_size))
        if args.scales == "jit":
            program = compile_with_room(network, core, {"model": args.model}, jit=True)
            if program.config.sram_kib != core.sram_kib:
                program.about["note"] = (
                    f"the scratchpad has {program.config.sram_kib} KiB instead of "
                    f"{core.sram_kib}: tensors to be measured are kept in 16 bits")
        else:
            program = compile_network(network, core, {"model": args.model}, memory=_memory(args))
        return _timed(program, args)
    except ValueError as error:
        raise DoesNotFit(one_line(error)) from None


def _named(array: str) -> AcceleratorConfig:
    """Return the configuration of an array; whether a core can have it, ``check_core`` says."""
    rows, cols = map(int, array.split("x"))
    return CORES.get(array) or AcceleratorConfig.for_array(rows, cols)


def _program(args) -> ProgramEstimate:
    """Return the estimate of a program."""
    try:
        program = load(args.program)
        verify(program)
        return _timed(program, args)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}; sim.compile makes "
                        "programs") from None
    except ProgramError as error:
        raise UserError(one_line(error)) from None


def _shown_program(args, result: ProgramEstimate) -> Answer:
    document = program_report.program_dict(result)
    return document, document["layers"], lambda console: program_report.print_program(
        result, console, every_layer=bool(args.layers)), result


def _compared(args, choices: dict) -> Answer:
    """Return what each kind of scales costs."""
    if args.mapping != "auto" or args.compat:
        raise UserError("--scales all needs a compiled program, not another mapping")
    results = {}
    for kind in SCALES:
        try:
            results[kind] = _compiled(argparse.Namespace(**{**vars(args), "scales": kind}), choices)
        except DoesNotFit as error:
            raise UserError(f"--scales all needs a compiled program: {one_line(error)}") from None
    document = program_report.comparison_dict(results)
    return document, document["scales"], lambda console: program_report.print_comparison(
        results, console), None


def _workload(args) -> Workload:
    """Return what is to be done: that of a file, or of a model."""
    return (read_workload(args.workload) if args.workload
            else workload_of(args.model, args.image_size))


def _scalesim(args, config: AcceleratorConfig) -> Answer:
    workload = _workload(args)
    document = report.scalesim_dict(workload, config.rows, config.cols, args.dataflow)
    return document, document["operations"], lambda console: report.print_scalesim(
        document, console), workload


def _mapped(args, config: AcceleratorConfig, reason: str) -> Answer:
    """Return the generic estimate; `reason` is why there is no other."""
    for name in ("memory", "trace_events"):
        if getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')} needs a compiled program"
                            f"{reason and f': {reason}'}")
    if "," in args.bits:
        raise UserError(f"--bits {args.bits} needs a compiled program{reason and f': {reason}'}")
    options = Options(Mode(args.bits), args.clock, args.dram_bandwidth, args.tech, args.scales)
    try:
        result = estimate(_workload(args), config, options)
    except ValueError as error:
        raise UserError(f"cannot estimate {args.workload or args.model}: {one_line(error)}"
                        ) from None
    document = report.as_dict(result, reason)
    return document, document["layers"], lambda console: report.print_report(
        result, console, every_layer=bool(args.layers), reason=reason), result


def _answer(args, choices: dict) -> Answer:
    config = _configuration(args.array, choices, args.config)
    if args.memory:
        _memory(args)  # what is wrong with it is not the model's fault
    if args.program:
        return _shown_program(args, _program(args))
    if args.scales == ALL:
        return _compared(args, choices)
    if args.compat:
        return _scalesim(args, config)
    reason = ""
    if args.mapping == "auto":
        try:
            return _shown_program(args, _compiled(args, choices))
        except DoesNotFit as error:
            reason = one_line(error)
    return _mapped(args, config, reason)


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args, choices = resolve(argv, PROG, __doc__.partition("\n")[0])
    document, rows, show, found = _answer(args, choices)
    _write(args, document, rows, found)
    if args.json == STDOUT:
        print(json.dumps(document, indent=2))
    elif args.csv == STDOUT:
        print(report.as_csv(rows), end="")
    else:
        show(Console(highlight=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
