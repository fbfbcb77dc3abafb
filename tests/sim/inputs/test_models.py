import csv
import os

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from sim.cli import UserError
from sim.inputs import models
from sim.inputs.torchvision_compat import timm
from tests.cases.recorded import SHARED, WEIGHTS

TINY = "test_vit"  # timm's smallest ViT, 371 k parameters


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return models.create(TINY).state_dict()


@pytest.mark.parametrize("name", models.SHORT_NAMES)
def test_short_names_are_models(name):
    assert timm.is_model(models.timm_name(name))


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_dinov2.lvd142m",
                                  "deit3_small_patch16_224"])
def test_timm_names_are_their_own(name):
    assert models.timm_name(name) == name


def test_unknown_model_names_near_matches():
    with pytest.raises(UserError, match=r"no model is called 'deit_x'; did you mean deit_"):
        models.timm_name("deit_x")
    with pytest.raises(UserError, match=r"no model is called '@@'; try deit_t, "):
        models.timm_name("@@")


def test_model_that_timm_cannot_build():
    with pytest.raises(UserError, match="timm cannot build vit_small_patch14_dinov2.none: Invalid"):
        models.create("vit_small_patch14_dinov2.none")


@pytest.mark.parametrize(("name", "parameters"), [
    ("deit_t", 5_717_416), ("vit_b", 86_567_656), ("swin_t", 28_288_354),
    ("vit_small_patch14_dinov2", 22_056_192),
])
def test_meta_model_has_no_storage(name, parameters):
    model = models.meta_model(name)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert not model.training


def test_model_that_computes_while_it_is_built_is_moved(monkeypatch):
    create_model = timm.create_model

    def computing(name):
        torch.ones(1).item()
        return create_model(name)

    monkeypatch.setattr(timm, "create_model", computing)
    model = models.meta_model(TINY)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_created_model_only_evaluates(state):
    model = models.create(TINY)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_from_a_file(tmp_path, state, suffix, wrap):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({wrap: state} if wrap else state, path)
    else:
        safetensors.torch.save_file(state, path)
    loaded = models.create(TINY, path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_file_and_download_are_alternatives(tmp_path):
    with pytest.raises(ValueError, match="from a file or from timm, not from both"):
        models.create(TINY, tmp_path / "x", pretrained=True)


def _without_norm(state):
    del state["norm.weight"], state["norm.bias"]


def _with_more(state):
    state["head_dist.weight"] = torch.zeros(3)


def _transposed(state):
    state["blocks.1.mlp.fc1.weight"] = state["blocks.1.mlp.fc1.weight"].T.contiguous()


def _quantized(state):
    state["cls_token"] = state["cls_token"].to(torch.int8)


def _infinite(state):
    state["pos_embed"] = state["pos_embed"] / 0


@pytest.mark.parametrize(("change", "message"), [
    (_without_norm, r"does not fit test_vit: norm.weight is missing \(and 1 more\)"),
    (_with_more, "does not fit test_vit: head_dist.weight is not a key of the model$"),
    (_transposed, r"blocks.1.mlp.fc1.weight has shape \(64, 192\), not \(192, 64\)"),
    (_quantized, "cls_token is torch.int8, not torch.float32"),
    (_infinite, "pos_embed has values that are not finite"),
])
def test_weights_that_do_not_fit_name_the_first_key(tmp_path, state, change, message):
    state = dict(state)
    change(state)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(UserError, match=message) as caught:
        models.create(TINY, path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(("data", "message"), [
    (b"not weights at all", "is neither safetensors nor a PyTorch checkpoint"),
    (b"", "is neither safetensors nor a PyTorch checkpoint"),
    (b"PK\x03\x04 cut short", "is a damaged PyTorch checkpoint"),
    (b"\x80\x02 no pickle", "is a damaged PyTorch checkpoint"),
])
def test_unreadable_weights(tmp_path, data, message):
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        models.read_weights(path)
    assert "\n" not in str(caught.value)


def test_checkpoint_that_runs_code_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": os.system}, path)
    with pytest.raises(UserError, match="or holds more than tensors"):
        models.read_weights(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"a": "b"}}])
def test_checkpoint_without_tensors(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="holds no dictionary of tensors"):
        models.read_weights(path)


def test_missing_weights(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the weights: .*: No such file or directory"):
        models.create(TINY, tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"cannot read the weights: .*: Is a directory"):
        models.create(TINY, tmp_path)


def test_failing_download_suggests_a_file(monkeypatch):
    def create_model(name, pretrained=False):
        raise FileNotFoundError("An error happened\nCheck your connection")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match=r"timm cannot give deit_tiny_patch16_224 its weights "
                                        r"\(An error happened Check your connection\); name a "
                                        r"file with --weights"):
        models.create("deit_t", pretrained=True)


def test_preprocessing_is_that_of_timm():
    model = models.create("deit_t")
    image = Image.fromarray(np.random.default_rng(1).integers(
        0, 256, (300, 451, 3), dtype=np.uint8))
    expected = timm.data.create_transform(**timm.data.resolve_model_data_config(model))(image)
    preprocess = models.preprocessing(model)
    assert preprocess.size == (224, 224)
    pixels = preprocess.pixels(image)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.uint8
    torch.testing.assert_close(preprocess(image)[0], expected)
    assert preprocess(image, torch.float64).dtype == torch.float64


def test_grey_images_become_rgb():
    preprocess = models.preprocessing(models.create(TINY))
    assert preprocess(Image.new("L", (40, 50), 100)).shape == (1, 3, *preprocess.size)


def test_deit_tiny_knows_its_images():
    labels = SHARED / "validation" / "labels.csv"
    if not labels.exists() or not WEIGHTS.exists():
        pytest.skip("needs ../shared/data")
    model = models.create("deit_t", WEIGHTS)
    preprocess = models.preprocessing(model)
    with labels.open() as file:
        rows = list(csv.DictReader(file))[:48]
    inputs = torch.cat([preprocess(Image.open(labels.parent / row["file"])) for row in rows])
    predicted = model(inputs).argmax(1)
    correct = sum(int(p) == int(row["label"]) for p, row in zip(predicted, rows, strict=True))
    assert correct > 0.6 * len(rows)
