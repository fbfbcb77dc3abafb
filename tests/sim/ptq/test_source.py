"""Taking a timm model apart, and what is refused."""

import pytest
import torch
from torch import nn

from golden.network.precision import HEAD
from sim.cli import UserError
from sim.inputs import models
from sim.inputs.torchvision_compat import timm
from sim.ptq import source
from sim.ptq.twin import Twin
from tests.cases import vits


def float_logits(model, images):
    """Return timm's logits of pixels."""
    steps = vits.preprocessing()
    return model(torch.cat([steps.tensor(image) for image in images]))


@pytest.mark.parametrize("family", vits.FAMILIES)
def test_the_parts_put_together_give_the_logits_of_timm(family):
    model, images = vits.FAMILIES[family](), vits.pixels(4)
    twin = Twin(source.read(model, vits.preprocessing()), HEAD)
    twin.active = False
    with torch.inference_mode():
        torch.testing.assert_close(twin(torch.from_numpy(images)), float_logits(model, images),
                                   atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("options", "missing"), [
    ({"class_token": False, "global_pool": "avg"}, "average pooling is missing, only a class"),
    ({"global_pool": "avg"}, "average pooling is missing, only a class token is classified"),
    ({"global_pool": "max"}, "maximum pooling is missing"),
    ({"global_pool": "map"}, "attention pooling is missing"),
    ({"global_pool": ""}, "the output of all tokens is missing"),
    ({"fc_norm": True}, "fc_norm is not supported"),
    ({"final_norm": False}, "the last norm must be a LayerNorm with weight and bias"),
    ({"norm_layer": timm.layers.RmsNorm}, "the last norm must be a LayerNorm"),
    ({"qk_norm": True}, "block 0: attention with q_norm is not supported"),
    ({"scale_attn_norm": True}, "block 0: attention with norm is not supported"),
    ({"scale_mlp_norm": True}, "block 0: MLP Mlp is not supported"),
    ({"mlp_layer": timm.layers.SwiGLUPacked}, "block 0: MLP GluMlp is not supported"),
    ({"in_chans": 1}, "images must have three colours"),
    ({"img_size": (16, 32)}, "images and patches must be square"),
    ({"act_layer": nn.SiLU}, "activation SiLU"),
    ({"act_layer": "quick_gelu"}, "activation QuickGELU"),
    ({"act_layer": "gelu_tanh"}, "activation GELUTanh"),
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


@pytest.mark.parametrize(("name", "lacks"), [
    ("swin_t", "not SwinTransformer: attention within windows is missing$"),
    ("beit_base_patch16_224", "not Beit: relative position bias is missing$"),
    ("eva02_tiny_patch14_224", "not Eva: rotary position embedding is missing$"),
    ("vit_relpos_small_patch16_224", "not VisionTransformerRelPos: relative position bias is mis"),
    ("mixer_s16_224", "not MlpMixer: mixing of tokens by an MLP is missing$"),
    ("resnet18", "not ResNet$"),
])
def test_other_architectures_are_refused(name, lacks):
    model = models.meta_model(name)
    with pytest.raises(UserError, match=f"only timm's VisionTransformer is supported, {lacks}"):
        source.read(model, vits.preprocessing(224), name)


def test_registers_of_a_distilled_network_are_refused():
    with pytest.raises(UserError, match="register tokens of a distilled network"):
        source.read(vits.distilled(reg_tokens=1), vits.preprocessing())


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match="images must be of"):
        source.read(vits.model(), vits.preprocessing(32))
