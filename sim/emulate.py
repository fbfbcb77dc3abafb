"""The quantized network in float64: what the fixed-point arithmetic of :mod:`golden` costs.

    python -m sim.emulate --model deit_t_w4a4.safetensors --images validation \
        --labels validation/labels.csv

:mod:`sim.evaluation.arithmetic_errors` says what is compared, and within which bounds.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rtl.cli import Parser

from .cli import command, positive, positive_float, printable, progress
from .common.tables import list_of, show, table_of
from .evaluation.agreement import Report, report
from .inputs import images, quantized_model
from .inputs.labels import read_labels
from .inputs.model_lookup import preprocessing_of_model

PROG = "python -m sim.emulate"


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Compare the integer network with one in float64.")
    parser.add_argument("--model", required=True, type=Path, metavar="FILE",
                        help="quantized model, of sim.calibrate")
    parser.add_argument("--images", required=True, type=Path, metavar="DIR",
                        help="folder of images")
    parser.add_argument("--labels", type=Path, metavar="FILE|DIR",
                        help="their classes: CSV with the columns file and label, lines of a file "
                             "and a label, or a folder with a folder of images for each class")
    parser.add_argument("--count", type=positive, metavar="N",
                        help="use the first N images (default: all)")
    parser.add_argument("--compared", type=positive, default=32, metavar="N",
                        help="compare tensors of the first N images (default: %(default)s)")
    parser.add_argument("--jitter", type=positive_float, metavar="X",
                        help="also run float64 with a relative error of X on all that is quantized")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _print(made: Report, model: str, jitter: float | None) -> None:
    console = Console(highlight=False)
    console.print(Text(printable(f"{model}, {made.images} images")), soft_wrap=True)
    rows = [("golden and float64 that rounds as golden does agree", _percent(made.followed)),
            ("golden and float64 left to itself agree", _percent(made.agreement))]
    if made.jittered is not None:
        rows.append((f"float64 agrees with itself, jittered by {jitter:g}",
                     _percent(made.jittered)))
    if made.accuracy is not None:
        names = {"golden": "golden", "followed": "float64 that rounds as golden does",
                 "float64": "float64 left to itself"}
        rows += [(f"top-1 of {names[name]}", _percent(share))
                 for name, share in made.accuracy.items()]
    show(console, list_of(rows, console.width, 60))
    console.print()
    show(console, table_of(
        f"Each step of golden, {made.compared} images, in units of the last place",
        ("tensor", "numbers", "largest error", "bound", "beyond", "in"),
        [(kind, f"{one.count:,}", f"{one.error:.4g}", f"{one.bound:.4g}", str(one.beyond), one.name)
         for kind, one in made.steps.items()], console.width, [[5], [1], [3], [2]]))
    console.print()
    show(console, table_of(
        f"Real values where golden rounds, {made.images} images, in steps",
        ("site", "roundings", "rounded otherwise", "furthest past 1/2", "in"),
        [(kind, f"{one.count:,}", _percent(one.beyond / one.count),
          f"{max(one.error - 0.5, 0):.3f}", one.name) for kind, one in made.sites.items()],
        console.width, [[4], [1], [3]]))


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    model = quantized_model.load(args.model)
    labels = None
    if args.labels is not None:
        files = images.files(args.images)[:args.count]
        labels = read_labels(args.labels, [file.relative_to(args.images).as_posix()
                                           for file in files], model.network.shape.classes)
    _, pixels = images.pixels(args.images, preprocessing_of_model(model), args.count, progress)
    made = report(model.network, pixels, labels, compared=args.compared,
                  jitter=args.jitter or 0.0, progress=progress)
    if args.json:
        print(json.dumps(asdict(made), indent=2))
    else:
        _print(made, args.model.name, args.jitter)
    return 0


if __name__ == "__main__":
    sys.exit(main())
