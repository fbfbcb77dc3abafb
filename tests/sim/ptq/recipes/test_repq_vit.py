"""Reparameterisation and the points of a network."""

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import harness, repq_vit
from sim.ptq.recipes.harness import Harness
from sim.ptq.twin import Twin
from tests.cases import vits


@pytest.fixture(scope="module")
def network():
    return source.read(vits.model(), vits.preprocessing())


@pytest.fixture(scope="module")
def pixels():
    return torch.from_numpy(vits.pixels(12))


@torch.inference_mode()
def test_a_harness_without_quantizers_is_the_float_network(network, pixels):
    twin = Twin(network, Precision(8, 8))
    twin.active = False
    torch.testing.assert_close(Harness(network, Precision(4, 4))(pixels), twin(pixels),
                               atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_observers_see_every_operand_before_it_is_quantized(network, pixels):
    net, seen = repq_vit.make(network, Precision(4, 4), pixels), {}
    with net.observed(seen.__setitem__):
        net(pixels[:2])
    operands = [name for name in seen if harness.operand(name)]
    assert operands == [*(f"{index}_{name}" for index in range(2) for name in harness.OPERANDS),
                        "head"]
    assert set(operands) == set(net.quantizers)
    assert len(seen["0_p"].unique()) > 1000
    torch.testing.assert_close(seen["0_p"].sum(-1), torch.ones(2, 4, 17))


@torch.inference_mode()
def test_reparameterisation_leaves_the_float_network_as_it_is(network, pixels):
    network = network.copy()
    network.blocks[1]["norm1"].weight[3] = 0  # a channel that never changes
    net = Harness(network, Precision(4, 4))
    wanted = net(pixels)
    with net.observed(harness.ChooseByPercentile(net)):
        net(pixels)
    quantized = net(pixels)
    per_channel = net.quantizers["1_fc1"].scale
    for index in range(2):
        for layer in harness.NORMS:
            harness.reparameterise(net, index, layer)
    assert net.quantizers["1_fc1"].scale.shape == ()
    assert per_channel.max() > 1.5 * per_channel.min()
    same = (net(pixels) - quantized).norm() / (quantized - wanted).norm()
    assert same < 0.3  # but for ties
    net.quantizers.clear()
    torch.testing.assert_close(net(pixels), wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(net.weights["0_qkv"], network.blocks[0]["qkv"].weight.float())


@torch.inference_mode()
def test_scales_per_channel_lose_less_than_one_for_all(network, pixels):
    network = network.copy()
    for block in network.blocks:
        block["norm2"].weight[::8] *= 16
    net = Harness(network, Precision(8, 4))
    wanted = net(pixels)
    made = repq_vit.make(network, Precision(8, 4), pixels)
    plain = Harness(network, Precision(8, 4))
    with plain.observed(harness.ChooseByPercentile(plain)):
        plain(pixels)
    for index in range(2):
        name = f"{index}_fc1"
        seen = {}
        with plain.observed(seen.__setitem__):
            plain(pixels)
        plain.quantizers[name] = harness.percentile(seen[name], 4)
    assert (made(pixels) - wanted).norm() < 0.9 * (plain(pixels) - wanted).norm()
