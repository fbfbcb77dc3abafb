"""Options of command lines that say what a scale predictor is to be like."""

import argparse

from golden.network.shape import VitShape

from ..cli import UserError, positive, up_to


def _blocks(text: str) -> tuple[int, ...]:
    parse = up_to(None)
    return tuple(sorted(set(map(parse, text.split(",")))))


def share(text: str) -> float:
    """Argument type: a number within 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number within 0..1, not {text!r}")
    return value


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser, as a group of their own."""
    group = parser.add_argument_group("predictor")
    option = group.add_argument
    option("--taps", type=_blocks, metavar="N,...",
           help="blocks before each tap of the residual stream (default: 1, and a third and two "
                "thirds of all)")
    option("--chunk-tokens", type=positive, default=16, metavar="N",
           help="tokens of a chunk whose extremes are averaged (default: %(default)s)")
    option("--groups", type=up_to(None), default=0, metavar="N",
           help="channel groups with statistics of their own, 0 for single channels "
                "(default: %(default)s)")
    option("--rank", type=up_to(None), default=12, metavar="N",
           help="variables that a tap's statistics are projected to, 0 for none "
                "(default: %(default)s)")
    option("--degree", type=int, choices=(1, 2, 3), default=1, metavar="N",
           help="of the polynomials, 1 to 3 (default: %(default)s)")
    option("--least", type=share, default=0.05, metavar="SHARE",
           help="predict sites whose variance is explained to this share on held-out calibration "
                "images (default: %(default)s)")


def read(args: argparse.Namespace, shape: VitShape):
    """Return the :class:`sim.prediction.predictor.Options` of parsed options.

    Raises
    ------
    UserError
        If they do not fit a network of the shape.
    """
    from . import predictor  # imports PyTorch

    bad = [tap for tap in args.taps or () if tap > shape.depth]
    if bad:
        raise UserError(f"--taps must be within 0..{shape.depth}, the model's blocks, not {bad[0]}")
    if args.groups and shape.dim % args.groups:
        raise UserError(f"--groups must divide the {shape.dim} channels, not {args.groups}")
    return predictor.Options(taps=args.taps, chunk_tokens=args.chunk_tokens, groups=args.groups,
                             rank=args.rank, degree=args.degree, least=args.least)
