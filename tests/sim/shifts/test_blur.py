"""Blur: what it makes of one bright pixel, and of none."""

import numpy as np
import pytest
from scipy import ndimage

from sim.shifts import blur

FAMILIES = (blur.gaussian_blur, blur.defocus_blur, blur.glass_blur, blur.motion_blur,
            blur.zoom_blur)


def made(family, image, severity=3):
    return family(image, severity, np.random.default_rng(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("severity", range(1, 6))
def test_even_image_stays_even(family, severity):
    image = np.broadcast_to([0.2, 0.4, 1.0], (40, 50, 3))
    np.testing.assert_allclose(made(family, image, severity), image, atol=1e-9)


@pytest.mark.parametrize("family", [blur.gaussian_blur, blur.defocus_blur, blur.motion_blur])
def test_light_of_a_pixel_is_spread(family):
    image = np.zeros((99, 99, 3))
    image[49, 49] = 1
    spread = made(family, image)
    assert spread.sum((0, 1)) == pytest.approx(1)
    assert spread.max() < 0.2


def test_disk_out_of_focus_has_its_radius():
    image = np.zeros((41, 41, 3))
    image[20, 20] = 1
    spread = made(blur.defocus_blur, image, severity=3)[20, :, 0]
    lit = np.flatnonzero(spread > 1e-6)
    assert (lit[0], lit[-1]) == (20 - 7, 20 + 7)  # 6, and one of the smooth edge
    assert spread[20] == pytest.approx(1 / 113)  # places within a radius of 6


def test_motion_goes_one_way_along_its_line():
    image = np.zeros((9, 30))
    image[4, 20] = 1
    weights = np.exp(-np.arange(7)**2 / 8)
    moved = blur.moved(image, 3, 2, 0)
    np.testing.assert_allclose(moved[4, 20:13:-1], weights / weights.sum())
    assert moved[4].sum() == pytest.approx(1)
    upright = blur.moved(image.T, 3, 2, 90)
    np.testing.assert_allclose(upright, moved.T)


def test_zoom_keeps_the_middle():
    image = np.random.default_rng(1).random((40, 40, 3))
    np.testing.assert_array_equal(blur.zoomed(image, 1.0), image)
    ramp = np.broadcast_to(np.arange(101.0)[:, None], (101, 101))
    larger = blur.zoomed(ramp, 2)
    assert larger.shape == ramp.shape
    assert larger[50, 0] == pytest.approx(50, abs=0.5)
    np.testing.assert_allclose(np.diff(larger[:, 0]), 0.5, atol=0.01)


@pytest.mark.parametrize("factor", [*np.arange(1, 1.31, 0.03), 2, 2.5, 3, 4, 4.5])
def test_zoom_is_that_of_scipy(factor):
    image = np.random.default_rng(1).random((224, 224))
    kept = int(np.ceil(224 / factor))
    first = (224 - kept) // 2
    inner = image[first:first + kept, first:first + kept]
    larger = ndimage.zoom(inner, factor, order=1)
    trim = (len(larger) - 224) // 2
    np.testing.assert_allclose(blur.zoomed(image, factor),
                               larger[trim:trim + 224, trim:trim + 224], atol=1e-9)


@pytest.mark.parametrize("factor", [1.01, 1.1, 1.24, 2.5, 3, 4.5])
@pytest.mark.parametrize("shape", [(224, 224, 3), (224, 224), (7, 5), (1, 2)])
def test_zoom_keeps_the_size(factor, shape):
    assert blur.zoomed(np.ones(shape), factor).shape == shape


def test_glass_takes_colours_from_near():
    image = np.zeros((60, 60, 3))
    image[:, 30:] = 1
    changed = made(blur.glass_blur, image, severity=5)  # two times at most four pixels, and blur
    np.testing.assert_allclose(changed[:, :6], 0, atol=1e-6)
    np.testing.assert_allclose(changed[:, 54:], 1, atol=1e-6)
    assert changed[10:50, 30, 0].std() > 0.01
