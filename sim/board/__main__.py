"""Use a board, real or simulated: load programs, classify images, read counters, test it.

    python -m sim.board info --port /dev/ttyUSB0
    python -m sim.board load build/program --port /dev/ttyUSB0
    python -m sim.board run cat.jpg --program build/program --port /dev/ttyUSB0 --check
    python -m sim.board selftest --port simulated:4x4

What `run` needs is loaded unless it is there. Exit status 1 if a check finds something wrong.
"""

import json
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from golden.core.program import Program
from rtl.cli import Parser

from ..cli import command, one_line, positive, printable, up_to
from ..common.tables import list_of, show, table_of
from ..inputs.programs import read_program
from .board import Board
from .errors import WrongMemory
from .opened import open_board
from .port import BAUD
from .simulated import MEMORY

PROG = "python -m sim.board"
TOP = 3  # classes shown
MEMTEST_BYTES = 1 << 18


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, about):
        made = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        made.add_argument("--port", required=True, metavar="NAME",
                          help="serial port, or simulated[:CORE] for a board that is simulated")
        made.add_argument("--baud", type=positive, default=BAUD, metavar="RATE",
                          help="of the port (default: %(default)s)")
        made.add_argument("--json", action="store_true", help="print JSON instead of a table")
        return made

    add("info", "say what the board is")
    one = add("load", "put a program of sim.compile into memory")
    one.add_argument("program", type=Path, metavar="DIR", help="what sim.compile has written")
    one = add("run", "classify images")
    one.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file")
    one.add_argument("--program", type=Path, required=True, metavar="DIR",
                     help="what sim.compile has written")
    one.add_argument("--check", action="store_true", help="compare logits with the golden machine")
    one.add_argument("--trace-events", type=Path, metavar="FILE",
                     help="write the timeline of a frame, for Perfetto or chrome://tracing")
    add("counters", "show the counters of the last run")
    one = add("memtest", "write and read memory; whatever was there is lost")
    one.add_argument("--bytes", type=positive, default=MEMTEST_BYTES, metavar="N",
                     help="so many, all over memory (default: %(default)s)")
    one.add_argument("--seed", type=up_to(None), default=1, metavar="N",
                     help="of what is written (default: %(default)s)")
    add("selftest", "test memory, and the model of the package against the golden one")
    return parser


@contextmanager
def _bytes_shown(what: str):
    """Give a callback that shows how many bytes are done, on stderr where that is a terminal."""
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), BarColumn(20), DownloadColumn(),
                  TransferSpeedColumn(), console=console, transient=True,
                  disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _info(board: Board, args) -> tuple[dict, list]:
    system = board.system
    config = system.config
    return ({"clock_hz": system.clock_hz, "memory_bytes": system.memory_bytes,
             "config": asdict(config)},
            [("core", f"{config.rows}x{config.cols}"),
             ("clock", f"{system.clock_hz / 1e6:g} MHz"),
             ("scratchpad", f"{config.sram_kib} KiB"),
             ("memory", f"{system.memory_bytes >> 20} MiB")])


def _load(board: Board, args) -> tuple[dict, list]:
    program = read_program(args.program)
    with _bytes_shown("Loading") as progress:
        new = board.load(program, progress=progress)
    count = len(program.memory)
    said = f"{count:,} bytes" + ("" if new else ", there already")
    return {"bytes": count, "loaded": new}, [("program", said)]


def _counters(board: Board, args) -> tuple[dict, list]:
    found = board.link.counters()
    return {"counters": found}, [(name, f"{value:,}") for name, value in found.items()]


def _memtest(board: Board, args) -> tuple[dict, list]:
    with _bytes_shown("Testing memory") as progress:
        count = board.memtest(args.bytes, seed=args.seed, progress=progress)
    return {"bytes": count}, [("memory", f"{count:,} bytes hold what is written")]


def _selftest(board: Board, args) -> tuple[dict, list]:
    from ..compiler import DoesNotFit, compile_network
    from ..inference.backends import machine_of
    from ..inputs import images
    from ..inputs.model_lookup import open_model, preprocessing_of_model

    with _bytes_shown("Testing memory") as progress:
        rows = [("memory", f"{board.memtest(MEMTEST_BYTES // 8, progress=progress):,} bytes")]
    made = {"memory": True}
    for bits in ("w8a8", "w4a4"):
        model = open_model(f"vit_cifar10:{bits}")
        try:
            program = compile_network(model.network, board.system.config,
                                      memory=board.memory)
        except DoesNotFit as error:
            rows.append((f"vit_cifar10 {bits}", f"does not fit: {one_line(error)}"))
            continue
        pixels = preprocessing_of_model(model).pixels(images.packaged()[0][1])
        board.load(program)
        found = board.run(program, pixels)
        made[bits] = bool((found.logits == machine_of(program)(pixels[None])[0]).all())
        rows.append((f"vit_cifar10 {bits}", f"{found.cycles:,} cycles, logits "
                     + ("equal to golden" if made[bits] else "DIFFER from golden")))
    return made, rows


def _run(board: Board, args) -> tuple[dict, list]:
    from ..inference.backends import machine_of
    from ..inference.classes import class_names, guesses
    from ..inputs import images
    from ..inputs.model_lookup import preprocessing_for

    program = read_program(args.program)
    preprocessing = preprocessing_for(program.about.get("preprocessing"), program.side, "program",
                                      program.colours)
    pictures = [preprocessing.pixels(images.read(path, program.colours)[1])
                for path in args.images]
    board.check(program)
    with _bytes_shown("Loading") as progress:
        board.load(program, progress=progress)
    names, answers = class_names(program.classes, program.about.get("classes")), []
    for path, pixels, found in zip(args.images, pictures, board.run_all(program, pictures),
                                   strict=True):
        best = guesses(found.logits / 2.0**program.logit_point, names, TOP)
        answers.append({"file": str(path), "classes": [asdict(guess) for guess in best],
                        "cycles": found.cycles,
                        "frames_per_second": board.system.clock_hz / found.cycles})
        if args.check:
            right = machine_of(program)(pixels[None])[0]
            answers[-1]["equal"] = bool((found.logits == right).all())
    if args.trace_events is not None:
        _write_timeline(args.trace_events, program, board.system.clock_hz, answers[-1]["cycles"])
    return {"clock_hz": board.system.clock_hz, "images": answers}, answers


def _write_timeline(path: Path, program: Program, clock_hz: int, counted: int) -> None:
    """Write when units are at work in a frame, as the model of cycles has it.

    A board tells the cycles of all instructions together, without that of the start: if they are
    not those of the model, nothing is written, and that is said.
    """
    from ..estimation.program_costs import estimate_program
    from ..estimation.trace_events import write_trace

    found = estimate_program(program, replace(MEMORY, clock_hz=clock_hz), clock_hz / 1e6)
    if found.cycles == counted + 1:
        write_trace(path, found)
    else:
        Console(stderr=True).print(Text(printable(
            f"{path} is not written: the board took {counted + 1:,} cycles, which the model has as "
            f"{found.cycles:,}")), soft_wrap=True)


def _print(args, rows: list) -> None:
    console = Console(highlight=False)
    if args.command != "run":
        show(console, list_of(rows, console.width))
        return
    columns = ["image", "class", "", "cycles", "frames/s", *(["golden"] if args.check else [])]
    cells = [[one["file"], one["classes"][0]["name"],
              f"{100 * one['classes'][0]['probability']:.1f} %", f"{one['cycles']:,}",
              f"{one['frames_per_second']:.1f}",
              *(["equal" if one["equal"] else "DIFFERS"] if args.check else [])] for one in rows]
    show(console, table_of(f"{args.program} on {args.port}", columns, cells, console.width,
                           ([3], [2])))


_COMMANDS = {"info": _info, "load": _load, "run": _run, "counters": _counters,
             "memtest": _memtest, "selftest": _selftest}


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    try:
        with open_board(args.port, args.baud) as board:
            made, rows = _COMMANDS[args.command](board, args)
    except WrongMemory as error:
        Console(stderr=True).print(Text(printable(f"{PROG}: error: {error}")), soft_wrap=True)
        return 1
    if args.json:
        print(json.dumps(made, indent=2))
    else:
        _print(args, rows)
    wrong = [one for one in made.get("images", []) if one.get("equal") is False]
    return 1 if wrong or (args.command == "selftest" and False in made.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
