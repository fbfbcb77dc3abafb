"""AdaLog's search."""

from functools import partial

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import adalog, harness, search
from sim.ptq.recipes.quantizers import AdaLog, LogSqrt2, covering
from tests.cases import vits


@pytest.mark.parametrize("bits", [4, 8])
def test_the_coarse_grid_holds_the_whole_range(bits):
    torch.manual_seed(1)
    x = torch.randn(500, 3) * torch.tensor([1.0, 4.0, 0.1]) + 0.3
    grid = adalog.coarse_grid(x, bits, adalog.DEFAULT)
    assert grid.shape == (128, 3, 2)
    wanted = covering(x, bits, channels=True)
    for group in range(3):
        pair = torch.stack((wanted.scale[group], wanted.zero[group]))
        assert any(torch.allclose(one, pair) for one in grid[:, group])


def test_progressive_search_refines_the_best_of_the_grid():
    torch.manual_seed(2)
    weight, bits = torch.randn(400, 6)**3, 3
    eye, make = torch.eye(400), adalog.Affine(bits, -1)
    cost = adalog.ColumnErrors(eye, eye, weight)
    grid = adalog.coarse_grid(weight, bits, adalog.DEFAULT)
    once = search.best(grid, make, cost)
    found = adalog.progressive(grid, make, cost, adalog.DEFAULT)
    assert (cost(found) <= cost(once)).all()
    assert (cost(found) < 0.99 * cost(once)).any()
    worst = cost(covering(weight, bits, channels=True))
    assert (cost(once) <= worst).all()
    assert (cost(once) < 0.9 * worst).any()


def test_column_errors_are_those_of_the_product_but_for_a_constant():
    torch.manual_seed(3)
    x, weight = torch.randn(200, 8), torch.randn(8, 4)
    z = covering(x, 4)(x)
    cost, changes = adalog.ColumnErrors(x, z, weight), []
    for bits in (3, 5):
        quantizer = covering(weight, bits, channels=True)
        wanted = (z @ quantizer(weight) - x @ weight).square().sum(0)
        changes.append(wanted - cost(quantizer))
    torch.testing.assert_close(changes[0], changes[1], atol=1e-2, rtol=1e-3)


def test_the_base_adapts_to_the_distribution():
    torch.manual_seed(4)
    values, found = torch.randn(1, 1, 64, 16), []
    for sharpness in (0.5, 8):
        p = (torch.randn(1, 1, 200, 64) * sharpness).softmax(-1)
        product = search.Product(p, values)
        made = adalog.search_base(product, values, adalog._Logs(3, 1.0, 0.0))
        assert isinstance(made, AdaLog)
        cost = partial(product.of_left, values, search.whole)
        assert cost(made) <= min(cost(AdaLog(37, 1.0, 3)), cost(LogSqrt2(1.0, 3)))
        found.append(made.q)
    assert found[0] != found[1]


@torch.inference_mode()
def test_logarithms_are_used_where_they_belong_and_heads_have_their_own_scales():
    network = source.read(vits.model(), vits.preprocessing())
    pixels = torch.from_numpy(vits.pixels(6))
    made = adalog.make(network, Precision(4, 4), pixels)
    kinds = {name: type(one) for name, one in made.quantizers.items()}
    assert {name for name, kind in kinds.items() if kind is AdaLog} == {
        "0_p", "0_fc2", "1_p", "1_fc2"}
    assert made.quantizers["0_fc2"].shift == pytest.approx(0.16997, abs=1e-5)
    assert made.quantizers["0_p"].shift == 0
    assert made.quantizers["1_k"].scale.shape == (4, 1, 1)
    assert made.quantizers["1_fc1"].scale.shape == ()
    # the weights behind a LayerNorm are reparameterised
    exact = harness.Harness(network, Precision(4, 4))
    assert not torch.allclose(made.weights["0_norm1"], exact.weights["0_norm1"])
