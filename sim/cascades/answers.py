"""What networks of a cascade answer on images, kept in files so that it is made once."""

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from golden.network.cascade import doubts_of
from golden.network.vit import Vit

from ..cli import whole_file
from ..common.code_digest import digest
from ..evaluation.contender import mirror
from ..inputs.damage import DAMAGE, arrays_of
from ..inputs.quantized_model import QuantizedModel, stored
from ..shifts.shift import Shift

BATCH = 25
"""Images that are run at a time."""

SHIFTING = "numpy", "pillow", "scipy"
"""Libraries that say what a shift makes of pixels, beside our own code."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a network says about images.

    Attributes
    ----------
    classes : int64 array, shape (images,)
    doubts : int32 array, shape (images,)
        :mod:`golden.network.cascade`.
    """

    classes: np.ndarray
    doubts: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images as networks take them.

    Attributes
    ----------
    pixels : uint8 array, shape (images, side, side, 3)
    keys
        What tells each from others: the SHA-256 of its file.
    shift
        What they are shifted by before they are run, if anything.
    seed
        Of the shift's random numbers.
    """

    pixels: np.ndarray
    keys: Sequence[str]
    shift: Shift | None = None
    seed: int = 1

    def batch(self, at: int) -> np.ndarray:
        """Return the :data:`BATCH` images from number `at` on, shifted."""
        part = slice(at, at + BATCH)
        if self.shift is None:
            return self.pixels[part]
        return np.stack([self.shift.apply(image, key, self.seed)
                         for image, key in zip(self.pixels[part], self.keys[part], strict=True)])


def with_mirrored(images: Images) -> Images:
    """Return images and, behind them, their mirror images."""
    return Images(np.concatenate([images.pixels, mirror(images.pixels)]),
                  [*images.keys, *(f"{key} mirrored" for key in images.keys)], images.shift,
                  images.seed)


def seen(model: QuantizedModel, images: Images, folder: Path,
         progress: Callable = lambda steps, what: steps, what: str = "Classifying") -> Seen:
    """Run a network on images, or take what is kept in `folder` of the same run."""
    path = folder / f"cascade_{_key(model, images)[:32]}.npz"
    found = _kept(path, len(images.pixels))
    if found is None:
        vit = Vit(model.network)
        logits = np.concatenate([vit.run(images.batch(at)).logits for at in
                                 progress(list(range(0, len(images.pixels), BATCH)), what)])
        found = Seen(logits.argmax(axis=1), doubts_of(logits))
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, classes=found.classes, doubts=found.doubts)
    return found


def _key(model: QuantizedModel, images: Images) -> str:
    about = {"model": hashlib.sha256(stored(model)).hexdigest(), "images": list(images.keys),
             "code": digest("sim.cascades.answers"),
             "pixels": hashlib.sha256(images.pixels).hexdigest()}
    if images.shift is not None:
        about |= {"shift": asdict(images.shift), "seed": images.seed,
                  "libraries": {name: importlib.metadata.version(name) for name in SHIFTING}}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _kept(path: Path, count: int) -> Seen | None:
    try:
        with arrays_of(io.BytesIO(path.read_bytes())) as arrays:
            found = Seen(arrays["classes"], arrays["doubts"])
    except (OSError, *DAMAGE):
        return None
    whole = all(part.shape == (count,) and part.dtype.kind == "i"
                for part in (found.classes, found.doubts))
    return found if whole else None
