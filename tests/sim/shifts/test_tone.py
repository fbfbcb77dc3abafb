"""Light and colour, by hand."""

import numpy as np
import pytest
from skimage import color

from sim.shifts import tone
from sim.shifts.shift import Shift
from tests.cases.photographs import photographs

IMAGE = np.array([[[200, 100, 50], [0, 0, 0]], [[255, 255, 255], [60, 60, 60]]], np.uint8)


def changed(family, severity):
    return Shift(family, severity).apply(IMAGE, "a", 1).tolist()


def test_dark_leaves_a_quarter():
    assert changed("dark", 3) == [[[50, 25, 12], [0, 0, 0]], [[64, 64, 64], [15, 15, 15]]]
    assert changed("dark", 5)[0][0] == [20, 10, 5]


def test_brightness_adds_to_the_largest_colour():
    # 0.2 is 51: 200 becomes 251, and 100 and 50 follow by 251/200; white stays white
    assert changed("brightness", 2) == [[[251, 126, 63], [51, 51, 51]],
                                        [[255, 255, 255], [111, 111, 111]]]


def test_brightness_stops_at_white():
    # 200 + 0.5 * 255 is beyond 255: colours keep their proportion, 255/200
    assert changed("brightness", 5)[0][0] == [255, 128, 64]


def test_contrast_keeps_the_means():
    # means: 128.75, 103.75, 91.25; at severity 3 a fifth of the distance stays
    assert changed("contrast", 3)[0] == [[143, 103, 83], [103, 83, 73]]
    assert changed("contrast", 3)[1] == [[154, 134, 124], [115, 95, 85]]


def test_saturation_falls_and_rises():
    # saturation 0.75, times 0.3: 200 * (1 - 0.225 * lack), lack 0, 2/3, 1
    assert changed("saturate", 1)[0][0] == [200, 170, 155]
    # times 2, at most 1: lack counts in full
    assert changed("saturate", 3)[0][0] == [200, 67, 0]
    assert changed("saturate", 3)[1] == [[255, 255, 255], [60, 60, 60]]


def test_gray_becomes_red_as_in_imagenet_c():
    # saturation 0 * 20 + 0.2 at the hue of red
    assert changed("saturate", 5)[1] == [[255, 204, 204], [60, 48, 48]]


@pytest.mark.parametrize(("severity", "factor"), [*enumerate((0.6, 0.4, 0.25, 0.15, 0.1), 1)])
def test_dark_has_its_factors(severity, factor):
    assert changed("dark", severity)[1][0] == [round(255 * factor)] * 3


@pytest.mark.parametrize(("family", "channel", "changes"), [
    (tone.brightness, 2, [(1, 0.1), (1, 0.2), (1, 0.3), (1, 0.4), (1, 0.5)]),
    (tone.saturate, 1, [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)])])
def test_colours_are_those_of_a_way_through_hsv(family, channel, changes):
    image = photographs()[1] / 255
    image[:8] = image[:8, :, :1]  # gray
    image[0] = 0
    for severity, (factor, more) in enumerate(changes, 1):
        hsv = color.rgb2hsv(image)
        hsv[..., channel] = np.clip(hsv[..., channel] * factor + more, 0, 1)
        made = family(image, severity, None)
        np.testing.assert_allclose(made, color.hsv2rgb(hsv), atol=1e-12)
