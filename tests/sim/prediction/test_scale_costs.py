from dataclasses import replace

import numpy as np
import pytest

from golden.core.isa import Opcode
from golden.cycles.memory_model import USUAL
from golden.cycles.timing import timing
from golden.network.network import Tap
from golden.network.precision import Precision
from golden.network.shape import VitShape
from golden.network.vit import Vit
from golden.prediction.scale_cycles import multiply_accumulates
from sim.compiler import compile_with_room
from sim.evaluation import preparation
from sim.evaluation.contender import Integer
from sim.prediction import scale_costs
from tests.cases import networks
from tests.cases.predictors import random_predictor

SHAPE = VitShape(image=16, patch=4, dim=32, depth=2, heads=2, hidden=40, classes=11)


def frame(network, jit=False):
    """Opcodes and cycles of the network's program, with its own weights."""
    program = compile_with_room(network, scale_costs.CORE, jit=jit)
    return [(step.instruction.opcode, step.cycles) for step in timing(program, USUAL).steps]


def total(network, *opcodes, jit=False):
    return sum(cycles for opcode, cycles in frame(network, jit) if opcode in (opcodes or Opcode))


@pytest.fixture(scope="module")
def tapped():
    """A network with two taps: projected statistics of channels, and of the whole tensor."""
    made, draw = networks.network(Precision(4, 4), shape=SHAPE), np.random.default_rng(4)
    taps = []
    for after, groups, sites, sizes in (
            (0, 32, [0, 1, 2], {"variables": 3, "degree": 2, "statistics": 64}),
            (1, 1, list(range(8, 15)), {"variables": 2, "degree": 3})):
        taps.append(Tap(after, 4, groups, np.zeros(2 * groups, int), np.full(2 * groups, 100),
                        random_predictor(draw, sites=len(sites), **sizes), np.array(sites)))
    return replace(made, taps=tuple(taps))


def test_predicted_scales_cost_what_the_program_says(tapped):
    cost = scale_costs.predicted(tapped)
    first, second = (tap.predictor for tap in tapped.taps)
    # mean and gain; projection and bias; 3 + 6 monomials and a constant of each site, which a
    # static scale has, too
    assert cost.parameters == (2 * 64 + 3 * 64 + 3 + 3 * 9) + (2 * 2 + 7 * (2 + 3 + 4))
    multiplied = (3 * 64 + 6 + 3 * 9) + (3 + 4 + 7 * 9)
    assert multiplied == sum(map(multiply_accumulates, (first, second)))
    assert cost.operations == multiplied + 2 * 2 * 17 * 32  # two taps, maximum and minimum
    assert cost.cycles == total(tapped) - total(replace(tapped, taps=()))
    assert cost.cycles == pytest.approx(total(tapped, Opcode.PREDICT), rel=0.2)
    assert not cost.least
    assert preparation._cost(Integer(tapped)) == cost
    assert preparation._predicted(Integer(tapped)) == [0, 1, 2, *range(8, 15)]


def test_static_scales_cost_nothing_and_just_in_time_every_site():
    made = networks.network(Precision(4, 4), shape=SHAPE)
    assert preparation._cost(Integer(made)) == scale_costs.Cost()
    elements = scale_costs.site_elements(made.shape)
    assert len(elements) == made.shape.sites
    assert set(elements) == {17 * 32, 17 * 40, 32}
    cost = preparation._cost(Integer(made, "minmax"))
    assert cost.operations == 2 * sum(elements)
    assert cost.cycles == total(made, jit=True) - total(made)
    passes = total(made, Opcode.MEASURE, Opcode.QUANTIZE, jit=True)
    assert passes > 2 * sum(elements) / scale_costs.CORE.lanes  # each tensor twice
    assert cost.cycles == pytest.approx(passes, rel=0.2)
    assert not cost.least
    assert preparation._cost(Integer(made, "mse")).least
    assert preparation._predicted(Integer(made, "mse")) == list(range(made.shape.sites))


def test_values_of_a_network_that_merges_are_those_that_golden_quantizes():
    shape = replace(networks.SHAPE, **networks.WINDOWS)
    sizes = {}

    def choose(site, tensor, unit):
        sizes[site] = tensor[0].size

    Vit(networks.network(Precision(8, 8), shape=shape)).run(networks.pixels(1, shape),
                                                            choose=choose)
    assert scale_costs.site_elements(shape) == [sizes[site] for site in range(shape.sites)]


def test_a_stored_cost_that_other_code_counted_is_counted_again(tapped, tmp_path, monkeypatch):
    path = tmp_path / "a.contender"
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "digest", lambda *modules: "other")
        patch.setattr(scale_costs, "predicted", lambda network: scale_costs.Cost(1, 2, 3))
        assert preparation._write(path, "a", "w4a4", Integer(tapped)).cost.cycles == 3
    assert preparation._read(path).cost == scale_costs.predicted(tapped)


def test_a_stored_cost_is_taken(tapped, tmp_path, monkeypatch):
    path = tmp_path / "a.contender"
    cost = preparation._write(path, "a", "w4a4", Integer(tapped)).cost
    monkeypatch.setattr(preparation, "_cost", lambda contender: pytest.fail("counted again"))
    assert preparation._read(path).cost == cost


def test_a_network_that_the_core_cannot_run_has_no_cycles():
    made = networks.network(Precision(4, 4))  # of 12 channels
    cost = scale_costs.just_in_time(made, "minmax")
    assert cost.cycles is None
    assert cost.operations == 2 * sum(scale_costs.site_elements(made.shape))
