"""Widths chosen for each layer: what layers gain and cost, and what is taken."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.common.config import CORES
from golden.network.precision import parse
from sim.ptq import fold, pipeline, source
from sim.ptq.checkpoint import Checkpoint
from sim.ptq.training import train
from sim.ptq.widths import gains, mixing
from sim.ptq.widths.mixing import Option, Sensitivity, choose, precision_of
from sim.ptq.widths.mixing_costs import Costs
from tests.cases import vits

NARROW, HALF, WIDE = mixing.PRECISIONS
PLAN = pipeline.Plan(WIDE)


@pytest.fixture(scope="module")
def network():
    return source.read(vits.model(), vits.preprocessing())


@pytest.fixture(scope="module")
def costs(network):
    return Costs(network.shape, CORES["4x4"], NARROW)


def sensitivity(network, images):
    made = pipeline.quantize(network, images, PLAN)
    return Sensitivity(made.twin, made.folded, torch.from_numpy(images))


def test_a_layer_is_narrow_only_while_it_is_measured(network):
    images = vits.pixels(16)
    found = sensitivity(network, images)
    before = {name: value.clone() for name, value in found.twin.state_dict().items()}
    formats, least = list(found.twin.formats), found.divergence()
    assert 0 < least < 0.01
    for block, layer in gains.layers_of(network.shape):
        half, narrow = (found.of(block, layer, one) for one in (HALF, NARROW))
        assert half < narrow or layer == "attention"
        assert found.of(block, layer, WIDE) == pytest.approx(least, rel=1e-4)
    after = found.twin.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert found.twin.formats == formats


def test_the_divergence_is_that_of_the_float_network_and_the_twin(network):
    images = vits.pixels(16)
    found = sensitivity(network, images)
    made, pixels = found.twin, torch.from_numpy(images)
    float_logits, own = (train.logits(one, pixels).log_softmax(-1) for one in (
        reference(network, images), made))
    wanted = (float_logits.exp() * (float_logits - own)).sum(-1).mean()
    assert found.divergence() == pytest.approx(float(wanted), rel=1e-3)


def reference(network, images):
    folded = fold.fold(network, fold.observe(network, torch.from_numpy(images)))
    made = mixing.Twin(folded, WIDE)
    made.active = False
    return made


def option(block, gain, cycles, layer="fc1", precision=HALF):
    return Option(block, layer, precision, gain, cycles)


def test_layers_that_gain_most_for_a_cycle_are_taken():
    small, large, cheap = option(0, 1.0, 10), option(1, 5.0, 100), option(2, 0.5, 1)
    nothing = option(3, -1.0, 1)
    every = [small, large, cheap, nothing]
    for budget, wanted in ((0, []), (1, [cheap]), (11, [small, cheap]), (100, [small, cheap]),
                           (111, [small, large, cheap])):
        assert choose(every, budget) == wanted


def test_a_layer_is_made_wider_step_by_step():
    half, wide = option(0, 1.0, 10), option(0, 1.5, 40, precision=WIDE)
    other = option(1, 0.3, 10)
    assert choose([half, wide, other], 39) == [half, other]
    assert choose([half, wide, other], 40) == [half, other]
    assert choose([half, wide, other], 50) == [wide, other]
    assert choose([wide], 40) == [wide]


def test_a_choice_goes_on_from_another():
    wide, half, other = (Option(0, "fc1", WIDE, 3.0, 2), Option(0, "fc1", HALF, 1.0, 1),
                         Option(1, "fc1", HALF, 0.1, 1))
    options = [half, wide, other]
    assert choose(options, 2) == [wide]
    assert choose(options, 2, [half]) == [wide]
    assert choose(options, 2, [half, other]) == [half, other]
    assert choose(options, 3, [half, other]) == [wide, other]


def test_weights_of_a_network_that_is_trained_are_narrow_first(network, costs):
    images = vits.pixels(8)
    trained = replace(PLAN, budget=train.Budget(epochs=1))
    half = costs.frame(HALF) / costs.frame(WIDE)
    for share in (half, (half + 1) / 2):
        found = mixing.mixed(network, images, trained, share, costs)
        widths = {one.precision.weights for one in found.chosen}
        assert widths == ({4} if share == half else {4, 8})
        assert found.cycles <= share * found.widest
    free = mixing.mixed(network, images, PLAN, half, costs)
    assert 8 in {one.precision.weights for one in free.chosen}


def test_no_budget_is_exceeded():
    draw = np.random.default_rng(3)
    for budget in draw.integers(0, 400, 50):
        every = [option(block, float(draw.normal()), int(draw.integers(1, 60)), layer, precision)
                 for block, layer, precision in itertools.product(range(3), ("qkv", "fc1"),
                                                                  (HALF, WIDE))]
        chosen = choose(every, int(budget))
        assert sum(one.cycles for one in chosen) <= budget
        places = [(one.block, one.layer) for one in chosen]
        assert len(set(places)) == len(places)
        assert chosen == choose(every, int(budget))


def test_a_choice_is_written_as_short_as_its_blocks_allow(network):
    shape = network.shape
    every = [option(0, 1.0, 1, layer, WIDE) for layer in gains.LAYERS]
    assert str(precision_of(NARROW, every, shape)) == "w4a4,0=w8a8"
    every[1] = option(0, 1.0, 1, "attention", HALF)  # the same: it has no weights
    assert str(precision_of(NARROW, every, shape)) == "w4a4,0=w8a8"
    every[0] = option(0, 1.0, 1, "qkv", HALF)
    assert str(precision_of(NARROW, [*every, option(1, 1.0, 1)], shape)) == (
        "w4a4,0=w8a8,1.fc1=w4a8,0.qkv=w4a8")
    assert precision_of(NARROW, [], shape) == NARROW


def test_cycles_of_layers_add_up(network, costs):
    bits = "w4a4,0=w8a8,1.fc1=w4a8,0.qkv=w4a8"
    own = [(0, layer, WIDE) for layer in ("attention", "proj", "fc1", "fc2")]
    own += [(0, "qkv", HALF), (1, "fc1", HALF)]
    assert costs.frame(parse(bits)) == costs.least + sum(costs.more(*one) for one in own)
    assert costs.least == costs.frame(NARROW)


def test_a_network_of_mixed_precision_takes_its_share_of_the_cycles(network, costs, tmp_path):
    images, checkpoint = vits.pixels(32), Checkpoint(tmp_path / "checkpoint", {})
    share = (costs.least / costs.frame(WIDE) + 1) / 2
    found = mixing.mixed(network, images, PLAN, share, costs, save=checkpoint.save)
    assert costs.least < found.cycles <= share * found.widest
    assert found.cycles == costs.frame(found.precision)
    kept = checkpoint.load()
    again = mixing.mixed(network, images, PLAN, share, costs, stages=kept)
    assert again == found
    made = pipeline.quantize(network, images, pipeline.Plan(found.precision))
    assert made.network.precision == found.precision
    everything = mixing.mixed(network, images, PLAN, 1.0, costs, stages=kept)
    assert everything.cycles <= found.widest
    with pytest.raises(ValueError, match=r"must be 0\.[0-9]+ or more, which w4a4 takes, not 0.1"):
        mixing.mixed(network, images, PLAN, 0.1, costs)
