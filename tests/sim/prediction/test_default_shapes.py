from dataclasses import replace

import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.prediction.range_shape import RangeShape
from sim.prediction.default_shapes import predictor_shape, tap_shape

CONFIG = CORES["8x16"]


@pytest.mark.parametrize("config", [*CORES.values(), AcceleratorConfig.for_array(32, 32)],
                         ids=str)
@pytest.mark.parametrize(("tokens", "channels"), [(197, 192), (197, 768), (3136, 96), (1370, 384),
                                                  (1, 7), (4096, 2048)])
def test_the_range_unit_has_room_for_every_tap(tokens, channels, config):
    fits = AcceleratorConfig(**{name: getattr(config, name) for name in config.__slots__} | {
        "max_tokens": 4096, "max_channels": 2048})
    shape = tap_shape(tokens, channels, fits)
    shape.check(fits)
    predictor = predictor_shape(shape, 78, fits)
    predictor.check(fits)


def test_single_channels_are_watched_where_they_fit():
    assert tap_shape(197, 192, CONFIG) == RangeShape(197, 192, 16, 192)
    assert tap_shape(197, 768, CONFIG).groups == 96  # 1536 statistics are too many


def test_default_predictor():
    shape = predictor_shape(RangeShape(197, 192, 16, 192), 78, CONFIG)
    assert (shape.statistics, shape.variables, shape.degree, shape.sites) == (384, 8, 2, 78)
    assert shape.projected
    assert not predictor_shape(RangeShape(197, 192, 16), 78, CONFIG).projected


def test_predictor_is_made_smaller_where_there_is_less_room():
    small = replace(CONFIG, max_monomials=20)
    assert predictor_shape(RangeShape(197, 192, 16, 192), 78, small).monomials == 20
