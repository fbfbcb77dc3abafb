"""Other checkpoints of the family, from a file, by the commands as they are."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from golden.network import vit
from sim import calibrate, run
from sim.inputs import models, quantized_model
from sim.inputs.model_lookup import preprocessing_of_model
from tests.cases import vits


@pytest.fixture
def folder(tmp_path):
    """Return a folder of smooth images that are larger than the models take."""
    made = tmp_path / "images"
    made.mkdir()
    for index, pixels in enumerate(vits.pixels(4, side=240)):
        Image.fromarray(pixels).save(made / f"{index}.png")
    return made


def weights(name, path):
    """Write random weights of a model of timm's; return the model."""
    torch.manual_seed(1)
    model = vits.stir(models.create(name))
    safetensors.torch.save_file(model.state_dict(), path)
    return model


@pytest.mark.parametrize("name", [
    pytest.param("vit_tiny_patch16_224", marks=pytest.mark.long),
    pytest.param("deit_small_patch16_224", marks=pytest.mark.long),
])
def test_another_checkpoint_is_quantized_and_run(name, folder, tmp_path, capsys):
    float_file, out = tmp_path / "float.safetensors", tmp_path / "it.safetensors"
    model = weights(name, float_file)
    assert calibrate.main(["--model", name, "--weights", str(float_file), "--images", str(folder),
                           "--bits", "w8a8", "--out", str(out)]) == 0
    made = quantized_model.load(out)
    steps = models.preprocessing(model)
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    pixels = np.stack([preprocessing_of_model(made).pixels(image) for image in images])
    assert (pixels == np.stack([steps.pixels(image) for image in images])).all()
    found = vit.Vit(made.network).run(pixels).logits / 2.0**made.network.logit_point
    with torch.inference_mode():
        wanted = torch.cat([model(steps(image)) for image in images]).double().numpy()
    assert np.sqrt(((found - wanted)**2).mean() / wanted.var()) < 0.1
    capsys.readouterr()
    assert run.main([str(folder / "0.png"), "--model", str(out), "--weights", str(float_file),
                     "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_their_preprocessing_differs():
    deit, vit_tiny = (models.preprocessing(models.create(name)) for name in
                      ("deit_tiny_patch16_224", "vit_tiny_patch16_224"))
    assert deit.mean != vit_tiny.mean
    assert vit_tiny.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("name", "missing"), [
    ("swinv2_tiny_window8_256", "only timm's VisionTransformer, Beit and SwinTransformer are supp"),
    ("vit_tiny_r_s16_p8_224", "patch embedding"),
])
def test_what_a_model_lacks_is_one_line(name, missing, folder, tmp_path, capsys):
    path = tmp_path / "float.safetensors"
    safetensors.torch.save_file(models.create(name).state_dict(), path)
    assert calibrate.main(["--model", name, "--weights", str(path), "--images", str(folder),
                           "--bits", "w8a8", "--out", str(tmp_path / "it.safetensors")]) == 2
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    assert missing in said or "cannot be quantized" in said
    assert not (tmp_path / "it.safetensors").exists()
