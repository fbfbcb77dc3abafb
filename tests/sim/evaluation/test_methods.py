"""Checks: no quantized activations, no rounded weights, scales of the mirror image, of the loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.network.precision import Precision
from golden.network.vit import Vit
from sim.evaluation import preparation
from sim.evaluation.float_reference import FloatReference
from sim.evaluation.loss_oracle import LossOracle
from sim.evaluation.methods import METHODS, Bench
from sim.prediction import predictor, scale_costs
from sim.ptq import source
from sim.ptq.training import train
from sim.ptq.twin import Twin
from tests.cases import vits


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    network = source.read(vits.model(), vits.preprocessing())
    return Bench(network, vits.pixels(24), predictor.Options(), train.Budget(epochs=1),
                 train.Budget(epochs=1), tmp_path_factory.mktemp("calibration"), {"of": "test"})


def made(bench, name):
    return METHODS[name].make(bench, Precision(4, 4))


def test_weights_only_has_rounded_weights_and_no_scales(bench):
    contender, images = made(bench, "weights-only"), vits.pixels(4)
    before, twin = contender.run(images).logits, contender.module
    for name, lambdas in twin.weight_scales.items():
        integers = (twin.weights[name] / torch.exp2(lambdas)).detach()
        torch.testing.assert_close(integers, integers.round(), atol=1e-3, rtol=0)
    twin.scales.data += 3
    assert (contender.run(images).logits == before).all()


def test_activations_only_has_the_float_weights_and_the_scales(bench):
    contender, images = made(bench, "activations-only"), vits.pixels(4)
    twin, static = contender.module, made(bench, "mse").network
    assert not twin.weight_scales
    np.testing.assert_array_equal(np.round(twin.scales.detach().numpy() * 1024), static.scales)
    twin.active = False
    floating = contender.run(images).logits
    twin.active = True
    reference = Twin(bench.source, Precision(8, 8))
    reference.active = False
    np.testing.assert_allclose(floating, train.logits(reference, torch.from_numpy(images)),
                               atol=1e-4)
    before = contender.run(images).logits
    assert np.abs(before - floating).max() > 1e-3
    twin.scales.data += 3
    assert np.abs(contender.run(images).logits - before).max() > 1e-3


def test_reconstructed_blocks_share_the_calibration_and_differ_in_what_is_learned(bench):
    few = replace(bench, iterations=3)
    static = made(few, "mse").network
    brecq, again, qdrop = (made(few, name).network for name in ("brecq", "brecq", "qdrop"))
    weights = [[layer.weight for block in one.blocks for layer in (block.qkv, block.fc1)]
               for one in (static, brecq, again, qdrop)]

    def same(one, other):
        return all(map(np.array_equal, one, other))

    assert same(weights[1], weights[2])
    assert not same(weights[0], weights[1])
    assert not same(weights[1], weights[3])
    step = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(*weights[:2], strict=True))
    assert step == 1  # of two neighbours
    assert METHODS["brecq"].source == "Li et al., arXiv 2102.05426"


def test_mirrored_takes_the_scales_of_the_mirror_image(bench):
    images = vits.pixels(4)
    mirror = np.ascontiguousarray(images[:, :, ::-1])
    found, oracle = (made(bench, name).run(images) for name in ("mirrored", "oracle"))
    other = made(bench, "oracle").run(mirror)
    assert (found.scales == other.scales).all()
    assert (found.scales != oracle.scales).any()
    network = made(bench, "mirrored").network
    wanted = Vit(network).run(images, scales=other.scales).logits
    assert (found.logits == wanted / np.float32(2.0**network.logit_point)).all()
    symmetric = np.maximum(images, mirror)
    one, same = (made(bench, name).run(symmetric) for name in ("mirrored", "oracle"))
    assert (one.logits == same.logits).all()


@pytest.mark.parametrize("name", ["oracle-loss", "oracle-loss-kinds", "mirrored-loss",
                                  "mirrored-loss-kinds"])
def test_scales_of_the_loss_are_held_against_the_float_network(bench, name):
    contender, images = made(bench, name), vits.pixels(6)
    assert contender.mirrored is name.startswith("mirrored")
    assert contender.kinds is name.endswith("kinds")
    static = made(bench, "mse").network.scales
    np.testing.assert_array_equal(contender.network.scales, static)
    floating = FloatReference(vits.model(), vits.preprocessing())(torch.from_numpy(images))
    np.testing.assert_allclose(contender.reference(torch.from_numpy(images)).detach(), floating,
                               atol=1e-4)
    seen = images[:, :, ::-1] if contender.mirrored else images
    scales = LossOracle(contender.network, contender.reference, contender.kinds).choose(
        np.ascontiguousarray(seen))
    found = contender.run(images)
    np.testing.assert_array_equal(found.scales, scales)
    assert (found.scales != static).any()


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    network = source.read(vits.swin(img_size=24), vits.preprocessing(24))
    budget = train.Budget(epochs=1)
    return Bench(network, vits.pixels(24, 24), predictor.Options(least=-9.0), budget, budget,
                 tmp_path_factory.mktemp("swin"), {"of": "swin"})


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_near_the_float_network_where_patches_are_merged(swin, name):
    contender, images = METHODS[name].make(swin, Precision(8, 8)), vits.pixels(6, 24)
    reference = Twin(swin.source, Precision(8, 8))
    reference.active = False
    wanted = train.logits(reference, torch.from_numpy(images)).numpy()
    error = contender.run(images).logits - wanted
    assert np.sqrt((error**2).mean()) < 0.15 * (wanted - wanted.mean(0)).std()
    cost = preparation._cost(contender)
    if name == "ridge":
        assert cost.cycles > 0
    elif name == "jit-minmax":
        assert cost.operations == 2 * sum(scale_costs.site_elements(swin.source.shape))
