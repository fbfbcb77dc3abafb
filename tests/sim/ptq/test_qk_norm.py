"""LayerNorms of queries and keys (QK-norm), from timm's float weights to integers."""

import numpy as np
import pytest
import torch

from golden.common.config import CORES
from golden.core.machine import Machine
from golden.network import vit
from golden.network.precision import Precision
from golden.rows import layernorm
from sim.compiler import compile_network
from sim.evaluation import emulator
from sim.inputs import quantized_model
from sim.inputs.quantized_model import QuantizedModel
from sim.prediction import predictor
from sim.ptq import fold, pipeline, source, survey
from sim.ptq.reconstruct import Reconstruction
from sim.ptq.training import train
from sim.ptq.twin import Twin
from tests.cases import vits

KINDS = {"plain": {}, "wide heads": {"num_heads": 2}, "registers": {"reg_tokens": 4},
         "no biases": {"qkv_bias": False}, "another": {"seed": 2}}


def read(**options):
    """Return a model as timm has it, and its parts."""
    model = vits.model(qk_norm=True, **options)
    return model, source.read(model, vits.preprocessing())


def timm_logits(model, images):
    steps = vits.preprocessing()
    with torch.inference_mode():
        return torch.cat([model(steps.tensor(image)) for image in images]).double().numpy()


def integer_logits(result, images):
    return vit.Vit(result.network).run(images).logits / 2.0**result.network.logit_point


def relative(found, wanted):
    return np.sqrt(((found - wanted)**2).mean() / (wanted - wanted.mean(0)).var())


@pytest.mark.parametrize("kind", KINDS)
def test_eight_bits_are_nearly_the_logits_of_timm_and_those_of_a_program(kind):
    """Within 8 %, root mean square over standard deviation, on images that it has not seen."""
    model, network = read(**KINDS[kind])
    images = vits.pixels(40)
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    found, wanted = integer_logits(result, images[32:]), timm_logits(model, images[32:])
    assert relative(found, wanted) < 0.08
    machine = Machine(compile_network(result.network, CORES["4x4"]), images[32])
    machine.run()
    assert (machine.logits == found[0] * 2.0**result.network.logit_point).all()
    emulated = emulator.emulate(result.network, images[32:], integer=emulator.UNITS)
    assert (emulated == found * 2.0**result.network.logit_point).all()


def test_queries_and_keys_are_normalised_in_integers_as_in_float():
    _, network = read()
    images = vits.pixels(16)
    made = pipeline.quantize(network, images, pipeline.Plan(Precision(8, 8)))
    seen = {}
    vit.Vit(made.network).run(images, watch=seen.__setitem__)
    for index, block in enumerate(made.network.blocks):
        folded = made.twin.source().blocks[index]
        for part, name in enumerate(("q", "k")):
            head, affine = block.head_norm(name), folded[f"{name}_norm"]
            assert head.epsilon == layernorm.epsilon_units(1e-6, 8, made.network.qkv_point)
            y = seen[f"{index}.y"][..., 32 * part:32 * (part + 1)].reshape(16, -1, 4, 8)
            wanted = torch.nn.functional.layer_norm(
                torch.from_numpy(y * 2.0**-made.network.qkv_point), (8,), affine.weight,
                affine.bias, 1e-6)
            found = seen[f"{index}.{name}_norm"] * 2.0**-(10 + head.norm.point)
            np.testing.assert_allclose(found, wanted, atol=0.005)


def test_channel_profiles_leave_the_float_network_as_it_is():
    _, network = read()
    images = torch.from_numpy(vits.pixels(8))
    folded = fold.fold(network, fold.observe(network, images), fold.Strength(1.0, 1.0, 1.0))
    for name in ("q_norm", "k_norm"):
        before, after = (one.blocks[1][name].weight for one in (network, folded))
        assert not torch.allclose(before, after)
    plain, made = (Twin(one, Precision(8, 8)) for one in (network, folded))
    plain.active = made.active = False
    torch.testing.assert_close(train.logits(made, images), train.logits(plain, images), atol=1e-4,
                               rtol=1e-4)
    site = network.shape.site(1, "k")
    after = fold.observe(folded, images)
    middle = after.middle(site).unflatten(0, (4, 8))
    assert middle.mean(0).abs().max() < 1e-3
    reach, half = (values.unflatten(0, (4, 8)).amax(0) for values in (
        after.reach(site - 1), after.half(site)))
    before = fold.observe(network, images)
    ratio = before.reach(site - 1).unflatten(0, (4, 8)).amax(0) / before.half(site).unflatten(
        0, (4, 8)).amax(0)
    assert (reach / half).log().std() < 0.2 * ratio.log().std()


def test_large_queries_before_the_norm_are_seen_in_the_format_of_16_bits():
    _, network = read()
    plain = pipeline.quantize(network, vits.pixels(16), pipeline.Plan(Precision(8, 8)))
    for block in network.blocks:
        block["qkv"].weight[:, :32] *= 64
        block["qkv"].bias[:32] *= 64
    images = torch.from_numpy(vits.pixels(16))
    made = pipeline.quantize(network, images.numpy(), pipeline.Plan(Precision(8, 8)))
    assert made.network.qkv_point < plain.network.qkv_point - 3
    assert all(block.q_norm.epsilon < other.q_norm.epsilon for block, other in zip(
        made.network.blocks, plain.network.blocks, strict=True))
    found = {one.title: one for one in survey.survey(made.twin, made.ranges, images)}
    assert found["blocks.1.qkv"].step == 2.0**-made.network.qkv_point
    assert found["blocks.1.qkv"].clipped == 0
    assert relative(integer_logits(made, images.numpy()),
                    integer_logits(plain, images.numpy())) < 0.1


def test_norms_are_trained_and_scales_predicted():
    _, network = read()
    images = vits.pixels(40)
    options = predictor.Options(taps=(0, 1), chunk_tokens=4, rank=3, least=-9.0)
    result = pipeline.quantize(network, images, pipeline.Plan(
        Precision(4, 4), predictor=options,
        budget=train.Budget(epochs=1, batch=10, affine_rate=3e-3)))
    for name in ("q_norm", "k_norm"):
        moved = result.twin.weights[f"1_{name}"] - result.folded.blocks[1][name].weight.float()
        assert 0 < moved.abs().max() < 0.2
    twin = train.logits(result.twin, torch.from_numpy(images)).numpy()
    assert np.corrcoef(integer_logits(result, images).ravel(), twin.ravel())[0, 1] > 0.95


def test_blocks_are_reconstructed_through_the_norms():
    _, network = read()
    images = vits.pixels(48)
    plans = [pipeline.Plan(Precision(4, 4), reconstruction=learned)
             for learned in (None, Reconstruction.paced(30, device="cpu"))]
    plain, learned = (pipeline.quantize(network, images, plan) for plan in plans)
    before, after = (pipeline.weights(made.twin)["0.qkv"].integers.int()
                     for made in (plain, learned))
    assert (before - after).abs().max() == 1
    for part in (before != after).chunk(3, 1):  # queries, keys and values
        assert 0.01 < part.float().mean() < 0.5
    moved = plain.twin.scales != learned.twin.scales
    assert all(moved[network.shape.site(1, name)] for name in "qk")


def test_a_quantized_model_keeps_its_norms(tmp_path):
    _, network = read()
    images = vits.pixels(16)
    result = pipeline.quantize(network, images, pipeline.Plan(Precision(8, 8)))
    quantized_model.save(QuantizedModel(result.network, {"model": "it"}), tmp_path / "it")
    found = quantized_model.load(tmp_path / "it").network
    block, wanted = found.blocks[1].k_norm, result.network.blocks[1].k_norm
    assert (block.epsilon, block.norm.point) == (wanted.epsilon, wanted.norm.point)
    assert (block.norm.gamma == wanted.norm.gamma).all()
    assert (vit.Vit(found).run(images).logits == vit.Vit(result.network).run(images).logits).all()
