"""Storing, scaling and elastic distortion."""

import io

import numpy as np
import pytest
from PIL import Image

from sim.shifts import digital
from sim.shifts.shift import Shift
from tests.cases.photographs import photographs


def test_pixels_are_means_of_boxes():
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    boxes = image.reshape(4, 4, 4, 4, 3).mean((1, 3))  # a quarter of 16
    wanted = np.floor(boxes + 0.5).repeat(4, 0).repeat(4, 1)
    np.testing.assert_allclose(Shift("pixelate", 5).apply(image, "a", 1), wanted, atol=1)


@pytest.mark.parametrize(("severity", "quality"), [*enumerate((25, 18, 15, 10, 7), 1)])
def test_jpeg_has_its_quality(severity, quality):
    image, stored = photographs()[0], io.BytesIO()
    Image.fromarray(image).save(stored, "JPEG", quality=quality)
    wanted = np.asarray(Image.open(stored))
    np.testing.assert_array_equal(Shift("jpeg_compression", severity).apply(image, "a", 1), wanted)


def test_shear_moves_the_plane_with_its_points():
    image = np.random.default_rng(1).random((30, 30, 3))
    np.testing.assert_allclose(digital._sheared(image, np.zeros((3, 2))), image, atol=1e-9)
    right = digital._sheared(image, np.array([[0, 1]] * 3))
    np.testing.assert_allclose(right[:, 1:], image[:, :-1], atol=1e-9)
    down = digital._sheared(image, np.array([[2, 0]] * 3))
    np.testing.assert_allclose(down[2:], image[:-2], atol=1e-9)


@pytest.mark.parametrize("severity", range(1, 6))
def test_elastic_transform_moves_colours_and_makes_none(severity):
    even = np.broadcast_to([0.2, 0.4, 1.0], (40, 50, 3))
    made = digital.elastic_transform(even, severity, np.random.default_rng(1))
    np.testing.assert_allclose(made, even)
    image = photographs()[0] / 255
    made = digital.elastic_transform(image, severity, np.random.default_rng(1))
    assert image.min() <= made.min() < made.max() <= image.max() + 1e-9
