"""Compiles a quantized model for a core: instructions, weights and tables, in one directory.

    python -m sim.compile --model vit_cifar10:w4a4 --core 8x16 --out build/program
    python -m sim.compile --model deit_t_w8a8.safetensors --out build/deit_t --list
    python -m sim.compile --model vit_cifar10:w4a4 --cascade vit_cifar10:w8a8 --threshold 8580 \\
        --out build/cascade

MODEL is a file of sim.calibrate, or a model of the package. The directory can be run by the golden
machine, and by the RTL: ``python -m sim.simulate DIR --image IMAGE``. ``--c-header`` writes what
the C driver of rtl.export has to know about it. With ``--cascade`` a second model runs on images of
which the first one is in doubt (:mod:`golden.network.cascade`).
"""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from golden.common.config import CORES
from golden.common.formats import LOG2
from golden.core.program import Program
from golden.core.program_header import c_header
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.cycles.timing import cycles
from golden.network.cascade import Cascade
from golden.soc.boards import BOARDS
from rtl.cli import Parser

from .cascades.pairs import paired
from .cli import UserError, command, core, one_line, one_of, printable, up_to, whole_file
from .common.tables import list_of, show
from .compiler import DoesNotFit, compile_cascade, compile_network
from .compiler.plan import plan_line
from .inputs.model_lookup import open_model
from .inputs.quantized_model import QuantizedModel

PROG = "python -m sim.compile"


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Compile a quantized model for a core.")
    parser.add_argument("--model", default="vit_cifar10", metavar="FILE|NAME",
                        help="quantized model (default: %(default)s)")
    parser.add_argument("--cascade", metavar="FILE|NAME",
                        help="second model, for images of which the first one is in doubt")
    parser.add_argument("--threshold", type=up_to(LOG2.max), metavar="N",
                        help="with --cascade: largest doubt with which the first one answers, "
                             f"0 to {LOG2.max}; 8186 is none, 1024 more halves the probability")
    parser.add_argument("--core", type=core, default=CORES["8x16"], metavar="NAME|FILE",
                        help=f"one of {', '.join(CORES)}, or a TOML file (default: 8x16)")
    parser.add_argument("--sram", type=int, metavar="KIB", help="scratchpad of another size")
    parser.add_argument("--memory", type=one_of(*BOARDS), metavar="BOARD",
                        help="external memory for which the fastest plan is taken: "
                             f"{', '.join(BOARDS)} (default: {USUAL.said(CORES['8x16'])})")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR",
                        help="directory for the program")
    parser.add_argument("--c-header", type=Path, metavar="FILE",
                        help="also write where everything is in it, for the C driver")
    parser.add_argument("--list", action="store_true", help="print the instructions")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def summary(program: Program, memory: MemoryModel | SdramMemory = USUAL) -> dict:
    """Return what is worth knowing about a program, JSON values."""
    config = program.config
    return {
        "instructions": dict(Counter(op.opcode.name for _, op in program.instructions())),
        "stream_bytes": program.stream.size,
        "memory_bytes": len(program.memory),
        "scratchpad_bytes": program.scratchpad_bytes,
        "scratchpad_limit": config.sram_kib * 1024,
        **({"cascade": {**program.about["cascade"], "cycles": dict(zip(
            ("early", "late"), _both(program, memory), strict=True))}}
           if "cascade" in program.about else {}),
        **({"plan": {**program.about["plan"], "cycles": sum(cycles(program, memory))}}
           if "plan" in program.about else {}),
    }


def _both(program: Program, memory: MemoryModel | SdramMemory) -> tuple[int, int]:
    """Return the cycles of a cascade's program, if its first network answers and if not."""
    exited = program.about["cascade"]["exit"]
    return sum(cycles(program, memory, exited)), sum(cycles(program, memory))


def _print(made: dict, program: Program, folder: Path) -> None:
    console = Console(highlight=False)
    config = program.config
    console.print(Text(printable(
        f"{program.about.get('model', 'network')} {program.about['bits']} on a "
        f"{config.rows}x{config.cols} core: {folder}")), soft_wrap=True)
    counts = made["instructions"]
    show(console, list_of([
        ("instructions", str(sum(counts.values()))),
        *((f"  {name}", str(count)) for name, count in counts.items()),
        ("stream", f"{made['stream_bytes']:,} bytes"),
        ("external memory", f"{made['memory_bytes']:,} bytes"),
        ("scratchpad", f"{made['scratchpad_bytes'] / 1024:.1f} of {config.sram_kib} KiB"),
    ], console.width))
    if "cascade" in made:
        taken, where = made["cascade"]["cycles"], made["cascade"]
        console.print(Text(f"EXIT at instruction {where['exit']}, threshold {where['threshold']}: "
                           f"{taken['early']:,} cycles, or {taken['late']:,}"), soft_wrap=True)
    if "plan" in made:
        console.print(Text(f"plan: {plan_line(made['plan'])}; {made['plan']['cycles']:,} cycles"),
                      soft_wrap=True)


def _cascade(args, model: QuantizedModel) -> Cascade:
    """Return the cascade of a model and the second one."""
    second = args.cascade, open_model(args.cascade)
    try:
        return paired((args.model, model), second, args.threshold)
    except UserError as error:
        raise UserError(f"--cascade: {error}") from None


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    if (args.cascade is None) != (args.threshold is None):
        raise UserError("--cascade and --threshold go together")
    config = args.core
    if args.sram is not None:
        try:
            config = replace(config, sram_kib=args.sram)
        except ValueError as error:
            raise UserError(f"--sram: {one_line(error)}") from None
    memory = BOARDS[args.memory] if args.memory else USUAL
    try:
        memory.port(config)
    except ValueError as error:
        raise UserError(f"--memory {args.memory}: {one_line(error)}") from None
    model = open_model(args.model)
    about = {name: model.metadata[name] for name in ("model", "classes", "preprocessing")
             if name in model.metadata}
    try:
        program = (compile_network(model.network, config, about, memory=memory)
                   if args.cascade is None else
                   compile_cascade(_cascade(args, model), config, about, memory=memory))
    except DoesNotFit as error:
        raise UserError(f"{args.model} does not fit the core: {one_line(error)}") from None
    try:
        program.save(args.out)
    except OSError as error:
        raise UserError(f"cannot write {args.out}: {error.strerror}") from None
    if args.c_header is not None:
        with whole_file(args.c_header) as path:
            path.write_text(c_header(program))
    if args.list:
        print("\n".join(program.disassemble()))
    made = summary(program, memory)
    if args.json:
        print(json.dumps(made, indent=2))
    else:
        _print(made, program, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
