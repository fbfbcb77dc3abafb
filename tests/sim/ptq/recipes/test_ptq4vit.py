"""PTQ4ViT's twin quantizers and its search."""

import math
from functools import partial

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import ptq4vit, search
from sim.ptq.recipes.harness import Harness
from sim.ptq.recipes.quantizers import Uniform
from tests.cases import vits


@pytest.mark.parametrize(("bits", "split"), [(4, 0.125), (4, 2.0**-19), (6, 0.5), (8, 1.0)])
def test_twin_softmax_has_two_uniform_grids(bits, split):
    torch.manual_seed(1)
    top = 2**(bits - 1) - 1
    x = torch.rand(300)**4
    wanted = []
    for one in x.tolist():
        step = (split if one < split else 1) / top
        wanted.append(min(math.floor(one / step + 0.5), top) * step)
    found = ptq4vit.TwinSoftmax(torch.tensor(split), bits)(x)
    torch.testing.assert_close(found, torch.tensor(wanted))
    assert len(found.unique()) <= 2**bits


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_twin_gelu_has_a_finer_grid_for_negative_values(bits):
    x = torch.nn.functional.gelu(torch.linspace(-6, 6, 301))
    half, scale = 2**(bits - 1), 0.3
    wanted = []
    for one in x.tolist():
        step = scale if one >= 0 else 0.16997124254703522 / half
        wanted.append(min(max(math.floor(one / step + 0.5), -half), half - 1) * step)
    found = ptq4vit.TwinGelu(torch.tensor(scale), bits)(x)
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=1e-6)


def test_the_search_finds_the_scale_of_the_least_weighted_error_in_every_head():
    torch.manual_seed(2)
    left, right = torch.randn(3, 2, 7, 5), torch.randn(3, 2, 5, 6)
    left[:, 1] *= 9
    importance = torch.rand(3, 2, 7, 6)**3
    product = search.Product(left, right, importance)
    candidates = torch.linspace(0.02, 2, 40)[:, None, None].expand(-1, 2, 1)
    make = search.PerHead(4)
    found = search.best(candidates, make, partial(product.of_left, right, search.heads))
    for head in range(2):
        costs = []
        for scale in candidates[:, 0, 0]:
            held = Uniform.symmetric(scale, 4)(left[:, head])
            error = held @ right[:, head] - left[:, head] @ right[:, head]
            costs.append(float((error * importance[:, head]).square().sum()))
        assert float(found.scale[head]) == float(candidates[costs.index(min(costs)), 0, 0])
    assert found.scale[1] > 4 * found.scale[0]


def test_columns_are_searched_in_their_parts():
    squares = torch.arange(24.0).reshape(2, 2, 6)
    wanted = [squares[..., :2].sum(), squares[..., 2:4].sum(), squares[..., 4:].sum()]
    assert search.Columns(3)(squares).tolist() == wanted
    each = search.PerPart(4, 6)(torch.tensor([[1.0], [2.0], [3.0]])).scale
    assert each.tolist() == [1, 1, 2, 2, 3, 3]


def test_gradients_estimate_how_much_the_prediction_diverges():
    network = source.read(vits.model(), vits.preprocessing())
    net, pixels = Harness(network, Precision(8, 8)), torch.from_numpy(vits.pixels(64))
    options = ptq4vit.Options(stride=1)
    operands, gradients = ptq4vit.record(net, pixels, options)
    assert set(gradients) >= {"0_qk_out", "1_pv_out", "1_fc2_out", "head_out"}
    assert operands["0_fc1"].shape == (64, 17, 32)
    assert not any(parameter.requires_grad for parameter in net.parameters())
    # at the logits, the mean square is the Fisher information, p (1 - p)
    p = net(pixels).softmax(-1)
    fisher = gradients["head_out"][:, 0].square().mean(0)
    torch.testing.assert_close(fisher, (p * (1 - p)).mean(0), atol=0.06, rtol=0)


@torch.inference_mode()
def test_the_search_beats_scales_that_clip_nothing():
    network = source.read(vits.model(), vits.preprocessing())
    pixels = torch.from_numpy(vits.pixels(16))
    wanted = Harness(network, Precision(4, 4))(pixels)
    errors = []
    for options in (ptq4vit.DEFAULT, ptq4vit.Options(candidates=1, rounds=1)):
        made = ptq4vit.make(network, Precision(4, 4), pixels, options=options)
        errors.append(float((made(pixels) - wanted).norm()))
    assert errors[0] < 0.7 * errors[1]
    scale = made.quantizers["1_q"].scale
    assert scale.shape == (4, 1, 1)
