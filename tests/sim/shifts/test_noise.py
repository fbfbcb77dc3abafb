"""Noise, by its statistics."""

import numpy as np
import pytest

from sim.shifts import noise

GRAY = np.full((200, 200, 3), 0.5)


def made(family, severity, image=GRAY):
    return family(image, severity, np.random.default_rng(1))


@pytest.mark.parametrize(("severity", "deviation"), [*enumerate((0.08, 0.12, 0.18, 0.26, 0.38), 1)])
def test_gaussian_noise_has_its_deviation(severity, deviation):
    values = made(noise.gaussian_noise, severity)
    assert values.mean() == pytest.approx(0.5, abs=0.01)
    assert values.std() == pytest.approx(deviation, rel=0.02)


@pytest.mark.parametrize(("severity", "deviation"), [*enumerate((0.15, 0.2, 0.35, 0.45, 0.6), 1)])
def test_speckle_noise_grows_with_the_value(severity, deviation):
    assert made(noise.speckle_noise, severity).std() == pytest.approx(deviation / 2, rel=0.02)
    assert not made(noise.speckle_noise, severity, 0 * GRAY).any()


@pytest.mark.parametrize(("severity", "photons"), [*enumerate((60, 25, 12, 5, 3), 1)])
def test_shot_noise_counts_photons(severity, photons):
    values = made(noise.shot_noise, severity) * photons
    np.testing.assert_allclose(values, values.round())
    assert values.mean() == pytest.approx(photons / 2, rel=0.02)
    assert values.var() == pytest.approx(photons / 2, rel=0.03)


@pytest.mark.parametrize(("severity", "share"), [*enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1)])
def test_impulse_noise_is_half_black_half_white(severity, share):
    values = made(noise.impulse_noise, severity)
    assert (values == 0).mean() == pytest.approx(share / 2, rel=0.05)
    assert (values == 1).mean() == pytest.approx(share / 2, rel=0.05)
    assert set(np.unique(values)) == {0, 0.5, 1}
