"""What image-aware inference is worth on images unlike those of the calibration.

    python -m benchmarks.shifts --weights deit_tiny_patch16_224.safetensors \\
        --calibration calibration --images validation --labels validation/labels.csv

DeiT-Tiny in W8A8, W4A8, W4A4 and a mix of them: static scales, all trained, predicted scales, the
best scales of each image with its control, and cascades, on the images as they are and under each
of :data:`SHIFTS`. Each part is a command of the package, whose output is kept in the work folder;
what was interrupted goes on when the same command is given again.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sim.accuracy import shift_list
from sim.cli import UserError, any_precision, command, folder, positive, up_to, whole_file
from sim.common.tables import show, table_of
from sim.inputs.images import files

PROG = "python -m benchmarks.shifts"

SHIFTS = ("gaussian_noise", "defocus_blur", "motion_blur", "snow", "fog", "dark", "contrast",
          "jpeg_compression")
"""Families, each at severities 1, 3 and 5."""

BITS = ("w8a8", "w4a8", "w4a4")
MIXED = (  # what ``sim.calibrate --bits mixed:0.55 --epochs N`` chooses for DeiT-Tiny
    "w4a4,0-11=w4a8,2.fc1=w4a4,4.fc1=w4a4,6.fc1=w4a4,9-11.fc1=w4a4,2.proj=w4a4,3-6.qkv=w4a4,"
    "9.qkv=w4a4")

AGAINST = "lsq-all", "w8a8"
"""What all are held against: trained W8A8."""

METHODS = {"mse": "static", "lsq-all": "trained", "predictor-all": "predicted",
           "oracle-loss": "best of each image", "mirrored-loss": "best of its mirror image"}
ORACLES = ("mse", "oracle-loss", "mirrored-loss")

FIFTH = 5
"""One calibration image in so many chooses the threshold of the cascades; the rest trains."""

LOSS = 2
"""Answers in a hundred that a cascade may change on calibration images."""

MIX = "mixed"
CLEAN, MEAN, WORST = "clean", "mean", "worst"


@dataclass(frozen=True)
class Line:
    """A network, or a cascade.

    Attributes
    ----------
    name, bits
        What it is.
    top1
        Of :data:`CLEAN` and of each shift, in per cent.
    clean, shifted
        Points against trained W8A8, with the ends of the 95 % interval; None for itself, and where
        images are others.
    cycles
        Of an image, on average over the shifts; None for the float model and what is no hardware.
    """

    name: str
    bits: str
    top1: dict[str, float]
    clean: tuple[float, float, float] | None
    shifted: tuple[float, float, float] | None
    cycles: float | None

    @property
    def title(self) -> str:
        """Name and bits, as one text."""
        shown = self.bits if self.bits == MIX else self.bits.upper()
        return self.name if self.bits == self.name else f"{shown} {self.name}"

    @property
    def mean(self) -> float:
        """Mean of the shifts."""
        return sum(self._shifted) / len(self._shifted)

    @property
    def worst(self) -> float:
        """Least of the shifts."""
        return min(self._shifted)

    @property
    def _shifted(self) -> list[float]:
        return [share for shift, share in self.top1.items() if shift != CLEAN]


def _call(name: str, words: Sequence, work: Path, json_to: Path | None = None) -> dict:
    """Run a part; return its JSON, which is kept.

    Raises
    ------
    UserError
        If it fails; what it says is seen by then.
    """
    words = [str(word) for word in words]
    run = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)
    if run.returncode:
        raise UserError(f"{name} ended with status {run.returncode}")
    text = run.stdout if json_to is None else json_to.read_text()
    with whole_file(work / f"{name}.json") as temporary:
        temporary.write_text(text)
    return json.loads(text)


def _accuracy(args, name: str, bits: Sequence[str], methods: Sequence[str], *more,
              count: int | None = None) -> list[dict]:
    found = _call(name, [
        "sim.accuracy", "--model", args.model, *_network(args), "--calibration", args.calibration,
        "--images", args.images, "--labels", args.labels, "--bits", ",".join(bits), "--methods",
        *methods, "--epochs-all", args.epochs, "--seed", args.seed, "--shift", _shifts(args),
        "--work", args.work / "accuracy", "--json", *_given("--workers", args.workers),
        *_given("--count", args.count if count is None else count), *more], args.work)
    return found["shifts"]["rows"]


def _given(option: str, value) -> list:
    return [] if value is None else [option, value]


def _network(args) -> list:
    return _given("--weights", args.weights)


def _shifts(args) -> str:
    return ",".join(args.shifts)


def _cycles(args, bits: str, scales: str) -> int:
    """Return the cycles of an image, with static or predicted scales."""
    out = args.work / "estimate.json"
    words = ["sim.estimate", "--model", args.model, "--bits", bits, "--scales", scales, "--json",
             out]
    return _call(f"cycles_{bits}_{scales}"[:100], words, args.work, out)["totals"]["cycles"]


def _points(found: dict | None) -> tuple[float, float, float] | None:
    return found and (found["points"], found["low"], found["high"])


def _lines(rows: Sequence[dict], cycles: dict, *, alike: bool = True) -> Iterator[Line]:
    """Give lines of what :mod:`sim.accuracy` says; differences if images are `alike`."""
    for row in rows:
        method, bits = row["method"], row["bits"]
        shown = bits if bits in {*BITS, method} else MIX
        yield Line(METHODS.get(method, method), shown,
                   {cell["shift"] or CLEAN: cell["top1"] for cell in (row["clean"], *row["cells"])},
                   _points(row["clean"]["against"]) if alike else None,
                   _points(row["against"]) if alike else None,
                   cycles.get((bits, "predicted" if method == "predictor-all" else "static"))
                   if method in {"mse", "lsq-all", "predictor-all"} else None)


def compared(args) -> list[Line]:
    """Return the float model, each method in each precision, and the mixed network."""
    against = "--against", ":".join(AGAINST)
    rows = _accuracy(args, "compared", BITS, ("mse", "lsq-all", "predictor-all"), *against)
    rows += [row for row in _accuracy(args, "mixed", ("w8a8", args.mixed), ("lsq-all",), *against)
             if row["bits"] not in {"fp32", "w8a8"}]
    wanted = [(bits, scales) for bits in BITS for scales in ("static", "predicted")]
    cycles = {key: _cycles(args, *key) for key in (*wanted, (rows[-1]["bits"], "static"))}
    return list(_lines(rows, cycles))


def gained(args) -> list[dict]:
    """Return what each method does better than that which it is held against by itself."""
    return _accuracy(args, "gained", BITS, ("mse", "lsq-all", "predictor-all"))


def oracles(args) -> list[dict]:
    """Return rows of the best scales of each image, of the first images alone."""
    return _accuracy(args, "oracles", BITS, ORACLES, count=args.oracle_count)


def _cut(args) -> dict[str, Path]:
    """Put calibration images into two folders of links: to train with, and to choose with."""
    made = {name: folder(args.work / name) for name in ("fit", "held")}
    for number, path in enumerate(files(args.calibration)):
        cut = made["held" if number % FIFTH == FIFTH - 1 else "fit"]
        link = cut / f"{number:06}_{path.name}"  # names in folders of classes may be alike
        if not link.exists():
            link.symlink_to(path.absolute())
    return made


def _models(args, images: Path) -> dict[str, Path]:
    """Quantize the networks of the cascades; those with narrow weights are trained."""
    made = {}
    for bits, epochs in (("w4a4", 4 * args.epochs), ("w4a8", 2 * args.epochs), ("w8a8", 0)):
        words = [str(word) for word in (
            "sim.calibrate", "--model", args.model, *_network(args), "--images", images, "--bits",
            bits, "--epochs", epochs, "--seed", args.seed)]
        key = hashlib.sha256(json.dumps([*words, str(args.calibration)]).encode()).hexdigest()[:8]
        made[bits] = args.work / f"{bits}_{key}.safetensors"  # other options, another network
        if not made[bits].exists():
            run = subprocess.run([sys.executable, "-m", *words, "--out", str(made[bits])],
                                 stdout=subprocess.DEVNULL)
            if run.returncode:
                raise UserError(f"calibration of {bits} ended with status {run.returncode}")
    return made


def cascades(args) -> list[Line]:
    """Return cascades of W4A4 and a wider network, held against W8A8 calibrated with as many
    images.
    """
    cut = _cut(args)
    models, made = _models(args, cut["fit"]), []
    for second in ("w4a8", "w8a8"):
        found = _call(f"cascade_{second}", [
            "sim.cascade", models["w4a4"], models[second], "--against", models["w8a8"],
            "--calibration", cut["held"], "--loss", LOSS, "--images", args.images, "--labels",
            args.labels, *_given("--count", args.count), "--shift", _shifts(args), "--seed",
            args.seed, "--work", args.work / "cascade", "--json"], args.work)
        rows = {row["images"]: row for row in found["rows"]}
        mean = rows.pop("mean of shifts")
        made.append(Line(f"then {second.upper()}", "w4a4",
                         {shift: row["cascade"] for shift, row in rows.items()},
                         _points(rows[CLEAN]), _points(mean), mean["cycles"]))
    return made


def _with_interval(points: tuple[float, float, float] | None) -> str:
    return "" if points is None else f"{points[0]:+.2f} ({points[1]:+.2f} to {points[2]:+.2f})"


def summary(lines: Sequence[Line], whole: float) -> tuple[list[str], list[list[str]]]:
    """Return head and cells of a table with a row for each network; `whole` are W8A8's cycles."""
    head = ["network", CLEAN, MEAN, WORST, "points, clean", "points, mean", "cycles", "share"]
    return head, [[
        line.title, f"{line.top1[CLEAN]:.2f}", f"{line.mean:.2f}", f"{line.worst:.2f}",
        _with_interval(line.clean), _with_interval(line.shifted),
        "" if line.cycles is None else f"{line.cycles:,.0f}",
        "" if line.cycles is None else f"{line.cycles / whole:.3f}"] for line in lines]


def by_shift(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Return head and cells of a table with a row for each shift."""
    return ["images", *(line.title for line in lines)], [
        [shift, *(f"{line.top1[shift]:.1f}" for line in lines)] for shift in lines[0].top1]


def gains(rows: Sequence[dict]) -> tuple[list[str], list[list[str]]]:
    """Return what methods gain over the one that they are held against, a row for each shift."""
    some = [row for row in rows if row["against"] is not None]
    head = ["images", *(f"{row['bits'].upper()} {METHODS.get(row['method'], row['method'])} - "
                        f"{METHODS.get(row['baseline'], row['baseline'])}" for row in some)]
    each = [[_with_interval(_points(cell["against"]))
             for cell in (row["clean"], *row["cells"], row)] for row in some]
    names = [CLEAN, *(cell["shift"] for cell in rows[0]["cells"]), MEAN]
    return head, [[name, *cells] for name, *cells in zip(names, *each, strict=True)]


def markdown(head: list[str], cells: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--model", default="deit_t", metavar="NAME")
    add("--weights", type=Path, metavar="FILE")
    add("--calibration", type=Path, required=True, metavar="DIR")
    add("--images", type=Path, required=True, metavar="DIR")
    add("--labels", type=Path, required=True, metavar="FILE|DIR")
    add("--count", type=positive, metavar="N",
        help="use the first N of them; more can be added later (default: all)")
    add("--shifts", type=lambda text: list(map(str, shift_list(text))), default=list(SHIFTS),
        metavar="LIST",
        help="as sim.accuracy --shift takes them (default: eight families at three severities)")
    add("--mixed", type=lambda text: str(any_precision(text)), default=MIXED, metavar="BITS",
        help="widths of the mixed network (default: those chosen for DeiT-Tiny at 0.55 of the "
             "cycles of W8A8)")
    add("--epochs", type=up_to(None), default=3, metavar="N",
        help="of what is trained; four times as many for the first network of the cascades, twice "
             "as many for the second (%(default)s)")
    add("--oracle-count", type=positive, default=50, metavar="N",
        help="images to look for the best scales of (%(default)s)")
    add("--seed", type=up_to(2**31 - 1), default=1, metavar="N")
    add("--workers", type=positive, metavar="N", help="processes that classify")
    add("--work", type=Path, default=Path("build/shifts"), metavar="DIR")
    add("--markdown", type=Path, metavar="FILE", help="write all tables")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    if args.markdown is not None and not args.markdown.absolute().parent.is_dir():
        raise UserError(f"cannot write {args.markdown}: {args.markdown.parent} is not a folder")
    folder(args.work)
    lines = [*compared(args), *cascades(args)]
    whole = next(line.cycles for line in lines if (line.name, line.bits) == ("trained", "w8a8"))
    best = oracles(args)
    few = list(_lines(best, {}, alike=False))
    tables = {"Networks": summary(lines, whole), "Top-1 by shift": by_shift(lines),
              "Gains": gains(gained(args)),
              f"The first {args.oracle_count} images": by_shift(few), "Gains on these": gains(best)}
    if args.markdown is not None:
        with whole_file(args.markdown) as temporary:
            temporary.write_text("\n".join(f"{title}\n\n{markdown(*table)}"
                                           for title, table in tables.items()))
    console = Console(highlight=False)
    head, cells = tables["Networks"]
    show(console, table_of("Networks", head, cells, console.width, [[6], [4], [5], [3]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
