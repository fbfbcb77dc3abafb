"""A cascade: a cheap network classifies every image, a better one those of which it is in doubt.

The doubt of an answer is the exponent that :func:`golden.rows.softmax.softmax` gives the logits as
they are stored, int16, taken as one row of scores:

    doubt = log2(sum(a))    a = round(2**((8186 - d) / 1024))    d = max(logits) - logits

with 10 fractional bits. It is the logarithm of 255 over the largest probability: 8186 where nothing
but the first answer counts, 1024 more for each time that this one is halved. Logits with `point`
fractional bits are ``1024 * log2(e) / 2**point`` times cooler or hotter than by their definition,
which changes probabilities, but hardly the order of images by doubt.

An answer is taken if its doubt is the threshold or less. A core decides so itself, by SOFTMAX and
EXIT of :mod:`golden.core.isa`.
"""

from dataclasses import dataclass

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..rows import softmax
from .network import Network
from .vit import Vit


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """Two networks, and when the first one suffices.

    Attributes
    ----------
    first, second
        Networks for the same images, with the same classes and as many fractional bits of logits.
    threshold
        Largest doubt with which an answer of the first is taken; 0 takes none.

    Raises
    ------
    ValueError
        If the networks are not of a kind, or the threshold is no doubt.
    """

    first: Network
    second: Network
    threshold: int

    def __post_init__(self):
        integer("threshold", self.threshold, 0, formats.LOG2.max)
        ours, other = ((each.shape.image, each.shape.colours, each.shape.classes, each.logit_point)
                       for each in (self.first, self.second))
        for name, one, two in zip(("image", "colours", "classes", "logit_point"), ours, other,
                                  strict=True):
            if one != two:
                raise ValueError(f"{name} must be the same of both networks, not {one} and {two}")
        integer("classes", self.first.shape.classes, 1, softmax.HIGHEST_KEYS)


@dataclass(frozen=True, slots=True, eq=False)
class CascadeInference:
    """What a cascade made of some images.

    Attributes
    ----------
    logits : int16 array, shape (images, classes)
        Of the network that has answered.
    doubts : int32 array, shape (images,)
        Of the first one's answers.
    exited : bool array, shape (images,)
        Whether its answer has been taken.
    """

    logits: np.ndarray
    doubts: np.ndarray
    exited: np.ndarray


class CascadeVit:
    """A cascade ready to run.

    Parameters
    ----------
    cascade
        Weights of both networks are laid out once, here.
    """

    def __init__(self, cascade: Cascade):
        self.cascade = cascade
        self._first, self._second = Vit(cascade.first), Vit(cascade.second)

    def run(self, pixels) -> CascadeInference:
        """Classify images, uint8 (images, side, side, colours), as :meth:`.vit.Vit.run` takes
        them.
        """
        shape = self.cascade.first.shape
        pixels = integers("pixels", pixels, 0, formats.UINT8.max, dtype=np.uint8,
                          shape=(None, shape.image, shape.image, shape.colours))
        logits = self._first.run(pixels).logits
        doubts = doubts_of(logits)
        exited = doubts <= self.cascade.threshold
        if not exited.all():
            logits = logits.copy()
            logits[~exited] = self._second.run(pixels[~exited]).logits
        return CascadeInference(logits, doubts, exited)


def doubts_of(logits) -> np.ndarray:
    """Return the doubt of each row of logits, int16 (images, classes)."""
    return softmax.softmax(logits)[1]
