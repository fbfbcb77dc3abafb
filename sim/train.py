"""Train the small Vision Transformer that the package ships, on CIFAR-10, on a CPU.

    python -m sim.train --data cifar10.zip --out vit_cifar10.safetensors

Writes the weights, beside them the training log as ``vit_cifar10.csv``, and after every epoch
``vit_cifar10.checkpoint``, from which an interrupted run goes on.
"""

import csv
import io
import json
import sys
import time
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from rtl.cli import Parser

from .cli import UserError, command, one_line, positive, progress, whole_file
from .inputs import torch_files
from .inputs.decoding import decode
from .zoo import initial_weights, training, training_images

PROG = "python -m sim.train"
SPLITS = ("train", "test")
SAMPLE = 5
"""Between the epochs, the accuracy is measured on every so-manieth test image."""
LOG_FIELDS = ("epoch", "tokens", "loss", "test_accuracy", "test_images", "seconds")


@dataclass(frozen=True)
class Split:
    """Images ``uint8[n, size, size, 3]`` and their classes ``int64[n]``."""

    pixels: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Data:
    """A data set: its two splits, and the names of its classes in the order of the labels."""

    train: Split
    test: Split
    classes: tuple[str, ...]


def read_data(path: Path | str) -> Data:
    """Read a zip file of images named ``train/<class>/<image>`` and ``test/<class>/<image>``.

    Raises
    ------
    UserError
        If the file cannot be read, a split is missing, or the images are not square and equal.
    """
    found = {split: [] for split in SPLITS}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                parts = name.split("/")
                if len(parts) == 3 and parts[0] in found and parts[2]:
                    image = decode(archive.read(name))
                    found[parts[0]].append((parts[1], np.asarray(image)))
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise UserError(f"cannot read the images: {path}: {reason}") from None
    for split, items in found.items():
        if not items:
            raise UserError(f"cannot read the images: {path} has no {split}/<class>/<image>")
    shapes = {pixels.shape for items in found.values() for _, pixels in items}
    if len(shapes) != 1 or next(iter(shapes))[0] != next(iter(shapes))[1]:
        raise UserError(f"cannot read the images: {path} has images that are not square, "
                        "or not of one size")
    classes = sorted({label for items in found.values() for label, _ in items})
    splits = [Split(np.stack([pixels for _, pixels in found[split]]),
                    np.array([classes.index(label) for label, _ in found[split]]))
              for split in SPLITS]
    return Data(*splits, tuple(classes))


@dataclass(frozen=True)
class Recipe:
    """What is chosen about a training run.

    Attributes
    ----------
    epochs, full_epochs
        Passes over the training images, and how many of them, the last ones, see all patches.
    keep
        Share of the patches, drawn anew for each image, that the other epochs see.
    batch
        Images per step.
    matrix_rate, rate
        Highest learning rate of the blocks' matrices (Muon), and of everything else (AdamW).
    matrix_decay
        Weight decay of the blocks' matrices.
    smoothing
        Label smoothing.
    padding
        Pixels by which a crop may move the image; the edge is mirrored.
    seed
        Seed of the initial weights and of the order and augmentation of the images.
    """

    epochs: int = 44
    full_epochs: int = 10
    keep: float = 0.5
    batch: int = 256
    matrix_rate: float = 0.02
    rate: float = 2e-3
    matrix_decay: float = 0.1
    smoothing: float = 0.1
    padding: int = 4
    seed: int = 1


ARCHITECTURE = {"img_size": 32, "patch_size": 4, "num_classes": 10, "embed_dim": 128, "depth": 6,
                "num_heads": 4, "mlp_ratio": 4.0}
"""Arguments of timm's VisionTransformer; everything else is timm's default."""


class Run:
    """A training run and the files it writes.

    Attributes
    ----------
    log
        One row for each epoch done: a value for each of :data:`LOG_FIELDS`.
    """

    def __init__(self, data: Data, recipe: Recipe, out: Path, *, compiled: bool = True):
        self._data, self._recipe, self._out = data, recipe, Path(out)
        pixels = data.train.pixels
        self._mean, self._std = (
            torch.tensor(np.round(value / 255, 4), dtype=torch.float32)
            for value in (pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))))
        sample = training_images.normalise(torch.from_numpy(pixels[::25]), self._mean, self._std)
        model = initial_weights.build(ARCHITECTURE, sample, recipe.seed)
        self._trainer = training.Trainer(model, recipe, self._mean, self._std, compiled=compiled)
        self.log: list[dict] = []

    @property
    def checkpoint(self) -> Path:
        """The file from which an interrupted run goes on."""
        return self._out.with_suffix(".checkpoint")

    def resume(self) -> int:
        """Continue from the checkpoint, if there is one; return the epochs done.

        Raises
        ------
        UserError
            If the checkpoint is damaged or of another recipe.
        """
        if not self.checkpoint.exists():
            return 0
        try:
            stored = torch_files.read(self.checkpoint, own=True)
            recipe, trainer, log = (stored[name] for name in ("recipe", "trainer", "log"))
        except OSError as error:
            raise UserError(f"cannot read {self.checkpoint}: {one_line(error)}") from None
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self.checkpoint} is damaged; remove it to start anew") from None
        if recipe != asdict(self._recipe):
            raise UserError(f"{self.checkpoint} is of a run with other options; "
                            "give the same ones, or remove it")
        self._trainer.load(trainer)
        self.log = log
        return len(self.log)

    def epoch(self, progress) -> dict:
        """Train one more epoch, measure, write the checkpoint; return the row of the log."""
        started, number, padded = time.monotonic(), len(self.log), self._recipe.padding
        count, loss = self._trainer.epoch(
            number, training_images.pad(self._data.train.pixels, padded),
            torch.from_numpy(self._data.train.labels), progress)
        every = 1 if number + 1 == self._recipe.epochs else SAMPLE
        test = self._data.test
        right = training.accuracy(self._trainer.model, test.pixels[::every], test.labels[::every],
                                  self._mean, self._std)
        row = dict(zip(LOG_FIELDS, (
            number + 1, count, round(loss, 4), round(right, 4), len(test.labels[::every]),
            round(time.monotonic() - started, 1)), strict=True))
        self.log.append(row)
        content = io.BytesIO()  # in a file, PyTorch makes a full disk an error of its own
        torch.save({"recipe": asdict(self._recipe), "log": self.log,
                    "trainer": self._trainer.state()}, content)
        with whole_file(self.checkpoint) as temporary:
            temporary.write_bytes(content.getbuffer())
        return row

    def finish(self) -> None:
        """Write the weights and the log, and remove the checkpoint."""
        metadata = {"architecture": ARCHITECTURE, "classes": self._data.classes,
                    "mean": [round(value, 4) for value in self._mean.tolist()],
                    "std": [round(value, 4) for value in self._std.tolist()],
                    "recipe": asdict(self._recipe),
                    "test_accuracy": self.log[-1]["test_accuracy"]}
        weights = {name: value.contiguous()
                   for name, value in self._trainer.model.state_dict().items()}
        content = safetensors.torch.save(weights, {"vernier": json.dumps(metadata)})
        with whole_file(self._out) as temporary:
            temporary.write_bytes(content)
            with whole_file(self._out.with_suffix(".csv")) as log, \
                    log.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, LOG_FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.log)
        self.checkpoint.unlink(missing_ok=True)


def _parser() -> Parser:
    default = Recipe()
    parser = Parser(prog=PROG, description="Train the small Vision Transformer of the package.")
    parser.add_argument("--data", type=Path, required=True, metavar="ZIP",
                        help="images as train/<class>/<image> and test/<class>/<image>")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE",
                        help="weights to write, as safetensors")
    parser.add_argument("--epochs", type=positive, default=default.epochs, metavar="N",
                        help="passes over the training images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, metavar="N",
                        help="seed of everything that is drawn (default: %(default)s)")
    return parser


@command(PROG)
def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    options = _parser().parse_args(argv)
    if options.out.suffix != ".safetensors":
        raise UserError(f"--out must end in .safetensors, not {options.out.name!r}")
    recipe = Recipe(epochs=options.epochs, full_epochs=min(Recipe.full_epochs, options.epochs),
                    seed=options.seed)
    run = Run(read_data(options.data), recipe, options.out)
    done = run.resume()
    if done:
        print(f"Going on after {done} of {recipe.epochs} epochs", file=sys.stderr)
    while len(run.log) < recipe.epochs:
        row = run.epoch(progress)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    run.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
