import dataclasses
import json
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from golden.network.precision import Precision
from sim import train, zoo
from sim.cli import UserError
from sim.inputs import models, quantized_model
from sim.inputs.model_lookup import open_model, preprocessing_of_model
from sim.inputs.quantized_model import QuantizedModel
from tests.cases import networks, shipped, vits

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package with a stand-in: its float weights, two quantized forms."""
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    shipped.weights(tmp_path / "vit_small.safetensors")
    for text in "w8a8", "w4a4":
        network = networks.network(Precision.parse(text))
        quantized_model.save(QuantizedModel(network, {"model": "vit_small"}),
                             tmp_path / f"vit_small_{text}.safetensors")
    return tmp_path


def test_lists_what_is_there(folder):
    assert zoo.names() == ["vit_small"]
    assert zoo.variants("vit_small") == ["w4a4", "w8a8"]
    assert zoo.variants("other") == []


@pytest.mark.parametrize(("name", "precision"), [
    ("vit_small", "w8a8"), ("vit_small:w8a8", "w8a8"), ("vit_small:w4a4", "w4a4")])
def test_quantized_forms_by_name(folder, name, precision):
    model = open_model(name)
    assert str(model.network.precision) == precision
    assert model.name == "vit_small"


@pytest.mark.parametrize(("call", "name", "message"), [
    (open_model, "vit_big", "the package has no model 'vit_big'; it has vit_small"),
    (open_model, "vit_small:w2a2",
     "the package has no vit_small:w2a2, but vit_small:w4a4, vit_small:w8a8"),
    (zoo.find, "vit_big", "the package has no float weights of 'vit_big'; it has vit_small"),
])
def test_missing_models_are_named(folder, call, name, message):
    with pytest.raises(UserError) as caught:
        call(name)
    assert str(caught.value) == message


def test_package_without_models(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="has no model 'vit_small'; it has none at all"):
        open_model("vit_small")


def test_model_without_quantized_form(folder):
    for variant in zoo.variants("vit_small"):
        (folder / f"vit_small_{variant}.safetensors").unlink()
    with pytest.raises(UserError, match="has no vit_small:w8a8, but no quantized form of it"):
        open_model("vit_small")


def test_damaged_files_are_named(folder):
    for name in "vit_small", "vit_small_w8a8":
        (folder / f"{name}.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"vit_small.safetensors is damaged, or not a file of sim"):
        models.create("vit_small")
    with pytest.raises(UserError, match=r"vit_small_w8a8.safetensors is not a quantized model"):
        open_model("vit_small")


def test_float_model_by_name(folder):
    for pretrained in False, True:
        model = models.create("vit_small", pretrained=pretrained)
        for name, value in vits.model().state_dict().items():
            assert torch.equal(model.state_dict()[name], value), name
        assert not model.training
    assert models.class_names(model) == shipped.CLASSES
    assert models.class_names(models.create("test_vit")) is None


def test_pixels_of_the_right_size_are_taken_as_they_are(folder):
    preprocess = models.preprocessing(models.create("vit_small"))
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(preprocess.pixels(Image.fromarray(pixels)), pixels)
    assert (preprocess.size, preprocess.mean, preprocess.std) == ((16, 16), vits.MEAN, vits.STD)


@pytest.mark.parametrize(("size", "scaled", "corner"), [
    ((40, 40), (16, 16), (0, 0)), ((64, 32), (32, 16), (8, 0)), ((16, 48), (16, 48), (0, 16))])
def test_other_sizes_are_resized_and_cropped(folder, size, scaled, corner):
    preprocess = models.preprocessing(models.create("vit_small"))
    draw = np.random.default_rng(1)
    image = Image.fromarray(draw.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    left, top = corner
    wanted = image.resize(scaled, Image.BICUBIC).crop((left, top, left + 16, top + 16))
    np.testing.assert_array_equal(preprocess.pixels(image), np.asarray(wanted))


def test_name_works_where_timm_names_do(folder):
    assert models.timm_name("vit_small") == "vit_small"
    meta = models.meta_model("vit_small")
    assert {parameter.device.type for parameter in meta.parameters()} == {"meta"}
    assert meta.num_classes == 7
    with pytest.raises(UserError, match="did you mean vit_small"):
        models.timm_name("vit_smal")
    with pytest.raises(UserError, match=r"no model is called '@'; try deit_t, .*, vit_small$"):
        models.timm_name("@")


def test_other_weights_for_a_name(folder, tmp_path):
    other = shipped.weights(tmp_path / "other.bin", seed=2, mean=(0.1, 0.2, 0.3))
    model = models.create("vit_small", other)
    assert torch.equal(model.head.weight, vits.model(2).head.weight)
    assert models.preprocessing(model).mean == (0.1, 0.2, 0.3)
    safetensors.torch.save_file(dict(vits.model(3).state_dict()), other)  # says nothing
    model = models.create("vit_small", other)
    assert torch.equal(model.head.weight, vits.model(3).head.weight)
    assert models.preprocessing(model).mean == vits.MEAN


def test_file_of_sim_train_needs_no_known_name(folder, tmp_path):
    weights = shipped.weights(tmp_path / "mine.bin", seed=2)
    model = models.create("mine", weights)
    assert torch.equal(model.head.weight, vits.model(2).head.weight)
    with pytest.raises(UserError, match=r"mine.bin does not fit test_vit: "):
        models.create("test_vit", weights)
    with pytest.raises(UserError, match="no model is called 'mine'"):
        models.create("mine")


def test_weights_that_are_not_of_their_architecture(folder):
    path = shipped.weights(folder / "vit_small.safetensors",
                           architecture=shipped.ARCHITECTURE | {"embed_dim": 64})
    with pytest.raises(UserError, match=r"vit_small.safetensors is damaged: cls_token has shape"):
        models.create("vit_small")
    shipped.weights(path, architecture={"img_size": 16, "colour": "red"})
    with pytest.raises(UserError, match=r"timm cannot build the model of .*: .*'colour'"):
        models.create("vit_small")


@pytest.mark.parametrize("about", [
    {}, [], {"architecture": {"img_size": 16}}, "x", None,
    {"architecture": {}, "classes": [], "mean": [], "std": []},
    {"architecture": {"img_size": 16}, "classes": [1], "mean": [], "std": []},
])
def test_files_that_say_too_little(tmp_path, about):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"vernier": json.dumps(about)})
    assert zoo.trained(path) is None
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    assert zoo.trained(path) is None
    assert zoo.trained(tmp_path / "none") is None
    assert zoo.trained(tmp_path) is None


def test_reads_what_sim_train_writes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "ARCHITECTURE", shipped.ARCHITECTURE)
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for index, pixels in enumerate(vits.pixels(56)):
            name = f"{'test' if index % 4 == 0 else 'train'}/{shipped.CLASSES[index % 7]}/{index}"
            with file.open(f"{name}.png", "w") as entry:
                Image.fromarray(pixels).save(entry, "png")
    recipe = dataclasses.replace(train.Recipe(), epochs=1, full_epochs=1, batch=8, padding=1)
    run = train.Run(train.read_data(archive), recipe, folder / "vit_new.safetensors",
                    compiled=False)
    run.epoch(lambda steps, what: steps)
    run.finish()

    assert zoo.names() == ["vit_new", "vit_small"]
    about = zoo.find("vit_new")
    assert about.classes == shipped.CLASSES
    assert about.architecture == shipped.ARCHITECTURE
    model = models.create("vit_new")
    preprocess = models.preprocessing(model)
    assert preprocess.mean == about.mean
    assert 0.2 < min(about.mean) < max(about.mean) < 0.8
    inputs = torch.cat([preprocess.tensor(pixels) for pixels in vits.pixels(5)])
    logits = model(inputs)
    assert logits.shape == (5, 7)
    trained = run._trainer.model.eval()
    torch.testing.assert_close(logits, trained(inputs).detach())


def test_files_of_the_package_are_package_data():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert any(fnmatch("sim.zoo", one) for one in project["packages"]["find"]["include"])
    assert (ROOT / "sim" / "zoo" / "__init__.py").is_file()
    patterns = [*project["package-data"]["sim.zoo"], "*.py"]
    for path in (ROOT / "sim" / "zoo").iterdir():
        assert path.name == "__pycache__" or any(fnmatch(path.name, one) for one in patterns)


@pytest.mark.parametrize("name", zoo.names())
def test_models_of_the_package_are_whole(name):
    model = models.create(name)
    preprocess = models.preprocessing(model)
    assert "w8a8" in zoo.variants(name)
    for variant in zoo.variants(name):
        quantized = open_model(f"{name}:{variant}")
        assert (quantized.name, str(quantized.network.precision)) == (name, variant)
        assert quantized.classes == models.class_names(model)
        assert preprocessing_of_model(quantized).config == preprocess.config
