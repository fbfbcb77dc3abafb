"""Every family, and how shifts are written and applied."""

import numpy as np
import pytest

from sim.shifts.shift import FAMILIES, GROUPS, SEVERITIES, USUAL, Shift, generator, mixed, parse
from tests.cases.photographs import photographs

CONSTANT = {"dark", "brightness", "contrast", "saturate", "jpeg_compression", "pixelate",
            "gaussian_blur", "defocus_blur", "zoom_blur"}
"""Families without anything random."""

UNEVEN = {"glass_blur", "snow", "frost", "elastic_transform", "saturate"}
"""Families whose severities, with the constants of ImageNet-C, are not ordered by squared error."""


def changed(image, family, severity=3, key="a", seed=1):
    return Shift(family, severity).apply(image, key, seed)


def error(family, severity):
    """Mean squared error over the photographs."""
    return np.mean([np.square(changed(image, family, severity) - image.astype(float)).mean()
                    for image in photographs()])


@pytest.mark.parametrize("family", FAMILIES)
def test_image_is_changed_at_every_severity(family):
    image = photographs()[0]
    before = image.copy()
    made = [changed(image, family, severity) for severity in SEVERITIES]
    np.testing.assert_array_equal(image, before)
    for one in made:
        assert (one.dtype, one.shape) == (np.uint8, image.shape)
        assert (one != image).mean() > 0.01
    assert len({one.tobytes() for one in made}) == len(SEVERITIES)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in UNEVEN])
def test_distortion_rises_with_severity(family):
    errors = [error(family, severity) for severity in SEVERITIES]
    assert errors == sorted(errors), errors


@pytest.mark.parametrize(("family", "severities"), [
    ("glass_blur", (1, 3, 5)), ("snow", (1, 2, 4, 5)), ("elastic_transform", (1, 2)),
    ("elastic_transform", (3, 4, 5)), ("saturate", (1, 2)), ("saturate", (3, 4, 5))])
def test_distortion_rises_where_severities_are_of_a_kind(family, severities):
    errors = [error(family, severity) for severity in severities]
    assert errors == sorted(errors), errors


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (24, 40), (33, 17)])
@pytest.mark.parametrize("family", FAMILIES)
def test_any_size_is_taken(family, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for severity in SEVERITIES:
        assert changed(image, family, severity).shape == (*shape, 3)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("family", FAMILIES)
def test_even_images_are_taken(family, value):
    image = np.full((32, 32, 3), value, np.uint8)
    for severity in SEVERITIES:
        changed(image, family, severity)  # without a warning, which would be an error


@pytest.mark.parametrize("family", FAMILIES)
def test_result_depends_on_image_key_and_seed_alone(family):
    image, other = photographs()[:2, :64, :64]
    first = changed(image, family)
    changed(other, family, key="b")
    np.testing.assert_array_equal(changed(image, family), first)
    same = [np.array_equal(changed(image, family, **about), first)
            for about in ({"key": "b"}, {"seed": 2})]
    assert same == [family in CONSTANT] * 2


def test_severities_have_the_same_random_numbers():
    image = np.full((64, 64, 3), 128, np.uint8)
    weak, strong = (changed(image, "gaussian_noise", severity).astype(int) - 128
                    for severity in (1, 2))
    inside = abs(strong) < 127
    np.testing.assert_allclose(strong[inside], 1.5 * weak[inside], atol=1.3)


def test_generator_depends_on_each_part():
    def first(*about):
        return generator(*about).integers(2**60)
    assert first(1, "a", "fog") == first(1, "a", "fog")
    assert len({first(1, "a", "fog"), first(2, "a", "fog"), first(1, "b", "fog"),
                first(1, "a", "snow"), first(1, "af", "og")}) == 5


def test_families_are_those_of_imagenet_c_and_dark():
    assert len(GROUPS["imagenet-c"]) == 15
    assert GROUPS["all"] == tuple(FAMILIES)
    assert [*FAMILIES][15:] == ["speckle_noise", "gaussian_blur", "spatter", "saturate", "dark"]
    assert all(family.__doc__.partition("\n")[0].endswith((".", ":"))
               for family in FAMILIES.values())


@pytest.mark.parametrize(("text", "wanted"), [
    ("fog:3", ["fog:3"]),
    ("fog", ["fog:1", "fog:3", "fog:5"]),
    ("dark:1, fog:2,dark:1", ["dark:1", "fog:2"]),
    ("all:5", [f"{name}:5" for name in FAMILIES]),
    ("dark:2,imagenet-c:2", ["dark:2", *(f"{name}:2" for name in GROUPS["imagenet-c"])]),
])
def test_shifts_are_read_each_once(text, wanted):
    assert [str(one) for one in parse(text)] == wanted


def test_all_is_every_family_at_the_usual_severities():
    assert len(parse("all")) == len(FAMILIES) * len(USUAL)


@pytest.mark.parametrize(("text", "message"), [
    ("", "shifts must be NAME or NAME:SEVERITY, commas between them, not ''"),
    ("fog:1,", "shifts must be NAME or NAME:SEVERITY, commas between them, not 'fog:1,'"),
    ("fgo:1", r"no shift is called 'fgo'; did you mean fog\?"),
    ("Gaussian-Noise", "no shift is called 'Gaussian-Noise'; did you mean gaussian_noise"),
    ("jpeg", r"no shift is called 'jpeg'; did you mean jpeg_compression\?"),
    ("xyzzy", "no shift is called 'xyzzy'; there are gaussian_noise, .*, all"),
    (":3", "no shift is called ''; there are "),
    ("fog:6", r"the severity of fog must be within 1\.\.5, not '6'"),
    ("all:0", r"the severity of all must be within 1\.\.5, not '0'"),
    ("fog:", r"the severity of fog must be within 1\.\.5, not ''"),
    ("fog:1.5", r"the severity of fog must be within 1\.\.5, not '1\.5'"),
    ("fog:1:2", r"the severity of fog must be within 1\.\.5, not '1:2'"),
])
def test_refuses_what_is_no_shift(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(("family", "severity", "message"), [
    ("foggy", 1, "no shift is called 'foggy'"), ("fog", 6, "must be within 1..5, not 6"),
    ("fog", "3", "must be within 1..5, not '3'")])
def test_refuses_a_shift_that_is_none(family, severity, message):
    with pytest.raises(ValueError, match=message):
        Shift(family, severity)


@pytest.fixture
def some():
    draw = np.random.default_rng(1)
    return draw.integers(0, 256, (200, 4, 4, 3), dtype=np.uint8), [str(n) for n in range(200)]


def test_share_of_images_is_shifted_each_by_one(some):
    pixels, keys = some
    shifts = [Shift("dark", 3), Shift("contrast", 5)]
    np.testing.assert_array_equal(mixed(pixels, keys, shifts, 0.0, 1), pixels)
    made = mixed(pixels, keys, shifts, 0.5, 1)
    choices = {"none": pixels} | {str(shift): np.stack([
        shift.apply(image, key, 1) for image, key in zip(pixels, keys, strict=True)])
        for shift in shifts}
    counts = {name: int((made == each).all((1, 2, 3)).sum()) for name, each in choices.items()}
    assert sum(counts.values()) == 200
    assert abs(counts["none"] - 100) < 30
    assert abs(counts["dark:3"] - 50) < 25
    whole = mixed(pixels, keys, shifts, 1.0, 1)
    assert not (whole == pixels).all((1, 2, 3)).any()


def test_what_shifts_an_image_does_not_depend_on_others(some):
    pixels, keys = some
    shifts = [Shift("dark", 3), Shift("gaussian_noise", 2)]
    made = mixed(pixels, keys, shifts, 0.5, 1)
    turned = mixed(pixels[::-3], keys[::-3], shifts, 0.5, 1)
    np.testing.assert_array_equal(turned, made[::-3])
    assert not np.array_equal(mixed(pixels, keys, shifts, 0.5, 2), made)
