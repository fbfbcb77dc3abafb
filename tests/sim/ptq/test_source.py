"""Taking a timm model apart, and what is refused."""

from functools import partial

import pytest
import torch
from torch import nn

from golden.network.precision import HEAD
from golden.network.shape import VitShape
from sim.cli import UserError
from sim.inputs import models
from sim.inputs.torchvision_compat import timm
from sim.ptq import source
from sim.ptq.twin import Twin
from tests.cases import vits


def float_logits(model, images):
    """Return timm's logits of pixels."""
    steps = vits.preprocessing(images.shape[1])
    return torch.cat([model(steps.tensor(image)) for image in images])


@pytest.mark.parametrize("family", vits.FAMILIES)
def test_the_parts_put_together_give_the_logits_of_timm(family):
    model, images = vits.FAMILIES[family](), vits.pixels(4)
    twin = Twin(source.read(model, vits.preprocessing()), HEAD)
    twin.active = False
    with torch.inference_mode():
        torch.testing.assert_close(twin(torch.from_numpy(images)), float_logits(model, images),
                                   atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", vits.SWINS)
def test_the_parts_of_a_swin_put_together_give_the_logits_of_timm(family):
    model = vits.SWINS[family]()
    side = model.patch_embed.img_size[0]
    images, steps = vits.pixels(3, side), vits.preprocessing(side)
    network = source.read(model, steps)
    twin = Twin(network, HEAD)
    twin.active = False
    with torch.inference_mode():
        wanted = float_logits(model, images)
        found = twin(torch.from_numpy(images))
        assert (found - wanted).square().mean().sqrt() < 1e-5 * wanted.std()
        for places in twin.places.values():
            places.zero_()
        without = twin(torch.from_numpy(images))
        assert (without - wanted).square().mean().sqrt() > 0.01 * wanted.std()
    kept = Twin(network, HEAD).source()
    for name, tensor in network.tensors().items():
        assert torch.equal(kept.tensors()[name].float(), tensor.float()), name


@pytest.mark.parametrize(("options", "missing"), [
    ({"img_size": 40}, "the grid must be a multiple of what is merged and of windows, but has 10"),
    ({"img_size": 60}, "the grid must be a multiple of what is merged and of windows, but has 15"),
    ({"img_size": (24, 48)}, "images and patches must be square"),
    ({"global_pool": "max"}, "pooling of kind 'max' is missing, only the mean"),
    ({"in_chans": 5}, "images must have 1 to 4 colours, not 5"),
    ({"in_chans": 1}, "images of 1 colours need as many means and deviations, not 3"),
    ({"head_dim": 4}, "block 0: there must be 48 channels of queries, keys and values, not 24"),
    ({"num_heads": (2, 2)}, "block 2: there must be 4 heads, not 2"),
    ({"window_size": (3, 2)}, r"block 0: there must be \(3, 3\) sides of a window, not \(3, 2\)"),
    ({"img_size": 24, "always_partition": True},
     r"block 3: there must be \(0, 0\) shifts of windows, not \(1, 1\)"),
    ({"mlp_ratio": (2.0, 3.0)}, "block 2: there must be 64 channels inside the MLP, not 96"),
    ({"norm_layer": timm.layers.RmsNorm}, "the last norm must be a LayerNorm"),
    ({"embed_dim": 516, "depths": (1, 1), "num_heads": (3, 6)}, "dim must be within 1..1024"),
    ({"depths": (2, 0)}, "stage 1 has no blocks"),
])
def test_what_is_missing_for_a_swin_is_said_in_one_line(options, missing):
    model = vits.swin(**options)
    with pytest.raises(UserError, match=missing) as caught:
        source.read(model, vits.preprocessing(model.patch_embed.img_size[0]), "it")
    assert str(caught.value).startswith("it cannot be quantized: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "dim", "merges"), [
    ("swin_t", 96, (2, 4, 10)), ("swin_s", 96, (2, 4, 22)), ("swin_b", 128, (2, 4, 22))])
def test_swins_have_the_sizes_of_their_paper(name, dim, merges):
    model = models.meta_model(name)
    assert source.missing(model, models.preprocessing(model)) is None
    assert source.sizes(model) == VitShape(
        image=224, patch=4, dim=dim, depth=merges[-1] + 2, heads=dim // 32, hidden=4 * dim,
        classes=1000, prefix=0, classified=0, window=7, merges=merges)
    assert source.has_norm_pre(model)


@pytest.mark.parametrize(("options", "missing"), [
    ({"global_pool": "avg", "pool_include_prefix": True}, "pooling of other tokens than the patch"),
    ({"global_pool": "avg", "final_norm": False}, "the last norm must be a LayerNorm with weight"),
    ({"global_pool": "avg", "norm_layer": timm.layers.RmsNorm}, "the last norm must be a LayerNor"),
    ({"global_pool": "avgmax"}, "average and maximum pooling is missing, only a class token or th"),
    ({"global_pool": "max"}, "maximum pooling is missing, only a class token or the mean of the p"),
    ({"global_pool": "map"}, "attention pooling is missing"),
    ({"global_pool": ""}, "the output of all tokens is missing"),
    ({"final_norm": False}, "the last norm must be a LayerNorm with weight and bias"),
    ({"norm_layer": timm.layers.RmsNorm}, "the last norm must be a LayerNorm"),
    ({"qk_norm": True, "norm_layer": partial(nn.LayerNorm, bias=False)},
     "the last norm must be a LayerNorm with weight and bias"),
    ({"scale_attn_norm": True}, "block 0: attention with norm is not supported"),
    ({"scale_mlp_norm": True}, "block 0: MLP Mlp is not supported"),
    ({"mlp_layer": timm.layers.SwiGLUPacked}, "block 0: MLP GluMlp is not supported"),
    ({"in_chans": 5}, "images must have 1 to 4 colours, not 5"),
    ({"in_chans": 1}, "images of 1 colours need as many means and deviations, not 3"),
    ({"img_size": (16, 32)}, "images and patches must be square"),
    ({"act_layer": nn.Mish},
     r"block 0: activation Mish\(\) is not supported, only gelu, .*, quick_gelu, silu, relu$"),
    ({"act_layer": nn.LeakyReLU}, r"block 0: activation LeakyReLU\(.*\) is not supported, only ge"),
    ({"pos_embed": "none"}, "learned position embedding"),
    ({"block_fn": timm.models.vision_transformer.ParallelScalingBlock},
     "block 0: ParallelScalingBlock is not supported"),
    ({"block_fn": timm.models.vision_transformer.ResPostBlock},
     "block 0: ResPostBlock is not supported"),
])
def test_what_is_missing_is_said_in_one_line(options, missing):
    with pytest.raises(UserError, match=missing) as caught:
        source.read(vits.model(**options), vits.preprocessing(), "it")
    assert str(caught.value).startswith("it cannot be quantized: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("block", "name", "norm", "missing"), [
    (0, "q_norm", nn.LayerNorm(8, eps=1e-6, bias=False),
     "q_norm must be a LayerNorm with weight and bias$"),
    (1, "k_norm", timm.layers.RmsNorm(8), "k_norm must be a LayerNorm with weight and bias$"),
    (1, "k_norm", nn.Identity(), "k_norm must be a LayerNorm with weight and bias$"),
    (0, "k_norm", nn.LayerNorm(8, eps=1e-5),
     r"every LayerNorm must have the same epsilon, not \[1e-06, 1e-05\]$"),
])
def test_other_norms_of_queries_and_keys_are_refused(block, name, norm, missing):
    model = vits.model(qk_norm=True)
    setattr(model.blocks[block].attn, name, norm)
    before = "" if "epsilon" in missing else f"block {block}: "
    with pytest.raises(UserError, match=f"^it cannot be quantized: {before}{missing}"):
        source.read(model, vits.preprocessing(), "it")


def test_norms_of_queries_and_keys_in_some_blocks_alone_are_refused():
    model = vits.model(qk_norm=True)
    attn = model.blocks[1].attn
    attn.q_norm = attn.k_norm = nn.Identity()
    with pytest.raises(UserError, match="block 1: queries and keys must be normalised in all blocks"
                                        " or in none$"):
        source.read(model, vits.preprocessing())


def test_norms_of_queries_and_keys_are_kept_by_a_twin():
    network = source.read(vits.model(qk_norm=True), vits.preprocessing())
    assert network.qk_norm
    assert not source.read(vits.model(), vits.preprocessing()).qk_norm
    kept = Twin(network, HEAD).source().tensors()
    assert kept.keys() == network.tensors().keys()
    assert {"blocks.1.q_norm.weight", "blocks.0.k_norm.bias"} <= kept.keys()
    for name, tensor in network.tensors().items():
        assert torch.equal(kept[name].float(), tensor.float()), name


@pytest.mark.parametrize(("name", "lacks"), [
    ("swinv2_tiny_window8_256", "not SwinTransformerV2: cosine attention is missing$"),
    ("eva02_tiny_patch14_224", "not Eva: rotary position embedding is missing$"),
    ("vit_relpos_small_patch16_224", "not VisionTransformerRelPos: relative position bias is mis"),
    ("mixer_s16_224", "not MlpMixer: mixing of tokens by an MLP is missing$"),
    ("resnet18", "not ResNet$"),
])
def test_other_architectures_are_refused(name, lacks):
    model = models.meta_model(name)
    with pytest.raises(UserError, match=f"only .* are supported, {lacks}"):
        source.read(model, vits.preprocessing(224), name)


@pytest.mark.parametrize(("options", "missing"), [
    ({"global_pool": ""}, "there must be a class token or the mean of the patches to be classif"),
    ({"swiglu_mlp": True}, "block 0: MLP SwiGLU is not supported"),
    ({"scale_mlp": True}, "block 0: MLP Mlp is not supported"),
    ({"norm_layer": timm.layers.RmsNorm}, "the last norm must be a LayerNorm"),
    ({"in_chans": 1}, "images of 1 colours need as many means and deviations, not 3"),
    ({"img_size": (16, 32)}, "images and patches must be square"),
    ({"embed_dim": 1028}, r"dim must be within 1\.\.1024, not 1028"),
    ({"depth": 0}, "it has no blocks"),
])
def test_what_is_missing_for_a_beit_is_said_in_one_line(options, missing):
    with pytest.raises(UserError, match=missing) as caught:
        source.read(vits.beit(**options), vits.preprocessing(), "it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "dim", "depth"), [
    ("beit_base_patch16_224", 768, 12), ("beitv2_base_patch16_224", 768, 12),
    ("beitv2_large_patch16_224", 1024, 24)])
def test_beits_have_the_sizes_of_their_papers(name, dim, depth):
    model = models.meta_model(name)
    assert source.missing(model, models.preprocessing(model)) is None
    assert source.sizes(model) == VitShape(
        image=224, patch=16, dim=dim, depth=depth, heads=dim // 64, hidden=4 * dim, classes=1000,
        classified=0, fc_norm=True, rel_pos_bias=True)


@pytest.mark.parametrize(("family", "first"), [
    (vits.model, "gelu"), (vits.beit, "gelu"), (vits.swin, "gelu"),
    (lambda: vits.model(act_layer="quick_gelu"), "quick_gelu")])
def test_other_activations_in_some_blocks_alone_are_refused(family, first):
    model = family()
    last = (model.layers[-1] if hasattr(model, "layers") else model).blocks[-1]
    last.mlp.act = nn.SiLU()
    images = vits.preprocessing(model.patch_embed.img_size[0])
    index = 3 if hasattr(model, "layers") else 1
    with pytest.raises(UserError, match=f"^it cannot be quantized: block {index}: all blocks must "
                                        f"have the activation {first} of the first, not silu$"):
        source.read(model, images, "it")


@pytest.mark.parametrize(("name", "activation"), [
    ("vit_base_patch16_clip_quickgelu_224", "quick_gelu"), ("vit_base_patch16_224", "gelu")])
def test_the_activation_is_the_models(name, activation):
    assert source.sizes(models.meta_model(name)).activation == activation


def test_registers_of_a_distilled_network_are_refused():
    with pytest.raises(UserError, match="register tokens of a distilled network"):
        source.read(vits.distilled(reg_tokens=1), vits.preprocessing())


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match="images must be of"):
        source.read(vits.model(), vits.preprocessing(32))
