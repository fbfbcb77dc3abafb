"""What the file of an image becomes: pixels of 8 bits a channel, the right way up.

Every mode of Pillow has one answer:

* Gray, palette, CMYK, YCbCr, LAB and HSV are converted. Of 16 bits the upper 8 count, in gray as
  in colour; of fewer than 16 (TIFF, PGM), as many.
* Transparency is left out, as timm and torchvision do: the colour beneath counts. Colours that
  were multiplied by it are divided first. Where a model takes two or four channels, it is the last.
* Integers of 32 bits, and floats, are refused: what is white in them, the file does not say.
* The orientation that a camera noted (EXIF) is applied.
"""

import io
import logging
import warnings

import numpy as np
from PIL import Image

from rtl.cli import one_line  # not of sim.cli, on which results would then depend

_SIXTEEN = {"PNG", "TIFF", "PPM", "JPEG2000"}
"""Formats in which more than 8 bits of gray mean shares of the largest number."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF

_ORIENTATION = 0x112  # tag of EXIF
_TURNS = dict(zip(range(2, 9), (
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90), strict=True))
"""What sets an orientation right."""

logging.getLogger("PIL").addHandler(logging.NullHandler())  # else it prints, as of last resort


MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's modes of images with so many channels."""


def decode(data: bytes, channels: int = 3) -> Image.Image:
    """Return the image in the bytes of a file, its mode that of :data:`MODES`.

    What a decoder warns about, and reads all the same, is read.

    Raises
    ------
    ValueError
        If it cannot be read: why, in one line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                return _upright(with_channels(image, channels), image.getexif())
    except Exception as error:  # decoders of damaged data raise whatever comes
        raise ValueError(_reason(error)) from error


def _upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    turn = _TURNS.get(exif.get(_ORIENTATION))
    return image if turn is None else image.transpose(turn)


def _reason(error: Exception) -> str:
    if "cannot identify" in str(error):
        return "no image format is recognised"
    if isinstance(error, OSError | ValueError | SyntaxError | Image.DecompressionBombError):
        return one_line(getattr(error, "strerror", None) or error)
    return f"its data is damaged ({type(error).__name__}: {one_line(error)})"


def with_channels(image: Image.Image, channels: int) -> Image.Image:
    """Return an image with so many channels, 8 bits each.

    Raises
    ------
    ValueError
        If its numbers have no known range.
    """
    made = rgb(image)
    if channels % 2:
        return made.convert(MODES[channels])
    opaque = image.mode in {"I", "F"} or image.mode.startswith("I;")
    made = made.convert("RGBA")
    if not opaque and image.has_transparency_data:
        made.putalpha(image.convert("RGBA").getchannel("A"))
    return made.convert(MODES[channels])


def rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB, 8 bits a channel.

    Raises
    ------
    ValueError
        If its numbers have no known range.
    """
    mode = image.mode
    if mode == "F" or mode.startswith("I"):
        return Image.fromarray(_upper_bits(image)).convert("RGB")
    if mode == "La":
        image = image.convert("LA")
    elif mode in {"RGBa", "P", "PA"}:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _upper_bits(image: Image.Image) -> np.ndarray:
    """Return gray of more than 8 bits as uint8 (height, width)."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    values = np.asarray(image).astype(np.int64)
    signed = tags.get(_SAMPLE_FORMAT, (1,))[0] != 1
    known = image.format in _SIXTEEN and image.mode != "F" and bits <= 16 and not signed
    if not known or values.min(initial=0) < 0 or values.max(initial=0) >= 1 << bits:
        raise ValueError(f"its numbers (mode {image.mode}) have no known range; save it with 8 or "
                         "16 bits a channel")
    gray = (values >> (bits - 8)).astype(np.uint8)
    return 255 - gray if tags.get(_PHOTOMETRIC) == 0 else gray  # TIFF: white is 0
