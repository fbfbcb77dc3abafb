"""Images to run models on: a folder of the user's, or some that a Python package ships."""

import hashlib
import importlib.util
import io
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from .cli import UserError, one_line

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


def folder(path: Path | str, count: int | None = None) -> list[tuple[Source, Image.Image]]:
    """Read the first `count` images of a folder, or all of them, in the order of their names.

    Raises
    ------
    UserError
        If there is no such folder, it has no images, or one of them is broken.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{path} has no images ({', '.join(SUFFIXES)})")
    return [read(file) for file in files[:count]]


def read(path: Path) -> tuple[Source, Image.Image]:
    """Read one image as RGB.

    Raises
    ------
    UserError
        If the file cannot be read as an image.
    """
    try:
        data = path.read_bytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None)
        if reason is None:
            reason = ("no image format is recognised" if "cannot identify" in str(error)
                      else one_line(error))
        raise UserError(f"cannot read the image {path}: {reason}") from None
    return Source(path.name, hashlib.sha256(data).hexdigest()), image
