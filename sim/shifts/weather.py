"""Weather between a camera and what it sees, and on its lens."""

import numpy as np
from scipy import ndimage

from .blur import moved, smooth, zoomed

_WATER = np.array([175, 238, 238]) / 255
_MUD = np.array([63, 42, 20]) / 255
_ICE = np.array([0.88, 1.02, 1.1])
_LUMA = np.array([0.299, 0.587, 0.114])


def snow(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Whiten the image, and add flakes that fall, twice: the second time from below."""
    mean, deviation, zoom, least, radius, sigma, kept = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55))[severity - 1]
    flakes = zoomed(draw.normal(mean, deviation, image.shape[:2]), zoom)
    flakes = np.where(flakes < least, 0, flakes.clip(0, 1))
    flakes = moved(flakes, radius, sigma, draw.uniform(-135, -45))[..., None]
    white = np.maximum(image, 1.5 * (image @ _LUMA)[..., None] + 0.5)
    return kept * image + (1 - kept) * white + flakes + flakes[::-1, ::-1]


def fog(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Add a fractal of light, and darken to what was the brightest."""
    light, decay = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))[severity - 1]
    height, width = image.shape[:2]
    field = _plasma(1 << (max(height, width) - 1).bit_length(), decay, draw)
    most = image.max()
    return (image + light * field[:height, :width, None]) * most / max(most + light, 1e-9)


def _plasma(side: int, decay: float, draw: np.random.Generator) -> np.ndarray:
    """Return a fractal, 0 to 1, by squares and diamonds on a torus; `side` is a power of two."""
    field, step, wibble = np.zeros((side, side)), side, 100.0

    def placed(total):
        return total / 4 + wibble * draw.uniform(-wibble, wibble, total.shape)

    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        rows = corners + np.roll(corners, -1, 0)
        middles = field[half::step, half::step] = placed(rows + np.roll(rows, -1, 1))
        field[::step, half::step] = placed(middles + np.roll(middles, 1, 0)
                                           + corners + np.roll(corners, -1, 1))
        field[half::step, ::step] = placed(middles + np.roll(middles, 1, 1)
                                           + corners + np.roll(corners, -1, 0))
        step, wibble = half, wibble / decay
    field -= field.min()
    return field / max(field.max(), 1e-9)


def frost(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Blend with crystals of ice.

    Not those of ImageNet-C, which are photographs of frosted panes: crystals are drawn here, with
    means (0.48 to 0.81), deviations (0.08 to 0.17) and the blue of those photographs.
    """
    kept, ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    return kept * image + ice * _crystals(*image.shape[:2], draw).clip(0, 1)


def _crystals(height: int, width: int, draw: np.random.Generator) -> np.ndarray:
    """Return needles of ice, of one direction around each of some seeds."""
    cells, reach = 40, 8
    places = draw.uniform(0, (height, width), (cells, 2))
    angles = draw.uniform(0, np.pi, cells)
    grain = smooth(draw.standard_normal((height, width)), 0.8)
    mean, deviation = draw.uniform(0.48, 0.81), draw.uniform(0.08, 0.17)
    rows, columns = np.mgrid[:height, :width]
    away = (rows[..., None] - places[:, 0])**2 + (columns[..., None] - places[:, 1])**2
    angle = angles[away.argmin(-1)]
    along = sum(grain[np.rint(rows + step * np.sin(angle)).astype(int) % height,
                      np.rint(columns + step * np.cos(angle)).astype(int) % width]
                for step in range(-reach, reach + 1))
    along = (along - along.mean()) / max(along.std(), 1e-9)
    return (mean + deviation * along)[..., None] * _ICE


def spatter(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Put drops of water (severities 1 to 3) or of mud (4 and 5) on the lens.

    The edges of drops are the outermost pixels of each, where ImageNet-C takes those that Canny's
    detector finds.
    """
    mean, deviation, sigma, least, amount = (
        (0.65, 0.3, 4, 0.69, 0.6), (0.65, 0.3, 3, 0.68, 0.6), (0.65, 0.3, 2, 0.68, 0.5),
        (0.65, 0.3, 1, 0.65, 1.5), (0.67, 0.4, 1, 0.65, 1.5))[severity - 1]
    liquid = smooth(draw.normal(mean, deviation, image.shape[:2]), sigma)
    liquid[liquid < least] = 0
    if severity <= 3:
        return image + amount * _drops(liquid)[..., None] * _WATER
    mud = smooth((liquid > least).astype(float), amount)
    mud = np.where(mud < 0.8, 0, mud)[..., None]
    return image * (1 - mud) + mud * _MUD


def _drops(liquid: np.ndarray) -> np.ndarray:
    """Return how bright drops are, 0 to 1: their light comes from one side."""
    wet = liquid > 0
    edge = wet & ~ndimage.binary_erosion(wet)
    if not edge.any():
        return np.zeros(liquid.shape)
    away = np.minimum(ndimage.distance_transform_edt(~edge), 20)
    away = _equalised(ndimage.uniform_filter(away, 3, mode="mirror"))
    lit = ndimage.correlate(away, [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], mode="mirror").clip(0, 255)
    bright = liquid * ndimage.uniform_filter(lit, 3, mode="mirror")
    return bright / max(bright.max(), 1e-9)


def _equalised(values: np.ndarray) -> np.ndarray:
    """Spread 8-bit values so that their histogram is even, over 0 to 255."""
    levels = np.rint(values).astype(int)
    below = np.bincount(levels.ravel(), minlength=256).cumsum()
    first = below[levels.min()]
    return np.rint(255 * (below - first) / max(levels.size - first, 1))[levels]
