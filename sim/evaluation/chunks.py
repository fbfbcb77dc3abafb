"""Images in chunks: what a contender makes of one, and the file that keeps it.

The name of the file says what it depends on: the contender, the code that runs it, the images, and
what shifts them.
"""

import hashlib
import importlib.metadata
import io
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..cli import UserError, whole_file
from ..common.code_digest import digest
from ..inputs import images as image_files
from ..inputs import models
from ..inputs.damage import DAMAGE, arrays_of
from ..shifts.shift import Shift
from .preparation import Prepared, open_contender

CHUNK = 25
"""Images that are run at a time."""

TOGETHER = 8
"""Chunks that all contenders run before the next ones, so that a worker has their pixels at hand.
"""

TOP = 5
"""Classes that are kept of each image, the likeliest first."""

LIBRARIES = ("numba", "numpy", "pillow", "timm", "torch", "torchvision")

_PIXELS = ("sim.inputs.decoding", "sim.inputs.preprocessing")
"""Modules that say what pixels the file of an image has."""

_SHIFTED = ("sim.shifts.shift",), ("scipy",)
"""Modules and libraries that say what a shift makes of pixels."""

_lock = threading.Lock()  # numba's threads do not stand two callers


@dataclass(frozen=True)
class ImageFile:
    """An image; `name` is its path within the folder, parts joined by ``/``."""

    path: Path
    name: str
    sha256: str


def listed(folder: Path, count: int | None = None,
           progress: Callable = lambda steps, what: steps) -> list[ImageFile]:
    """Return the first `count` images of a folder, or all, as :func:`sim.inputs.images.files` does.

    Raises
    ------
    UserError
        If there is no such folder, it has no images, or one of them cannot be read.
    """
    folder, made = Path(folder).absolute(), []
    for path in progress(image_files.files(folder)[:count], "Reading"):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the image {path}: {error.strerror}") from None
        made.append(ImageFile(path, path.relative_to(folder).as_posix(),
                              hashlib.sha256(content).hexdigest()))
    return made


@dataclass(frozen=True)
class Shifted:
    """A shift of images, by the random numbers of a seed."""

    shift: Shift
    seed: int


@dataclass(frozen=True)
class Found:
    """What came of a chunk: names of images, and as in :class:`~.evaluation.Answers`."""

    names: list[str]
    top: np.ndarray
    scales: np.ndarray | None


@dataclass(frozen=True)
class Chunk:
    """Some images of a contender, shifted or as they are, and the file for what comes of them."""

    prepared: Prepared
    images: tuple[ImageFile, ...]
    shifted: Shifted | None
    preprocessing: dict
    code: str
    path: Path
    key: str

    def load(self) -> Found | None:
        """Return what is in the file; None if it is not there, or damaged."""
        try:
            content = io.BytesIO(self.path.read_bytes())
            with arrays_of(content) as stored:
                if str(stored["key"]) != self.key:
                    return None
                scales = stored["scales"] if self.prepared.integer else None
                found = Found(stored["names"].tolist(), stored["top"], scales)
                return found if self._fits(found) else None
        except (OSError, *DAMAGE):
            return None

    def _fits(self, found: Found) -> bool:
        """Return whether what is in the file can be of these images."""
        parts = [found.top] if found.scales is None else [found.top, found.scales]
        return found.names == [image.name for image in self.images] and all(
            part.ndim == 2 and len(part) == len(self.images) and part.dtype.kind == "i"
            for part in parts)

    def store(self, found: Found) -> None:
        """Write the file, whole."""
        arrays = {"key": np.array(self.key), "names": np.array(found.names), "top": found.top}
        if found.scales is not None:
            arrays["scales"] = found.scales
        with whole_file(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


def code_of(prepared: Prepared, shifted: Shifted | None = None) -> str:
    """Return the digest of the code that makes pixels of images, and that runs a contender."""
    return digest(*prepared.modules, *_PIXELS, *(_SHIFTED[0] if shifted else ()))


def chunks(prepared: Prepared, images: Sequence[ImageFile], preprocessing: dict,
           folder: Path, shifted: Shifted | None = None) -> list[Chunk]:
    """Cut images into chunks: the same for the first images, however many there are.

    A last image alone goes with those before it: what swaps images needs two.
    """
    starts = list(range(0, len(images), CHUNK))
    if len(images) - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    code = code_of(prepared, shifted)
    libraries = (*LIBRARIES, *(_SHIFTED[1] if shifted else ()))
    run = {"contender": prepared.sha256, "code": code, "preprocessing": preprocessing, "top": TOP,
           "libraries": {name: importlib.metadata.version(name) for name in libraries}}
    if shifted is not None:
        run["shifted"] = asdict(shifted)
    made = []
    for number, start in enumerate(starts):
        last = number == len(starts) - 1
        part = tuple(images[start:] if last else images[start:start + CHUNK])
        own = run | {"images": [(image.name, image.sha256) for image in part]}
        key = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
        parts = [prepared.bits, prepared.method]
        if shifted is not None:
            parts.append(f"{shifted.shift.family}-{shifted.shift.severity}")
        name = "_".join(dict.fromkeys(parts))
        path = folder / f"{name}_{number:04}_{key[:16]}.npz"
        made.append(Chunk(prepared, part, shifted, preprocessing, code, path, key))
    return made


_contender = lru_cache(maxsize=2)(open_contender)


@lru_cache(maxsize=TOGETHER)
def pixels_of(preprocessing: str, images: tuple[ImageFile, ...], shifted: Shifted | None):
    """Return images as a contender takes them; `preprocessing` is in JSON."""
    prepare, pixels = models.preprocessing_of(json.loads(preprocessing)), []
    for image in images:
        found, picture = image_files.read(image.path, prepare.colours)
        if found.sha256 != image.sha256:
            raise UserError(f"the image {image.path} was changed meanwhile; start again")
        made = prepare.pixels(picture)
        if shifted is not None:
            made = shifted.shift.apply(made, image.sha256, shifted.seed)
        pixels.append(made)
    made = np.stack(pixels)
    made.flags.writeable = False
    return made


def classify(prepared: Prepared, code: str, preprocessing: dict,
             images: Sequence[ImageFile], shifted: Shifted | None = None) -> Found:
    """Run a contender on some images, in a worker.

    What shifts an image acts on the 8-bit pixels that the contender takes, resized and cropped; the
    random numbers are those of the image's content, whatever its name and its place.

    Raises
    ------
    UserError
        If the worker has other files or another version of this program, or an image is broken.
    """
    if code_of(prepared, shifted) != code:
        raise UserError("a worker has another version of this program, or the program was changed "
                        "meanwhile; start again")
    pixels = pixels_of(json.dumps(preprocessing, sort_keys=True), tuple(images), shifted)
    own = pixels.copy()  # others get these pixels, too
    with _lock:
        outcome = _contender(prepared.path, prepared.sha256).run(own)
    logits = outcome.logits
    if not np.isfinite(logits).all():
        raise UserError(f"{prepared.path.stem} gives logits that are not finite")
    top = np.argsort(-logits, axis=1, kind="stable")[:, :TOP].astype(np.int32)
    return Found([image.name for image in images], top, outcome.scales)
