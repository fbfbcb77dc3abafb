"""Learned rounding of blocks."""

import copy
import dataclasses

import pytest
import torch

from golden.common.formats import LAMBDA, IntFormat
from golden.network.precision import Precision
from sim.ptq import blockwise, pipeline, source
from sim.ptq.float_vit import LAYERS
from sim.ptq.reconstruct import TOWARDS, Mix, Reconstruction, Rounding, reconstruct
from sim.ptq.twin import Twin
from tests.cases import vits

SHORT = Reconstruction.paced(4, batch=8, device="cpu")
LEARNED = Reconstruction.paced(400, device="cpu")


@pytest.fixture(scope="module")
def network():
    return source.read(vits.model(), vits.preprocessing())


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(vits.pixels(128))


@pytest.fixture(scope="module")
def calibrated(network, images):
    return blockwise.calibrate(network, Precision(4, 4), images[:96]).twin


@pytest.fixture(scope="module")
def learned(network, images, calibrated):
    twin = copy.deepcopy(calibrated)
    reconstruct(twin, network, images[:96], LEARNED)
    return twin


def floating(network):
    twin = Twin(network, Precision(4, 4))
    twin.active = False
    return twin


@torch.no_grad()
def streams(twin, pixels):
    """Return the residual stream behind each block, and the logits."""
    scales = twin.scales.expand(len(pixels), -1)
    found = [twin.embed(pixels)]
    for index in range(twin.shape.depth):
        found.append(twin.block(index, found[-1], scales))
    return [*found[1:], twin.classify(found[-1], scales)]


def integers(twin):
    return {name: one.integers.int() for name, one in pipeline.weights(twin).items()}


def same(first, second):
    first, second = first.state_dict(), second.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items())


def test_blocks_are_nearer_to_the_float_ones_on_other_images(network, images, calibrated, learned):
    held = images[96:]
    wanted = streams(floating(network), held)
    before, after = ([float((one - right).square().mean())
                      for one, right in zip(streams(twin, held), wanted, strict=True)]
                     for twin in (calibrated, learned))
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.9 * before[1]


def test_each_integer_stays_or_goes_to_its_neighbour_towards_the_float_weight(
        network, calibrated, learned):
    before, after, real = integers(calibrated), integers(learned), floating(network).weights
    for name, start in before.items():
        moved = after[name] - start
        layer = name.replace(".", "_")
        if name in {"patch", "head"}:
            assert not moved.any()
            continue
        assert 0.02 < moved.abs().float().mean() < 0.5, name
        assert moved.abs().max() == 1
        wanted = real[layer] / torch.exp2(calibrated.weight_scales[layer])
        inside = (start.abs() < 7) & (moved != 0)
        assert (moved[inside] > 0).eq((wanted > start)[inside]).all(), name
        assert after[name].abs().max() <= 7


def test_values_are_those_of_integers_and_scales_on_the_grid(learned):
    made = pipeline.weights(learned)
    for name, one in made.items():
        assert torch.equal(learned.weights[name.replace(".", "_")], one.value.float()), name
    grid = learned.scales * LAMBDA.one
    assert torch.equal(grid, grid.round())


def test_only_integers_scales_and_corrected_biases_change(calibrated, learned):
    before, after = calibrated.state_dict(), learned.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"scales", "biases.0_fc2", "biases.1_fc2", "biases.head"} | {
        f"weights.{index}_{layer}" for index in range(2) for layer in LAYERS}
    assert calibrated.scales[-1] == learned.scales[-1]
    assert learned.active
    assert learned.drop is None
    assert len(learned.rounding) == 0
    assert {name: value.requires_grad for name, value in calibrated.named_parameters()} == {
        name: value.requires_grad for name, value in learned.named_parameters()}


def test_biases_take_up_what_outputs_lack(network, images, learned):
    wanted, found = (streams(twin, images[:96]) for twin in (floating(network), learned))
    for right, one in zip(wanted, found, strict=True):
        assert (right - one).flatten(0, -2).mean(0).abs().max() < 1e-4


@pytest.mark.parametrize("fmt", [IntFormat(4, symmetric=True), IntFormat(8, symmetric=True)])
def test_shares_start_between_the_neighbours_and_end_at_them(fmt):
    torch.manual_seed(1)
    wanted = torch.randn(200) * fmt.max
    start = (wanted + 0.6 * torch.randn(200)).round().clamp(fmt.min, fmt.max)
    rounding = Rounding(start, wanted, fmt)
    assert torch.equal(rounding.integers().float(), start)
    inside = ((wanted - start).abs() < 1) & (wanted.abs() < fmt.max)
    torch.testing.assert_close(rounding()[inside], torch.lerp(start, wanted, TOWARDS)[inside],
                               atol=1e-3, rtol=0)
    adam = torch.optim.Adam(rounding.parameters(), lr=0.1)
    for beta in torch.linspace(20, 2, 300).tolist():
        adam.zero_grad()
        rounding.undecided(beta).backward()
        adam.step()
    assert float(rounding.undecided(2.0).detach()) < 1e-3
    torch.testing.assert_close(rounding().detach(), rounding.integers().float(), atol=1e-5, rtol=0)
    assert rounding.integers().min() >= fmt.min
    assert rounding.integers().max() <= fmt.max


def test_the_regulariser_makes_roundings_hard(network, images, calibrated, monkeypatch):
    left, harden = [], Rounding.integers

    def watch(rounding):
        left.append(float(rounding.undecided(2.0).detach()) / rounding.low.numel())
        return harden(rounding)

    monkeypatch.setattr(Rounding, "integers", watch)
    options = dataclasses.replace(Reconstruction.paced(40, device="cpu"), batch=4)
    for weight in options.weight, 0.0:
        reconstruct(copy.deepcopy(calibrated), network, images[:16],
                    dataclasses.replace(options, weight=weight))
    hard, soft = left[:8], left[8:]
    assert max(hard) < 0.15
    assert sum(hard) < 0.4 * sum(soft)


def test_exponent_falls_after_a_warm_up():
    options = Reconstruction()
    assert options.beta(0.19) is None
    assert options.beta(0.2) == pytest.approx(20.0)
    assert options.beta(0.6) == pytest.approx(11.0)
    assert options.beta(1.0) == pytest.approx(2.0)


def test_few_steps_go_as_far_as_many():
    assert Reconstruction.paced(20_000) == Reconstruction()
    few = Reconstruction.paced(200, seed=3)
    assert (few.iterations, few.seed) == (200, 3)
    assert few.rounding_rate * 200 == pytest.approx(Reconstruction().rounding_rate * 20_000)
    assert few.scale_rate * 200 == pytest.approx(Reconstruction().scale_rate * 20_000)


@pytest.mark.parametrize("step", [0, 512])
def test_dropping_all_quantizers_leaves_the_float_activations(network, images, step):
    twin = Twin(network, Precision(4, 4), step)
    twin.scales.data[:] = -2.0
    quantized = streams(twin, images[:4])
    twin.drop = Mix(1.0, torch.Generator().manual_seed(1))
    dropped = streams(twin, images[:4])
    twin.drop = Mix(0.0, torch.Generator().manual_seed(1))
    for one, other in zip(quantized, streams(twin, images[:4]), strict=True):
        assert torch.equal(one, other)
    twin.drop, twin.active = None, False
    for one, other, real in zip(dropped, quantized, streams(twin, images[:4]), strict=True):
        assert torch.equal(one, real)
        assert not torch.allclose(other, real, atol=1e-2)


def test_a_mixture_has_its_share_of_both():
    mix = Mix(0.25, torch.Generator().manual_seed(1))
    made = mix(torch.ones(100, 100), torch.zeros(100, 100))
    assert set(made.unique().tolist()) == {0.0, 1.0}
    assert float(made.mean()) == pytest.approx(0.25, abs=0.02)


def test_the_seed_decides(network, images, calibrated):
    def run(seed):
        twin = copy.deepcopy(calibrated)
        reconstruct(twin, network, images[:16], dataclasses.replace(SHORT, seed=seed))
        return twin

    torch.manual_seed(1)
    first = run(1)
    torch.manual_seed(2)
    assert same(first, run(1))
    assert not same(first, run(2))


class Stop(Exception):
    """An interrupt."""


@pytest.mark.parametrize("done", [1, 2, 3])
def test_an_interrupted_run_goes_on_to_the_same_result(network, images, done):
    plan = pipeline.Plan(Precision(4, 4), reconstruction=SHORT)
    pixels = images[:16].numpy()
    whole = pipeline.quantize(network, pixels, plan).twin
    kept = {}

    def save(stages):
        kept.update(copy.deepcopy(stages))
        if stages.get("reconstruction", {}).get("done") == done:
            raise Stop

    with pytest.raises(Stop):
        pipeline.quantize(network, pixels, plan, save=save)
    again = pipeline.quantize(network, pixels, plan, stages=kept).twin
    assert same(again, whole)
    without = pipeline.quantize(network, pixels, dataclasses.replace(plan, reconstruction=None))
    assert not same(without.twin, whole)
