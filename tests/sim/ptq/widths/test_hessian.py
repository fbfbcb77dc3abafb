"""Traces of the Hessian are those that small changes show, and serve to choose widths."""

import pytest
import torch
from scipy import stats

from golden.common.config import CORES
from sim.ptq import pipeline, source
from sim.ptq.twin import Twin
from sim.ptq.widths import gains, hessian, mixing
from sim.ptq.widths.mixing_costs import Costs
from tests.cases import vits

NARROW, HALF, WIDE = mixing.PRECISIONS
IMAGES = 400


@pytest.fixture(scope="module")
def network():
    return source.read(vits.model(), vits.preprocessing())


@pytest.fixture(scope="module")
def pixels():
    return torch.from_numpy(vits.pixels(IMAGES))


@pytest.fixture(scope="module")
def curvature(network, pixels):
    made = hessian.Curvature(network, pixels)
    made.trace()
    return made


@torch.no_grad()
def divergence(twin, pixels, before):
    return float((before.exp() * (before - twin(pixels).log_softmax(-1))).sum(-1).mean())


@pytest.mark.parametrize("name", ["0_qkv", "1_proj", "0_fc1", "1_fc2"])
def test_small_changes_of_weights_cost_what_the_trace_says(curvature, network, pixels, name):
    twin = Twin(network, WIDE)
    twin.active = False
    draw, weight, costs = torch.Generator().manual_seed(3), twin.weights[name].data, []
    with torch.no_grad():
        before = twin(pixels[:40]).log_softmax(-1)
    step = 3e-2 * weight.abs().mean()
    for _ in range(60):
        change = step * torch.randn(weight.shape, generator=draw, dtype=weight.dtype)
        twin.weights[name].data = weight + change
        costs.append(divergence(twin, pixels[:40], before) / float(change.square().sum()))
    wanted = curvature.of_weights[name] / 2
    assert sum(costs) / len(costs) == pytest.approx(wanted, rel=0.35)


def test_wider_layers_gain_and_weights_count_for_themselves(curvature, network):
    made = hessian.measure(curvature, mixing.PRECISIONS)
    assert [(one.block, one.layer) for one in made[::2]] == gains.layers_of(network.shape)
    assert [one.precision for one in made[:2]] == [HALF, WIDE]
    for half, wide in zip(made[::2], made[1::2], strict=True):
        assert 0 < half.gain <= wide.gain
        assert (half.gain == wide.gain) == (half.layer == "attention")


def test_what_is_derived_and_what_is_measured_order_the_layers_alike(network, pixels):
    images = pixels[:48]
    made = pipeline.quantize(network, images.numpy(), pipeline.Plan(WIDE))
    derived, again = ({(one.block, one.layer): one.gain for one in hessian.measure(
        hessian.Curvature(made.folded, images), (NARROW, WIDE))} for _ in range(2))
    assert derived == again
    measured = {(one.block, one.layer): one.gain for one in mixing.measure(
        mixing.Sensitivity(made.twin, made.folded, images), (NARROW, WIDE))}
    pairs = [(derived[layer], measured[layer]) for layer in derived]
    assert stats.spearmanr(*zip(*pairs, strict=True)).statistic > 0.6


def test_widths_are_chosen_by_either(network, pixels):
    costs = Costs(network.shape, CORES["4x4"], NARROW)
    made = [mixing.mixed(network, pixels[:16].numpy(), pipeline.Plan(WIDE), 0.8, costs, by=by)
            for by in mixing.JUDGES]
    assert all(0.6 < one.cycles / one.widest <= 0.8 for one in made)
    assert [one.gain for one in made[0].options] != [one.gain for one in made[1].options]
