"""Explores a design space: every configuration of a grid, to the cycle, and the best of them.

    python -m sim.explore --model deit_t --rows 4,8,16 --cols 8,16,32 --sram 160,304,416 \\
        --bits w8a8,w4a4 --scales static,predicted --memory 20:4,20:2 --constraint 'fps>=10'
    python -m sim.explore --model deit_t --rows 8 --cols 8,16 --memory ulx3s --json all.json
    python -m sim.explore --model deit_t --rows 4,8,16 --cols 8,16,32 --search 40 --seed 3

Each design is compiled and timed as sim.estimate does it. What is done is kept in a file, so that
an exploration that was interrupted goes on where it was, and another one takes from it what they
have in common.
"""

import json
import os
import shlex
import sys
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from golden.common.config import CORES
from rtl.cli import Parser

from .cli import (
    UserError,
    command,
    core,
    one_of,
    positive,
    positive_float,
    split_precisions,
    up_to,
    whole_file,
    widths,
)
from .compiler import DoesNotFit
from .compiler.blank import begins_with_norm, has_qk_norm, shape_of
from .estimation.costs import SCALES
from .estimation.energy import NODES
from .exploration import explore_report as report
from .exploration.accuracy import COLUMNS, UNKNOWN, read_accuracy
from .exploration.choices import column, constraint
from .exploration.clock import clock_of
from .exploration.evaluate import Setting
from .exploration.exploration import Exploration
from .exploration.grid import Design, designs, memory, memory_of, several
from .exploration.kept import Kept
from .exploration.run import run
from .exploration.search import SEED, search

PROG = "python -m sim.explore"
DEFAULT_WORK = Path("build/explore.jsonl")
OBJECTIVES = ["fps", "energy_mj", "luts"]
PLACED = "placed"
_BITS = ("w8a8", "w4a8", "w4a4")


def _clock(text: str) -> float | None:
    return None if text == PLACED else positive_float(text)


def _bits(text: str) -> list[str]:
    return list(dict.fromkeys(map(widths(*_BITS), map(str.strip, split_precisions(text)))))


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--model", default="deit_t", metavar="NAME",
        help="short or timm name of a plain ViT (default: %(default)s)")
    add("--core", type=core, default="8x16", metavar="NAME|FILE",
        help=f"what designs have in common: {', '.join(CORES)}, or a TOML file (default: "
             "%(default)s)")
    for name, what in (("rows", "rows of multipliers"), ("cols", "columns of multipliers"),
                       ("sram", "scratchpad, KiB"), ("bus", "memory port, bytes per cycle"),
                       ("stream", "weight buffer, words")):
        add(f"--{name}", type=several(positive), metavar="N,...",
            help=f"{what} (default: the core's)")
    add("--memory", type=several(memory), default=["20:4"], metavar="NAME,...",
        help="external memory: a board, or LATENCY:BYTES in cycles and bytes per cycle (default: "
             "20:4)")
    add("--bits", type=_bits, default=["w8a8"], metavar="BITS,...",
        help=f"{', '.join(_BITS)}, each with what differs behind it, like "
             "w4a4,0=w8a8,3-4.fc1=w4a8 (default: w8a8)")
    add("--scales", type=several(one_of(*SCALES)), default=["predicted"], metavar="KIND,...",
        help=f"{', '.join(SCALES)} (default: predicted)")
    add("--clock", type=_clock, default=100.0, metavar="MHZ",
        help=f"clock in MHz (default: %(default)g), or {PLACED}: of each design, as a model of "
             "placements on an ECP5 has it")
    add("--tech", type=one_of(*NODES), default="28nm", metavar="NODE",
        help=f"process of the energies: {', '.join(NODES)} (default: %(default)s)")
    add("--constraint", type=constraint, action="append", default=[], metavar="COLUMN>=N",
        help="leave out of the front what does not keep to it, like fps>=10; several may be given")
    add("--front", type=several(column), default=OBJECTIVES, metavar="COLUMN,...",
        help=f"what the front is of (default: {','.join(OBJECTIVES)})")
    add("--accuracy", type=Path, metavar="FILE",
        help="what sim.accuracy --json has printed: columns top1 and agreement, in per cent")
    add("--search", type=positive, metavar="N",
        help="try N designs that optuna chooses instead of all; one process")
    add("--seed", type=up_to(2**31 - 1), metavar="N",
        help=f"of the search (default: {SEED})")
    add("--work", type=Path, default=DEFAULT_WORK, metavar="FILE",
        help="file for what is done so far (default: %(default)s)")
    add("--workers", type=positive, metavar="N", help="processes (default: one per processor)")
    add("--dask", metavar="ADDRESS",
        help="let the workers of a running dask scheduler do it, like tcp://10.0.0.1:8786")
    add("--json", type=Path, metavar="FILE", help="write everything as JSON")
    add("--csv", type=Path, metavar="FILE", help="write a line per design")
    add("--parquet", type=Path, metavar="FILE", help="the same as Parquet; needs pyarrow")
    return parser


def _setting(args) -> Setting:
    try:
        shape, reason, norm_pre = shape_of(args.model), "", begins_with_norm(args.model)
        qk_norm = has_qk_norm(args.model)
    except DoesNotFit as error:
        shape, reason, norm_pre, qk_norm = None, str(error), False, False
    return Setting(args.model, shape, reason, args.core, args.clock, args.tech, norm_pre, qk_norm)


def _designs(args) -> list[Design]:
    base = args.core
    for name in args.memory:
        try:
            clock = clock_of(base) if args.clock is None else args.clock
            memory_of(name, clock).port(base)
        except ValueError as error:
            raise UserError(f"--memory {name} with --clock {clock:g}: {error}") from None
    return designs(rows=args.rows or [base.rows], cols=args.cols or [base.cols],
                   sram_kib=args.sram or [base.sram_kib], bus_bytes=args.bus or [base.bus_bytes],
                   stream_words=args.stream or [base.stream_words], memory=args.memory,
                   bits=args.bits, scales=args.scales)


def _connection(args, count: int):
    """Return what connects to workers; None where one process does it all."""
    workers = min(args.workers or len(os.sched_getaffinity(0)), count)
    if args.dask is None and workers == 1:
        return None
    from .evaluation import dask_cluster

    return partial(dask_cluster.cluster, args.dask, workers)


def _write(args, document: dict) -> None:
    for path, text in ((args.json, json.dumps(document, indent=1) + "\n"),
                       (args.csv, report.as_csv(document["designs"]))):
        if path is not None:
            with whole_file(path) as temporary:
                temporary.write_text(text)
    if args.parquet is not None:
        report.write_parquet(args.parquet, document["designs"])


def _explored(args, wanted: list[Design], setting: Setting) -> Exploration:
    """Return the designs of a grid, or of a search in it; progress is shown on a terminal."""
    accuracy = read_accuracy(args.accuracy, args.model) if args.accuracy else UNKNOWN
    kept = Kept(args.work, setting)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as shown:
        task = shown.add_task("Exploring", total=min(args.search or len(wanted), len(wanted)))

        def progress(done: int) -> None:
            shown.update(task, completed=done)

        if args.search:
            rows = search(setting, wanted, kept, args.search, constraints=args.constraint,
                          objectives=args.front, seed=SEED if args.seed is None else args.seed,
                          finish=accuracy.of, progress=progress)
        else:
            rows = [accuracy.of(row) for row in run(
                setting, wanted, kept, _connection(args, len(wanted)), progress)]
    return Exploration.of(setting, rows, args.constraint, args.front,
                          len(wanted) if args.search else None)


def _check(args) -> None:
    """Refuse options that would have no effect, and files that there is no folder for."""
    for path in args.json, args.csv, args.parquet:
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"cannot write {path}: {path.parent} is not a folder")
    if args.seed is not None and not args.search:
        raise UserError("--seed needs --search")
    for name in ("dask", "workers"):
        if args.search and getattr(args, name):
            raise UserError(f"--{name} has no meaning with --search")
    needed = {one.name for one in args.constraint} | set(args.front)
    if not args.accuracy and needed & set(COLUMNS):
        raise UserError(f"{min(needed & set(COLUMNS))} needs --accuracy")


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    wanted = _designs(args)
    _check(args)
    found = _explored(args, wanted, _setting(args))
    typed = shlex.join([*PROG.split(), *(sys.argv[1:] if argv is None else argv)])
    _write(args, found.as_dict(typed))
    report.print_report(found.setting, list(found.rows), args.constraint, args.front,
                        Console(highlight=False))
    if found.searched:
        Console(highlight=False).print(Text(
            f"A search: {len(found.rows):,} of {found.searched:,} designs; the front is theirs.",
            style="dim"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
