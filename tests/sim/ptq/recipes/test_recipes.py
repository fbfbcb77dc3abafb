"""Every recipe on a small network: near the float one at 8 bits, worse but finite at 4."""

import pickle

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import RECIPES
from sim.ptq.recipes.harness import Harness
from tests.cases import vits

NEAR = dict.fromkeys(RECIPES, 0.25) | {"ptq4vit": 0.1}
"""Error at 8 bits over the size of the logits; larger where probabilities are logarithmic."""

IMAGES = 12


@pytest.fixture(scope="module")
def network():
    return source.read(vits.model(), vits.preprocessing())


@pytest.fixture(scope="module")
def pixels():
    return torch.from_numpy(vits.pixels(2 * IMAGES))


@torch.inference_mode()
def error(made, network, pixels):
    wanted = Harness(network, Precision(8, 8))(pixels)
    return float((made(pixels) - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", RECIPES)
def test_eight_bits_are_near_the_float_network_and_four_less_so(name, network, pixels):
    before = {key: value.clone() for key, value in network.tensors().items()}
    made = [RECIPES[name].make(network, Precision(bits, bits), pixels[:IMAGES]) for bits in (8, 4)]
    errors = [error(one, network, pixels[IMAGES:]) for one in made]
    assert errors[0] < NEAR[name]
    assert errors[0] < errors[1] < float("inf")
    logits = made[1](pixels[:3])
    assert logits.shape == (3, network.shape.classes)
    assert logits.isfinite().all()
    assert all(torch.equal(value, before[key]) for key, value in network.tensors().items())


OTHERS = {"windows": (vits.swin, 48), "mean": (lambda: vits.model(global_pool="avg"), 16),
          "relative positions": (lambda: vits.beit(global_pool="token"), 16)}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_is_for_windows_means_or_relative_positions(name, kind):
    model, side = OTHERS[kind]
    network = source.read(model(), vits.preprocessing(side))
    with pytest.raises(ValueError, match="recipes know neither windows nor merges nor the mean"):
        RECIPES[name].make(network, Precision(8, 8), torch.from_numpy(vits.pixels(2, side)))


@pytest.mark.parametrize("name", RECIPES)
def test_no_recipe_is_for_norms_of_queries_and_keys(name):
    network = source.read(vits.model(qk_norm=True), vits.preprocessing())
    with pytest.raises(ValueError, match="recipes know no norms of queries and keys"):
        RECIPES[name].make(network, Precision(8, 8), torch.from_numpy(vits.pixels(2)))


PREFIXES = {"registers": lambda: vits.model(seed=2, reg_tokens=4),
            "distilled": lambda: vits.distilled(seed=2)}


@pytest.mark.parametrize("family", PREFIXES)
@pytest.mark.parametrize("name", RECIPES)
def test_families_with_other_prefixes_are_near_the_float_network(name, family, pixels):
    network = source.read(PREFIXES[family](), vits.preprocessing())
    made = RECIPES[name].make(network, Precision(8, 8), pixels[:IMAGES])
    assert error(made, network, pixels[IMAGES:]) < 1.1 * NEAR[name]


@pytest.mark.parametrize("family", PREFIXES)
def test_without_quantizers_the_logits_are_those_of_timm(family, pixels):
    model, steps = PREFIXES[family](), vits.preprocessing()
    wanted = model(torch.cat([steps.tensor(image.numpy()) for image in pixels]))
    found = Harness(source.read(model, steps), Precision(8, 8))(pixels)
    torch.testing.assert_close(found, wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_deterministic_and_can_be_pickled(name, network, pixels):
    made = [RECIPES[name].make(network, Precision(4, 3), pixels[:4]) for _ in range(2)]
    logits = made[0](pixels)
    assert torch.equal(made[1](pixels), logits)
    assert torch.equal(pickle.loads(pickle.dumps(made[0]))(pixels), logits)
    assert not logits.requires_grad


@pytest.mark.parametrize("name", RECIPES)
def test_patch_embedding_and_head_have_eight_bits(name, network, pixels):
    made = RECIPES[name].make(network, Precision(4, 4), pixels[:4])
    for layer, limit in (("patch", 256), ("head", 256), ("0_fc1", 16), ("1_proj", 16)):
        levels = max(len(column.unique()) for column in made.weights[layer].T)
        assert levels <= limit, layer
        assert (levels > 16) == (limit > 16 and len(made.weights[layer]) > 16), layer
    assert made.quantizers["head"].high - made.quantizers["head"].low in {254, 255}


def test_recipes_are_listed_by_their_names():
    assert all(name == recipe.name and recipe.images >= 32 for name, recipe in RECIPES.items())
