"""Images to run models on: a folder of the user's, or some that a Python package ships.

What a file becomes is said in :mod:`sim.inputs.decoding`.
"""

import hashlib
import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..cli import UserError
from .decoding import decode

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image comes from; `package`, `licence` and `author` are None if unknown."""

    file: str
    sha256: str
    package: str | None = None
    licence: str | None = None
    author: str | None = None

    def describe(self) -> dict[str, str | None]:
        """Return the fields as a dictionary."""
        return asdict(self)


PACKAGED = (
    Source("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
           "scikit-image", "CC0", "Stefan van der Walt"),
    Source("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
           "scikit-image", "CC0", "Rachel Michetti"),
    Source("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
           "scikit-image", "public domain", "SpaceX"),
)
"""Photographs inside the wheel of scikit-image, with the licences its docstrings state."""


def packaged() -> list[tuple[Source, Image.Image]]:
    """Read the images of :data:`PACKAGED`.

    Raises
    ------
    UserError
        If scikit-image is missing or ships other files.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UserError("the packaged images need scikit-image (pip install scikit-image), "
                        "or name a folder with --images")
    images = []
    for source in PACKAGED:
        found, image = read(Path(spec.origin).parent / "data" / source.file)
        if found.sha256 != source.sha256:
            raise UserError(f"the installed scikit-image has another {source.file} than expected")
        images.append((source, image))
    return images


def files(path: Path | str) -> list[Path]:
    """Return the images of a folder and of the folders in it.

    They are in the order of their names, but one from each folder in turn: where each class has a
    folder of its own, the first ones are of all classes. Links to folders are followed, but not
    back to a folder that they are in. What is hidden (``.name``) is left out.

    Raises
    ------
    UserError
        If there is no such folder, one cannot be read, or it has no images.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder")
    folders = {}
    for file in sorted(_images(path, frozenset())):
        folders.setdefault(file.parent, []).append(file)
    if not folders:
        raise UserError(f"{path} has no images ({', '.join(SUFFIXES)})")
    turns = itertools.zip_longest(*folders.values())
    return [file for turn in turns for file in turn if file is not None]


def _images(path: Path, above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    """Give what is called like an image in a folder; `above` are those that it is in."""
    try:
        about = path.stat()
        here = about.st_dev, about.st_ino
        if here in above:
            return
        with os.scandir(path) as found:
            entries = [path / entry.name for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"cannot read the folder {path}: {error.strerror}") from None
    for entry in entries:
        if entry.suffix.lower() in SUFFIXES:
            yield entry
        if entry.is_dir():
            yield from _images(entry, above | {here})


def folder(path: Path | str, count: int | None = None,
           channels: int = 3) -> list[tuple[Source, Image.Image]]:
    """Read the first `count` images of a folder, or all of them, in the order of :func:`files`.

    Raises
    ------
    UserError
        If there is no such folder, it has no images, or one of them is broken.
    """
    return [read(file, channels) for file in files(path)[:count]]


def read(path: Path, channels: int = 3) -> tuple[Source, Image.Image]:
    """Read one image as :func:`sim.inputs.decoding.decode` does.

    Raises
    ------
    UserError
        If the file cannot be read as an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the image {path}: {error.strerror}") from None
    try:
        image = decode(data, channels)
    except ValueError as error:
        raise UserError(f"cannot read the image {path}: {error}") from None
    return Source(path.name, hashlib.sha256(data).hexdigest()), image


def pixels(path: Path | str, preprocessing, count: int | None = None,
           progress: Callable = lambda steps, what: steps) -> tuple[list[Source], np.ndarray]:
    """Read the first `count` images of a folder, or all, as what a model takes.

    Parameters
    ----------
    path
        The folder; images in the order of :func:`files`.
    preprocessing
        A :class:`sim.inputs.models.Preprocessing`.

    Returns
    -------
    sources : list of Source
    pixels : uint8 array, shape (images, height, width, colours)

    Raises
    ------
    UserError
        As :func:`folder` does.
    """
    read_files = (read(file, preprocessing.colours)
                  for file in progress(files(path)[:count], "Reading"))
    found = [(source, preprocessing.pixels(image)) for source, image in read_files]
    return [source for source, _ in found], np.stack([array for _, array in found])
