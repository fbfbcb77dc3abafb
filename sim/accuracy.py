"""Compares ways to quantize a Vision Transformer: methods by widths, in one table.

    python -m sim.accuracy --model deit_t --weights deit_tiny_patch16_224.safetensors \
        --calibration calibration --images validation --labels validation/labels.csv \
        --bits w8a8,w4a4 --methods mse oracle lsq predictor

With --shift, also on images unlike those to calibrate with (:mod:`sim.shifts`).

Everything that takes long is kept in the work folder; what was interrupted goes on from there when
the same command is given again. Images are classified by the workers of dask: processes here, or,
with --dask, those of a running scheduler, which need the image folder and the work folder at the
same paths, and this program. ``dask scheduler`` and ``dask worker --nthreads 1`` start such.
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from rtl.cli import Parser

from .cli import (
    UserError,
    any_precision,
    command,
    folder,
    positive,
    progress,
    split_precisions,
    up_to,
    whole_file,
)
from .inputs.float_model import FloatModel
from .inputs.labels import read_labels
from .prediction import predictor_options

PROG = "python -m sim.accuracy"
DEFAULT_METHODS = ("mse", "oracle", "lsq", "predictor")
DEFAULT_WORK = Path("build/accuracy")
ALL = "all"


class _List(argparse.Action):
    """Print the methods and end, as --help does."""

    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        from .evaluation.preparation import candidates

        known = candidates().values()
        width = max(len(one.name) for one in known)
        for one in known:
            print(f"{one.name:<{width}}  {one.title}{f' ({one.source})' if one.source else ''}")
        parser.exit(0)


class _ListShifts(argparse.Action):
    """Print the shifts and end, as --help does."""

    def __init__(self, option_strings, dest, help):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        from .shifts.shift import FAMILIES, GROUPS

        width = max(map(len, (*FAMILIES, *GROUPS)))
        for name, family in FAMILIES.items():
            print(f"{name:<{width}}  {family.__doc__.partition(chr(10))[0]}")
        for name, families in GROUPS.items():
            print(f"{name:<{width}}  {len(families)} families: {families[0]} to {families[-1]}")
        parser.exit(0)


def shift_list(text: str) -> list:
    from .shifts.shift import parse  # SciPy's import, which other uses do without

    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _baseline(text: str):
    from .evaluation.comparison import Baseline

    method, _, bits = text.partition(":")
    return Baseline(method, str(any_precision(bits)) if bits else None)


def _precisions(text: str) -> list:
    return list(dict.fromkeys(map(any_precision, split_precisions(text))))


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--list-methods", action=_List, help="show the methods and where they are from, and exit")
    add("--model", required=True, metavar="NAME",
        help="short or timm name, or a model of the package, such as vit_cifar10")
    add("--weights", type=Path, metavar="FILE",
        help="float weights (default: those of the package, or that timm downloads)")
    add("--image-size", type=positive, metavar="N",
        help="take images of N x N pixels, and resample the position embedding (default: as the "
             "model has it)")
    add("--calibration", type=Path, required=True, metavar="DIR",
        help="images to calibrate and train with; no labels are needed")
    add("--calibration-count", type=positive, metavar="N",
        help="use the first N of them, where there are folders in turn from each (default: all)")
    add("--images", type=Path, required=True, metavar="DIR", help="images to compare on")
    add("--count", type=positive, metavar="N", help="use the first N of them (default: all)")
    add("--labels", type=Path, metavar="FILE|DIR",
        help="their labels: CSV with the columns file and label, the index of the class; or lines "
             "of a file and a label; or a folder with a folder of images for each class "
             "(default: none; only agreement with the float model is shown)")
    add("--bits", type=_precisions, default="w8a8,w4a4", metavar="WxAy,...",
        help="widths of weights (4, 6, 8) and activations (3, 4, 6, 8) (default: %(default)s)")
    add("--methods", nargs="+", default=list(DEFAULT_METHODS), metavar="NAME",
        help=f"methods, or {ALL} (default: {' '.join(DEFAULT_METHODS)})")
    add("--against", type=_baseline, metavar="METHOD[:WxAy]",
        help="hold all others against this one, of theirs or other widths (default: each against "
             "its own baseline, of the same widths)")
    add("--epochs", type=up_to(None), default=2, metavar="N",
        help="train scales for N epochs (default: %(default)s)")
    add("--epochs-all", type=up_to(None), default=4, metavar="N",
        help="train everything for N epochs in methods that end in -all (default: %(default)s)")
    add("--reconstruct", type=positive, default=200, metavar="N",
        help="steps for each block in brecq and qdrop, of 20,000 in their papers (default: "
             "%(default)s)")
    add("--seed", type=up_to(2**31 - 1), default=1, metavar="N",
        help="of training, bootstrap and shifts (default: %(default)s)")
    add("--shift", type=shift_list, default=[], metavar="NAME:SEVERITY,...",
        help="compare on shifted images, too: families of ImageNet-C and dark, severities 1 to 5 "
             "(a NAME alone: 1, 3 and 5); imagenet-c and all are several families")
    add("--list-shifts", action=_ListShifts, help="show the families of shifts, and exit")
    add("--shift-calibration", type=predictor_options.share, nargs="?", const=0.5, metavar="SHARE",
        help="also shift this share of the images to calibrate and train with, each by one of "
             "--shift, drawn evenly (default: none; without SHARE %(const)s)")
    predictor_options.add(parser)
    add("--work", type=Path, default=DEFAULT_WORK, metavar="DIR",
        help="folder for what is done so far, made if missing (default: %(default)s)")
    add("--workers", type=positive, metavar="N",
        help="processes that classify (default: one per processor)")
    add("--dask", metavar="ADDRESS",
        help="let the workers of a running dask scheduler classify, like tcp://10.0.0.1:8786; "
             "they need the images and the work folder at the same paths")
    add("--json", action="store_true",
        help="print JSON instead of the table, for sim.report and sim.explore --accuracy, too")
    add("--plot", type=Path, metavar="DIR", help="write figures into a folder, too, as PNG")
    add("--markdown", type=Path, metavar="FILE", help="write the table as Markdown, too")
    return parser


def _methods(names: list[str], known: dict) -> list:
    """Return the candidates of names, each once, in their order."""
    wanted = dict.fromkeys(part for name in names for part in (known if name == ALL else [name]))
    for name in wanted:
        if name not in known:
            raise UserError(f"no method is called {name!r}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def _calibration(args: argparse.Namespace, floating: FloatModel) -> np.ndarray:
    """Return the pixels to calibrate with, shifted where that is asked for."""
    from .inputs import images

    sources, pixels = images.pixels(args.calibration, floating.preprocessing,
                                    args.calibration_count, progress)
    if args.shift_calibration is None:
        return pixels
    from .shifts.shift import mixed

    return mixed(pixels, [source.sha256 for source in sources], args.shift,
                 args.shift_calibration, args.seed, progress)


def _bench(args: argparse.Namespace, floating: FloatModel, pixels: np.ndarray):
    from .evaluation.methods import Bench
    from .ptq.training.budget import TRAINED, Budget

    source = floating.source()
    options = predictor_options.read(args, source.shape)
    return Bench(source, pixels, options,
                 Budget(epochs=args.epochs, seed=args.seed),
                 replace(TRAINED, epochs=args.epochs_all, seed=args.seed),
                 folder(args.work / "calibration"), floating.identify(pixels), progress,
                 args.reconstruct)


def _note(text: str) -> None:
    print(f"Preparing {text}", file=sys.stderr)


def compare(args: argparse.Namespace, connect: Callable) -> tuple[list, list, list, dict]:
    """Run what the options say.

    Returns
    -------
    rows, shifted rows, answers on images as they are, and what identifies the run
        No shifted rows without ``--shift``.
    """
    from .evaluation import chunks, comparison, evaluation, preparation, shift_comparison
    from .inputs import images

    known = preparation.candidates()
    methods = _methods(args.methods, known)
    against = args.against
    if against is not None and (against.method not in {one.name for one in methods} or
                                against.bits not in {None, *map(str, args.bits)}):
        raise UserError(f"--against {against} must be one of --methods, in one of --bits")
    images.files(args.calibration)  # before the weights are loaded or downloaded
    shown = chunks.listed(args.images, args.count, progress)
    floating = FloatModel.create(args.model, args.weights, args.image_size)
    shape = floating.source().shape
    if args.shift and shape.colours != 3:
        raise UserError(f"--shift is for images of 3 colours, and {args.model} takes "
                        f"{shape.colours}")
    labels = None
    if args.labels is not None:
        labels = read_labels(args.labels, [one.name for one in shown], shape.classes)
    pixels = _calibration(args, floating)
    bench = _bench(args, floating, pixels)
    contenders, results = (folder(args.work / name).absolute()
                           for name in ("contenders", "results"))

    every = [None, *(chunks.Shifted(shift, args.seed) for shift in args.shift)]

    def evaluate(prepared):
        return evaluation.evaluate(prepared, shown, floating.preprocessing.config, results,
                                   connect, progress, shifts=every)

    # the float model first: it finds broken images before hours of training
    answers = evaluate([preparation.reference(floating, bench.run, contenders)])
    answers += evaluate(list(preparation.prepare(bench, methods, args.bits, contenders, _note)))
    clean = [one for one in answers if one.shifted is None]
    rows = comparison.rows(clean, labels, known, shape.site_names(), args.seed, against)
    shifted = []
    if args.shift:
        shifted = shift_comparison.rows(answers, labels, known, args.seed, against)
    about = {"kind": "accuracy", "model": args.model, "weights": bench.run["weights"],
             "images": {"count": len(shown), "labels": labels is not None,
                        "sha256": [one.sha256 for one in shown]},
             "calibration": {"count": len(pixels), "sha256": bench.run["images"],
                             "shifted": args.shift_calibration or 0.0},
             "sites": shape.site_names(),
             "options": {"seed": args.seed, "predictor": asdict(bench.options),
                         "scales": asdict(bench.scales), "everything": asdict(bench.everything),
                         "reconstruct": bench.iterations}}
    return rows, shifted, clean, about


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    for path in args.markdown, args.plot:
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"cannot write {path}: {path.parent} is not a folder")
    if args.plot is not None:
        folder(args.plot)
    if args.shift_calibration is not None and not args.shift:
        raise UserError("--shift-calibration needs shifts, of --shift")

    from .evaluation import accuracy_report as report
    from .evaluation import dask_cluster, shift_report

    workers = args.workers or len(os.sched_getaffinity(0))
    rows, shifted, answers, about = compare(args, partial(dask_cluster.cluster, args.dask, workers))
    typed = shlex.join([*PROG.split(), *(sys.argv[1:] if argv is None else argv)])
    if args.markdown is not None:
        with whole_file(args.markdown) as temporary:
            text = report.as_markdown(rows, typed)
            if shifted:
                text += "\n" + shift_report.as_markdown(shifted)
            temporary.write_text(text, "utf-8", "backslashreplace")
    if args.plot is not None:
        from .evaluation import accuracy_plots

        accuracy_plots.write(rows, answers, about["sites"], args.plot)
    if args.json:
        if shifted:
            about["shifts"] = {"seed": args.seed, **shift_report.as_dict(shifted)}
        print(json.dumps(about | {"command": typed} | report.as_dict(rows), indent=2))
    else:
        console, share = Console(highlight=False), about["calibration"]["shifted"]
        title = (f"{args.model}, {about['images']['count']:,} images, calibrated with "
                 f"{about['calibration']['count']:,}")
        if share:
            title += f", {100 * share:g} % shifted"
        report.print_report(rows, title, console)
        if shifted:
            shift_report.print_report(shifted, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
