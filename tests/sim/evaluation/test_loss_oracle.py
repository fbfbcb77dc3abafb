"""Checks of scales by the loss: what is chosen, among which, and for which image."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from golden.common.formats import LAMBDA
from golden.network.precision import Precision
from golden.network.shape import BLOCK_SITES
from golden.network.vit import Vit
from sim.evaluation import loss_oracle, preparation
from sim.evaluation.loss_oracle import GRID, LossOracle, by_kind, choose, divergence
from sim.ptq import source
from sim.ptq.twin import Twin
from tests.cases import networks, vits

SHAPE = networks.SHAPE
IMAGES = networks.pixels(12)
NETWORK = networks.network(Precision(4, 4))
STATIC = NETWORK.scales.astype(np.int64)


@pytest.fixture(scope="module")
def reference():
    """A float network for the same images and classes."""
    model = vits.model(img_size=SHAPE.image, num_classes=SHAPE.classes)
    made = Twin(source.read(model, vits.preprocessing(SHAPE.image)), Precision(8, 8))
    made.active = False
    return made


@pytest.fixture(scope="module")
def found(reference):
    """Return what a contender makes of :data:`IMAGES`, by its options; each is run once."""
    known = {}

    def run(**options):
        key = tuple(sorted(options.items()))
        if key not in known:
            known[key] = LossOracle(NETWORK, reference, **options).run(IMAGES)
        return known[key]
    return run


def logits_of(scales, pixels=IMAGES):
    return Vit(NETWORK).run(pixels, scales=scales).logits / 2.0**NETWORK.logit_point


def losses_of(reference, scales, pixels=IMAGES):
    """Return the divergence of each image, by PyTorch."""
    with torch.inference_mode():
        wanted = reference(torch.from_numpy(pixels)).double().log_softmax(1)
    mine = torch.from_numpy(logits_of(scales, pixels)).log_softmax(1)
    return functional.kl_div(mine, wanted, log_target=True, reduction="none").sum(1).numpy()


def changed(delta):
    return np.tile(STATIC + delta, (len(IMAGES), 1))


def test_divergence_is_that_of_pytorch_and_of_probabilities_alone():
    draw = np.random.default_rng(1)
    logits, wanted = 8 * draw.normal(size=(2, 20, 7))
    expected = functional.kl_div(*(torch.from_numpy(one).log_softmax(1)
                                   for one in (logits, wanted)),
                                 log_target=True, reduction="none").sum(1)
    np.testing.assert_allclose(divergence(logits, wanted), expected, rtol=1e-9)
    np.testing.assert_allclose(divergence(logits + 900, wanted - 900), expected, rtol=1e-9)
    np.testing.assert_allclose(divergence(wanted + 5, wanted), 0, atol=1e-12)


def test_grid_is_symmetric_and_prefers_small_changes_and_then_smaller_scales():
    assert sorted(GRID) == sorted(-GRID)
    assert GRID.tolist() == [0, -102, 102, -205, 205, -307, 307, -410, 410, -512, 512]


def test_kinds_hold_each_site_once():
    groups = by_kind(SHAPE)
    assert [[SHAPE.site_names()[site] for site in group] for group in groups] == [
        [f"{block}.{kind}" for block in range(SHAPE.depth)] for kind in BLOCK_SITES
    ] + [["head"]]
    windows = replace(SHAPE, **networks.WINDOWS)
    kinds = [{windows.kind(site) for site in group} for group in by_kind(windows)]
    assert kinds == [{kind} for kind in (*BLOCK_SITES, "merge", "pool", "head")]
    assert sorted(np.concatenate(by_kind(windows))) == list(range(windows.sites))


@pytest.mark.parametrize(("best", "delta"), [
    (GRID, 0), ([512, -307, 307, -410], -307), ([410, -512], 410), ([512], 512)])
def test_among_equals_the_smallest_change_is_taken_and_then_the_smaller_scale(best, delta):
    def loss(scales):
        return np.where(np.isin(scales[:, 0] - STATIC[0], best), 0.25, 0.5)

    assert (choose(loss, STATIC, 3) == STATIC + delta).all()
    groups = by_kind(SHAPE)
    wanted = np.zeros(SHAPE.sites, np.int64)  # kinds that do not matter go back
    wanted[groups[0]] = delta
    assert (choose(loss, STATIC, 3, groups) == STATIC + wanted).all()


def test_each_image_and_each_group_gets_its_own():
    draw, groups = np.random.default_rng(2), by_kind(SHAPE)
    deltas = np.zeros((9, SHAPE.sites), np.int64)
    for group in groups:
        deltas[:, group] = draw.choice(GRID, (9, 1))

    def loss(scales):
        return np.abs(scales - STATIC - deltas).sum(1)

    assert (choose(loss, STATIC, 9, groups) == STATIC + deltas).all()
    common = choose(loss, STATIC, 9) - STATIC
    assert (common == common[:, :1]).all()
    assert len({*common[:, 0]}) > 1


def test_further_groups_start_from_one_number_for_all():
    seen = []

    def loss(scales):
        seen.append(scales[0] - STATIC)
        return np.abs(scales - STATIC - 307).sum(1)

    head = np.array([SHAPE.sites - 1])
    choose(loss, STATIC, 1, [head])
    first, later = np.array(seen[:len(GRID)]), np.array(seen[len(GRID):])
    assert (first == GRID[:, None]).all()
    assert len(later) == len(GRID) * loss_oracle.PASSES
    assert (later[:, :-1] == 307).all()
    assert later[:, -1].tolist() == GRID.tolist() * loss_oracle.PASSES


@pytest.mark.parametrize("sign", [-1, 1])
def test_scales_stay_within_their_format(sign):
    edge = LAMBDA.max if sign > 0 else LAMBDA.min
    static = np.full(SHAPE.sites, edge - 300 * sign)
    made = choose(lambda scales: -sign * scales.sum(1), static, 2)
    assert (made == edge).all()


def test_least_divergence_of_all_changes_is_chosen(found, reference):
    every = np.stack([losses_of(reference, changed(delta)) for delta in GRID])
    made = found()
    wanted = GRID[every.argmin(0)]
    assert (made.scales == STATIC + wanted[:, None]).all()
    assert len({*wanted}) > 3
    mine = losses_of(reference, made.scales)
    np.testing.assert_array_equal(mine, every.min(0))
    assert (mine <= losses_of(reference, changed(0))).all()
    np.testing.assert_array_equal(made.logits, logits_of(made.scales))


def test_kinds_are_never_worse_than_one_number(found, reference):
    one, kinds = found(), found(kinds=True)
    mine, before = (losses_of(reference, made.scales) for made in (kinds, one))
    assert (mine <= before).all()
    assert (mine < before).any()
    deltas = kinds.scales - STATIC
    for group in by_kind(SHAPE):
        assert (deltas[:, group] == deltas[:, group[:1]]).all()
        assert np.isin(deltas[:, group], GRID).all()
    assert (deltas != deltas[:, :1]).any()


@pytest.mark.parametrize("kinds", [False, True])
def test_control_applies_to_an_image_what_its_mirror_image_chose(found, reference, kinds):
    mirror = np.ascontiguousarray(IMAGES[:, :, ::-1])
    other = LossOracle(NETWORK, reference, kinds).run(mirror)
    made = found(kinds=kinds, mirrored=True)
    np.testing.assert_array_equal(made.scales, other.scales)
    np.testing.assert_array_equal(made.logits, logits_of(other.scales))
    assert (made.scales != found(kinds=kinds).scales).any()
    assert (made.logits != other.logits).any()


def test_control_of_symmetric_images_is_the_oracle(reference):
    symmetric = np.maximum(IMAGES, IMAGES[:, :, ::-1])
    one, same = (LossOracle(NETWORK, reference, mirrored=mirrored).run(symmetric)
                 for mirrored in (False, True))
    np.testing.assert_array_equal(one.scales, same.scales)
    np.testing.assert_array_equal(one.logits, same.logits)
    assert (one.scales != STATIC).any()


def test_images_do_not_depend_on_those_beside_them(found, reference):
    alone = LossOracle(NETWORK, reference, kinds=True).run(IMAGES[5:6])
    np.testing.assert_array_equal(alone.scales, found(kinds=True).scales[5:6])


def test_a_pickled_contender_is_the_same(found, reference):
    contender = LossOracle(NETWORK, reference, mirrored=True)
    before = contender.run(IMAGES)
    again = pickle.loads(pickle.dumps(contender))
    assert (again.mirrored, again.kinds, again._vit) == (True, False, None)
    made = again.run(IMAGES)
    np.testing.assert_array_equal(made.logits, before.logits)
    np.testing.assert_array_equal(made.scales, before.scales)


def test_a_prepared_contender_says_what_it_is_and_needs(found, reference, tmp_path):
    contender = LossOracle(NETWORK, reference)
    prepared = preparation._write(tmp_path / "a.contender", "oracle-loss", "w4a4", contender)
    assert prepared == preparation._read(tmp_path / "a.contender")
    assert (prepared.integer, prepared.cost) == (True, None)
    assert prepared.predicted == tuple(range(SHAPE.sites))
    assert {"sim.evaluation.loss_oracle", "sim.ptq.twin"} <= {*prepared.modules}
    opened = preparation.open_contender(prepared.path, prepared.sha256)
    np.testing.assert_array_equal(opened.run(IMAGES).logits, found().logits)


def test_static_scales_are_what_is_changed(reference):
    other = replace(NETWORK, scales=NETWORK.scales + 700)
    made = LossOracle(other, reference).run(IMAGES)
    assert (np.abs(made.scales - STATIC - 700) <= GRID.max()).all()
