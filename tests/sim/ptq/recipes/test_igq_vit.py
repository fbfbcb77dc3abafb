"""IGQ-ViT's groups."""

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import igq_vit
from sim.ptq.recipes.quantizers import affine
from tests.cases import vits


def test_clusters_are_the_means_of_their_points():
    torch.manual_seed(1)
    centres = torch.tensor([[-1.0, 1.0], [-5.0, 2.0], [-9.0, 30.0]])
    points = (centres[:, None] + 0.1 * torch.randn(3, 50, 2)).flatten(0, 1)
    found = igq_vit.cluster(points, 3)
    torch.testing.assert_close(found, points.reshape(3, 50, 2).mean(1), atol=1e-4, rtol=1e-4)
    for one in (igq_vit.cluster(points[:2], 8), igq_vit.cluster(points[:1].expand(9, 2), 4)):
        assert one.isfinite().all()


@pytest.mark.parametrize("bits", [3, 8])
def test_a_channel_takes_the_range_nearest_to_its_own(bits):
    torch.manual_seed(2)
    ranges = torch.tensor([[-1.0, 1.0], [-8.0, 2.0], [3.0, 5.0]])
    quantizer = igq_vit.ChannelGroups(ranges, bits)
    x = torch.randn(2, 9, 6) * torch.tensor([0.4, 3.0, 0.3, 1.0, 2.0, 0.1]) + 1
    found = quantizer(x)
    for image in range(2):
        for channel in range(6):
            column = x[image, :, channel]
            distance = [(low - column.min())**2 + (high - column.max())**2 for low, high in ranges]
            group = distance.index(min(distance))
            assert quantizer.choose(x)[image, channel] == group
            scale, zero = affine(*ranges[group], bits)
            codes = (torch.floor(column / scale + 0.5) + zero).clamp(0, 2**bits - 1)
            torch.testing.assert_close(found[image, :, channel], (codes - zero) * scale)


def test_channels_choose_anew_in_every_image():
    quantizer = igq_vit.ChannelGroups(torch.tensor([[-1.0, 1.0], [-8.0, 8.0]]), 4)
    x = torch.randn(1, 50, 4).clamp(-2, 2)
    x = torch.cat((0.5 * x, 4 * x, 0.5 * x))
    chosen = quantizer.choose(x)
    assert chosen.tolist() == [[0] * 4, [1] * 4, [0] * 4]
    assert torch.equal(quantizer(x)[0], quantizer(x[:1])[0])  # and by themselves alone


def test_rows_of_probabilities_choose_by_their_largest():
    quantizer = igq_vit.TokenGroups(torch.tensor([[0.1], [0.9]]), 4)
    p = torch.tensor([[0.02, 0.08, 0.05], [0.02, 0.88, 0.05]])
    assert quantizer(p)[0].tolist() == pytest.approx([3 / 150, 12 / 150, 8 / 150])
    assert quantizer(p)[1].tolist() == pytest.approx([0, 15 * 0.06, 0.06])


@torch.inference_mode()
def test_a_network_assigns_channels_differently_for_different_images():
    network = source.read(vits.model(), vits.preprocessing())
    pixels = torch.from_numpy(vits.pixels(8))
    made, seen = igq_vit.make(network, Precision(4, 4), pixels), {}
    with made.observed(seen.__setitem__):
        made(pixels)
    for name in ("0_qkv", "1_fc1", "1_fc2", "0_proj"):
        chosen = made.quantizers[name].choose(seen[name])
        assert len(chosen.unique()) > 4, name
        assert (chosen[0] != chosen[1]).any(), name
    assert isinstance(made.quantizers["1_p"], igq_vit.TokenGroups)
