"""Which predictor is worth having: cross-validation of its options on calibration images.

    python -m sim.study --model deit_t --weights deit_tiny_patch16_224.safetensors \
        --images calibration --bits w4a4

prints, for each set of options, how much of the per-image variance of the sites' scales (log2 of
those of least squared error) is explained on images left out of the fit; by kind of site, and over
all sites behind the first tap. The last row has what the scales of the mirror image explain, more
than which no predictor can be asked for: what is left is how the patches happen to be cut. Nothing
is trained, and no other image is looked at.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from golden.network.precision import Precision
from golden.network.shape import BLOCK_SITES, VitShape
from golden.prediction.scale_predictor import PredictorShape
from rtl.cli import Parser

from .cli import UserError, any_precision, check_precision, command, folder, positive, progress
from .common.tables import show, table_of
from .prediction import predictor

PROG = "python -m sim.study"


def candidates(depth: int, tokens: int) -> list[predictor.Options]:
    """Return the options that are compared, for a network of so many blocks and tokens."""
    some = predictor.Options().placed(depth).taps
    base = predictor.Options(taps=some[:1])
    made = [replace(base, groups=1, rank=0, degree=degree) for degree in (1, 2, 3)]
    made += [replace(base, groups=0, rank=rank, degree=1) for rank in (4, 12, 24)]
    made += [replace(base, groups=0, rank=rank, degree=2) for rank in (4, 12)]
    made += [replace(base, taps=some[:count], degree=degree)
             for count in range(2, len(some) + 1) for degree in (1, 2)]
    made += [replace(base, taps=(0,))]
    made += [replace(base, chunk_tokens=chunk) for chunk in (1, tokens)]
    unique = []
    for options in made:
        if options not in unique:
            unique.append(options)
    return unique


def explained(observed: predictor.Observed, options: predictor.Options, shape: VitShape) -> dict:
    """Return the shares of variance explained: mean of all sites, of each kind, of each site."""
    found = {}
    for choice in predictor.choose(observed, options, shape).values():
        found |= dict(zip(choice.sites, choice.explained.tolist(), strict=True))
    return _shares(found, shape)


def mirrored(oracle: torch.Tensor, other: torch.Tensor, first: int, shape: VitShape) -> dict:
    """Return, as :func:`explained` does, what the scales of the mirror images explain.

    Parameters
    ----------
    oracle, other : tensors, shape (images, sites)
        log2 of the scales of least squared error, of images and of their mirror images.
    first
        The first site that counts.
    """
    x, y = (value[:, first:].double() for value in (other, oracle))
    x, y = x - x.mean(0), y - y.mean(0)
    slope = (x * y).sum(0) / x.square().sum(0).clamp_min(1e-12)
    shares = predictor.r_squared(slope * x, y)
    return _shares(dict(enumerate(shares.tolist(), first)), shape)


def _shares(of_sites: dict[int, float], shape: VitShape) -> dict:
    names = shape.site_names()
    found = {names[site]: share for site, share in of_sites.items()}
    kinds = {kind: [share for name, share in found.items() if name.endswith(f".{kind}")]
             for kind in BLOCK_SITES}
    return {"mean": sum(found.values()) / len(found),
            "kinds": {kind: sum(shares) / len(shares) for kind, shares in kinds.items() if shares},
            "sites": found}


def coefficients(options: predictor.Options, shape: VitShape) -> int:
    """Return how many numbers the predictors of some options hold, all sites predicted."""
    total = 0
    for after in options.taps:
        statistics = 2 * options.key(after, shape)[2]
        sites = len(options.sites_of(after, shape))
        projected = bool(options.rank) and options.rank < statistics
        size = PredictorShape(statistics, options.rank if projected else statistics, sites,
                              options.degree, projected)
        total += sites * (size.monomials + 1)
        total += size.variables * (statistics + 1) if projected else 0
    return total


_COLUMNS = ("taps", "chunk", "of", "rank", "deg", "size", "all", *BLOCK_SITES)

_SPARE = (*([number] for number in reversed(range(7, len(_COLUMNS)))), [5], [1], [3], [4], [2])
"""Columns that go where the terminal is narrow: sites first; the share of all stays."""


def _table(rows: list[dict], title: str, width: int) -> Table:
    cells = [[*_named(row["options"], row["numbers"]), f"{row['mean']:.3f}",
              *(f"{row['kinds'].get(kind, float('nan')):.2f}" for kind in BLOCK_SITES)]
             for row in rows]
    best = max(row["mean"] for row in rows if row["options"])
    return table_of(title, _COLUMNS, cells, width, _SPARE,
                    bold=[place for place, row in enumerate(rows)
                          if row["options"] and row["mean"] == best])


def _named(options: dict | None, numbers: int) -> list[str]:
    if options is None:
        return ["mirror", *["-"] * 5]
    groups = {0: "channel", 1: "tensor"}.get(options["groups"], str(options["groups"]))
    return [",".join(map(str, options["taps"])), str(options["chunk_tokens"]), groups,
            str(options["rank"] or "-"), str(options["degree"]), f"{numbers / 1000:.1f}k"]


def _parser() -> Parser:
    parser = Parser(prog=PROG, description="Compare scale predictors by cross-validation.")
    parser.add_argument("--model", required=True, metavar="NAME",
                        help="short or timm name, or a model of the package")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="float weights")
    parser.add_argument("--image-size", type=positive, metavar="N",
                        help="take images of N x N pixels, and resample the position embedding "
                             "(default: as the model has it)")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR",
                        help="calibration images")
    parser.add_argument("--count", type=positive, metavar="N",
                        help="use the first N of them (default: all)")
    parser.add_argument("--bits", type=any_precision, default=Precision(4, 4), metavar="WxAy",
                        help="widths of weights and activations (default: w4a4)")
    parser.add_argument("--work", type=Path, default=Path("build/accuracy"), metavar="DIR",
                        help="where intermediate results are kept (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print every site's share as JSON")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    from .evaluation import methods
    from .inputs import images
    from .inputs.float_model import FloatModel
    from .ptq import export
    from .ptq.training import train

    floating = FloatModel.create(args.model, args.weights, args.image_size)
    _, pixels = images.pixels(args.images, floating.preprocessing, args.count, progress)
    if len(pixels) < 2 * predictor.FOLDS:
        raise UserError(f"--images must be {2 * predictor.FOLDS} or more, not {len(pixels)}")
    source = floating.source()
    shape = source.shape
    check_precision(args.bits, shape)
    nothing = train.Budget(epochs=0)
    bench = methods.Bench(source, pixels, predictor.Options(), nothing, nothing,
                          folder(args.work / "calibration"), floating.identify(pixels), progress)
    result = bench.result(args.bits, "blocks")
    tried = candidates(shape.depth, shape.tokens)
    keys = sorted({options.key(after, shape) for options in tried for after in options.taps})
    streams = export.residual_formats(result.ranges)
    given = torch.from_numpy(pixels)
    observed = predictor.observe(result.twin, given, keys, streams, progress)
    other = predictor.observe(result.twin, given.flip(2), (), streams, progress)
    rows = [explained(observed, options, shape) | {
        "options": asdict(options), "numbers": coefficients(options, shape)}
        for options in progress(tried, "Cross-validating")]
    first = shape.first_site(min(predictor.Options().placed(shape.depth).taps))
    rows.append(mirrored(observed.oracle, other.oracle, first, shape)
                | {"options": None, "numbers": 0})
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        console = Console()
        show(console, _table(rows, f"{args.model}, {args.bits}: R2 of per-image scales on "
                             f"held-out images, {len(pixels)} in all", console.width))
    return 0


if __name__ == "__main__":
    sys.exit(main())
