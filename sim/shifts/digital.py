"""What storing and scaling do to images, and elastic distortion."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage


def jpeg_compression(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Store as JPEG of a low quality."""
    stored = io.BytesIO()
    _picture(image).save(stored, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    with Image.open(stored) as picture:
        return np.asarray(picture) / 255


def pixelate(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Take fewer pixels, and make each a box."""
    share, picture = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1], _picture(image)
    small = [max(1, int(side * share)) for side in picture.size]
    return np.asarray(picture.resize(small, Image.BOX).resize(picture.size, Image.BOX)) / 255


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * image).astype(np.uint8))


def elastic_transform(image: np.ndarray, severity: int, draw: np.random.Generator) -> np.ndarray:
    """Shear the image at random, then move each pixel by a smooth random field.

    Severities 1 and 2 move large parts far, 3 to 5 small parts; they do not follow one another.
    """
    far, sigma, shear = 244 * np.array(((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02),
                                        (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))[severity - 1])
    size = np.array(image.shape[:2])
    sheared = _sheared(image, shear * draw.uniform(-1, 1, (3, 2)))
    fields = [far * ndimage.gaussian_filter(draw.uniform(-1, 1, size), sigma, mode="reflect",
                                            truncate=3) for _ in size]
    places = np.indices(size) + fields
    return np.stack([ndimage.map_coordinates(colour, places, order=1, mode="reflect")
                     for colour in np.moveaxis(sheared, -1, 0)], -1)


def _sheared(image: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Move three points around the middle, and the plane with them.

    Parameters
    ----------
    moves : float array, shape (points, 2)
        By how many rows and columns.
    """
    size = np.array(image.shape[:2])
    middle, side = size // 2, max(1, min(size) // 3)
    points = middle + side * np.array(((1, 1), (1, -1), (-1, -1)))
    goals = np.column_stack((points + moves, np.ones(3)))
    back = np.linalg.solve(goals, points)  # from where each place is taken
    return np.stack([ndimage.affine_transform(colour, back[:2].T, back[2], order=1, mode="mirror")
                     for colour in np.moveaxis(image, -1, 0)], -1)
