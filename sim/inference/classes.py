"""What logits say: the likeliest classes, by name."""

from dataclasses import dataclass

import numpy as np

IMAGENET = 1000
"""So many classes without names of their own are taken for those of ImageNet-1k."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A class with its logit as a real number and its probability, 0..1."""

    index: int
    name: str
    logit: float
    probability: float


def class_names(count: int, given=None) -> list[str]:
    """Return names of `count` classes: those that are given, ImageNet's, or else numbers."""
    if isinstance(given, list | tuple) and len(given) == count:
        return [str(name) for name in given]
    if count == IMAGENET:
        from ..inputs.torchvision_compat import timm

        return timm.data.ImageNetInfo().label_descriptions()
    return [f"class {index}" for index in range(count)]


def guesses(logits: np.ndarray, names: list[str], top: int) -> list[Guess]:
    """Return the `top` likeliest classes, the likeliest first."""
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-logits, kind="stable")[:top]
    return [Guess(int(index), names[index], float(logits[index]), float(shares[index]))
            for index in order]
