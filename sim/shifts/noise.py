"""Noise of sensors and of damaged bits: each value of each colour for itself."""

import numpy as np


def gaussian_noise(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Add normal noise."""
    return image + _normal(image, (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1], draw)


def speckle_noise(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Add normal noise in proportion to the value."""
    return image + image * _normal(image, (0.15, 0.2, 0.35, 0.45, 0.6)[severity - 1], draw)


def shot_noise(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Count photons, of which white has so many on average."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return draw.poisson(image * photons) / photons


def impulse_noise(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Make a share of the values 0 or 1, as many of one as of the other."""
    half = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1] / 2
    chance = draw.random(image.shape)
    return np.where(chance < half, 0.0, np.where(chance >= 1 - half, 1.0, image))


def _normal(image: np.ndarray, deviation: float, draw: np.random.Generator) -> np.ndarray:
    return deviation * draw.standard_normal(image.shape)
