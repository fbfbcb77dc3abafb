import json

import numpy as np
import pytest
import torch
from PIL import Image

from golden.network import vit
from golden.network.precision import Precision
from sim import run, zoo
from sim.calibrate import calibrate
from sim.cli import UserError
from sim.inputs import models, quantized_model
from sim.inputs.float_model import FloatModel
from sim.inputs.model_lookup import open_model
from sim.inputs.quantized_model import QuantizedModel
from sim.inputs.torchvision_compat import timm
from sim.ptq import pipeline
from tests.cases import shipped, vits

NAMES = [f"tests of classes, class {number}, a long description of it and more" for number in
         range(7)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Float weights, quantized models and images."""
    folder = tmp_path_factory.mktemp("run")
    shipped.weights(folder / "vit_small.safetensors")
    shipped.images(folder, 6)
    floating = FloatModel.create("vit_small", folder / "vit_small.safetensors")
    for text in "w8a8", "w4a4":
        made, _ = calibrate(floating, vits.pixels(8), pipeline.Plan(Precision.parse(text)),
                         folder / f"{text}.checkpoint")
        quantized_model.save(made, folder / f"vit_small_{text}.safetensors")
    return folder


@pytest.fixture(autouse=True)
def package(files, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", files)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def call(capsys):
    def start(*words):
        try:
            status = run.main([str(word) for word in words])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()
    return start


def image(files, index=0):
    return files / f"class{index % 3}" / f"{index:02}.png"


def renamed(files, path, **about):
    """Store the quantized model with other metadata; None takes an entry away."""
    model = quantized_model.load(files / "vit_small_w8a8.safetensors")
    metadata = {name: value for name, value in (model.metadata | about).items()
                if value is not None}
    quantized_model.save(QuantizedModel(model.network, metadata), path)
    return path


def softmax(logits):
    return torch.tensor(logits, dtype=torch.float64).softmax(-1).numpy()


@pytest.mark.parametrize("name", ["vit_small", "vit_small:w4a4"])
def test_json_has_the_logits_of_both(files, call, name):
    status, out, _ = call(image(files, 1), image(files, 3), "--model", name, "--json", "--top", 7)
    assert status == 0
    found = json.loads(out)
    precision = name.partition(":")[2] or "w8a8"
    assert (found["model"], found["precision"], found["backend"], found["notes"]) == (
        "vit_small", precision, "golden", [])
    network = open_model(name).network
    pixels = vits.pixels(6)[[1, 3]]
    integers = vit.Vit(network).run(pixels).logits / 2.0**network.logit_point
    model = models.create("vit_small")
    floats = model(torch.cat([models.preprocessing(model).tensor(one) for one in pixels])).numpy()
    for index, entry in enumerate(found["images"]):
        assert entry["file"] == str(image(files, (1, 3)[index]))
        for key, wanted in ("quantized", integers[index]), ("torch", floats[index]):
            guesses = entry[key]
            assert [one["index"] for one in guesses] == np.argsort(-wanted, kind="stable").tolist()
            for one in guesses:
                assert one["name"] == shipped.CLASSES[one["index"]]
                assert one["logit"] == pytest.approx(wanted[one["index"]], abs=1e-4)
                assert one["probability"] == pytest.approx(softmax(wanted)[one["index"]], abs=1e-5)


def test_table_shows_both_beside_each_other(files, call):
    status, out, err = call(image(files), image(files, 1), "--model",
                            files / "vit_small_w4a4.safetensors", "--top", 2)
    assert (status, err.strip()) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "vit_small in w4a4"
    assert [line for line in lines if line.endswith(".png")] == [
        str(image(files)), str(image(files, 1))]
    assert sum("golden w4a4" in line and "PyTorch float32" in line for line in lines) == 2
    rows = [line for line in lines if "%" in line]
    assert len(rows) == 4
    assert all(line.count("%") == 2 for line in rows)


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("beside", [True, False])
def test_tables_fit_the_terminal(files, tmp_path, call, monkeypatch, width, beside):
    monkeypatch.setenv("COLUMNS", str(width))
    path = renamed(files, tmp_path / "m.safetensors", classes=NAMES,
                   model="vit_small" if beside else None)
    status, out, _ = call(image(files), "--model", path, "--top", 7)
    assert status == 0
    table = [line for line in out.splitlines() if "golden" in line or "%" in line]
    assert len(table) == 8
    assert max(map(len, table)) <= width
    assert all(line.count("%") == 1 + beside for line in table[1:])
    assert ("PyTorch" in table[0]) is beside


def test_markup_in_names_is_shown_as_it_is(files, tmp_path, call):
    path = renamed(files, tmp_path / "m.safetensors", classes=["[red]x[/]", *NAMES[1:]],
                   model="[bold]")
    picture = tmp_path / "[i]a.png"
    picture.write_bytes(image(files).read_bytes())
    status, out, _ = call(picture, "--model", path, "--top", 7)
    assert status == 0
    assert "[red]x[/]" in out
    assert "[bold] in w8a8" in out
    assert "[i]a.png" in out


def test_float_model_that_is_not_to_be_had_is_left_out(files, tmp_path, call):
    unknown = ("'vit_x' is neither a model of timm's nor of the package; "
               "name its weights with --weights")
    for name, why in ("vit_x", unknown), (None, "model does not name its float model"):
        path = renamed(files, tmp_path / "m.safetensors", model=name)
        status, out, _ = call(image(files), "--model", path)
        assert status == 0
        assert "PyTorch float32" not in out
        notes = [line for line in out.splitlines() if line.startswith("PyTorch is left out: ")]
        assert len(notes) == 1
        assert notes[0].endswith(why)
        status, out, _ = call(image(files), "--model", path, "--json")
        found = json.loads(out)
        assert status == 0
        assert found["notes"] == notes
        assert found["images"][0]["torch"] is None
        assert len(found["images"][0]["quantized"]) == 5


def test_download_that_fails_is_left_out(files, tmp_path, call, monkeypatch):
    def create_model(name, pretrained=False):
        raise FileNotFoundError("An error happened")

    path = renamed(files, tmp_path / "m.safetensors", model="test_vit")
    monkeypatch.setattr(timm, "create_model", create_model)
    status, out, _ = call(image(files), "--model", path)
    assert status == 0
    assert "PyTorch is left out: timm cannot give test_vit its weights (An error" in out


def test_float_model_of_another_shape_is_left_out(files, tmp_path, call, monkeypatch):
    monkeypatch.setattr(models, "_download", models._build)
    path = renamed(files, tmp_path / "m.safetensors", model="deit_t")
    status, out, _ = call(image(files), "--model", path)
    assert status == 0
    assert "PyTorch is left out: deit_t is of another shape than the quantized model" in out


def test_weights_from_a_file(files, tmp_path, call):
    path = renamed(files, tmp_path / "m.safetensors", model="mine")
    same = files / "vit_small.safetensors"
    _, out, _ = call(image(files), "--model", path, "--weights", same, "--json")
    found = json.loads(out)
    assert found["notes"] == []
    other = shipped.weights(tmp_path / "other.safetensors", seed=2)
    status, out, _ = call(image(files), "--model", path, "--weights", other, "--json")
    assert status == 0
    changed = json.loads(out)
    assert changed["notes"] == ["PyTorch runs other weights than the model was quantized from"]
    assert changed["images"][0]["torch"] != found["images"][0]["torch"]
    assert changed["images"][0]["quantized"] == found["images"][0]["quantized"]
    nameless = renamed(files, tmp_path / "m.safetensors", model=None)
    _, out, _ = call(image(files), "--model", nameless, "--weights", same, "--json")
    assert json.loads(out)["images"] == found["images"]


def test_images_of_any_size(files, tmp_path, call):
    for name, mode, size in ("grey.jpg", "L", (70, 40)), ("clear.png", "RGBA", (9, 30)):
        Image.new(mode, size, 90).save(tmp_path / name)
    status, out, _ = call(tmp_path / "grey.jpg", tmp_path / "clear.png", "--model", "vit_small")
    assert status == 0
    assert out.count("golden w8a8") == 2


def test_default_is_the_model_of_the_package(files, call):
    status, _, err = call(image(files))
    assert status == 2
    assert err == ("python -m sim.run: error: the package has no model 'vit_cifar10'; "
                   "it has vit_small\n")


def _no_preprocessing(files, folder):
    return [image(files), "--model",
            renamed(files, folder / "m.safetensors", preprocessing=None)]


def _broken_image(files, folder):
    (folder / "x.png").write_bytes(b"x")
    return [folder / "x.png", "--model", "vit_small"]


def _strange_core(files, folder):
    (folder / "core.toml").write_text("[accelerator]\nlanes = 4\n")
    return [image(files), "--core", folder / "core.toml", "--backend", "machine"]


@pytest.mark.parametrize(("words", "message"), [
    (lambda files, folder: [], "the following arguments are required: IMAGE"),
    (lambda files, folder: [image(files), "--model", "vit_small:w2a2"],
     "the package has no vit_small:w2a2, but vit_small:w4a4, vit_small:w8a8"),
    (lambda files, folder: [image(files), "--model", "none.safetensors"],
     "cannot read none.safetensors: No such file or directory"),
    (lambda files, folder: [image(files), "--model", files / "vit_small.safetensors"],
     "is not a quantized model, or is damaged; python -m sim.calibrate makes one"),
    (lambda files, folder: [image(files), "--model", files], "cannot read .*: Is a directory"),
    (lambda files, folder: [folder / "no.png", "--model", "vit_small"],
     "cannot read the image .*no.png: No such file"),
    (_broken_image, "cannot read the image .*x.png: no image format is recognised"),
    (_no_preprocessing, "the model does not say how its images are prepared"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--weights", folder / "no"],
     "cannot read the weights: .*no: No such file"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--top", "0"],
     "--top: must be a positive integer, not '0'"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--backend", "gpu"],
     "--backend: must be one of golden, machine, rtl, board, not 'gpu'"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--core", "4x4"],
     "--core goes with --backend machine or rtl"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--trace", "a.vcd"],
     "--trace goes with --backend rtl"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--check"],
     "--check goes with --backend rtl or board"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--port", "simulated"],
     "--port goes with --backend board"),
    (lambda files, folder: [image(files), "--model", "vit_small", "--backend", "board"],
     "--backend board needs --port"),
    (lambda files, folder: [image(files), "--core", "5x5", "--backend", "machine"],
     "--core: must be one of 4x4, 8x8, 8x16, .* or a TOML file, not '5x5' .No such file"),
    (_strange_core, "--core: cannot use .*core.toml: lanes must be rows .8. in a core, not 4"),
])
def test_errors_are_one_line(files, tmp_path, call, words, message):
    status, out, err = call(*words(files, tmp_path))
    assert (status, out) == (2, "")
    with pytest.raises(UserError, match=rf"^python -m sim.run: error: .*{message}"):
        raise UserError(err.strip())
    assert err.strip().count("\n") == 0
