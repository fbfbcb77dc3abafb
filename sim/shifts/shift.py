"""A shift: a family of changes to images, at a severity; applied to the pixels a network takes."""

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import blur, digital, noise, tone, weather

SEVERITIES = range(1, 6)
USUAL = (1, 3, 5)
"""Severities of a family that is named without any."""

IMAGENET_C = "imagenet-c"
ALL = "all"

FAMILIES = {family.__name__: family for family in (
    noise.gaussian_noise, noise.shot_noise, noise.impulse_noise,
    blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur,
    weather.snow, weather.frost, weather.fog, tone.brightness,
    tone.contrast, digital.elastic_transform, digital.pixelate, digital.jpeg_compression,
    noise.speckle_noise, blur.gaussian_blur, weather.spatter, tone.saturate, tone.dark)}
"""By name; first the fifteen of ImageNet-C, then its four for validation, then our own."""

GROUPS = {IMAGENET_C: tuple(FAMILIES)[:15], ALL: tuple(FAMILIES)}
"""Names of several families."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A family of :data:`FAMILIES` at a severity, 1 to 5."""

    family: str
    severity: int

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise ValueError(_unknown(self.family))
        if self.severity not in SEVERITIES:
            raise ValueError(f"the severity of {self.family} must be within 1..5, not "
                             f"{self.severity!r}")

    def __str__(self):
        return f"{self.family}:{self.severity}"

    def apply(self, pixels: np.ndarray, key: str, seed: int) -> np.ndarray:
        """Return an image as the shift makes it; the same whatever else is done.

        All severities of a family have the same random numbers.

        Parameters
        ----------
        pixels : uint8 array, shape (height, width, 3)
            As the network takes them: resized and cropped.
        key
            What tells the image from others.

        Returns
        -------
        uint8 array of the same shape, rounded to the nearest
        """
        made = FAMILIES[self.family](pixels / 255, self.severity, generator(seed, key, self.family))
        return np.rint(255 * np.clip(made, 0, 1)).astype(np.uint8)


def generator(*about: str | int) -> np.random.Generator:
    """Return a generator that depends on what it is told, and on nothing else."""
    seed = hashlib.sha256(json.dumps(about).encode()).digest()
    return np.random.default_rng(int.from_bytes(seed[:16], "big"))


def parse(text: str) -> list[Shift]:
    """Read shifts like ``fog:3,dark,all:5``, each once, in their order.

    Raises
    ------
    ValueError
        If a family is unknown, or a severity is not within 1..5.
    """
    made = []
    for part in text.split(","):
        name, colon, severity = part.strip().partition(":")
        if not name and not colon:
            raise ValueError(f"shifts must be NAME or NAME:SEVERITY, commas between them, not "
                             f"{text!r}")
        families = GROUPS.get(name, (name,))
        if families == (name,) and name not in FAMILIES:
            raise ValueError(_unknown(name))
        if colon and severity not in map(str, SEVERITIES):
            raise ValueError(f"the severity of {name} must be within 1..5, not {severity!r}")
        made += [Shift(family, each) for family in families
                 for each in ([int(severity)] if colon else USUAL)]
    return list(dict.fromkeys(made))


def _unknown(name: str) -> str:
    known = (*FAMILIES, *GROUPS)
    plain = str(name).lower().replace("-", "_").replace(" ", "_")
    near = difflib.get_close_matches(plain, known, n=3, cutoff=0.6)
    near += [each for each in known if plain and plain in each and each not in near]
    return (f"no shift is called {name!r}; "
            + (f"did you mean {', '.join(near[:3])}?" if near else f"there are {', '.join(known)}"))


def mixed(pixels: np.ndarray, keys: list[str], shifts: list[Shift], share: float, seed: int,
          progress: Callable = lambda steps, what: steps) -> np.ndarray:
    """Shift some of the images, each by one of some shifts; which depends on its key and the seed.

    Parameters
    ----------
    pixels : uint8 array, shape (images, height, width, 3)
    keys
        Of the images.
    share
        Probability that an image is shifted at all; each shift then has the same.
    """
    made = []
    for image, key in progress(list(zip(pixels, keys, strict=True)), "Shifting"):
        draw = generator(seed, key, "calibration")
        chosen = shifts[draw.integers(len(shifts))]
        made.append(chosen.apply(image, key, seed) if draw.random() < share else image)
    return np.stack(made)
