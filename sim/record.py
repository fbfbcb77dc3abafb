"""Record the activations of a ViT, quantized as the golden model wants them.

    python -m sim.record --model deit_t --weights deit_tiny_patch16_224.safetensors \
        --out deit_t.safetensors.xz
    python -m sim.record --rebuild deit_t.safetensors.xz --weights deit_tiny_patch16_224.safetensors
"""

import argparse
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from rtl.cli import Parser

from .cli import UserError, command, one_line, positive, printable, progress
from .inputs import images
from .inputs.decoding import MODES
from .recordings import recording_file
from .recordings.recording_file import Choices, Recording
from .recordings.sites import SITES

PROG = "python -m sim.record"
LIBRARIES = ("numpy", "pillow", "safetensors", "scikit-image", "timm", "torch", "torchvision")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a recording depends on, build tags taken off."""
    return {name: importlib.metadata.version(name).partition("+")[0] for name in LIBRARIES}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the weights: {path}: {error.strerror}") from None


def _pictures(folder: Path | None, count: int | None) -> list:
    return images.packaged()[:count] if folder is None else images.folder(folder, count, max(MODES))


def make(name: str, weights: Path | None, pictures: list, choices: Choices, command_line: str,
         progress: Callable = lambda steps, what: steps) -> Recording:
    """Record a model, with metadata that say where everything comes from.

    Parameters
    ----------
    name, weights
        As for :func:`sim.inputs.models.create`; without a file, the weights are downloaded.
    pictures, choices, progress
        As for :func:`sim.recordings.quantized_activations.record`.
    command_line
        The command to name in the metadata.
    """
    from .inputs import models  # seconds of imports, which --help and bad options do not need
    from .recordings import quantized_activations

    origin = {
        "command": command_line,
        "libraries": versions(),
        "model": name,
        "timm": models.timm_name(name),
        "weights": {"file": weights and weights.name, "sha256": weights and _digest(weights)},
    }
    model = models.create(name, weights, pretrained=weights is None)
    made = quantized_activations.record(model, models.preprocessing(model), pictures, choices,
                                        progress)
    return Recording(made.tensors, made.metadata | origin)


def _command_line(args: argparse.Namespace, choices: Choices) -> str:
    """Return the command that makes the file, without the folders of one machine."""
    words = [PROG, "--model", args.model]
    for name in "weights", "images":
        path = getattr(args, name)
        if path is not None:
            words += [f"--{name}", path.name]
    if args.count is not None:
        words += ["--count", str(args.count)]
    return " ".join(filter(None, [*words, choices.options(), "--out", args.out.name]))


_ORIGIN = {"weights": dict, "images": list, "model": str, "choices": dict, "command": str,
           "libraries": dict}


def _check_origin(path: Path, about: dict) -> None:
    """Raise :exc:`UserError` unless metadata say where a recording comes from."""
    for name, kind in _ORIGIN.items():
        if not isinstance(about.get(name), kind):
            raise UserError(f"{path} does not say what it was recorded from: {name} is missing, or "
                            "of another type")
    if not ({"file", "sha256"} <= about["weights"].keys()
            and all(isinstance(image, dict) and isinstance(image.get("file"), str)
                    for image in about["images"])
            and about["choices"].keys() <= {field.name for field in fields(Choices)}):
        raise UserError(f"{path} does not say what it was recorded from: weights, images or "
                        "choices are of another form")
    try:
        Choices.from_metadata(about["choices"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} does not say what was recorded: {one_line(error)}") from None


def _rebuild(args: argparse.Namespace) -> int:
    """Record again what a file holds, and say whether it comes out the same."""
    old = recording_file.read(args.rebuild)
    about = old.metadata
    _check_origin(args.rebuild, about)
    wanted = about["weights"]
    if args.weights is None and wanted["file"] is not None:
        raise UserError(f"name {wanted['file']} with --weights")
    if args.weights is not None and _digest(args.weights) != wanted["sha256"]:
        raise UserError(f"{args.weights} is not the file that {args.rebuild} was recorded from: "
                        f"{wanted['file']}, sha256 {wanted['sha256']}")
    pictures = _pictures(args.images, len(about["images"]))
    if [source.describe() for source, _ in pictures] != about["images"]:
        names = ", ".join(image["file"] for image in about["images"])
        raise UserError(f"the images are not those that {args.rebuild} was recorded from: {names}")
    new = make(about["model"], args.weights, pictures, Choices.from_metadata(about["choices"]),
               about["command"], progress)
    if args.out is not None:
        recording_file.write(new, args.out)
    return _report(args.rebuild, old, new)


def _report(path: Path, old: Recording, new: Recording) -> int:
    then, now = old.metadata["libraries"], new.metadata["libraries"]
    other = [f"{name} {then.get(name)}, here {now[name]}" for name in now
             if now[name] != then.get(name)]
    if other:
        print(printable(f"{path} was recorded with {'; '.join(other)}"))
    lines = recording_file.differences(old, new)
    if lines:
        print(*map(printable, (f"{path} does not come out the same:", *lines)), sep="\n  ")
        return 1
    if other:
        print("all numbers come out the same; only the versions in the metadata differ")
    elif recording_file.compress(new.content()) == path.read_bytes():
        print(printable(f"{path} comes out the same, bit for bit"))
    else:
        print(printable(f"{path} comes out the same, but this liblzma compresses it differently"))
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, not {text!r}")
    return tuple(sorted({int(part) for part in parts}))


def _widths(text: str) -> tuple[int, ...]:
    widths = _numbers(text)
    if not set(widths) <= {4, 8}:
        raise argparse.ArgumentTypeError(f"must be 4, 8 or 8,4, not {text!r}")
    return widths[::-1]


def _site_names(text: str) -> tuple[str, ...]:
    names = text.split(",")
    for name in names:
        if name not in SITES:
            raise argparse.ArgumentTypeError(f"must be among {', '.join(SITES)}, not {name!r}")
    return tuple(name for name in SITES if name in names)


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="NAME",
                      help="short name such as deit_t, or any timm name of a plain ViT or Swin")
    what.add_argument("--rebuild", type=Path, metavar="FILE",
                      help="record again what FILE holds, and compare")
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="safetensors file or PyTorch checkpoint with timm's key names "
                             "(default: download them with timm)")
    parser.add_argument("--images", type=Path, metavar="DIR",
                        help="folder of images (default: photographs that scikit-image ships)")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="file to write, *.safetensors.xz; may be left out with --rebuild")
    _add_choices(parser)
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """Add the options that are None unless given, so that --rebuild can refuse them."""
    default = Choices()
    group = parser.add_argument_group("what to record (not with --rebuild)")
    group.add_argument("--count", type=positive, metavar="N",
                       help="use the first N images (default: all)")
    group.add_argument("--blocks", type=_numbers, metavar="N,N,...",
                       help="blocks whose sites are recorded (default: first, middle, last)")
    group.add_argument("--sites", type=_site_names, metavar="NAME,...",
                       help=f"sites to record, among {','.join(SITES)} (default: all)")
    group.add_argument("--bits", type=_widths, metavar="BITS",
                       help="widths of the operands: 8, 4 or 8,4 (default: 8,4)")
    group.add_argument("--site-images", type=_count, metavar="N",
                       help="store sites for the first N images; scales come from all "
                            f"(default: {default.site_images})")
    group.add_argument("--pixel-images", type=_count, metavar="N",
                       help=f"store pixels for the first N images (default: "
                            f"{default.pixel_images})")
    group.add_argument("--chunk-tokens", type=positive, metavar="N",
                       help=f"tokens per chunk of the range unit (default: "
                            f"{default.chunk_tokens})")


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = _parser()
    args = parser.parse_args(argv)
    given = {field.name: getattr(args, field.name) for field in fields(Choices)
             if getattr(args, field.name) is not None}
    if args.out is not None and not args.out.parent.is_dir():
        raise UserError(f"cannot write {args.out}: {args.out.parent} is not a folder")
    if args.rebuild is not None:
        for name in [*given, *(["count"] if args.count is not None else [])]:
            parser.error(f"--{name.replace('_', '-')} is not for --rebuild, which takes it from "
                         "its file")
        return _rebuild(args)
    if args.out is None:
        parser.error("--model needs --out FILE")
    try:
        choices = Choices(**given)
    except ValueError as error:
        raise UserError(one_line(error)) from None
    pictures = _pictures(args.images, args.count)
    made = make(args.model, args.weights, pictures, choices, _command_line(args, choices), progress)
    recording_file.write(made, args.out)
    print(printable(f"{args.out}: {len(made.tensors)} tensors of {len(pictures)} images, "
                    f"{args.out.stat().st_size:,} bytes"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
