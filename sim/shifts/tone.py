"""Light and colour: each pixel by itself, but for the mean of an image."""

import numpy as np

DARK = (0.6, 0.4, 0.25, 0.15, 0.1)
"""Share of the light that is left by `dark`, which ImageNet-C does not have."""


def dark(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Take light away, as too short an exposure does."""
    return DARK[severity - 1] * image


def brightness(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Add to the largest colour, the value of HSV, and multiply the others by as much."""
    value = image.max(-1, keepdims=True)
    brighter = np.minimum(value + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1], 1)
    return np.where(value > 0, image * brighter / np.where(value > 0, value, 1), brighter)


def contrast(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Bring each colour nearer to its mean over the image."""
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + mean


def saturate(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Change the saturation of HSV: less of it at severities 1 and 2, more from 3 on.

    Gray has the hue of red, so what is added to its saturation at 4 and 5 shows.
    """
    factor, more = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    value, least = image.max(-1, keepdims=True), image.min(-1, keepdims=True)
    spread = value - least
    before = spread / np.where(value > 0, value, 1)
    after = np.minimum(before * factor + more, 1)
    lack = np.where(spread > 0, (value - image) / np.where(spread > 0, spread, 1), (0.0, 1.0, 1.0))
    return value * (1 - after * lack)
