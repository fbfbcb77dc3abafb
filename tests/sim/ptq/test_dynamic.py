"""Scales chosen image by image."""

import numpy as np
import pytest

from golden.common.formats import IntFormat
from golden.network import vit
from golden.network.precision import Precision
from sim.ptq import dynamic
from tests.cases.networks import SHAPE, network, pixels

FORMATS = [IntFormat(4), IntFormat(4, signed=False), IntFormat(8), IntFormat(4, symmetric=True)]


def values(fmt, seed=1, size=5000):
    draw = np.random.default_rng(seed)
    x = draw.standard_t(4, (3, size)) * np.array([[0.1], [1.0], [30.0]])
    return np.abs(x).astype(np.float32) if not fmt.signed else x.astype(np.float32)


def error(x, lam, fmt):
    scale = 2.0**(lam / 1024)
    return float(((np.clip(np.floor(x / scale + 0.5), fmt.min, fmt.max) * scale - x)**2).mean())


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_minmax_is_the_smallest_scale_that_clips_nothing(fmt):
    x = values(fmt)
    for row, lam in zip(x, dynamic.minmax(x, fmt), strict=True):
        scale = 2.0**(lam / 1024)
        assert row.max() <= fmt.max * scale
        assert row.min() >= fmt.min * scale
        smaller = 2.0**((lam - 1) / 1024)
        assert row.max() > fmt.max * smaller or row.min() < fmt.min * smaller


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_the_percentile_clips_its_share(fmt):
    x = values(fmt, size=50_000)
    share = round((1 - dynamic.SHARE) * x.shape[1])
    for row, lam in zip(x, dynamic.percentile(x, fmt), strict=True):
        scale = 2.0**(lam / 1024)
        clipped = (row > fmt.max * scale).sum(), (row < fmt.min * scale).sum()
        assert 0 < max(clipped) <= share
    assert (dynamic.percentile(x, fmt) < dynamic.minmax(x, fmt)).all()


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_no_other_scale_has_much_less_error_than_the_oracle(fmt):
    x = values(fmt)
    for row, lam in zip(x, dynamic.mse(x, fmt), strict=True):
        best = min(error(row, other, fmt) for other in range(int(lam) - 3000, int(lam) + 3000, 8))
        assert error(row, lam, fmt) <= 1.02 * best


def test_a_tensor_of_zeros_has_a_scale():
    for rule in dynamic.RULES.values():
        found = rule(np.zeros((2, 10), np.float32), IntFormat(4))
        assert found.shape == (2,)
        assert (found < -10_000).all()


@pytest.mark.parametrize("rule", dynamic.RULES)
def test_the_golden_model_takes_the_scales_of_a_rule(rule):
    made = network(Precision(4, 4))
    machine, images = vit.Vit(made), pixels(3)
    found = machine.run(images, choose=dynamic.chooser(made, rule))
    again = machine.run(images, scales=found.scales)
    assert (again.logits == found.logits).all()
    assert len(np.unique(found.scales[:, SHAPE.site(1, "q")])) > 1
    if rule == "minmax":
        seen = {}
        machine.run(images, scales=found.scales, watch=seen.__setitem__)
        largest = np.abs(seen["1.fc1"].astype(int)).reshape(3, -1).max(1)
        assert (largest >= 6).all()
        assert (largest <= 8).all()
