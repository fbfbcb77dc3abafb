"""Weather: what covers an image, and what is behind it."""

import numpy as np
import pytest

from sim.shifts import weather

GRAY = np.full((64, 64, 3), 0.4)


def made(family, severity, image=GRAY, seed=1):
    return family(image, severity, np.random.default_rng(seed))


def test_fractal_is_from_0_to_1_and_rougher_the_less_it_decays():
    smooth, rough = (weather._plasma(64, decay, np.random.default_rng(1)) for decay in (2, 1.4))
    for field in smooth, rough:
        assert (field.shape, field.min(), field.max()) == ((64, 64), 0, 1)
    assert np.abs(np.diff(rough)).mean() > 2 * np.abs(np.diff(smooth)).mean()


def test_fog_is_the_mean_of_light_and_image():
    image = GRAY.copy()
    image[0, 0] = 1
    foggy = made(weather.fog, 5, image)
    assert foggy[1:].min() >= 0.4 / 4  # (0.4 + 3 * 0) * 1 / (1 + 3)
    assert foggy[1:].max() <= 3.4 / 4
    assert foggy[1:].std() > 0.05
    assert np.ptp(foggy, axis=-1).max() < 1e-9


def test_snow_adds_white_and_takes_nothing():
    for severity in range(1, 6):
        snowy = made(weather.snow, severity)
        assert snowy.min() >= 0.4
        assert np.ptp(snowy, axis=-1).max() < 1e-9
    assert made(weather.snow, 5).mean() > made(weather.snow, 1).mean()


@pytest.mark.parametrize(("severity", "kept", "ice"), [
    (1, 1, 0.4), (2, 0.8, 0.6), (3, 0.7, 0.7), (4, 0.65, 0.7), (5, 0.6, 0.75)])
def test_frost_is_a_blend_with_bluish_ice(severity, kept, ice):
    frosted = made(weather.frost, severity)
    crystals = (frosted - kept * GRAY) / ice
    assert crystals.min() >= 0
    assert crystals.max() <= 1
    red, green, blue = crystals.mean((0, 1))
    assert red < green < blue
    assert 0.3 < crystals.mean() < 0.9
    np.testing.assert_allclose(crystals, made(weather.frost, 1, 0 * GRAY) / 0.4)


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_drops_of_water_add_turquoise(severity):
    image = np.full((224, 224, 3), 0.4)
    more = (made(weather.spatter, severity, image) - image).round(9)
    assert more.min() >= 0
    assert 0 < (more > 0).mean() < 0.5
    wet = more[more[..., 0] > 0]
    np.testing.assert_allclose(wet, wet[:, :1] * [1, 238 / 175, 238 / 175], atol=1e-8)
    assert more.max() == pytest.approx((0.6, 0.6, 0.5)[severity - 1] * 238 / 255)


@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers(severity):
    image = np.full((224, 224, 3), 0.4)
    muddy = made(weather.spatter, severity, image)
    covered = (muddy != 0.4).any(-1)
    assert 0.02 < covered.mean() < 0.5
    share = (muddy[covered] - 0.4) / (np.array([63, 42, 20]) / 255 - 0.4)
    assert np.ptp(share, axis=-1).max() < 1e-9
    assert share.min() >= 0.8
