"""Cascades: when a cheap network suffices, and what that is worth.

    python -m sim.cascade deit_t_w4a4.safetensors deit_t_w8a8.safetensors --calibration held_out \\
        --loss 0.5 --images validation --labels validation/labels.csv

The first network classifies every image, the second one those of which the first is in doubt
(:mod:`golden.network.cascade`). The threshold is the one with the fewest cycles that changes no
more than --loss of the answers on the calibration images and their mirror images, against those of
the second network. Calibration images should be others than those that the networks were trained
with, of which the first is too sure. Top-1 and mean cycles are then said of other images, which the
threshold knows nothing of; ``sim.compile --cascade`` makes the program. Networks run once on the
same images: what came of it is kept in the work folder.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from golden.common.config import CORES
from golden.common.formats import LOG2
from golden.cycles.memory_model import USUAL
from golden.cycles.timing import timing
from golden.network.cascade import Cascade
from golden.soc.boards import BOARDS
from rtl.cli import Parser

from .accuracy import shift_list
from .cascades.pairs import paired
from .cascades.thresholds import Answers, Cycles, Point, cheapest, cycles_of, points
from .cli import UserError, command, core, one_line, one_of, positive, printable, progress, up_to
from .common.tables import show, table_of
from .compiler import DoesNotFit, compile_cascade, compile_network
from .inputs.labels import read_labels
from .inputs.model_lookup import open_model, preprocessing_of_model

PROG = "python -m sim.cascade"
CLEAN, MEAN = "clean", "mean of shifts"
LOSS = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """A cascade on images, shares in per cent.

    Attributes
    ----------
    images
        What they are shifted by.
    first, second, against, cascade
        Right answers of each network alone, and of the cascade.
    points, low, high
        What the cascade has more than `against`, and its 95 % interval by paired bootstrap.
    exited
        Images that the first network answers.
    cycles, share
        Of an image, on average; in per cent of those of `against`.
    """

    images: str
    first: float
    second: float
    against: float
    cascade: float
    points: float
    low: float
    high: float
    exited: float
    cycles: float
    share: float


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"must be a number within 0..100, not {text!r}")
    return value


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("first", metavar="FIRST", help="quantized model, a file or a name: the cheap one")
    add("second", metavar="SECOND", help="the one for images of which the first is in doubt")
    add("--against", metavar="MODEL",
        help="the one that accuracy and cycles are held against (default: SECOND)")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--calibration", type=Path, metavar="DIR",
                        help="images to choose the threshold with")
    chosen.add_argument("--threshold", type=up_to(LOG2.max), metavar="N",
                        help="largest doubt with which the first one answers, as sim.compile "
                             "takes it")
    add("--loss", type=_percent, metavar="PERCENT",
        help="with --calibration: so many answers may be others than the second network's "
             f"(default: {LOSS})")
    add("--images", type=Path, metavar="DIR", help="images to say accuracy and cycles of")
    add("--count", type=positive, metavar="N", help="use the first N of them (default: all)")
    add("--labels", type=Path, metavar="FILE|DIR",
        help="their classes, as sim.accuracy takes them (default: what --against answers)")
    add("--shift", type=shift_list, default=[], metavar="NAME:SEVERITY,...",
        help="and of these images shifted, as sim.accuracy shifts them")
    add("--seed", type=up_to(2**31 - 1), default=1, metavar="N",
        help="of shifts and bootstrap (default: %(default)s)")
    add("--core", type=core, default=CORES["8x16"], metavar="NAME|FILE",
        help=f"whose cycles: {', '.join(CORES)}, or a TOML file (default: 8x16)")
    add("--memory", type=one_of(*BOARDS), metavar="BOARD",
        help="with which external memory: "
             f"{', '.join(BOARDS)} (default: {USUAL.said(CORES['8x16'])})")
    add("--work", type=Path, default=Path("build/cascade"), metavar="DIR",
        help="folder for what networks answered, made if missing (default: %(default)s)")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _names(args) -> list[str]:
    return [args.first, args.second, args.against or args.second]


def _open(args) -> list:
    """Return the first, the second and the model that they are held against, which go together."""
    models = [(name, open_model(name)) for name in _names(args)]
    for other in models[1:]:
        paired(models[0], other)
    return [model for _, model in models]


def _cycles(args, models: list) -> tuple[Cycles, int]:
    """Return the cycles of the cascade, and of the network that it is held against."""
    memory = BOARDS[args.memory] if args.memory else USUAL
    try:
        memory.port(args.core)
    except ValueError as error:
        raise UserError(f"--memory {args.memory}: {one_line(error)}") from None
    first, second, against = (model.network for model in models)
    names = f"{args.first} or {args.second}"
    try:
        program = compile_cascade(Cascade(first, second, 0), args.core, memory=memory)
        names = args.against or args.second
        alone = compile_network(against, args.core, memory=memory)
    except DoesNotFit as error:
        raise UserError(f"{names} does not fit the core: {one_line(error)}") from None
    return cycles_of(program, memory), timing(alone, memory).cycles


def _choose(args, loss: float, models: list, cycles: Cycles, read) -> Point:
    """Return the cheapest point of the calibration images that keeps enough answers."""
    from .cascades.answers import seen, with_mirrored

    images = with_mirrored(read(args.calibration)[0])
    first, second = (seen(model, images, args.work, progress, f"{name} on {args.calibration}")
                     for name, model in zip((args.first, args.second), models[:2], strict=True))
    same = first.classes == second.classes
    found = Answers(first.doubts, same, np.ones_like(same))
    return cheapest(points(found, cycles), 1 - loss / 100)


def evaluated(args, models: list, threshold: int, cycles: Cycles, alone: int, read) -> list[Row]:
    """Return a row for the images as they are, one for each shift, and one for their mean."""
    from .cascades.answers import Images, seen
    from .evaluation.comparison import interval

    plain, names = read(args.images, args.count)
    labels = None
    if args.labels is not None:
        labels = read_labels(args.labels, names, models[0].network.shape.classes)
    rights = {}
    for shift in (None, *args.shift):
        images = Images(plain.pixels, plain.keys, shift, args.seed)
        what = CLEAN if shift is None else str(shift)
        first, second, against = (seen(model, images, args.work, progress, f"{name}, {what}")
                                  for name, model in zip(_names(args), models, strict=True))
        wanted = against.classes if labels is None else labels
        early = first.doubts <= threshold
        cascade = np.where(early, first.classes, second.classes)
        rights[what] = np.stack([early, *(each == wanted for each in (
            first.classes, second.classes, against.classes, cascade))])
    if args.shift:
        rights[MEAN] = np.mean([one for what, one in rights.items() if what != CLEAN], axis=0)
    rows = []
    for what, right in rights.items():
        exited, *shares = 100 * right.mean(axis=1)
        values, counts = np.unique(right[4].astype(float) - right[3], return_counts=True)
        taken = cycles.late + (cycles.early - cycles.late) * exited / 100
        rows.append(Row(what, *map(float, shares), float(shares[3] - shares[2]),
                        *interval(values, counts, args.seed), float(exited), float(taken),
                        float(100 * taken / alone)))
    return rows


def _print(args, made: dict, rows: list[Row]) -> None:
    console = Console(highlight=False)
    cycles = made["cycles"]
    lines = [f"first {args.first}, second {args.second}",
             (f"{cycles['early']:,} cycles where the first answers, {cycles['late']:,} where the "
              f"second does; {cycles['against']:,} of {args.against or args.second} alone"),
             f"threshold {made['threshold']}"]
    if args.calibration is not None:
        chosen = made["calibration"]
        lines[-1] += (f": on {args.calibration} the first answers {chosen['exited']:.1f} %, and "
                      f"{chosen['kept']:.1f} % of the answers are the second one's")
    for line in lines:
        console.print(Text(printable(line)), soft_wrap=True)
    if rows:
        console.print()
        what = "top-1" if args.labels is not None else "share of the answers kept"
        show(console, table_of(
            f"{what} of {args.images}, per cent",
            ("images", "first", "second", "against", "cascade", "points", "95 % interval",
             "early", "cycles", "share"),
            [(row.images, f"{row.first:.2f}", f"{row.second:.2f}", f"{row.against:.2f}",
              f"{row.cascade:.2f}", f"{row.points:+.2f}", f"{row.low:+.2f} to {row.high:+.2f}",
              f"{row.exited:.1f}", f"{row.cycles:,.0f}", f"{row.share:.1f}") for row in rows],
            console.width, [[8], [2], [3], [1]]))


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    if args.images is None:
        for name in ("labels", "count", "shift"):
            if getattr(args, name):
                raise UserError(f"--{name} needs --images")
    if args.calibration is None and args.loss is not None:
        raise UserError("--loss needs --calibration")
    models = _open(args)
    cycles, alone = _cycles(args, models)
    made = dict(zip(("first", "second", "against"), _names(args), strict=True)) | {
        "threshold": args.threshold, "cycles": asdict(cycles) | {"against": alone}}

    def read(folder: Path, count: int | None = None):
        from .cascades.answers import Images
        from .inputs import images

        sources, pixels = images.pixels(folder, preprocessing_of_model(models[0]), count, progress)
        return (Images(pixels, [source.sha256 for source in sources]),
                [file.relative_to(folder).as_posix() for file in images.files(folder)[:count]])

    try:
        args.work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {args.work}: {error.strerror}") from None
    if args.calibration is not None:
        loss = LOSS if args.loss is None else args.loss
        point = _choose(args, loss, models, cycles, read)
        made |= {"threshold": point.threshold, "calibration": {
            "loss": loss, "exited": 100 * point.exited, "kept": 100 * point.right}}
    rows = ([] if args.images is None else
            evaluated(args, models, made["threshold"], cycles, alone, read))
    if args.json:
        print(json.dumps(made | {"rows": [asdict(row) for row in rows]}, indent=2))
    else:
        _print(args, made, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
