"""Taking a timm model apart, and what is refused."""

import pytest
import torch
from torch import nn

from golden.network.network import HEAD
from sim.cli import UserError
from sim.inputs import models
from sim.ptq import source
from sim.ptq.twin import Twin
from tests.cases import vits


def float_logits(model, images):
    """Return timm's logits of pixels."""
    steps = vits.preprocessing()
    return model(torch.cat([steps.tensor(image) for image in images]))


@pytest.mark.parametrize("options", [{}, {"init_values": 0.5}, {"no_embed_class": True},
                                     {"qkv_bias": False}])
def test_the_parts_put_together_give_the_logits_of_timm(options):
    model, images = vits.model(**options), vits.pixels(4)
    twin = Twin(source.read(model, vits.preprocessing()), HEAD)
    twin.active = False
    with torch.inference_mode():
        torch.testing.assert_close(twin(torch.from_numpy(images)), float_logits(model, images),
                                   atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("options", "missing"), [
    ({"class_token": False, "global_pool": "avg"}, "there must be a class token"),
    ({"global_pool": "avg"}, "the class token must be pooled, not 'avg'"),
    ({"reg_tokens": 2}, "no other prefix token"),
    ({"pre_norm": True}, "norm_pre is not supported"),
    ({"qk_norm": True}, "block 0: attention with q_norm is not supported"),
    ({"num_classes": 0}, "there must be a linear head"),
    ({"act_layer": nn.SiLU}, "activation SiLU"),
    ({"pos_embed": "none"}, "learned position embedding"),
])
def test_what_is_missing_is_said_in_one_line(options, missing):
    with pytest.raises(UserError, match=missing) as caught:
        source.read(vits.model(**options), vits.preprocessing(), "it")
    assert str(caught.value).startswith("it cannot be quantized: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["swin_t", "resnet18", "deit_tiny_distilled_patch16_224"])
def test_other_architectures_are_refused(name):
    model = models.meta_model(name)
    with pytest.raises(UserError, match="only timm's VisionTransformer is supported"):
        source.read(model, vits.preprocessing(224), name)


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match="images must be of"):
        source.read(vits.model(), vits.preprocessing(32))
