"""Fitting a scale predictor."""

import dataclasses

import pytest
import torch

from golden.network.shape import VitShape
from sim.prediction import predictor
from sim.prediction.predictor import Options

SHAPE = VitShape(image=16, patch=4, dim=32, depth=4, heads=4, hidden=64, classes=7)


def planted(images=300, statistics=40, sites=5, noise=0.1, seed=1):
    """Return statistics and scales that follow two directions of them, the last one squared."""
    torch.manual_seed(seed)
    logs = torch.randn(images, statistics)
    hidden = logs[:, :10].mean(1) * 3, logs[:, 10:20].mean(1) * 3
    oracle = torch.stack([0.2 * hidden[0], 0.2 * hidden[1], 0.1 * (hidden[0] - hidden[1]),
                          0.2 * hidden[0]**2, 0 * hidden[0]], 1)
    return logs, oracle[:, :sites] + noise * 0.2 * torch.randn(images, sites) - 3


def test_a_planted_relation_is_found_on_images_that_were_held_out():
    logs, oracle = planted()
    share = predictor.cross_validate(logs, oracle, Options(rank=3, degree=1), 0.1)
    assert share[:3].min() > 0.8
    assert share[3:].max() < 0.3
    squared = predictor.cross_validate(logs, oracle, Options(rank=3, degree=2), 0.1)
    assert squared[3] > share[3] + 0.3


def test_nothing_is_found_where_images_are_shuffled():
    logs, oracle = planted()
    assert predictor.cross_validate(logs, oracle.roll(1, 0), Options(rank=3), 0.3).max() < 0.05


def test_the_fit_keeps_to_the_formats():
    logs, oracle = planted()
    found = predictor.fit(logs, 40 * oracle, Options(rank=3, degree=2), 0.01)
    assert found.projection.abs().max() < 2
    assert found.coefficients[:, :3].abs().max() < 2
    assert found.coefficients[:, 3:].abs().max() < 0.5


def test_each_site_is_predicted_by_the_last_tap_before_it():
    options = Options(taps=(1, 3))
    first, second = options.sites_of(1, SHAPE), options.sites_of(3, SHAPE)
    assert first == list(range(SHAPE.site(1, "qkv"), SHAPE.site(3, "qkv")))
    assert second == list(range(SHAPE.site(3, "qkv"), SHAPE.sites))
    some = Options(taps=(1,), sites=("fc1",)).sites_of(1, SHAPE)
    assert some == [SHAPE.site(block, "fc1") for block in (1, 2, 3)] + [SHAPE.sites - 1]


def test_taps_of_a_network_that_merges_see_the_stream_of_their_stage():
    shape = dataclasses.replace(SHAPE, image=32, prefix=0, classified=0, window=4, merges=(2, 3))
    options = Options(taps=(1, 2, 4))
    assert [options.key(after, shape) for after in (0, 1, 2, 3, 4)] == [
        (0, 16, 32), (1, 16, 32), (2, 16, 32), (3, 16, 64), (4, 16, 128)]
    names = shape.site_names()
    first, second, last = ([names[site] for site in options.sites_of(after, shape)]
                           for after in options.taps)
    assert (first[0], first[-1]) == ("1.qkv", "1.fc2")
    assert (second[0], second[-1]) == ("2.merge", "3.fc2")
    assert last == ["pool", "head"]
    some = dataclasses.replace(options, sites=("fc1",)).sites_of(2, shape)
    assert [names[site] for site in some] == ["2.merge", "2.fc1", "3.merge", "3.fc1"]


def test_r_squared_leaves_offsets_aside():
    wanted = torch.tensor([[1.0], [2.0], [3.0]])
    assert predictor.r_squared(wanted + 5, wanted).item() == pytest.approx(1.0)
    assert predictor.r_squared(torch.zeros(3, 1), wanted).item() == pytest.approx(0.0)
