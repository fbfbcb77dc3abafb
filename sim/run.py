"""Classify images with a quantized model, beside the float one in PyTorch.

    python -m sim.run cat.png
    python -m sim.run cat.png dog.png --model deit_t_w4a4.safetensors \
        --weights deit_tiny_patch16_224.safetensors
    python -m sim.run cat.png --backend rtl --core 4x4 --check
    python -m sim.run cat.png --backend board --port /dev/ttyUSB0

MODEL is a file of sim.calibrate, or a model of the package: vit_cifar10, vit_cifar10:w4a4. The
backend `golden` is the network in integers; `machine` the golden machine that executes its program
for a core; `rtl` that core under Verilator, compared with the golden machine; `board` a board at
--port, or one that is simulated.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from golden.common.config import CORES
from rtl.cli import Parser

from .cli import TRACE, UserError, command, core, one_line, one_of, positive, printable, progress
from .common.tables import show
from .inference.backends import BACKENDS, CoreOptions
from .inference.classify import Answer, classify
from .inputs import float_model
from .inputs.model_lookup import open_model, preprocessing_of_model
from .inputs.quantized_model import QuantizedModel

PROG = "python -m sim.run"

_OF_BACKENDS = {"core": ("machine", "rtl"), "check": ("rtl", "board"), "trace": ("rtl",),
                "port": ("board",)}
"""Options that not all backends have."""


def _parser() -> Parser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file")
    parser.add_argument("--model", default="vit_cifar10", metavar="FILE|NAME",
                        help="quantized model: a file of sim.calibrate, or NAME or NAME:VARIANT "
                             "of the package (default: %(default)s)")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="float weights for PyTorch (default: those of the package, or that "
                             "timm downloads)")
    parser.add_argument("--top", type=positive, default=5, metavar="N",
                        help="show the N likeliest classes (default: %(default)s)")
    parser.add_argument("--backend", type=one_of(*BACKENDS), default="golden", metavar="NAME",
                        help=f"what runs the integers: {', '.join(BACKENDS)} (default: "
                             "%(default)s)")
    parser.add_argument("--core", type=core, metavar="NAME|FILE",
                        help=f"core that machine and rtl run: {', '.join(CORES)}, or a TOML file "
                             "(default: 8x16)")
    parser.add_argument("--port", metavar="NAME",
                        help="with board: serial port, or simulated[:CORE]")
    parser.add_argument("--check", action="store_true",
                        help="compare with the golden machine: with rtl after every instruction, "
                             "with board the logits")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="with rtl: write a trace (*.vcd, *.fst) of the cycles around what "
                             "goes wrong, if anything does; implies --check (default with it: "
                             f"{TRACE})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _core_options(args) -> CoreOptions:
    for name, backends in _OF_BACKENDS.items():
        if getattr(args, name) and args.backend not in backends:
            raise UserError(f"--{name} goes with --backend {' or '.join(backends)}")
    if args.backend == "board" and args.port is None:
        raise UserError("--backend board needs --port")
    trace = args.trace or (TRACE if args.check and args.backend == "rtl" else None)
    return CoreOptions(args.core or CORES["8x16"], args.check or trace is not None, trace,
                       args.port or "")


def _table(answer: Answer, heads: list[str], width: int) -> Table:
    """Classes and probabilities of an image, name columns cut to fit `width`."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
                  header_style="bold")
    columns = [answer.quantized, *([] if answer.torch is None else [answer.torch])]
    for head in heads[:len(columns)]:
        table.add_column(head, no_wrap=True, overflow="ellipsis",
                         max_width=max(4, width // len(columns) - 11))
        table.add_column("", justify="right", no_wrap=True, min_width=7)
    for row in zip(*columns, strict=True):
        table.add_row(*(cell for guess in row for cell in (
            Text(printable(guess.name)), f"{100 * guess.probability:.1f} %")))
    return table


def _print(answers: list[Answer], title: str, heads: list[str], notes: list[str]) -> None:
    console = Console(highlight=False)
    console.print(Text(printable(title), style="bold green"))
    for answer in answers:
        console.print()
        console.print(Text(printable(answer.file), style="cyan"), soft_wrap=True)
        show(console, _table(answer, heads, console.width))
    if notes:
        console.print()
    for note in notes:
        console.print(Text(printable(note)), soft_wrap=True)


def _beside(model: QuantizedModel, weights: Path | None):
    """Return the float model or None, and notes; weights that are named must do."""
    try:
        made, note = float_model.beside(model, weights)
    except UserError as error:
        if weights is not None:
            raise
        return None, [f"PyTorch is left out: {one_line(error)}"]
    return made, [] if note is None else [note]


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    args = _parser().parse_args(argv)
    options = _core_options(args)
    model = open_model(args.model)

    from .inputs import images

    pictures = [images.read(path, model.network.shape.colours)[1] for path in args.images]
    preprocessing = preprocessing_of_model(model)
    with Console(stderr=True).status("Getting the float model"):  # a download may take its time
        floating, notes = _beside(model, args.weights)
    answers = classify(model, np.stack([preprocessing.pixels(one) for one in pictures]),
                       [str(path) for path in args.images], floating, top=args.top,
                       backend=args.backend, options=options, progress=progress)
    precision = str(model.network.precision)
    if args.json:
        print(json.dumps({"model": model.name, "precision": precision, "backend": args.backend,
                          "notes": notes, "images": [asdict(one) for one in answers]}, indent=2))
    else:
        _print(answers, f"{model.name or args.model} in {precision}",
               [f"{args.backend} {precision}", "PyTorch float32"], notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
