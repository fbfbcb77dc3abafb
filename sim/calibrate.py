"""Quantize a Vision Transformer: from float weights and a folder of images to integers.

    python -m sim.calibrate --model deit_t --weights deit_tiny_patch16_224.safetensors \
        --images calibration --bits w4a4 --out deit_t_w4a4.safetensors

Needs no labels. An interrupted run goes on where it was when it is started again. With ``--bits
mixed:0.55`` each layer has widths of its own, chosen (:mod:`sim.ptq.widths.mixing`) so that a frame
takes 0.55 of the cycles of w8a8.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from golden.rows import softmax
from rtl.cli import Parser

from .cli import (
    UserError,
    any_precision,
    check_precision,
    command,
    core,
    one_line,
    positive,
    positive_float,
    printable,
    progress,
    up_to,
)
from .common.code_digest import digest
from .common.tables import show, table_of
from .inputs.float_model import FloatModel
from .inputs.quantized_model import QuantizedModel, save
from .prediction import predictor_options

PROG = "python -m sim.calibrate"
LIBRARIES = ("numpy", "pillow", "timm", "torch", "torchvision")

SURVEYED = 64
"""So many of the calibration images show what the 16-bit tensors hold."""


@dataclass(frozen=True)
class Share:
    """A share of the cycles of w8a8, for which widths are chosen."""

    value: float


def calibrate(floating: FloatModel, pixels: np.ndarray, plan, checkpoint: Path,
              progress: Callable = lambda steps, what: steps) -> tuple[QuantizedModel, list]:
    """Quantize a model, or go on where an interrupted run was; return what its 16-bit tensors
    hold, too, as :func:`sim.ptq.survey.survey` does.

    Parameters
    ----------
    floating
        What to quantize.
    pixels : uint8 array, shape (images, side, side, 3)
        Calibration images, as its preprocessing makes them.
    plan
        A :class:`sim.ptq.pipeline.Plan`.
    checkpoint
        File where an interrupted run leaves what it has; to be removed when the result is safe.
    progress
        Called with a list of steps and what they are; iterates over them.

    Raises
    ------
    UserError
        If the integer network lacks something that the model has, or the checkpoint is damaged or
        of another run.
    """
    import torch

    from .ptq import pipeline, survey
    from .ptq.checkpoint import Checkpoint

    about = floating.describe()
    run = floating.identify(pixels)
    stages = Checkpoint(checkpoint, run | {"plan": repr(plan), "code": digest("sim.ptq.pipeline")})
    made = pipeline.quantize(floating.source(), pixels, plan, progress, stages=stages.load(),
                             save=stages.save)
    settings = {name: value for name, value in asdict(plan).items() if name != "precision"}
    calibration = settings | {
        "images": {"count": len(pixels), "sha256": run["images"], "blockwise": plan.images},
        "libraries": {name: importlib.metadata.version(name).partition("+")[0]
                      for name in LIBRARIES}}
    chosen = pixels[pipeline.spread(len(pixels), SURVEYED)]
    held = survey.survey(made.twin, made.ranges, torch.from_numpy(chosen), progress=progress)
    return QuantizedModel(made.network, about | {"calibration": calibration}), held


def _show(held: list, console: Console) -> None:
    """Print what the 16-bit tensors hold, and in a line each what is wrong with a format."""
    rows = [[one.title, f"{one.channels}", f"{one.largest:.4g}", f"{one.limit:.4g}",
             f"1/{round(1 / one.step)}" if one.step < 1 else f"{one.step:g}",
             f"{one.clipped:.1%}" if one.clipped > 0.0005 else f"{one.clipped:.0e}"
             if one.clipped else "none"] for one in held]
    columns = ["16-bit tensor", "channels", "largest", "limit", "step", "saturate"]
    show(console, table_of("16-bit tensors on calibration images", columns, rows, console.width,
                           [[1], [3]]))
    for complaint in filter(None, (one.complaint() for one in held)):
        console.print(printable(complaint), markup=False, soft_wrap=True)


def _choose(floating: FloatModel, pixels: np.ndarray, plan, args: argparse.Namespace,
            checkpoint: Path):
    """Return the widths of layers for a share of the cycles: a
    :class:`sim.ptq.widths.mixing.Choice`.
    """
    from .ptq.checkpoint import Checkpoint
    from .ptq.widths import mixing
    from .ptq.widths.mixing_costs import Costs

    source = floating.source()
    stages = Checkpoint(checkpoint, floating.identify(pixels) | {
        "plan": repr(plan), "code": digest("sim.ptq.widths.mixing"), "by": args.widths_by})
    try:
        costs = Costs(source.shape, args.core, mixing.PRECISIONS[0],
                      norm_pre=source.norm_pre is not None, qk_norm=source.qk_norm)
        return mixing.mixed(source, pixels, plan, args.bits.value, costs, progress,
                            by=args.widths_by, stages=stages.load(), save=stages.save)
    except ValueError as error:  # the core has no room for it, or the share is too small
        raise UserError(f"--bits mixed:{args.bits.value:g}: {one_line(error)}") from None


def _show_choice(choice, args: argparse.Namespace, console: Console) -> None:
    """Print the widths of layers."""
    from .ptq.widths.gains import LAYERS, MERGE_SITE

    blocks = range(1 + max(option.block for option in choice.options))
    merged = any(option.layer == MERGE_SITE for option in choice.options)
    layers = [*([MERGE_SITE] if merged else []), *LAYERS]
    rows = [[f"{block}", *(str(choice.precision.of(block, layer)) for layer in layers)]
            for block in blocks]
    show(console, table_of("Widths of layers", ["block", *layers], rows, console.width))
    size = f"{args.core.rows}x{args.core.cols}"
    console.print(printable(
        f"{choice.cycles:,} cycles on the {size} core, {choice.cycles / choice.widest:.3f} of "
        f"those of w8a8: --bits {choice.precision}"), markup=False, soft_wrap=True)


def _bits(text: str):
    """Argument type: widths, or a share of cycles that they are chosen for."""
    kind, colon, share = text.partition(":")
    if not colon or kind.lower() != "mixed":
        return any_precision(text)
    value = positive_float(share)
    if value > 1:
        raise argparse.ArgumentTypeError(f"a share of cycles must be 1 or less, not {share!r}")
    return Share(value)


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Quantize a Vision Transformer to integers.")
    parser.add_argument("--model", required=True, metavar="NAME",
                        help="short or timm name, or a model of the package, such as vit_cifar10")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="float weights (default: those of the package, or that timm "
                             "downloads)")
    parser.add_argument("--image-size", type=positive, metavar="N",
                        help="take images of N x N pixels, and resample the position embedding "
                             "(default: as the model has it)")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR",
                        help="calibration images, in it or in a folder for each class; no labels "
                             "are needed")
    parser.add_argument("--count", type=positive, metavar="N",
                        help="use the first N of them, where there are folders in turn from each "
                             "(default: all)")
    parser.add_argument("--bits", type=_bits, required=True, metavar="WxAy",
                        help="widths of weights (4, 6, 8) and activations (3, 4, 6, 8), and what "
                             "differs behind them, like w4a4,0=w8a8,10-11=w8a8,3.fc1=w4a8; or "
                             "mixed:0.55, chosen for each layer so that a frame takes 0.55 of the "
                             "cycles of w8a8")
    parser.add_argument("--widths-by", default="measured", metavar="NAME",
                        help="what --bits mixed judges layers by: measured, the divergence with "
                             "each of them narrow, or hawq-v2, the trace of the Hessian (default: "
                             "%(default)s)")
    parser.add_argument("--core", type=core, default="8x16", metavar="NAME|FILE",
                        help="whose cycles count with --bits mixed: a name, or a TOML file "
                             "(default: %(default)s)")
    parser.add_argument("--observer", default="mse", metavar="NAME",
                        help="how static scales are chosen: minmax, percentile, mse (default: "
                             "%(default)s)")
    parser.add_argument("--step", type=up_to(softmax.STEP.max), default=0, metavar="N",
                        help="store probabilities as 4-bit codes N/1024 apart in the log2 domain, "
                             "512 for log-sqrt2 (default: 0, 8-bit probabilities)")
    parser.add_argument("--reconstruct", type=up_to(None), default=0, metavar="N",
                        help="learn the rounding of weights in N steps for each block, thousands "
                             "of them on a GPU (default: %(default)s)")
    parser.add_argument("--epochs", type=up_to(None), default=0, metavar="N",
                        help="train scales, biases and weights for N epochs (default: "
                             "%(default)s)")
    parser.add_argument("--predict", action="store_true",
                        help="predict scales image by image (default: static scales)")
    parser.add_argument("--seed", type=up_to(2**31 - 1), default=1, metavar="N",
                        help="seed of reconstruction and training (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="quantized model to write, as safetensors")
    predictor_options.add(parser)
    return parser


def _plan(args: argparse.Namespace, shape):
    """Return the plan that the options describe."""
    from .ptq import blockwise, observers, pipeline
    from .ptq.reconstruct import Reconstruction
    from .ptq.training.budget import TRAINED
    from .ptq.widths.mixing import JUDGES, PRECISIONS

    if args.widths_by not in JUDGES:
        raise UserError(f"--widths-by must be one of {', '.join(JUDGES)}, not "
                        f"{args.widths_by!r}")
    if args.observer not in observers.OBSERVERS:
        raise UserError(f"--observer must be one of {', '.join(observers.OBSERVERS)}, "
                        f"not {args.observer!r}")
    predictor = predictor_options.read(args, shape) if args.predict else None
    reconstruction = (Reconstruction.paced(args.reconstruct, seed=args.seed) if args.reconstruct
                      else None)
    bits = PRECISIONS[-1] if isinstance(args.bits, Share) else args.bits
    check_precision(bits, shape)
    return pipeline.Plan(bits,
                         options=blockwise.Options(observer=args.observer, step=args.step),
                         reconstruction=reconstruction, predictor=predictor,
                         budget=replace(TRAINED, epochs=args.epochs, seed=args.seed))


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    if args.out.suffix != ".safetensors":
        raise UserError(f"--out must end in .safetensors, not {args.out.name!r}")
    if not args.out.parent.is_dir():
        raise UserError(f"cannot write {args.out}: {args.out.parent} is not a folder")

    from .inputs import images

    images.files(args.images)  # before the weights are loaded or downloaded
    floating = FloatModel.create(args.model, args.weights, args.image_size)
    plan = _plan(args, floating.source().shape)
    checkpoint = args.out.with_suffix(".checkpoint")
    if checkpoint.exists():
        print(printable(f"Going on from {checkpoint}"), file=sys.stderr)
    _, pixels = images.pixels(args.images, floating.preprocessing, args.count, progress)
    choice, chosen = None, args.out.with_suffix(".widths.checkpoint")
    if isinstance(args.bits, Share):
        choice = _choose(floating, pixels, plan, args, chosen)
        plan = replace(plan, precision=choice.precision)
    made, held = calibrate(floating, pixels, plan, checkpoint, progress)
    if choice is not None:
        made.metadata["calibration"]["widths"] = {
            "share": args.bits.value, "cycles": choice.cycles, "widest": choice.widest,
            "options": [asdict(one) | {"precision": str(one.precision)} for one in choice.options]}
    save(made, args.out)
    for path in (checkpoint, chosen):
        path.unlink(missing_ok=True)
    console = Console(highlight=False)
    _show(held, console)
    if choice is not None:
        _show_choice(choice, args, console)
    print(printable(f"{args.out}: {args.model} in {plan.precision} from {len(pixels)} images, "
                    f"{args.out.stat().st_size:,} bytes"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
