"""Weights under Hugging Face's names, in models of timm's."""

import re

import pytest
import safetensors.torch
import torch

from sim.cli import UserError
from sim.inputs import hugging_face
from sim.inputs.torchvision_compat import timm
from sim.inputs.weights import load_weights
from tests.cases import vits

SIZES = {"img_size": 16, "patch_size": 4, "num_classes": 7, "embed_dim": 32, "num_heads": 4}


def vit(**options):
    return vits.model(**options)


def distilled():
    made = timm.models.deit.VisionTransformerDistilled(depth=2, mlp_ratio=2.0, **SIZES)
    return vits.stir(made, 1.5)


def swin():
    made = timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=4, num_classes=7, embed_dim=16, depths=(2, 2, 1),
        num_heads=(2, 4, 4), window_size=4)
    return vits.stir(made)


def theirs(model, name, teacher=True):
    """Return a model's weights as transformers' class for classification names them."""
    made, hierarchical = {}, name == "swin"
    for key, value in model.state_dict().items():
        key = re.sub(r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection.", key)
        key = re.sub(r"^patch_embed\.norm\.", "embeddings.norm.", key)
        for ours, other in (("cls_token", "embeddings.cls_token"),
                            ("dist_token", "embeddings.distillation_token"),
                            ("pos_embed", "embeddings.position_embeddings")):
            key = other if key == ours else key
        key = re.sub(r"^norm\.", "layernorm.", key)
        key = re.sub(r"^blocks\.", "encoder.layer.", key)
        key = re.sub(r"^layers\.(\d+)\.downsample\.",
                     lambda at: f"encoder.layers.{int(at[1]) - 1}.downsample.", key)
        key = re.sub(r"^layers\.", "encoder.layers.", key)
        for ours, other in ((".norm1.", ".layernorm_before."), (".norm2.", ".layernorm_after."),
                            (".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense."),
                            (".attn.proj.", ".attention.output.dense."),
                            (".attn.rel", ".attention.self.rel")):
            key = key.replace(ours, other)
        head = re.fullmatch(r"head(_dist)?(?:\.fc)?\.(weight|bias)", key)
        if head and "dist_token" in model.state_dict() and teacher:
            made[f"{'distillation' if head[1] else 'cls'}_classifier.{head[2]}"] = value
        elif head and not head[1]:
            made[f"classifier.{head[2]}"] = value
        elif ".attn.qkv." in key:
            inner = "self" if hierarchical else "attention"
            for part, rows in zip(("query", "key", "value"), value.chunk(3), strict=True):
                made[f"{name}.{key}".replace(".attn.qkv.", f".attention.{inner}.{part}.")] = rows
        elif not head:
            made[f"{name}.{key}"] = value
    return {key: value.contiguous() for key, value in made.items()}


def blank(model):
    """Return the model, all its weights zero."""
    for value in model.parameters():
        value.data.zero_()
    return model


def same(model, path, build):
    """Return whether a file gives another model the weights of `model`."""
    other = blank(build())
    load_weights(other, path, "it does not fit")
    found = other.state_dict()
    return all(torch.equal(found[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("build", "name"), [
    (vit, "vit"), (lambda: vit(qkv_bias=False), "vit"), (distilled, "deit"), (swin, "swin")],
    ids=["vit", "no bias", "deit", "swin"])
def test_their_names_are_timms(build, name, tmp_path):
    model = build()
    path = tmp_path / "model.safetensors"
    weights = theirs(model, name)
    assert not weights.keys() & model.state_dict().keys()
    if name == "swin":
        weights["swin.encoder.layers.0.blocks.1.attention.self.relative_position_index"] = (
            torch.zeros(16, 16, dtype=torch.int64))
    safetensors.torch.save_file(weights, path)
    assert same(model, path, build)


def test_narrow_moving_averages_under_a_prefix(tmp_path):
    model = vit()
    model.load_state_dict({key: value.bfloat16() for key, value in model.state_dict().items()})
    narrow = {f"module.{key}": value.bfloat16() for key, value in theirs(model, "vit").items()}
    other = {key: value + 1 for key, value in narrow.items()}
    torch.save({"epoch": 3, "state_dict_ema": narrow, "model": other}, tmp_path / "last.pth")
    assert same(model, tmp_path / "last.pth", vit)


def test_a_student_with_one_head_has_the_logits_of_its_class_token(tmp_path):
    model, path = distilled(), tmp_path / "model.safetensors"
    safetensors.torch.save_file(theirs(model, "deit", teacher=False), path)
    other = blank(distilled())
    load_weights(other, path, "it does not fit")
    images = torch.randn(3, 3, 16, 16)
    wanted = model.head(model.forward_features(images)[:, 0])
    torch.testing.assert_close(other(images), wanted)
    assert not torch.allclose(model(images), wanted)


def _without_a_query(weights):
    del weights["vit.encoder.layer.1.attention.attention.query.bias"]


def _with_a_pooler(weights):
    weights["vit.pooler.dense.bias"] = torch.zeros(32)


def _headless(weights):
    del weights["classifier.weight"], weights["classifier.bias"]


@pytest.mark.parametrize(("change", "message"), [
    (_without_a_query,
     r"blocks.1.attn.qkv.bias is missing; vit.*1.*.key.bias and vit.*.value.bias are not keys"),
    (_with_a_pooler, "vit.pooler.dense.bias is not a key of the model$"),
    (_headless, "head.weight and head.bias are missing$"),
])
def test_what_is_missing_or_left_over_is_listed(change, message, tmp_path):
    weights = theirs(vit(), "vit")
    change(weights)
    safetensors.torch.save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=f"^it does not fit: {message}") as caught:
        load_weights(vit(), tmp_path / "x.safetensors", "it does not fit")
    assert "\n" not in str(caught.value)


def test_names_of_timm_are_not_theirs():
    assert not hugging_face.is_theirs(vit().state_dict())
    assert hugging_face.is_theirs({"embeddings.patch_embeddings.projection.weight": None})
