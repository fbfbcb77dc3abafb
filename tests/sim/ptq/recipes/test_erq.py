"""ERQ's two regressions."""

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import erq
from sim.ptq.recipes.harness import Harness
from sim.ptq.recipes.quantizers import covering, percentile, round_weight
from tests.cases import vits


@pytest.fixture
def layer():
    """Return correlated inputs, the same quantized to 4 bits, and weights."""
    torch.manual_seed(1)
    x = torch.randn(600, 20) @ torch.randn(20, 20) + 2
    return x, covering(x, 3)(x), torch.randn(20, 8)


def test_second_moments_have_a_constant_beside_the_inputs(layer):
    x, _, _ = layer
    square = erq.second_moments(x.reshape(30, 20, 20))
    torch.testing.assert_close(square[:-1, -1].float(), x.mean(0))
    assert square[-1, -1] == 1
    torch.testing.assert_close(square[:-1, :-1], (x.double().T @ x.double()) / 600,
                               atol=1e-4, rtol=1e-4)


def test_refitting_lowers_the_error_that_quantized_inputs_make(layer):
    x, z, weight = layer
    change = erq.refit(weight, x, z, erq.second_moments(z)).float()
    before = (z @ weight - x @ weight).square().mean()
    after = (z @ (weight + change[:-1]) + change[-1] - x @ weight).square().mean()
    assert after < 0.9 * before
    assert erq.refit(weight, x, x, erq.second_moments(x)).abs().max() < 1e-6


def test_turning_roundings_over_lowers_the_error_of_a_column_never_raises_it(layer):
    x, _, weight = layer
    square = erq.second_moments(x)[:-1, :-1]
    quantizer = percentile(weight, 4, channels=True)
    weight = weight.double()
    nearest = erq._rounded(weight, quantizer, lambda v: torch.floor(v + 0.5)) - weight
    found = erq.turn_over(weight, square, quantizer)

    def cost(error):
        return (error * (square @ error)).sum(0)

    assert (cost(found) <= cost(nearest) + 1e-9).all()
    assert cost(found).sum() < 0.8 * cost(nearest).sum()
    codes = (weight + found) / quantizer.scale + quantizer.zero
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)


def test_rounding_by_halves_beats_rounding_to_the_nearest_and_leaves_a_free_bias(layer):
    x, _, weight = layer
    both = torch.cat((weight, torch.zeros(1, 8))).double()
    quantizer = percentile(weight, 4, channels=True)
    found = erq.round_halves(both, erq.second_moments(x), quantizer)
    codes = found[:-1] / quantizer.scale + quantizer.zero
    torch.testing.assert_close(codes, codes.round(), atol=1e-4, rtol=0)
    assert codes.min() > -0.01
    assert codes.max() < 15.01
    errors = [(x.double() @ (one - weight).double() + bias).square().mean()
              for one, bias in ((found[:-1], found[-1]), (round_weight(weight, 4), 0))]
    assert errors[0] < 0.5 * errors[1]


@torch.inference_mode()
def test_a_layer_of_a_network_is_nearer_than_with_plain_rounding():
    network = source.read(vits.model(), vits.preprocessing())
    pixels = torch.from_numpy(vits.pixels(32))
    made, exact, seen = (erq.make(network, Precision(4, 4), pixels),
                         Harness(network, Precision(4, 4)), {})
    with exact.observed(seen.__setitem__):
        exact(pixels)
    x, name = seen["1_fc2"], "1_fc2"
    z = made.quantizers[name](x)
    fitted = z @ made.weights[name] + made.biases[name]
    plain = z @ round_weight(exact.weights[name], 4) + exact.biases[name]
    errors = [(one - seen[f"{name}_out"]).square().mean() for one in (fitted, plain)]
    assert errors[0] < 0.7 * errors[1]
