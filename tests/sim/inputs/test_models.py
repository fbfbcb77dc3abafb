import csv

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


@pytest.mark.parametrize("name", models.SHORT_NAMES)
def test_short_names_are_models(name):
    assert timm.is_model(models.timm_name(name))


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_dinov2.lvd142m",
                                  "deit3_small_patch16_224"])
def test_timm_names_are_their_own(name):
    assert models.timm_name(name) == name


@pytest.mark.parametrize(("name", "full"), [
    ("hf-hub:timm/deit_tiny_patch16_224.fb_in1k", "deit_tiny_patch16_224.fb_in1k"),
    ("hf_hub:timm/deit_tiny_patch16_224", "deit_tiny_patch16_224"),
    ("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    ("https://huggingface.co/timm/test_vit.r160_in1k", "test_vit.r160_in1k"),
])
def test_names_as_the_hub_has_them(name, full):
    assert models.timm_name(name) == full
    assert models.is_known(name)
    assert type(models.meta_model(name)).__name__ == "VisionTransformer"


@pytest.mark.parametrize(("name", "near"), [
    ("facebook/deit-tiny-patch16-224", "deit_tiny_patch16_224"),
    ("hf-hub:google/vit-small-patch16-224", "vit_small_patch16_224"),
    ("timm/deit_tiny_patch16_24.fb_in1k", "deit_tiny_patch16_224"),
    ("somebody/deit_tiny_patch16_224", "deit_tiny_patch16_224"),
    ("https://huggingface.co/facebook/deit-tiny-patch16-224/", "deit_tiny_patch16_224"),
])
def test_names_of_others_at_the_hub_are_refused_with_near_ones(name, near):
    assert not models.is_known(name)
    with pytest.raises(UserError, match=rf"^no model is called '{name}'; did you mean .*{near}"):
        models.create(name)


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


def test_created_model_only_evaluates():
    model = models.create(TINY)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_file_and_download_are_alternatives(tmp_path):
    with pytest.raises(ValueError, match="from a file or from timm, not from both"):
        models.create(TINY, tmp_path / "x", pretrained=True)


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


@pytest.mark.parametrize("colours", [1, 2, 4])
def test_pixels_have_the_colours_that_a_file_of_weights_takes(tmp_path, colours):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timm.create_model(TINY, in_chans=colours).state_dict(), path)
    made = models.create(TINY, path)
    assert made.patch_embed.proj.in_channels == colours
    prepared = models.preprocessing(made)
    usual = models.preprocessing(models.create(TINY))
    assert (prepared.colours, prepared.size) == (colours, usual.size)
    beside = sum(usual.mean) / 3
    assert prepared.mean == pytest.approx((*usual.mean[:3 * (colours == 4)], beside, beside)[
        :colours])
    pixels = prepared.pixels(Image.new("RGBA", (300, 200), (50, 50, 50, 9)))
    assert pixels[0, 0].tolist() == [*[50] * (colours - (colours % 2 == 0)), 9][:colours]
    assert made(prepared.tensor(pixels)).shape == (1, 1000)


def test_images_of_more_than_four_colours_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timm.create_model(TINY, in_chans=5).state_dict(), path)
    with pytest.raises(UserError, match="is for images of 5 colours, and 1 to 4 are supported$"):
        models.create(TINY, path)
