"""File of recorded activations: safetensors, compressed with xz, all metadata in one JSON object.

Tensors, by name:

* ``pixels/{image}``: uint8 ``(H, W, 3)``, what the patch embedding is given.
* ``residual/{image}``: int16 ``(tokens, channels)``, the residual stream at the tap, with the
  static binary point ``tap.frac``.
* ``range/tensor/{image}``, ``range/channels/{image}``: int16 in LOG2, what
  :func:`golden.prediction.range_unit.log_ranges` gives for that residual stream, ``groups`` 1 and
  `channels`.
* ``site/{block}/{site}/{bits}/{image}``: int8 or uint8 operands of a site of
  :mod:`sim.recordings.sites`.
* ``codes/{block}/probs/{image}``: uint8 codes of the site recorded through a codebook.

Images are counted from 0, in the order of the metadata.
"""

import json
import lzma
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from golden.common.checks import integer
from golden.common.config import LIMITS

from ..cli import UserError, whole_file
from .sites import SITES

FORMAT = "vernier-recording"
VERSION = 1
_KEY = "vernier"


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

    Raises
    ------
    TypeError, ValueError
        If one is of another form, or no such site or width.
    """

    blocks: tuple[int, ...] = ()
    sites: tuple[str, ...] = tuple(SITES)
    bits: tuple[int, ...] = (8, 4)
    site_images: int = 1
    pixel_images: int = 1
    chunk_tokens: int = 16

    def __post_init__(self):
        for name, allowed in ("blocks", None), ("sites", SITES), ("bits", (8, 4)):
            values = getattr(self, name)
            if not isinstance(values, tuple):
                raise TypeError(f"{name} must be a list, not {values!r}")
            for value in values:
                if allowed is None:
                    integer(name, value, 0)
                elif isinstance(value, bool) or value not in tuple(allowed):
                    raise ValueError(f"{name} must be among {', '.join(map(str, allowed))}, not "
                                     f"{value!r}")
        integer("site_images", self.site_images, 0)
        integer("pixel_images", self.pixel_images, 0)
        integer("chunk_tokens", self.chunk_tokens, *LIMITS["max_tokens"])

    @classmethod
    def from_metadata(cls, choices: dict) -> "Choices":
        """Return the choices that a recording's metadata names."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value
                      for name, value in choices.items()})

    def options(self) -> str:
        """Return the command-line options that differ from the defaults, for the metadata."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                words += [f"--{field.name.replace('_', '-')}", text]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Recording:
    """Tensors and metadata of a recorded file."""

    tensors: dict[str, np.ndarray]
    metadata: dict

    def content(self) -> bytes:
        """Return what the file holds, uncompressed: the same bytes for the same recording."""
        about = {"format": FORMAT, "version": VERSION, **self.metadata}
        # safetensors stores an array's memory as it lies, strided or not
        tensors = {name: np.ascontiguousarray(self.tensors[name]) for name in sorted(self.tensors)}
        return safetensors.numpy.save(tensors, {_KEY: json.dumps(about, sort_keys=True)})


def compress(content: bytes) -> bytes:
    """Compress the content of a recording."""
    return lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)


def write(recording: Recording, path: Path | str) -> None:
    """Write a recording, or nothing at all."""
    data = compress(recording.content())
    with whole_file(Path(path)) as temporary:
        temporary.write_bytes(data)


def read(path: Path | str) -> Recording:
    """Read a recording.

    Raises
    ------
    UserError
        If the file cannot be read, is no recording, or one of another version.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    try:
        content = lzma.decompress(data, lzma.FORMAT_XZ)
        tensors = safetensors.numpy.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(json.loads(content[8:8 + size])["__metadata__"][_KEY],
                              parse_constant=_no_constant)
        kind, version = metadata.pop("format"), metadata.pop("version")
    except (lzma.LZMAError, EOFError, safetensors.SafetensorError, ValueError, TypeError,
            KeyError, AttributeError, OverflowError, RecursionError):
        raise UserError(f"{path} is not a file of recorded activations, or is damaged") from None
    if kind != FORMAT:
        raise UserError(f"{path} is not a file of recorded activations, but {kind!r}")
    if version != VERSION:
        raise UserError(f"{path} has version {version} of the recorded format, and this program "
                        f"reads version {VERSION}; record it again with python -m sim.record")
    return Recording(tensors, metadata)


def _no_constant(name: str):
    raise ValueError(f"{name} is no JSON")  # NaN would differ from itself


def differences(old: Recording, new: Recording) -> list[str]:
    """Describe, a line each, where two recordings differ; library versions do not count."""
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
