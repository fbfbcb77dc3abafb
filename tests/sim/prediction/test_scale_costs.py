import numpy as np
import pytest

from golden.network.network import Precision, Tap
from golden.prediction import range_unit, scale_unit
from sim.estimation import timing
from sim.evaluation import preparation
from sim.prediction import scale_costs
from sim.ptq.contender import Integer
from tests.cases import networks
from tests.cases.predictors import random_predictor


@pytest.fixture(scope="module")
def tapped():
    """A network with two taps: projected statistics of channels, and of the whole tensor."""
    made, draw = networks.network(Precision(4, 4)), np.random.default_rng(4)
    taps = []
    for after, groups, sites, sizes in (
            (0, 12, [0, 1, 2], {"variables": 3, "degree": 2, "statistics": 24}),
            (1, 1, list(range(8, 15)), {"variables": 2, "degree": 3})):
        taps.append(Tap(after, 4, groups, np.zeros(2 * groups, int), np.full(2 * groups, 100),
                        random_predictor(draw, sites=len(sites), **sizes), np.array(sites)))
    object.__setattr__(made, "taps", tuple(taps))
    return made


def test_predicted_scales_cost_what_the_units_say(tapped):
    cost, config = scale_costs.predicted(tapped), scale_costs.CONFIG
    first, second = (tap.predictor for tap in tapped.taps)
    # mean and gain; projection and bias; 3 + 6 monomials and a constant of each site, which a
    # static scale has, too
    assert cost.parameters == (2 * 24 + 3 * 24 + 3 + 3 * 9) + (2 * 2 + 7 * (2 + 3 + 4))
    multiplied = (3 * 24 + 6 + 3 * 9) + (3 + 4 + 7 * 9)
    assert multiplied == sum(map(scale_unit.multiply_accumulates, (first, second)))
    assert cost.operations == multiplied + 2 * 2 * 10 * 12  # two taps, maximum and minimum
    flushed = sum(timing.flush_cycles(range_unit.RangeShape(10, 12, 4, groups), config)
                  for groups in (12, 1))
    assert cost.cycles == flushed + sum(scale_unit.cycles(one, config) for one in (first, second))
    assert not cost.least
    assert preparation._cost(Integer(tapped)) == cost
    assert preparation._predicted(Integer(tapped)) == [0, 1, 2, *range(8, 15)]


def test_static_scales_cost_nothing_and_just_in_time_every_site():
    made = networks.network(Precision(4, 4))
    assert preparation._cost(Integer(made)) == scale_costs.Cost()
    elements = scale_costs.site_elements(made.shape)
    assert len(elements) == made.shape.sites
    assert set(elements) == {10 * 12, 10 * 20, 12}
    cost = preparation._cost(Integer(made, "minmax"))
    assert cost.operations == 2 * sum(elements)
    assert cost.cycles == sum(timing.jit_cycles(count, scale_costs.CONFIG) for count in elements)
    assert not cost.least
    assert preparation._cost(Integer(made, "mse")).least
    assert preparation._predicted(Integer(made, "mse")) == list(range(made.shape.sites))
