"""Golden beside real arithmetic on many images: how often the class is the same, and the errors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from golden.network.network import Network
from golden.network.vit import Vit

from .arithmetic_errors import Errors, compare, follow, merge
from .emulator import emulate


@dataclass(frozen=True, slots=True)
class Report:
    """Golden beside real arithmetic, on some images.

    Attributes
    ----------
    images
        How many there are.
    followed
        Share of images of the same class from golden and from :func:`~.arithmetic_errors.follow`.
    agreement
        Share of images of the same class from golden and from real arithmetic left to itself.
    jittered
        The same of real arithmetic with and without jitter; None if there is none.
    accuracy
        Share of images of the right class, from ``golden``, ``followed`` and ``float64``; None
        without labels.
    compared
        How many images :func:`~.arithmetic_errors.compare` took.
    steps, sites
        What :func:`~.arithmetic_errors.compare` and :func:`~.arithmetic_errors.follow` found.
    """

    images: int
    followed: float
    agreement: float
    jittered: float | None
    accuracy: dict[str, float] | None
    compared: int
    steps: Errors
    sites: Errors


def report(network: Network, pixels: np.ndarray, labels: np.ndarray | None = None, *,
           compared: int = 32, jitter: float = 0.0, batch: int = 8,
           progress: Callable = lambda steps, what: steps) -> Report:
    """Run golden and real arithmetic, and compare them.

    Parameters
    ----------
    network
        The quantized network.
    pixels : uint8 array, shape (images, side, side, 3)
    labels : int array, shape (images,), optional
    compared
        How many images to compare step by step, the first ones.
    jitter
        If not 0, run the emulation a second time with it, see :func:`~.emulator.emulate`.
    batch, progress
        As for :func:`~.emulator.emulate`.
    """
    vit, steps, sites = Vit(network), {}, {}
    golden, followed = [], []
    for first in progress(range(0, len(pixels), batch), "Following golden"):
        part, tensors = pixels[first:first + batch], {}
        found = vit.run(part, watch=tensors.__setitem__)
        logits, errors = follow(network, part, found.scales, tensors)
        sites = merge(sites, errors)
        golden.append(found.logits.argmax(1))
        followed.append(logits.argmax(1))
        some = min(max(compared - first, 0), len(part))
        if some:
            steps = merge(steps, compare(network, part[:some], found.scales[:some],
                                         {name: tensor[:some] for name, tensor in
                                          tensors.items()}))
    classes = {"golden": np.concatenate(golden), "followed": np.concatenate(followed),
               "float64": emulate(network, pixels, batch=batch, progress=progress).argmax(1)}
    jittered = accuracy = None
    if jitter:
        other = emulate(network, pixels, jitter=jitter, batch=batch, progress=progress).argmax(1)
        jittered = float((other == classes["float64"]).mean())
    if labels is not None:
        accuracy = {name: float((found == labels).mean()) for name, found in classes.items()}
    return Report(len(pixels), float((classes["golden"] == classes["followed"]).mean()),
                  float((classes["golden"] == classes["float64"]).mean()), jittered, accuracy,
                  min(compared, len(pixels)), steps, sites)
