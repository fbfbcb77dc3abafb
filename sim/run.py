"""Classify images with a quantized model, beside the float one in PyTorch.

    python -m sim.run cat.png
    python -m sim.run cat.png dog.png --model deit_t_w4a4.safetensors \
        --weights deit_tiny_patch16_224.safetensors
    python -m sim.run cat.png --backend rtl --core 4x4 --check

MODEL is a file of sim.calibrate, or a model of the package: vit_cifar10, vit_cifar10:w4a4. The
backend `golden` is the network in integers; `machine` the golden machine that executes its program
for a core; `rtl` that core under Verilator, compared with the golden machine.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from golden.common.config import CORES, AcceleratorConfig
from golden.network.network import Network
from rtl.cli import Parser

from . import zoo
from .cli import (
    TRACE,
    UserError,
    command,
    core,
    one_line,
    one_of,
    positive,
    printable,
    progress,
)
from .inputs.quantized_model import QuantizedModel, load
from .tables import show

PROG = "python -m sim.run"
IMAGENET = 1000
"""So many classes without names of their own are taken for those of ImageNet-1k."""


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """What the backends that run a program are told.

    Attributes
    ----------
    core
        Of a core.
    check
        Whether the RTL is compared with the golden machine after every instruction, and not only
        at the end.
    trace
        File for a trace of the cycles around whatever goes wrong; None: no trace.
    """

    core: AcceleratorConfig = CORES["8x16"]
    check: bool = False
    trace: Path | None = None


def _golden(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from golden.network.vit import Vit

    made = Vit(network)
    return lambda pixels: made.run(pixels).logits


def _program(network: Network, options: CoreOptions):
    from .compiler.compiler import DoesNotFit, compile_network

    try:
        return compile_network(network, options.core)
    except DoesNotFit as error:
        raise UserError(f"the model does not fit the core: {one_line(error)}") from None


def _machine(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from golden.core.machine import Machine

    program = _program(network, options)

    def run(pixels):
        machines = [Machine(program, image) for image in pixels]
        for machine in machines:
            machine.run()
        return np.stack([machine.logits for machine in machines])
    return run


def _rtl(network: Network, options: CoreOptions) -> Callable[[np.ndarray], np.ndarray]:
    from .simulate import compared

    program = _program(network, options)
    return lambda pixels: np.stack([
        compared(program, image, check=options.check, trace=options.trace) for image in pixels])


BACKENDS = {"golden": _golden, "machine": _machine, "rtl": _rtl}
"""What runs the integers: from a network and :class:`CoreOptions`, a function of uint8
(images, side, side, 3) that returns integer logits (images, classes).
"""


@dataclass(frozen=True, slots=True)
class Guess:
    """A class with its logit as a real number and its probability, 0..1."""

    index: int
    name: str
    logit: float
    probability: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The likeliest classes of an image; `torch` is None where there is no float model."""

    file: str
    quantized: list[Guess]
    torch: list[Guess] | None


def open_model(text: str) -> QuantizedModel:
    """Read the model of a file, or of a name like ``vit_cifar10:w4a4`` in the package.

    Raises
    ------
    UserError
        If there is neither, or the file is damaged.
    """
    path = Path(text)
    if path.suffix == ".safetensors" or path.parent != Path() or path.exists():
        return load(path)
    return zoo.quantized(text)


def class_names(count: int, given=None) -> list[str]:
    """Return names of `count` classes: those that are given, ImageNet's, or else numbers."""
    if isinstance(given, list | tuple) and len(given) == count:
        return [str(name) for name in given]
    if count == IMAGENET:
        from .inputs.torchvision_compat import timm

        return timm.data.ImageNetInfo().label_descriptions()
    return [f"class {index}" for index in range(count)]


def float_model(model: QuantizedModel, weights: Path | None = None):
    """Return the :class:`sim.calibrate.FloatModel` beside a quantized one, and a note or None.

    Its weights are those of a file, of the package, or what timm downloads.

    Raises
    ------
    UserError
        If they are not to be had.
    """
    from .calibrate import FloatModel, weights_digest
    from .inputs import models

    name = model.name or (weights and weights.stem)
    if name is None:
        raise UserError("the quantized model does not name its float model")
    if weights is None and not models.is_known(name):
        raise UserError(f"{name!r} is neither a model of timm's nor of the package; name its "
                        "weights with --weights")
    made = FloatModel.create(name, weights)
    source = made.source()
    if source.shape != model.network.shape:
        raise UserError(f"{name} is of another shape than the quantized model")
    known = model.metadata.get("weights")
    other = known is not None and known != weights_digest(source)
    return made, "PyTorch runs other weights than the model was quantized from" if other else None


def guesses(logits: np.ndarray, names: list[str], top: int) -> list[Guess]:
    """Return the `top` likeliest classes, the likeliest first."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-logits, kind="stable")[:top]
    return [Guess(int(index), names[index], float(logits[index]), float(shares[index]))
            for index in order]


def classify(model: QuantizedModel, pixels: np.ndarray, files: list[str], floating=None, *,
             top: int = 5, backend: str = "golden", options: CoreOptions | None = None,
             progress: Callable = lambda steps, what: steps) -> list[Answer]:
    """Classify images.

    Parameters
    ----------
    model
        The quantized model.
    pixels : uint8 array, shape (images, side, side, 3)
        As the preprocessing of `model` makes them.
    files
        Name of each image.
    floating
        A :class:`sim.calibrate.FloatModel` to run beside it.
    top
        Classes to return.
    backend, options
        One of :data:`BACKENDS`, and what it is told.
    """
    run = BACKENDS[backend](model.network, options or CoreOptions())
    names = class_names(model.network.shape.classes, model.classes)
    unit, answers = 2.0**model.network.logit_point, []
    for file, image in progress(list(zip(files, pixels, strict=True)), "Classifying"):
        found = guesses(run(image[None])[0] / unit, names, top)
        beside = None
        if floating is not None:
            logits = floating.model(floating.preprocessing.tensor(image))[0]
            beside = guesses(logits.double().numpy(), names, top)
        answers.append(Answer(file, found, beside))
    return answers


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
    parser.add_argument("--check", action="store_true",
                        help="with rtl: compare with the golden machine after every instruction")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="with rtl: write a trace (*.vcd, *.fst) of the cycles around what "
                             "goes wrong, if anything does; implies --check (default with it: "
                             f"{TRACE})")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


def _core_options(args) -> CoreOptions:
    if args.core is not None and args.backend == "golden":
        raise UserError("--core goes with --backend machine or rtl")
    for name in ("check", "trace"):
        if getattr(args, name) and args.backend != "rtl":
            raise UserError(f"--{name} goes with --backend rtl")
    trace = args.trace or (TRACE if args.check else None)
    return CoreOptions(args.core or CORES["8x16"], trace is not None, trace)


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
        made, note = float_model(model, weights)
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

    pictures = [images.read(path)[1] for path in args.images]
    preprocessing = model.preprocessing()
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
