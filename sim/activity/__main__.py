"""Measures how active the units of a core are on images: toggles in its RTL, by instruction.

    python -m sim.activity --model vit_cifar10:w4a4 --images cifar10/test --count 2
    python -m sim.activity --model vit_cifar10:w8a8 --model vit_cifar10:w4a4 --out activity.json

Of instructions that are alike a few are looked at, each on its own, as switching activity in SAIF
that Verilator writes. The same instructions on uniformly random operands are what they are compared
with, because published energies of arithmetic are for these: the ratio is the factor of a constant
of the table of energies (docs/energy.md). Without ``--images``, three photographs of scikit-image
are taken.
"""

import contextlib
import importlib.metadata
import json
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from golden.common.config import CORES
from golden.core.program import Program
from golden.cycles.memory_model import USUAL
from golden.cycles.timing import cycles
from rtl.cli import Parser

from ..cli import UserError, command, core, one_line, positive, printable, up_to, whole_file
from ..common.tables import show, table_of
from ..compiler import DoesNotFit, compile_network
from ..harness.core_build import build
from ..inputs import images
from ..inputs.model_lookup import open_model, preprocessing_of_model
from .measure import Run, chosen, factors, kinds, measure, measure_random
from .units import UNITS

PROG = "python -m sim.activity"
MODEL = "vit_cifar10:w4a4"


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("--model", action="append", metavar="FILE|NAME",
                        help=f"quantized model, or several (default: {MODEL})")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    parser.add_argument("--count", type=positive, default=1, metavar="N",
                        help="images (default: %(default)s)")
    parser.add_argument("--core", type=core, default=CORES["4x4"], metavar="NAME|FILE",
                        help=f"one of {', '.join(CORES)}, or a TOML file (default: 4x4)")
    parser.add_argument("--samples", type=positive, default=1, metavar="N",
                        help="instructions looked at of those that are alike "
                        "(default: %(default)s)")
    parser.add_argument("--longest", type=positive, metavar="CYCLES",
                        help="look at no instruction that takes longer")
    parser.add_argument("--seed", type=up_to(None), default=0, metavar="N",
                        help="of random operands (default: %(default)s)")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, metavar="N",
                        help="simulations at a time (default: one per processor)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write JSON to a file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _pictures(args, model) -> tuple[list[images.Source], np.ndarray]:
    preprocessing = preprocessing_of_model(model)
    if args.images is not None:
        return images.pixels(args.images, preprocessing, args.count)
    found = images.packaged()[:args.count]
    return ([source for source, _ in found],
            np.stack([preprocessing.pixels(image) for _, image in found]))


@dataclass(frozen=True, eq=False)
class _Job:
    """A program that is run on images, and what it consists of on random operands."""

    name: str
    sources: list[images.Source]
    pixels: np.ndarray
    program: Program
    weights: dict[int, float]
    instructions: int

    @classmethod
    def of(cls, args, name: str) -> "_Job":
        """Return that of a model, compiled."""
        model = open_model(name)
        sources, pixels = _pictures(args, model)
        try:
            program = compile_network(model.network, args.core)
        except DoesNotFit as error:
            raise UserError(f"{name} does not fit the core: {one_line(error)}") from None
        ops = [op for _, op in program.instructions()]
        weights = chosen(ops, args.samples, cycles(program, USUAL), args.longest)
        return cls(name, sources, pixels, program, weights, len(ops))

    def begin(self, pool: ThreadPoolExecutor, seed: int) -> tuple[list[Future], Future]:
        """Begin the runs: on images, and on random operands."""
        return ([pool.submit(measure, self.program, one, self.weights) for one in self.pixels],
                pool.submit(measure_random, self.program, self.weights, seed))

    def describe(self, runs: list[Run], reference: Run) -> dict:
        """Return what is kept of it, JSON values."""
        return {
            "model": self.name, "images": [asdict(source) for source in self.sources],
            "cycles": [run.cycles for run in runs], "instructions": self.instructions,
            "samples": len(self.weights), "units": kinds(runs), "random": kinds([reference]),
            "constants": factors([(runs, reference)]),
        }


def document(args) -> dict:
    """Return everything that was measured, JSON values."""
    jobs = [_Job.of(args, name) for name in args.model or [MODEL]]
    build(args.core, trace="saif")  # once, before all that need it
    with ThreadPoolExecutor(args.jobs) as pool:
        begun = [job.begin(pool, args.seed) for job in jobs]
        found = [([run.result() for run in runs], reference.result())
                 for runs, reference in begun]
    return {
        "format": "vernier-activity",
        "core": [args.core.rows, args.core.cols],
        "verilator": importlib.metadata.version("verilator"),
        "seed": args.seed, "samples_of_alike": args.samples,
        "longest": args.longest,
        "bits": found[0][1].bits,
        "constants": factors(found),
        "runs": [job.describe(*one) for job, one in zip(jobs, found, strict=True)],
    }


def _print(made: dict) -> None:
    console = Console(highlight=False)
    rows, cols = made["core"]
    for run in made["runs"]:
        console.print(Text(printable(
            f"{run['model']} on a {rows}x{cols} core, {len(run['images'])} image"
            f"{'s' * (len(run['images']) > 1)}: {run['samples']} of {run['instructions']} "
            "instructions looked at")), soft_wrap=True)
        console.print()
        by_kind: dict[str, dict] = {}
        for row in run["units"]:
            by_kind.setdefault(row["kind"], {})[row["unit"]] = row
        names = list(by_kind)
        lines = [[unit, f"{made['bits'][unit]:,}",
                  *(f"{100 * by_kind[kind][unit]['activity']:.1f}" for kind in names)]
                 for unit in UNITS]
        show(console, table_of("Toggles per bit in 100 cycles", ["unit", "bits", *names], lines,
                               console.width, [[1]]))
        console.print()
    lines = [[name, f"{one['real_toggles']:,}", f"{one['random_toggles']:,}",
              f"{one['factor']:.3f}"] for name, one in made["constants"].items()]
    show(console, table_of("Beside random operands", ["constant", "toggles", "random", "factor"],
                           lines, console.width, [[1], [2]]))


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    with contextlib.ExitStack() as opened:  # first, as what is measured takes long
        path = None if args.out is None else opened.enter_context(whole_file(args.out))
        made = document(args)
        text = json.dumps(made, indent=1) + "\n"
        if path is not None:
            path.write_text(text)
    if args.json:
        print(text, end="")
    else:
        _print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
