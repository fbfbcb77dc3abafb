"""Photographs, as what a model takes."""

from functools import cache

import numpy as np

from sim.inputs.images import packaged


@cache
def photographs(side: int = 224) -> np.ndarray:
    """Return the middles of the packaged images, uint8 (images, side, side, 3)."""
    made = []
    for _, image in packaged():
        left, top = (image.width - side) // 2, (image.height - side) // 2
        made.append(np.asarray(image.crop((left, top, left + side, top + side))))
    return np.stack(made)
