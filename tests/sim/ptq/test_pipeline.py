"""From a float network to integers."""

import dataclasses

import numpy as np
import pytest
import torch

from golden.common.formats import IntFormat
from golden.network import vit
from golden.network.precision import HEAD, Precision, parse
from golden.results import gelu
from golden.rows.layernorm import COARSE
from sim.cli import UserError
from sim.ptq import export, fold, observers, pipeline, rounding, source
from sim.ptq.checkpoint import Checkpoint
from sim.ptq.training import augmentation, train
from sim.ptq.training import budget as budgets
from sim.ptq.twin import Twin
from tests.cases import vits

TRAINED = dataclasses.replace(budgets.TRAINED, epochs=2, batch=8)


@pytest.fixture(scope="module")
def network():
    return source.read(vits.model(), vits.preprocessing())


def logits(network, images):
    """Return the logits of the float network."""
    twin = Twin(network, HEAD)
    twin.active = False
    return train.logits(twin, torch.from_numpy(images)).double().numpy()


def integer_logits(result, images):
    """Return the logits of a quantized network as real numbers."""
    return vit.Vit(result.network).run(images).logits / 2.0**result.network.logit_point


def relative(found, wanted):
    return np.sqrt(((found - wanted)**2).mean() / (wanted - wanted.mean(0)).var())


def test_channel_profiles_leave_the_float_network_as_it_is(network):
    images = vits.pixels(8)
    ranges = fold.observe(network, torch.from_numpy(images))
    folded = fold.fold(network, ranges, fold.Strength(1.0, 1.0, 1.0))
    np.testing.assert_allclose(logits(folded, images), logits(network, images), atol=1e-4)
    assert not torch.allclose(folded.blocks[0]["fc1"].weight, network.blocks[0]["fc1"].weight)
    after = fold.observe(folded, torch.from_numpy(images))
    for name in ("qkv", "fc1", "k", "v"):
        site = network.shape.site(1, name)
        assert after.middle(site).abs().max() < 1e-3, name
        before = ranges.half(site).std() / ranges.half(site).mean()
        assert after.half(site).std() / after.half(site).mean() < before, name


def test_hidden_units_that_leave_16_bits_are_coarse_and_the_float_network_stays(monkeypatch):
    model, images = vits.model(), vits.pixels(48)
    with torch.no_grad():
        model.blocks[1].mlp.fc1.weight[7] *= 200
        model.blocks[1].mlp.fc2.weight[:, 7] /= 10
    network = source.read(model, vits.preprocessing())
    folded = fold.fold(network, fold.observe(network, torch.from_numpy(images[:32])))
    assert folded.coarse.nonzero().tolist() == [[1, 7]]
    assert relative(logits(folded, images), logits(network, images)) < 1e-4
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    assert np.flatnonzero(result.network.blocks[1].coarse).tolist() == [7]
    assert result.network.blocks[0].coarse is None
    found = relative(integer_logits(result, images[32:]), logits(network, images[32:]))
    assert found < 0.1
    monkeypatch.setattr(fold, "HEADROOM", 0)
    fine = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    assert fine.network.blocks[1].coarse is None
    assert relative(integer_logits(fine, images[32:]), logits(network, images[32:])) > 2 * found


def test_eight_bits_are_nearly_the_float_network(network):
    images = vits.pixels(48)
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    assert relative(integer_logits(result, images[32:]), logits(network, images[32:])) < 0.06


@pytest.mark.parametrize("colours", [1, 2, 4])
def test_images_of_other_colours(colours):
    model, images = vits.model(2, in_chans=colours), vits.pixels(48, colours=colours)
    prepared = vits.preprocessing(colours=colours)
    network = source.read(model, prepared)
    wanted = torch.cat([model(prepared.tensor(one)) for one in images[32:]]).double().numpy()
    np.testing.assert_allclose(logits(network, images[32:]), wanted, atol=1e-4)
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    assert relative(integer_logits(result, images[32:]), wanted) < 0.08


def test_blocks_and_layers_are_quantized_each_to_its_widths(network):
    images = vits.pixels(48)
    wanted = logits(network, images[32:])
    errors = {}
    for bits in ("w4a4", "w4a4,0=w8a8,1.fc2=w8a4", "w8a8"):
        made = pipeline.quantize(network, images[:32], pipeline.Plan(parse(bits)))
        errors[bits] = relative(integer_logits(made, images[32:]), wanted)
        assert str(made.network.precision) == bits
    narrow, mixed, wide = errors.values()
    assert wide < mixed < narrow
    mixed = pipeline.quantize(network, images[:32], pipeline.Plan(parse("w4a4,0=w8a8,fc2=w8a4")))
    first, second = mixed.network.blocks[:2]
    reach = [np.abs(layer.weight.astype(int)).max()
             for layer in (first.qkv, first.fc2, second.qkv, second.fc2)]
    assert [value > 7 for value in reach] == [True, True, False, True]


def test_massive_activations_leave_the_other_channels_their_resolution(monkeypatch):
    model, images = vits.model(), vits.pixels(48)
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight[5] *= 100
        model.blocks[0].mlp.fc2.bias[5] *= 100
    network = source.read(model, vits.preprocessing())
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    wanted = train.logits(result.twin, torch.from_numpy(images[32:])).numpy()
    made = result.network
    assert np.flatnonzero(made.coarse).tolist() == [5]
    assert np.unique(made.channel_points).tolist() == [made.residual_point - COARSE,
                                                       made.residual_point]
    assert relative(integer_logits(result, images[32:]), wanted) < 0.25  # five levels a channel
    monkeypatch.setattr(export, "WORTH", 0)
    plain = pipeline.Result(result.twin, result.ranges, result.folded).network
    assert plain.coarse is None
    assert made.residual_point == plain.residual_point + 4


def test_coarse_columns_of_the_float_side_have_four_fractional_bits_less(network):
    result = pipeline.quantize(network, vits.pixels(8), pipeline.Plan(Precision(8, 8)))
    plain, made = result.network.blocks[0], result.twin.source()
    made.coarse = torch.zeros(network.shape.depth, network.shape.hidden, dtype=torch.uint8)
    flags = made.coarse[0]
    flags[5] = 1
    found = export.build(made, pipeline.weights(result.twin), result.ranges, result.network.scales,
                         Precision(8, 8)).blocks
    assert found[1].coarse is None
    assert (found[0].coarse == flags.numpy()).all()
    less = 1024 * gelu.COARSE * flags.numpy().astype(int)
    assert (plain.fc1.exponent - found[0].fc1.exponent == less).all()
    assert abs(found[0].fc1.bias[5] - plain.fc1.bias[5] / 16) <= 0.6
    assert (np.delete(found[0].fc1.bias, 5) == np.delete(plain.fc1.bias, 5)).all()
    assert (found[0].fc2.bias == plain.fc2.bias).all()


@pytest.mark.parametrize("largest", [[3.0] * 64, [1.0, 2.0, 4.0, 8.0, 16.0] * 12])
def test_channels_of_about_one_size_have_one_format(largest):
    made = export.residual_format(torch.tensor(largest))
    assert made.coarse is None
    assert made.point == export.point(max(largest))


@pytest.mark.parametrize("step", [0, 512])
def test_the_integers_compute_what_the_twin_computes(network, step):
    images = vits.pixels(24)
    options = dataclasses.replace(pipeline.blockwise.DEFAULT, step=step)
    result = pipeline.quantize(network, images, pipeline.Plan(Precision(4, 8), options=options))
    twin = train.logits(result.twin, torch.from_numpy(images)).numpy()
    assert relative(integer_logits(result, images), twin) < 0.12  # some roundings fall otherwise
    assert relative(twin, logits(network, images)) > 0.15  # four bits are not eight


def test_four_bit_integers_are_as_good_as_the_twin(network):
    images = vits.pixels(24)
    result = pipeline.quantize(network, images, pipeline.Plan(Precision(4, 4)))
    twin = train.logits(result.twin, torch.from_numpy(images)).numpy()
    wanted = logits(network, images)
    assert relative(integer_logits(result, images), wanted) < 1.1 * relative(twin, wanted)


def test_compensated_rounding_loses_less_on_correlated_inputs():
    torch.manual_seed(1)
    x = torch.randn(400, 24).double() @ torch.randn(24, 24).double()
    weight, fmt, hessian = torch.randn(24, 10).double(), IntFormat(4, symmetric=True), x.T @ x
    lam = rounding.column_scales(weight, fmt, hessian.diagonal())
    errors = [float((x @ (made.value - weight)).square().mean()) for made in
              (rounding.gptq(weight, hessian, lam, fmt), rounding.nearest(weight, lam, fmt))]
    assert errors[0] < 0.7 * errors[1]
    for made in (rounding.gptq(weight, hessian, lam, fmt), rounding.nearest(weight, lam, fmt)):
        assert made.integers.min() >= fmt.min
        assert made.integers.max() <= fmt.max


def test_refitted_weights_are_the_least_squares_ones():
    torch.manual_seed(2)
    x, weight = torch.randn(500, 6).double(), torch.randn(6, 3).double()
    found = rounding.refit(x.T @ x / 500, x.T @ (x @ weight) / 500, torch.zeros(6, 3), 1e-9)
    torch.testing.assert_close(found, weight, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("fmt", [IntFormat(4), IntFormat(4, signed=False), IntFormat(8)])
def test_the_mse_scale_beats_its_neighbours_and_minmax(fmt):
    draw = np.random.default_rng(1)
    x = torch.from_numpy(draw.standard_t(3, 20_000) if fmt.signed else draw.exponential(1, 20_000))

    def error(lam):
        held = torch.floor(x / 2**lam + 0.5).clamp(fmt.min, fmt.max) * 2**lam
        return float((held - x).square().mean())

    best = observers.mse(x, fmt)
    assert error(best) <= 1.02 * min(error(best - 0.1), error(best + 0.1))
    assert error(best) <= error(observers.minmax(x, fmt))
    assert observers.percentile(x, fmt, 0.99) < observers.minmax(x, fmt)


def test_training_brings_the_network_nearer_to_the_float_one(network):
    images = vits.pixels(64)
    plan = pipeline.Plan(Precision(4, 8))
    longer = train.Budget(epochs=16, batch=8, area=1.0, scale_rate=0.02, affine_rate=3e-3,
                          weight_rate=0.03)
    trained = pipeline.quantize(network, images, dataclasses.replace(plan, budget=longer))
    wanted = logits(network, images)
    before = relative(integer_logits(pipeline.quantize(network, images, plan), images), wanted)
    assert relative(integer_logits(trained, images), wanted) < 0.9 * before


def test_streams_are_compared_as_layer_norm_sees_them():
    draw = torch.Generator().manual_seed(1)
    one, two, last = (torch.randn((4, 50, 64), generator=draw) for _ in range(3))
    assert train.stream_error([one, last], [3 * one + 1, two]) < 1e-4
    assert train.stream_error([one, last], [two, last]) == pytest.approx(2, rel=0.05)
    half = train.stream_error([one, one, last], [one, two, two])
    assert half == pytest.approx(1, rel=0.05)
    assert train.stream_error([last], [one]) == 0


@pytest.mark.parametrize("colours", [1, 3])
def test_each_image_is_recoloured_by_its_own_factors(colours):
    draw = torch.Generator().manual_seed(1)
    images = 64 + 128 * torch.rand((2, colours, 5, 5), generator=draw)
    assert torch.allclose(augmentation.recoloured(images, 0.0, draw), images, atol=1e-3)
    bright, contrast, saturation = torch.exp2(
        0.1 * (2 * torch.rand((3, 2), generator=torch.Generator().manual_seed(2)) - 1))
    made = augmentation.recoloured(images, 0.1, torch.Generator().manual_seed(2))
    assert torch.equal(made, augmentation.recoloured(images, 0.1, torch.Generator().manual_seed(2)))
    luma = torch.tensor([0.299, 0.587, 0.114] if colours == 3 else [1.0])
    for index, image in enumerate(images):
        lit = image * bright[index]
        grey = (lit.movedim(0, -1) @ luma).mean()
        spread = grey + contrast[index] * (lit - grey)
        of_each = (spread.movedim(0, -1) @ luma)[None]
        wanted = of_each + saturation[index] * (spread - of_each)
        assert torch.allclose(made[index], wanted, atol=1e-2)


@pytest.mark.parametrize("streams", [0.0, 1.0])
def test_residual_streams_are_trained_to_be_those_of_the_float_network(network, streams):
    """Where all classes are alike, nothing else says that scales are too large."""
    images = torch.from_numpy(vits.pixels(32))
    twin = pipeline.quantize(network, images.numpy(), pipeline.Plan(Precision(4, 4))).twin
    reference = Twin(network, HEAD)
    reference.active = False
    with torch.no_grad():
        twin.scales += 1
        for part in twin, reference:
            part.weights["head"].zero_()
            part.biases["head"].zero_()

    def error():
        found, wanted = [], []
        with torch.inference_mode():
            twin(images, streams=found)
            reference(images, streams=wanted)
        return float(train.stream_error(found, wanted))

    before = error()
    run = train.Training(twin, reference, images,
                         train.Budget(epochs=4, batch=8, area=1.0, scale_rate=0.2, streams=streams))
    for _ in range(4):
        run.epoch()
    assert error() < 0.6 * before if streams else error() == before


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_are_trained_in_units_of_their_steps(network, bits):
    """One row far beyond the others must not make all the others move as far."""
    large = network.copy()
    large.blocks[1]["fc2"].weight[3, 5] *= 1000
    images = vits.pixels(8)
    twin = pipeline.quantize(large, images, pipeline.Plan(Precision(bits, 8))).twin
    before = {name: value.detach().clone() for name, value in twin.weights.items()}
    budget = train.Budget(epochs=1, batch=8, weight_rate=0.5)
    train.Training(twin, Twin(large, HEAD), torch.from_numpy(images), budget).epoch()
    for name, lambdas in twin.weight_scales.items():
        moved = (twin.weights[name].detach() - before[name])[before[name].abs() < 1].abs().max()
        step = 0.0 if name in {"patch", "head"} else float(torch.exp2(lambdas.mean()))
        first = 0.1 * budget.weight_rate * step  # a tenth of the rate at first
        assert float(moved) == pytest.approx(first, rel=0.01)


@pytest.mark.parametrize("supported", [False, True])
def test_training_multiplies_bfloat16_where_the_processor_does(network, monkeypatch, supported):
    twin = Twin(network, HEAD)
    seen, product = set(), twin.product

    def watched(a, b):
        seen.add(twin.narrow)
        return product(a, b)

    monkeypatch.setattr(twin, "product", watched)
    monkeypatch.setattr(train, "_narrow", lambda precision: supported)
    images = torch.from_numpy(vits.pixels(4))
    train.Training(twin, Twin(network, HEAD), images, train.Budget(epochs=1, batch=4)).epoch()
    assert seen == {supported}
    assert not twin.narrow


@pytest.mark.parametrize("supported", [False, True])
def test_eight_bits_are_not_trained_in_bfloat16(monkeypatch, supported):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    narrow = {(w, a): train._narrow(Precision(w, a)) for w in (4, 6, 8) for a in (3, 4, 6, 8)}
    assert {bits for bits, is_so in narrow.items() if is_so} == (
        {(4, 3), (4, 4)} if supported else set())


@pytest.mark.parametrize(("precision", "factor"), [((4, 4), 1), ((4, 8), 1), ((6, 6), 1 / 4),
                                                   ((8, 8), 1 / 16)])
def test_biases_move_the_less_the_more_bits_there_are(network, precision, factor):
    images = vits.pixels(8)
    twin = pipeline.quantize(network, images, pipeline.Plan(Precision(*precision))).twin
    before = {name: value.detach().clone() for name, value in twin.biases.items()}
    budget = train.Budget(epochs=1, batch=8, affine_rate=0.01)
    train.Training(twin, Twin(network, HEAD), torch.from_numpy(images), budget).epoch()
    moved = max(float((twin.biases[name].detach() - value).abs().max())
                for name, value in before.items())
    assert moved == pytest.approx(0.1 * budget.affine_rate * factor, rel=0.01)


class Stop(Exception):
    """An interrupt."""


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_an_interrupted_run_goes_on_to_the_same_integers(network, tmp_path, saves):
    images, plan = vits.pixels(16), pipeline.Plan(Precision(4, 4), budget=TRAINED)
    whole = pipeline.quantize(network, images, plan)
    checkpoint, count = Checkpoint(tmp_path / "it", {"plan": 1}), 0

    def save(stages):
        nonlocal count
        checkpoint.save(stages)
        count += 1
        if count == saves:
            raise Stop

    with pytest.raises(Stop):
        pipeline.quantize(network, images, plan, save=save)
    again = pipeline.quantize(network, images, plan, stages=checkpoint.load())
    assert (vit.Vit(again.network).run(images).logits
            == vit.Vit(whole.network).run(images).logits).all()
    assert (again.network.scales == whole.network.scales).all()


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path / "it", {"plan": 1})
    assert checkpoint.load() == {}
    checkpoint.save({"blocks": {"done": 1}})
    assert checkpoint.load() == {"blocks": {"done": 1}}
    with pytest.raises(UserError, match="other options"):
        Checkpoint(tmp_path / "it", {"plan": 2}).load()
    (tmp_path / "it").write_bytes((tmp_path / "it").read_bytes()[:-30])
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load()


@pytest.mark.parametrize("stored", [torch.zeros(3), [1], "key", {"key": "x"}],
                         ids=["tensor", "list", "text", "half"])
def test_a_state_that_is_none_is_damaged(tmp_path, stored):
    path = tmp_path / "it"
    torch.save(stored, path)
    with pytest.raises(UserError, match=f"^{path} is damaged; remove it to start anew$"):
        Checkpoint(path, {}).load()


def test_the_mean_of_a_stream_with_coarse_channels_is_that_of_what_is_stored():
    network = source.read(vits.model(global_pool="avg"), vits.preprocessing())
    images = vits.pixels(40)
    network.blocks[0]["fc2"].bias[5] += 300
    result = pipeline.quantize(network, images[:32], pipeline.Plan(Precision(8, 8)))
    images = images[32:]
    coarse = np.flatnonzero(result.network.coarse).tolist()
    assert 5 in coarse
    assert result.twin.stored.nonzero().flatten().tolist() == coarse
    twin = train.logits(result.twin, torch.from_numpy(images)).numpy()
    assert relative(integer_logits(result, images), twin) < 0.3  # few levels of the others
    blind = dataclasses.replace(result.network, coarse=None)
    assert relative(vit.Vit(blind).run(images).logits / 2.0**blind.logit_point, twin) > 2
    result.twin.stored.zero_()
    assert relative(train.logits(result.twin, torch.from_numpy(images)).numpy(), twin) > 2
