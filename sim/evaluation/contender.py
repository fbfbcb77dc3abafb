"""What is compared: quantized networks that classify images, in integers or emulated in float."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from golden.network.network import Network
from golden.network.vit import Vit

from ..ptq import dynamic


@dataclass(frozen=True)
class Outcome:
    """What a contender made of some images.

    Attributes
    ----------
    logits : float32 array, shape (images, classes)
    scales : int16 array, shape (images, sites), or None
        lambda of each image at each site, where there is one.
    """

    logits: np.ndarray
    scales: np.ndarray | None = None


def mirror(pixels: np.ndarray) -> np.ndarray:
    """Return images ``(images, side, side, 3)`` with left and right swapped."""
    return np.ascontiguousarray(pixels[:, :, ::-1])


def real_logits(network: Network, logits: np.ndarray) -> np.ndarray:
    """Return the float32 numbers that a network's integer logits stand for."""
    return (logits / np.float32(2.0**network.logit_point)).astype(np.float32)


class Contender(Protocol):
    """A quantized network; can be pickled.

    Attributes
    ----------
    integer
        Whether everything from the pixels to the logits is an integer.
    """

    integer: bool

    def run(self, pixels: np.ndarray) -> Outcome:
        """Classify ``uint8 (images, side, side, 3)``."""


@dataclass
class Integer:
    """The golden model, with the network's own scales or with some chosen image by image.

    Attributes
    ----------
    rule
        Of :data:`sim.ptq.dynamic.RULES`; None takes the network's static and predicted scales.
    shuffled
        Give each image the scales of the one before it: what a predictor gains must vanish.
    mirrored
        Give each image the scales of its mirror image: what is gained by the luck of a rounding
        must vanish, and what the image is worth must stay.
    """

    network: Network
    rule: str | None = None
    shuffled: bool = False
    mirrored: bool = False
    integer = True
    _vit: Vit | None = field(default=None, repr=False)

    def __getstate__(self):
        return self.__dict__ | {"_vit": None}

    def run(self, pixels: np.ndarray) -> Outcome:
        """Classify ``uint8 (images, side, side, 3)``."""
        if self._vit is None:
            self._vit = Vit(self.network)
        choose = None if self.rule is None else dynamic.chooser(self.network, self.rule)
        found = self._vit.run(mirror(pixels) if self.mirrored else pixels, choose=choose)
        if self.mirrored:
            found = self._vit.run(pixels, scales=found.scales)
        if self.shuffled:
            found = self._vit.run(pixels, scales=np.roll(found.scales, 1, axis=0))
        return Outcome(real_logits(self.network, found.logits), found.scales)


@dataclass
class Emulated:
    """A float network whose quantizers are emulated, as published code does."""

    module: torch.nn.Module
    integer = False

    @torch.inference_mode()
    def run(self, pixels: np.ndarray) -> Outcome:
        """Classify ``uint8 (images, side, side, 3)``."""
        return Outcome(self.module(torch.from_numpy(pixels)).float().numpy())
