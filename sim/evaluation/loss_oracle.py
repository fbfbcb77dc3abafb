"""Scales chosen image by image by what becomes of the answer, and the control that belongs to it.

All static scales of a network, or those of one kind of site after another, are multiplied by a
power of two of :data:`GRID`; for each image that is taken with which the network's class
probabilities diverge least from the float network's. What is chosen so is the best of several
roundings of the same image, and one of several roundings is always lucky: whether the image wants
other scales, or any other scales would have done, only a control can tell. It chooses on the mirror
image, which wants the same scales and is rounded otherwise, and applies that to the image. Scales
of each site alone would need gradients, and are not searched for.

With ``d`` groups of sites an image takes ``len(GRID) * (1 + PASSES * d) + 1`` runs of the network:
12 for one number, and 100 for one number of each of the eight kinds of sites.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from golden.common.formats import LAMBDA
from golden.network.network import Network
from golden.network.shape import VitShape
from golden.network.vit import Vit

from .contender import Outcome, mirror, real_logits

GRID = np.array(sorted((round(LAMBDA.one * tenths / 10) for tenths in range(-5, 6)),
                       key=lambda delta: (abs(delta), delta)))
"""Changes of lambda: -0.5 to 0.5 octaves in tenths, so that scales are 0.71 to 1.41 times as large.

At either end DeiT-Tiny W4A4 diverges on average four to eight times as much as without a change (20
calibration images), and at -0.1 as much: what an image may want lies between, and finer steps would
be further roundings of the same. In the order in which they are preferred among equals: the least
change first, a smaller scale before a larger one.
"""

PASSES = 1
"""Times that each group of sites is gone through."""


def by_kind(shape: VitShape) -> tuple[np.ndarray, ...]:
    """Return the indexes of the sites of each kind, in the order of their first ones."""
    kinds = np.array([shape.kind(site) for site in range(shape.sites)])
    return tuple(np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds.tolist()))


def divergence(logits: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the Kullback-Leibler divergence of class probabilities from those that are wanted.

    Parameters
    ----------
    logits, wanted : arrays, shape (images, classes)

    Returns
    -------
    float64 array, shape (images,)
        ``sum(p * log(p / q))`` with `p` of `wanted` and `q` of `logits`.
    """
    log_q, log_p = (_log_softmax(np.asarray(one, np.float64)) for one in (logits, wanted))
    return (np.exp(log_p) * (log_p - log_q)).sum(1)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def choose(loss: Callable[[np.ndarray], np.ndarray], static: np.ndarray, images: int,
           groups: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Choose scales image by image.

    First all sites change together, then each group in turn, while the others keep what they have:
    :data:`PASSES` times. The result is never worse than without a group, nor that than `static`.

    Parameters
    ----------
    loss
        From lambda ``(images, sites)`` to a number for each image, of which the least is wanted.
    static : int array, shape (sites,)
        lambda that is changed, by one of :data:`GRID` and as far as ``LAMBDA`` reaches.
    groups
        Indexes of sites that change together.

    Returns
    -------
    int64 array, shape (images, sites)
        lambda of each image at each site.
    """
    deltas = np.zeros((images, len(static)), np.int64)
    every = np.arange(len(static))
    for group in (every, *groups * PASSES):
        losses = []
        for delta in GRID:
            deltas[:, group] = delta
            losses.append(loss(_changed(static, deltas)))
        best = GRID[np.argmin(losses, axis=0)]  # the first of equals
        deltas[:, group] = best[:, None]
    return _changed(static, deltas)


def _changed(static: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    return np.clip(static + deltas, LAMBDA.min, LAMBDA.max)


@dataclass
class LossOracle:
    """The golden model with the scales of least divergence from the float network's answer.

    That answer is to the same pixels, shifted or mirrored as they are.

    Attributes
    ----------
    network
        Whose static scales are changed.
    reference
        The float network: from ``uint8 (images, side, side, 3)`` to logits.
    kinds
        Choose for each kind of sites beside what is chosen for all sites.
    mirrored
        Give each image the scales that are chosen for its mirror image: what is gained by the luck
        of a rounding must vanish, and what the image is worth must stay.
    """

    network: Network
    reference: torch.nn.Module
    kinds: bool = False
    mirrored: bool = False
    integer = True
    _vit: Vit | None = field(default=None, repr=False)

    def __getstate__(self):
        return self.__dict__ | {"_vit": None}

    def run(self, pixels: np.ndarray) -> Outcome:
        """Classify ``uint8 (images, side, side, 3)``."""
        scales = self.choose(mirror(pixels) if self.mirrored else pixels)
        return Outcome(self._logits(pixels, scales), scales.astype(np.int16))

    def choose(self, pixels: np.ndarray) -> np.ndarray:
        """Return lambda ``(images, sites)`` for images as they are."""
        wanted = self._wanted(pixels)
        groups = by_kind(self.network.shape) if self.kinds else ()
        return choose(lambda scales: divergence(self._logits(pixels, scales), wanted),
                      self.network.scales.astype(np.int64), len(pixels), groups)

    @torch.inference_mode()
    def _wanted(self, pixels: np.ndarray) -> np.ndarray:
        """Return the float network's logits, of each image alone: rounded as nowhere else."""
        return np.concatenate([self.reference(one).float().numpy()
                               for one in torch.from_numpy(pixels).split(1)])

    def _logits(self, pixels: np.ndarray, scales: np.ndarray) -> np.ndarray:
        if self._vit is None:
            self._vit = Vit(self.network)
        return real_logits(self.network, self._vit.run(pixels, scales=scales).logits)
