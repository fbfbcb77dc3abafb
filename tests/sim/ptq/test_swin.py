"""Swin Transformers, from timm's float weights to integers."""

import copy

import numpy as np
import pytest
import torch

from golden.common.config import CORES
from golden.common.formats import ACT16, LAMBDA
from golden.core.machine import Machine
from golden.network import vit
from golden.network.precision import Precision
from golden.rows import layernorm
from sim.compiler import compile_network
from sim.evaluation import emulator
from sim.inputs import models
from sim.prediction import predictor
from sim.ptq import fold, pipeline, source, survey
from sim.ptq.reconstruct import Reconstruction
from sim.ptq.training import train
from sim.ptq.twin import Twin
from tests.cases import vits

NAMES = ("merged", "one window at last", "merged twice", "features")


def read(name):
    """Return a Swin as timm has it, its parts, and the side of its images."""
    model = vits.SWINS[name]()
    side = model.patch_embed.img_size[0]
    return model, source.read(model, vits.preprocessing(side)), side


def timm_logits(model, images):
    steps = vits.preprocessing(images.shape[1])
    with torch.inference_mode():
        return torch.cat([model(steps.tensor(image)) for image in images]).double().numpy()


def integer_logits(result, images):
    return vit.Vit(result.network).run(images).logits / 2.0**result.network.logit_point


def relative(found, wanted):
    return np.sqrt(((found - wanted)**2).mean() / (wanted - wanted.mean(0)).var())


@pytest.mark.parametrize("name", NAMES)
def test_eight_bits_are_nearly_the_logits_of_timm_and_those_of_a_program(name):
    model, network, side = read(name)
    images = vits.pixels(40, side)
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    found, wanted = integer_logits(result, images[32:]), timm_logits(model, images[32:])
    assert relative(found, wanted) < 0.08
    machine = Machine(compile_network(result.network, CORES["4x4"]), images[32])
    machine.run()
    assert (machine.logits == found[0] * 2.0**result.network.logit_point).all()


def test_rows_of_more_than_1024_channels_are_what_the_twin_computes():
    _, network, side = read("long rows")
    images = vits.pixels(24, side)
    result = pipeline.quantize(network, images[:16], pipeline.Plan(Precision(8, 8)))
    norm, merged = result.network.merges[0].norm, result.twin.source().merges[0]["norm"]
    assert len(norm.beta) == 4 * 264
    fraction = layernorm.fraction_of(len(norm.beta)) + norm.point
    np.testing.assert_allclose(norm.beta / 2.0**fraction, merged.bias, atol=2.0**-fraction)
    np.testing.assert_allclose(norm.gamma / 2.0**norm.point, merged.weight, atol=2.0**-norm.point)
    twin = train.logits(result.twin, torch.from_numpy(images[16:])).numpy()
    assert relative(integer_logits(result, images[16:]), twin) < 0.08


def test_places_are_log2_and_saturate():
    _, network, side = read("merged")
    network.places[1][0, 2, 3] = 30.0
    network.places[1][1, 4, 5] = -30.0
    result = pipeline.quantize(network, vits.pixels(8, side), pipeline.Plan(Precision(8, 8)))
    found = result.network.blocks[1].places
    wanted = np.clip(network.places[1].numpy() / np.log(2) * 1024, -2**15, 2**15 - 1)
    np.testing.assert_allclose(found, wanted, atol=0.51)
    assert (found[0, 2, 3], found[1, 4, 5]) == (2**15 - 1, -2**15)


def test_each_stage_has_a_stream_of_its_own():
    _, network, side = read("merged twice")
    images = vits.pixels(16, side)
    merge = network.merges[1]["merge"]
    merge.weight *= 40  # which the next LayerNorm takes back
    merge.weight[:, 5] *= 30
    result = pipeline.quantize(network, images, pipeline.Plan(Precision(8, 8)))
    streams = result.network.streams
    assert [stream.coarse is None for stream in streams] == [True, True, False]
    assert np.flatnonzero(streams[2].coarse).tolist() == [5]
    assert streams[2].point < streams[1].point - 2
    twin = train.logits(result.twin, torch.from_numpy(images)).numpy()
    assert relative(integer_logits(result, images), twin) < 0.25  # few levels of the others


def test_channel_profiles_leave_the_float_network_as_it_is():
    _, network, side = read("merged twice")
    images = torch.from_numpy(vits.pixels(8, side))
    folded = fold.fold(network, fold.observe(network, images), fold.Strength(1.0, 1.0, 1.0))
    plain, made = (Twin(one, Precision(8, 8)) for one in (network, folded))
    plain.active = made.active = False
    torch.testing.assert_close(train.logits(made, images), train.logits(plain, images), atol=1e-4,
                               rtol=1e-4)
    site = network.shape.site(2, "merge")
    after = fold.observe(folded, images)
    assert after.middle(site).abs().max() < 1e-3
    assert after.half(site).std() < 1e-3 * after.half(site).mean()


def test_hidden_units_that_leave_16_bits_are_coarse_in_any_stage():
    _, network, side = read("merged")
    layers = network.blocks[3]
    layers["fc1"].weight[:, 50] *= 200
    layers["fc2"].weight[50] /= 10
    images = vits.pixels(32, side)
    result = pipeline.quantize(network, images, pipeline.Plan(Precision(8, 8)))
    assert result.folded.coarse.nonzero().tolist() == [[3, 50]]
    assert [block.coarse is None for block in result.network.blocks] == [True, True, True, False]
    assert np.flatnonzero(result.network.blocks[3].coarse).tolist() == [50]
    floating = Twin(network, Precision(8, 8))
    floating.active = False
    wanted = train.logits(floating, torch.from_numpy(images)).numpy()
    assert relative(integer_logits(result, images), wanted) < 0.1


def test_taps_of_every_stage_predict_what_the_twin_predicts():
    _, network, side = read("merged twice")
    images = vits.pixels(40, side)
    options = predictor.Options(taps=(0, 2, 3, 6), chunk_tokens=4, rank=3, least=-9.0)
    result = pipeline.quantize(network, images, pipeline.Plan(
        Precision(8, 8), predictor=options, budget=train.Budget(epochs=1, batch=10)))
    assert [tap.groups for tap in result.network.taps] == [16, 16, 32, 64]
    assert [tap.stream.point for tap in result.twin.taps] == [
        result.network.streams[stage].point for stage in (0, 0, 1, 2)]
    found = vit.Vit(result.network).run(images).scales
    rows = []
    result.twin.taps[-1].register_forward_hook(lambda module, args, output: rows.append(output))
    train.logits(result.twin, torch.from_numpy(images))
    error = np.abs(found - torch.cat(rows).numpy() * LAMBDA.one)
    first, *others = (error[:, tap.sites] for tap in result.network.taps)
    assert first.max() < 20  # the first tap sees 16 bits of a LayerNorm
    for one in others:  # which are what blocks rounded
        assert np.quantile(one, 0.95) < 60
    assert {*np.concatenate([tap.sites for tap in result.network.taps]).tolist()} == {
        *range(network.shape.sites)}


def test_what_16_bit_tensors_hold_is_told_of_every_stage():
    _, network, side = read("merged")
    images = torch.from_numpy(vits.pixels(16, side))
    result = pipeline.quantize(network, images.numpy(), pipeline.Plan(Precision(8, 8)))
    found = {one.title: one for one in survey.survey(result.twin, result.ranges, images)}
    assert list(found) == [
        "embedding", "blocks.0.qkv", "blocks.0.fc1", "blocks.0", "blocks.1.qkv", "blocks.1.fc1",
        "blocks.1", "blocks.2.merged", "blocks.2.qkv", "blocks.2.fc1", "blocks.2", "blocks.3.qkv",
        "blocks.3.fc1", "blocks.3", "head"]
    assert not any(one.complaint() for one in found.values())
    first, second = result.network.streams
    assert found["blocks.1"].step == 2.0**-first.point
    assert found["blocks.2.merged"].step == found["blocks.3"].step == 2.0**-second.point
    assert found["blocks.2.merged"].channels == 32
    assert found["blocks.2.merged"].largest < ACT16.max * 2.0**-second.point


def test_all_of_it_is_trained_and_goes_on_where_it_was():
    _, network, side = read("merged")
    images = vits.pixels(16, side)
    plan = pipeline.Plan(Precision(4, 4), budget=train.Budget(
        epochs=2, batch=8, affine_rate=3e-3, weight_rate=0.03))
    kept = []
    whole = pipeline.quantize(network, images, plan,
                              save=lambda stages: kept.append(copy.deepcopy(stages)))
    places = network.places[0].float()
    assert 0 < (whole.twin.places["0"] - places).abs().max() < 0.1
    for stages in (kept[2], kept[-2]):  # amid the blocks, after an epoch
        again = pipeline.quantize(network, images, plan, stages=stages)
        assert (vit.Vit(again.network).run(images).logits
                == vit.Vit(whole.network).run(images).logits).all()


def test_merges_are_reconstructed_with_the_blocks_behind_them():
    _, network, side = read("merged")
    images = vits.pixels(48, side)
    plans = [pipeline.Plan(Precision(4, 4), reconstruction=learned)
             for learned in (None, Reconstruction.paced(60, device="cpu"))]
    plain, learned = (pipeline.quantize(network, images, plan) for plan in plans)
    before, after = (pipeline.weights(made.twin)["2.merge"].integers.int()
                     for made in (plain, learned))
    assert 0.01 < (before != after).float().mean() < 0.5
    assert (before - after).abs().max() == 1
    assert plain.twin.scales[14] != learned.twin.scales[14]
    floating = Twin(network, Precision(8, 8))
    floating.active = False
    wanted = train.logits(floating, torch.from_numpy(images)).numpy()
    found = [relative(integer_logits(made, images), wanted) for made in (plain, learned)]
    assert found[1] < found[0]


@pytest.mark.long
def test_swin_tiny_of_random_weights_is_nearly_the_logits_of_timm():
    torch.manual_seed(1)
    model = models.create("swin_t")
    steps, images = models.preprocessing(model), vits.pixels(10, 224)
    network = source.read(model, steps)
    result = pipeline.quantize(network, images[:6], pipeline.Plan(Precision(8, 8)))
    with torch.inference_mode():
        wanted = torch.cat([model(steps.tensor(image)) for image in images[6:]]).double().numpy()
    found = integer_logits(result, images[6:])
    assert relative(found, wanted) < 0.06
    assert (found.argmax(1) == wanted.argmax(1)).all()
    emulated = emulator.emulate(result.network, images[6:7], integer=emulator.UNITS)
    assert (emulated == found[:1] * 2.0**result.network.logit_point).all()
