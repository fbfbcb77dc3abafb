"""Record the activations of a ViT, quantized as the golden model wants them.

    python -m sim.record --model deit_t --weights deit_tiny_patch16_224.safetensors \
        --out deit_t.safetensors.xz
    python -m sim.record --rebuild deit_t.safetensors.xz --weights deit_tiny_patch16_224.safetensors

The model runs in float64 in one thread, so that the recorded integers do not depend on the kernels
of a machine. Scales are the MSE-optimal ones over the recorded images.
"""

import argparse
import hashlib
import importlib.metadata
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from golden.formats import ACT16, LAMBDA
from golden.range_unit import log_ranges

from . import images, quantize, recording
from .cli import UserError, command, positive
from .recording import Recording
from .sites import CODEBOOK, CODED, SITES

PROG = "python -m sim.record"
TAP = 0  # block after which the residual stream is tapped
LIBRARIES = ("numpy", "pillow", "safetensors", "scikit-image", "timm", "torch", "torchvision")


@dataclass(frozen=True, slots=True)
class Choices:
    """What to record, besides the residual stream and its ranges for every image.

    Attributes
    ----------
    blocks
        Blocks whose sites are recorded; none means the first, the middle and the last one.
    sites
        Names of the sites.
    bits
        Widths of the operands, 4 and 8.
    site_images
        For how many images, from the first on, sites are stored.
    pixel_images
        For how many images the pixels are stored.
    chunk_tokens
        Tokens per chunk of the range unit.
    """

    blocks: tuple[int, ...] = ()
    sites: tuple[str, ...] = tuple(SITES)
    bits: tuple[int, ...] = (8, 4)
    site_images: int = 1
    pixel_images: int = 1
    chunk_tokens: int = 16

    def options(self) -> str:
        """Return the command-line options that differ from the defaults, for the metadata."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                words += [f"--{field.name.replace('_', '-')}", text]
        return " ".join(words)


def _binary_point(residuals: list[np.ndarray]) -> int:
    """Return the fractional bits at which the largest value fills half of the 16-bit range."""
    extreme = max(float(np.abs(x).max()) for x in residuals)
    if not math.isfinite(extreme) or extreme == 0:
        raise UserError("the residual stream is zero or not finite")
    frac = math.floor(math.log2(ACT16.max / 2 / extreme))
    limit = -LAMBDA.min // LAMBDA.one
    return min(max(frac, -limit), limit)


def _record_residuals(residuals: list[np.ndarray], frac: int, chunk_tokens: int,
                      ) -> dict[str, np.ndarray]:
    tensors = {}
    for number, x in enumerate(residuals):
        residual = quantize.quantize(x, -frac * LAMBDA.one, ACT16)
        tensors[f"residual/{number}"] = residual
        for name, groups in ("tensor", 1), ("channels", residual.shape[1]):
            tensors[f"range/{name}/{number}"] = log_ranges(
                residual, chunk_tokens, groups).astype(np.int16)
    return tensors


def _record_site(block: int, name: str, values: list[np.ndarray], choices: Choices,
                 ) -> tuple[list[dict], dict[str, np.ndarray]]:
    """Quantize one site of one block; `values` holds one array per image."""
    site = SITES[name]
    everything = np.concatenate([value.ravel() for value in values])
    if not np.isfinite(everything).all():
        raise UserError(f"{name} of block {block} is not finite")
    entries, tensors = [], {}
    stored = list(enumerate(values[:choices.site_images]))
    for bits in choices.bits:
        fmt = site.format(bits)
        lam = quantize.mse_lambda(everything, fmt)
        entries.append({"block": block, "site": name, "bits": bits, "lam": lam,
                        "signed": fmt.signed, "min": fmt.min, "max": fmt.max})
        for number, value in stored:
            tensors[f"site/{block}/{name}/{bits}/{number}"] = quantize.quantize(value, lam, fmt)
    if site is CODED:
        lam = quantize.mse_lambda_codebook(everything, CODEBOOK)
        entries.append({"block": block, "site": name, "lam": lam, "codebook": list(CODEBOOK)})
        for number, value in stored:
            tensors[f"codes/{block}/{name}/{number}"] = quantize.encode(value, lam, CODEBOOK)
    return entries, tensors


def record(model, preprocess, pictures: list, choices: Choices,
           progress: Callable = lambda steps, what: steps) -> Recording:
    """Record `model` on `pictures`, pairs of a :class:`~sim.images.Source` and an image.

    The model is taken to float64. `progress` wraps a sequence of steps, to show how far they are.
    The metadata is that of the activations only: see :func:`main` for where they come from.
    """
    import torch

    from . import observe

    depth = len(observe.blocks(model))
    numbers = choices.blocks or tuple(sorted({0, (depth - 1) // 2, depth - 1}))
    if max(numbers) >= depth:
        raise UserError(f"blocks must be below {depth}, not {max(numbers)}")
    model = model.double()
    tensors, observed, residuals = {}, [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number, (_, picture) in enumerate(progress(pictures, "Running the model")):
            pixels = preprocess.pixels(picture)
            if number < choices.pixel_images:
                tensors[f"pixels/{number}"] = pixels
            seen, residual = observe.observe(
                model, preprocess.tensor(pixels, torch.float64), numbers, TAP)
            observed.append(seen)
            residuals.append(residual)
    finally:
        torch.set_num_threads(threads)
    frac = _binary_point(residuals)
    tensors |= _record_residuals(residuals, frac, choices.chunk_tokens)
    entries = []
    places = [(block, name) for block in numbers for name in choices.sites]
    for block, name in progress(places, "Finding the scales"):
        found, arrays = _record_site(block, name, [seen[block][name] for seen in observed], choices)
        entries += found
        tensors |= arrays
    return Recording(tensors, {
        "blocks": list(numbers),
        "choices": {name: list(value) if isinstance(value, tuple) else value
                    for name, value in asdict(choices).items()},
        "images": [source.describe() for source, _ in pictures],
        "sites": entries,
        "tap": {"block": TAP, "frac": frac, "chunk_tokens": choices.chunk_tokens},
    })


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a recording depends on, build tags taken off."""
    return {name: importlib.metadata.version(name).partition("+")[0] for name in LIBRARIES}


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read the weights: {path}: {error.strerror}") from None


def _weights_metadata(path: Path | None) -> dict[str, str | None]:
    if path is None:
        return {"file": None, "sha256": None}
    return {"file": path.name, "sha256": _file_digest(path)}


def _make(name: str, weights: Path | None, pictures: list, choices: Choices, command_line: str,
          progress: Callable) -> Recording:
    from . import models

    origin = {"command": command_line, "model": name, "timm": models.timm_name(name),
              "weights": _weights_metadata(weights), "libraries": versions()}
    model = models.create(name, weights, pretrained=weights is None)
    made = record(model, models.preprocessing(model), pictures, choices, progress)
    return Recording(made.tensors, made.metadata | origin)


def _command_line(args: argparse.Namespace, choices: Choices) -> str:
    """Return the command that makes the file, without the folders of one machine."""
    words = [PROG, "--model", args.model]
    for name in "weights", "images":
        if getattr(args, name) is not None:
            words += [f"--{name}", getattr(args, name).name]
    if args.count is not None:
        words += ["--count", str(args.count)]
    return " ".join(filter(None, [*words, choices.options(), "--out", args.out.name]))


def _differences(old: Recording, new: Recording) -> list[str]:
    """Describe, a line each, where two recordings differ."""
    lines = [f"{key} of the metadata differ"
             for key in sorted({*old.metadata, *new.metadata} - {"libraries"})
             if old.metadata.get(key) != new.metadata.get(key)]
    for name in sorted({*old.tensors, *new.tensors}):
        a, b = old.tensors.get(name), new.tensors.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            lines.append(f"{name}: only one has it, or its shape differs")
        elif not np.array_equal(a, b):
            lines.append(f"{name}: {np.count_nonzero(a != b)} of {a.size} elements differ")
    return lines


def _rebuild(args: argparse.Namespace, progress: Callable) -> int:
    """Record again what a file holds and say whether it comes out the same."""
    old = recording.read(args.rebuild)
    about = old.metadata
    if args.weights is not None and _file_digest(args.weights) != about["weights"]["sha256"]:
        raise UserError(f"{args.weights} is not the file of weights that {args.rebuild} names "
                        f"({about['weights']['file']}, sha256 {about['weights']['sha256']})")
    if args.weights is None and about["weights"]["file"] is not None:
        raise UserError(f"name {about['weights']['file']} with --weights")
    pictures = _pictures(args.images, len(about["images"]))
    if [source.describe() for source, _ in pictures] != about["images"]:
        raise UserError(f"the images are not those that {args.rebuild} names")
    choices = Choices(**{key: tuple(value) if isinstance(value, list) else value
                         for key, value in about["choices"].items()})
    new = _make(about["model"], args.weights, pictures, choices, about["command"], progress)
    if args.out is not None:
        recording.write(new, args.out)
    return _compare(args.rebuild, old, new)


def _compare(path: Path, old: Recording, new: Recording) -> int:
    now, then = new.metadata["libraries"], old.metadata["libraries"]
    other = [f"{name} {then.get(name)}, here {now[name]}" for name in now
             if now[name] != then.get(name)]
    if other:
        print(f"{path} was recorded with {'; '.join(other)}")
    lines = _differences(old, new)
    if lines:
        print(f"{path} does not come out the same:", *lines, sep="\n  ")
        return 1
    if other:
        print("all recorded numbers are the same; only the versions in the metadata differ")
    elif recording.compress(new.content()) == path.read_bytes():
        print(f"{path} comes out the same, bit for bit")
    else:
        print(f"{path} comes out the same, but this liblzma compresses it differently")
    return 0


def _pictures(folder: Path | None, count: int | None) -> list:
    if folder is None:
        return images.packaged()[:count]
    return images.folder(folder, count)


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
            raise argparse.ArgumentTypeError(
                f"must be names among {', '.join(SITES)}, not {name!r}")
    return tuple(name for name in SITES if name in names)


def _count(text: str) -> int:
    return 0 if text == "0" else positive(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROG, description=__doc__.partition("\n")[0])
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
    parser.add_argument("--count", type=positive, metavar="N",
                        help="use the first N images (default: all)")
    parser.add_argument("--out", type=Path, metavar="FILE",
                        help="file to write, *.safetensors.xz; may be left out with --rebuild")
    _add_choices(parser)
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    default = Choices()
    group = parser.add_argument_group("what to record (--rebuild takes it from its file)")
    group.add_argument("--blocks", type=_numbers, default=default.blocks, metavar="N,N,...",
                       help="blocks whose sites are recorded (default: first, middle, last)")
    group.add_argument("--sites", type=_site_names, default=default.sites, metavar="NAME,...",
                       help=f"sites to record, among {','.join(SITES)} (default: all)")
    group.add_argument("--bits", type=_widths, default=default.bits, metavar="BITS",
                       help="widths of the operands: 8, 4 or 8,4 (default: 8,4)")
    group.add_argument("--site-images", type=_count, default=default.site_images, metavar="N",
                       help="store sites for the first N images (default: %(default)s); scales "
                            "come from all images")
    group.add_argument("--pixel-images", type=_count, default=default.pixel_images, metavar="N",
                       help="store pixels for the first N images (default: %(default)s)")
    group.add_argument("--chunk-tokens", type=positive, default=default.chunk_tokens, metavar="N",
                       help="tokens per chunk of the range unit (default: %(default)s)")


def _progress() -> Callable:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return lambda steps, what: track(steps, what, console=console, transient=True)


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.rebuild is not None:
        return _rebuild(args, _progress())
    if args.out is None:
        parser.error("--model needs --out FILE")
    choices = Choices(**{field.name: getattr(args, field.name) for field in fields(Choices)})
    pictures = _pictures(args.images, args.count)
    made = _make(args.model, args.weights, pictures, choices, _command_line(args, choices),
                 _progress())
    recording.write(made, args.out)
    print(f"{args.out}: {len(made.tensors)} tensors of {len(pictures)} images, "
          f"{args.out.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
