"""Estimates cycles and energy of a Vision Transformer on the accelerator, and what its scales cost.

    python -m sim.estimate --model deit_t --array 8x16 --bits w4a4
    python -m sim.estimate --program build/deit_t
    python -m sim.estimate --model deit_t --bits w4a4 --scales all

A plain ViT that the core has room for is compiled, without its weights, and timed to the cycle, as
a program of sim.compile is: see :mod:`sim.estimation.program_costs`. Any other timm model, traced
without its weights, is put on the array by a generic mapping; :func:`estimate` is the library
function of that, and what it assumes is said in :mod:`sim.estimation.timing`,
:mod:`sim.estimation.residency` and :mod:`sim.estimation.energy`. The options can come from a TOML
file: the accelerator's choices in a table ``[accelerator]``, the options of this command, by their
long names, in ``[estimate]``.
"""

import argparse
import contextlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from golden.common.config import (
    CONFIGS,
    CORES,
    AcceleratorConfig,
    config_from_table,
    core_from_table,
)
from golden.common.formats import Mode
from golden.common.text import read_toml
from golden.core.program import Program, ProgramError, load
from golden.core.rules import verify
from golden.cycles.timing import USUAL, MemoryModel
from golden.network.network import Precision

from .cli import UserError, command, one_line, one_of, positive, positive_float, whole_file
from .compiler.blank import blank_network, default_tap, shape_of
from .compiler.compiler import DoesNotFit, compile_network
from .estimation import estimate_report as report
from .estimation import program_report, scalesim
from .estimation.costs import SCALES, Estimate, Layer, Options
from .estimation.energy import NODES
from .estimation.estimator import estimate
from .estimation.program_costs import ProgramEstimate, estimate_program
from .estimation.workload import Workload

__all__ = ["Estimate", "Layer", "Options", "estimate", "main", "workload_of"]

PROG = "python -m sim.estimate"
STDOUT = "-"
ALL = "all"
DEFAULTS = {"model": "deit_t", "array": "8x16", "bits": "w8a8", "clock": 100.0, "tech": "28nm",
            "scales": "predicted", "dataflow": "os", "mapping": "auto"}
_ONLY_OURS = ("bits", "clock", "dram_bandwidth", "tech", "scales", "mapping", "latency",
              "layers")
_OF_MODELS = ("model", "array", "bits", "scales", "mapping", "compat", "dataflow")

Answer = tuple[dict, list[dict], Callable[[Console], None]]
"""A document, the rows that CSV has of it, and what prints it."""


def workload_of(model: str) -> Workload:
    """Return the workload of a timm model, by short or full name.

    Raises
    ------
    UserError
        If there is no such model or it cannot be traced.
    """
    # PyTorch takes seconds to import: only once there is something to trace.
    from .estimation.tracing import trace
    from .inputs.models import meta_model
    return trace(meta_model(model), model)


def _array(text: str) -> str:
    if text in CONFIGS:
        return text
    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if size is None:
        raise argparse.ArgumentTypeError(
            f"must be ROWSxCOLS or one of {', '.join(CONFIGS)}, not {text!r}")
    try:
        AcceleratorConfig.for_array(int(size[1]), int(size[2]))
    except ValueError as error:
        raise argparse.ArgumentTypeError(one_line(error)) from None
    return text


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong with the options in one line."""

    def error(self, message):
        raise UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROG, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--model", metavar="NAME",
        help="short name (deit_t, deit_s, vit_b, swin_t, ...) or any timm model (default: deit_t)")
    add("--program", type=Path, metavar="DIR",
        help="what sim.compile has written, instead of a model: cycles of the RTL")
    add("--latency", type=positive, metavar="CYCLES",
        help=f"of the external memory; generic mappings know none (default: {USUAL.latency})")
    add("--mapping", type=one_of("auto", "generic"), metavar="KIND",
        help="generic: of layer shapes; auto: as compiled, where that is possible (default: auto)")
    add("--array", type=_array, metavar="RxC",
        help=f"multipliers, rows x columns, or one of {', '.join(CONFIGS)} (default: 8x16)")
    add("--bits", type=one_of(*(mode.value for mode in Mode)), metavar="BITS",
        help="w8a8, w4a8 or w4a4 (default: w8a8)")
    add("--clock", type=positive_float, metavar="MHZ", help="clock in MHz (default: 100)")
    add("--dram-bandwidth", type=positive_float, metavar="GB/S",
        help="of the external memory, at most what the bus carries (default: as much)")
    add("--tech", type=one_of(*NODES), metavar="NODE",
        help=f"process of the energies: {', '.join(NODES)} (default: 28nm)")
    add("--scales", type=one_of(*SCALES, ALL), metavar="KIND",
        help="static, predicted, jit (measured per image at every site), or all of them side by "
             "side (default: predicted)")
    add("--layers", action="store_true", default=None,
        help="show every layer instead of adding up those alike")
    add("--config", type=Path, metavar="FILE",
        help="TOML file with tables [accelerator] and [estimate]; options here come first")
    add("--json", nargs="?", const=STDOUT, metavar="FILE",
        help="write everything as JSON; without FILE, print it instead of the tables")
    add("--csv", metavar="FILE", help="write a line per layer; -: print them instead")
    add("--compat", type=one_of("scalesim"), metavar="TOOL",
        help="scalesim: map as SCALE-Sim 3.0.0 does")
    add("--dataflow", type=one_of(*scalesim.DATAFLOWS), metavar="FLOW",
        help="os, ws or is, with --compat scalesim (default: os)")
    return parser


def _read_config(path: Path) -> dict:
    """Return the tables of a configuration file."""
    try:
        tables = read_toml(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not TOML: {one_line(error)}") from None
    for name, table in tables.items():
        if name not in ("accelerator", "estimate") or not isinstance(table, dict):
            raise UserError(f"{path} may have tables [accelerator] and [estimate], not {name!r}")
    return tables


def _file_options(path: Path, table: dict, parser: argparse.ArgumentParser) -> dict:
    """Return the options in the ``[estimate]`` table of `path`, checked like those typed."""
    actions = {action.dest: action for action in parser._actions
               if action.dest not in ("help", "config")}
    options = {}
    for key, value in table.items():
        action = actions.get(key.replace("-", "_"))
        if action is None:
            known = ", ".join(sorted(actions))
            raise UserError(f"{path}: options must be among {known}, not {key!r}")
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UserError(f"{path}: {key} must be true or false, not {value!r}")
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"{path}: {key} must be text or a number, not {value!r}")
        else:
            try:
                value = (action.type or str)(str(value))
            except argparse.ArgumentTypeError as error:
                raise UserError(f"{path}: {key} {error}") from None
        options[action.dest] = value
    return options


def _configuration(array: str, table: dict, path: Path | None) -> AcceleratorConfig:
    """Return the configuration of an array, changed by the ``[accelerator]`` table of a file."""
    rows, cols = map(int, array.split("x"))
    base = CONFIGS.get(array) or AcceleratorConfig.for_array(rows, cols)
    try:
        if {"rows", "cols"} & set(table) and "lanes" not in table:
            base = replace(base, lanes=AcceleratorConfig.for_array(
                table.get("rows", rows), table.get("cols", cols)).lanes,
                rows=table.get("rows", rows), cols=table.get("cols", cols))
        return config_from_table(table, base)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {one_line(error)}") from None


def _resolve(argv) -> tuple[argparse.Namespace, dict]:
    """Return the options, typed ones before those of the file, and the accelerator's choices.

    An array that was typed comes before the rows and columns of the file.
    """
    parser = _parser()
    args = parser.parse_args(argv)
    tables = _read_config(args.config) if args.config else {}
    typed_array = args.array is not None
    options = _file_options(args.config, tables.get("estimate", {}), parser)
    for name, value in options.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.compat:
        given = [name for name in _ONLY_OURS if getattr(args, name)]
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} has no meaning with --compat")
    elif args.dataflow:
        raise UserError("--dataflow needs --compat scalesim")
    if args.program:
        given = [name for name in _OF_MODELS if getattr(args, name)]
        if given or tables.get("accelerator"):
            what = f"--{given[0]}" if given else "[accelerator]"
            raise UserError(f"{what} has no meaning with --program")
    if args.json == args.csv == STDOUT:
        parser.error("--json and --csv cannot both be printed; name a file for one of them")
    for name, value in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    choices = {key: value for key, value in tables.get("accelerator", {}).items()
               if not (typed_array and key in ("rows", "cols"))}
    return args, choices


def _write(args, document: dict, rows: list[dict]):
    """Write the files that were asked for, all or none."""
    with contextlib.ExitStack() as files:
        for name, text in ((args.json, json.dumps(document, indent=2) + "\n"),
                           (args.csv, report.as_csv(rows))):
            if name and name != STDOUT:
                files.enter_context(whole_file(Path(name))).write_text(text)


def _timed(program: Program, args) -> ProgramEstimate:
    return estimate_program(program, _memory(args), args.clock, args.tech)


def _memory(args) -> MemoryModel:
    """Return the external memory that is asked for."""
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
    shape = shape_of(args.model)
    try:
        core = core_from_table(table, _core(args.array))
        tap = default_tap(shape, core) if args.scales == "predicted" else None
        network = blank_network(shape, Precision.parse(args.bits), tap)
        about, jit = {"model": args.model}, args.scales == "jit"
        try:
            program = compile_network(network, core, about, jit=jit)
        except DoesNotFit as error:
            if not jit or error.sram_kib is None:
                raise
            # What is measured before it is quantized takes more room: say so, and go on.
            about["note"] = (f"the scratchpad has {error.sram_kib} KiB instead of "
                             f"{core.sram_kib}: tensors to be measured are kept in 16 bits")
            program = compile_network(network, replace(core, sram_kib=error.sram_kib), about,
                                      jit=jit)
        return _timed(program, args)
    except ValueError as error:
        raise DoesNotFit(one_line(error)) from None


def _core(array: str) -> AcceleratorConfig:
    """Return the core of an array; if there can be none, :func:`core_from_table` says why."""
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
        result, console, every_layer=bool(args.layers))


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
        results, console)


def _scalesim(args, config: AcceleratorConfig) -> Answer:
    document = report.scalesim_dict(workload_of(args.model), config.rows, config.cols,
                                    args.dataflow)
    return document, document["operations"], lambda console: report.print_scalesim(
        document, console)


def _mapped(args, config: AcceleratorConfig, reason: str) -> Answer:
    """Return the generic estimate; `reason` is why there is no other."""
    options = Options(Mode(args.bits), args.clock, args.dram_bandwidth, args.tech, args.scales)
    try:
        result = estimate(workload_of(args.model), config, options)
    except ValueError as error:
        raise UserError(f"cannot estimate {args.model}: {one_line(error)}") from None
    document = report.as_dict(result, reason)
    return document, document["layers"], lambda console: report.print_report(
        result, console, every_layer=bool(args.layers), reason=reason)


def _answer(args, choices: dict) -> Answer:
    config = _configuration(args.array, choices, args.config)
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
    args, choices = _resolve(argv)
    document, rows, show = _answer(args, choices)
    _write(args, document, rows)
    if args.json == STDOUT:
        print(json.dumps(document, indent=2))
    elif args.csv == STDOUT:
        print(report.as_csv(rows), end="")
    else:
        show(Console(highlight=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
