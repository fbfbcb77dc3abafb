import dataclasses
import functools
import json
import re

import numpy as np
import pytest
import torch

from golden.network import vit
from sim import calibrate, zoo
from sim.inputs import float_model, images, models, quantized_model
from sim.inputs.model_lookup import open_model, preprocessing_of_model
from sim.ptq import survey
from sim.ptq.checkpoint import Checkpoint
from tests.cases import shipped, vits


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with the float weights and a folder of images."""
    folder = tmp_path_factory.mktemp("inputs")
    shipped.weights(folder / "tiny.safetensors")
    shipped.images(folder / "images", 8)
    return folder


def start(inputs, out, **options):
    """Calibrate with further options; None in place of an option's value takes it away."""
    options = {"model": "tiny", "weights": inputs / "tiny.safetensors",
               "images": inputs / "images", "bits": "w4a4"} | options
    words = [str(word) for name, value in options.items() if value is not None
             for word in (f"--{name.replace('_', '-')}", value)]
    try:
        return calibrate.main([*words, "--out", str(out)])
    except SystemExit as error:
        return error.code


@pytest.fixture
def run(inputs, tmp_path):
    """As `start`: status and path of the file."""
    return lambda out="out.safetensors", **options: (start(inputs, tmp_path / out, **options),
                                                     tmp_path / out)


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """The file of an uninterrupted run with some options, made once."""
    @functools.cache
    def make(**options):
        out = tmp_path_factory.mktemp("finished") / "out.safetensors"
        assert start(inputs, out, **options) == 0
        return out

    return make


def error_of(capsys) -> str:
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.strip().splitlines()  # a progress bar leaves an empty one
    last = lines[-1]
    assert last.startswith("python -m sim.calibrate: error: ")
    assert sum("error:" in line for line in lines) == 1
    return last.removeprefix("python -m sim.calibrate: error: ")


def test_quantized_model_is_nearly_the_float_one(finished):
    model = quantized_model.load(finished(bits="w8a8"))
    assert model.name == "tiny"
    assert model.classes == shipped.CLASSES
    pixels = vits.pixels(16, seed=9)
    found = vit.Vit(model.network).run(pixels).logits / 2.0**model.network.logit_point
    preprocess = preprocessing_of_model(model)
    wanted = vits.model()(torch.cat([preprocess.tensor(one) for one in pixels])).double().numpy()
    assert np.sqrt(((found - wanted)**2).mean() / (wanted - wanted.mean(0)).var()) < 0.1


def test_widths_are_chosen_for_a_share_of_the_cycles(run, capsys):
    status, path = run(bits="mixed:0.9", core="4x4")
    assert status == 0
    shown = capsys.readouterr().out
    made = quantized_model.load(path)
    bits = str(made.network.precision)
    assert bits.startswith("w4a4,")
    assert f"--bits {bits}\n" in shown
    assert not list(path.parent.glob("*.checkpoint"))
    about = made.metadata["calibration"]["widths"]
    assert about["share"] == 0.9
    assert about["cycles"] <= 0.9 * about["widest"]
    assert {one["layer"] for one in about["options"]} == {"qkv", "attention", "proj", "fc1", "fc2"}
    again = run("again.safetensors", bits=bits, core="4x4")[1]
    assert quantized_model.load(again).network.precision == made.network.precision


@pytest.mark.parametrize(("bits", "message"), [
    ("mixed:0.01", "--bits mixed:0.01: the share of cycles must be 0."),
    ("mixed:1.5", "argument --bits: a share of cycles must be 1 or less, not '1.5'"),
    ("mixed:", "argument --bits: must be a positive number, not ''"),
    ("w4a4,2=w8a8", "--bits w4a4,2=w8a8: blocks of a precision must be 0 to 1, not 2"),
])
def test_widths_that_cannot_be(run, bits, message, capsys):
    status, path = run(bits=bits, core="4x4")
    assert status == 2
    assert error_of(capsys).startswith(message)
    assert not path.exists()


def test_file_says_how_it_was_made(finished, inputs):
    about = quantized_model.load(finished(epochs=2)).metadata
    made = about["calibration"]
    assert made["images"]["count"] == 8
    assert made["options"]["step"] == 0
    assert (made["budget"]["seed"], made["budget"]["epochs"]) == (1, 2)
    assert made["libraries"]["torch"] == torch.__version__.partition("+")[0]
    floating = float_model.FloatModel.create("tiny", inputs / "tiny.safetensors")
    assert about["weights"] == float_model.weights_digest(floating.source())
    assert about["preprocessing"] == floating.preprocessing.config
    assert str(inputs) not in json.dumps(about)


def test_images_of_another_size_are_taken(run, inputs, finished, tmp_path, capsys):
    status, out = run(bits="w8a8", **{"image-size": 24})
    assert status == 0
    made = quantized_model.load(out)
    assert made.network.shape == dataclasses.replace(
        quantized_model.load(finished(bits="w8a8")).network.shape, image=24)
    floating, note = float_model.beside(made, inputs / "tiny.safetensors")
    assert (floating.preprocessing.size, note) == ((24, 24), None)
    pixels = vits.pixels(8, 24)
    found = vit.Vit(made.network).run(pixels).logits / 2.0**made.network.logit_point
    preprocess = preprocessing_of_model(made)
    wanted = floating.model(torch.cat([preprocess.tensor(one) for one in pixels])).numpy()
    assert np.sqrt(((found - wanted)**2).mean() / (wanted - wanted.mean(0)).var()) < 0.2
    capsys.readouterr()
    status, out = run("odd.safetensors", **{"image-size": 18})
    assert (status, out.exists()) == (2, False)
    assert error_of(capsys) == ("tiny cannot be quantized: image must be a multiple of patch, not "
                                "18 of 4")


def test_same_run_gives_the_same_bytes(run, finished, capsys):
    status, out = run(epochs=2)
    assert status == 0
    assert capsys.readouterr().out.endswith(f"\n{out}: tiny in w4a4 from 8 images, "
                                            f"{out.stat().st_size:,} bytes\n")
    assert out.read_bytes() == finished(epochs=2).read_bytes()


def test_what_16_bits_hold_is_shown_and_what_is_too_coarse_is_said(run, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(out="first.safetensors")[0] == 0
    shown = capsys.readouterr().out
    assert re.search(r"^blocks\.1\.qkv +96 +[\d.]+ +\d+ +1/\d+ +none$", shown, re.MULTILINE)
    assert "too coarse" not in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    monkeypatch.setattr(survey, "LOUD", 0)
    assert run(out="second.safetensors")[0] == 0
    assert "embedding: a step of " in capsys.readouterr().out


@pytest.mark.parametrize(("base", "options"), [
    ({}, {"bits": "w8a8"}), ({}, {"observer": "minmax"}), ({}, {"observer": "percentile"}),
    ({}, {"step": 512}), ({}, {"epochs": 1}), ({}, {"count": 7}),
    ({}, {"reconstruct": 2}), ({"reconstruct": 2}, {"reconstruct": 2, "seed": 2}),
    ({"epochs": 1}, {"epochs": 1, "seed": 2})])
def test_every_option_changes_the_integers(finished, base, options):
    first, second = (quantized_model.load(finished(**some)).network for some in (base, options))
    assert not (np.array_equal(first.scales, second.scales)
                and np.array_equal(first.blocks[1].fc2.weight, second.blocks[1].fc2.weight)
                and first.blocks[0].step == second.blocks[0].step)


class Stop:
    """Interrupts a run as soon as it has stored something that is asked for."""

    def __init__(self, when):
        self.when, self.save, self.saves = when, Checkpoint.save, 0

    def __call__(self, checkpoint, stages):
        self.save(checkpoint, stages)
        self.saves += 1
        if self.when is not None and self.when(stages):
            self.when = None
            raise KeyboardInterrupt


@pytest.mark.parametrize("when", [
    lambda stages: True,
    lambda stages: "blocks" in stages,
    lambda stages: "training" in stages,
], ids=["soon", "among blocks", "between epochs"])
def test_interrupted_run_goes_on(run, finished, monkeypatch, capsys, when):
    stop = Stop(when)
    monkeypatch.setattr(Checkpoint, "save", lambda *args: stop(*args))
    status, out = run(epochs=2)
    assert status == 130
    assert out.with_suffix(".checkpoint").exists()
    assert not out.exists()
    before = stop.saves
    capsys.readouterr()
    assert run(epochs=2)[0] == 0
    assert f"Going on from {out.with_suffix('.checkpoint')}" in capsys.readouterr().err
    assert stop.saves > before
    assert out.read_bytes() == finished(epochs=2).read_bytes()
    assert not out.with_suffix(".checkpoint").exists()


def test_checkpoint_of_another_run_is_refused(run, monkeypatch, capsys):
    stop = Stop(lambda stages: True)
    monkeypatch.setattr(Checkpoint, "save", lambda *args: stop(*args))
    status, out = run()
    assert status == 130
    capsys.readouterr()
    for options in {"bits": "w8a8"}, {"seed": 2}, {"count": 7}:
        assert run(**options)[0] == 2
        assert "out.checkpoint is of a run with other options or images" in error_of(capsys)
    out.with_suffix(".checkpoint").write_bytes(b"PK damaged")
    assert run()[0] == 2
    assert "out.checkpoint is damaged; remove it to start anew" in error_of(capsys)


def test_failed_write_keeps_the_checkpoint(run, monkeypatch, capsys):
    def save(model, path):
        raise calibrate.UserError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(calibrate, "save", save)
        status, out = run()
    assert status == 2
    assert "No space left" in error_of(capsys)
    assert out.with_suffix(".checkpoint").exists()
    assert run()[0] == 0


def test_model_of_the_package_needs_no_weights(run, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    shipped.weights(tmp_path / "vit_small.safetensors")
    images = shipped.images(tmp_path / "large", 4, 40)  # of another size than the model's
    status, out = run("vit_small_w8a8.safetensors", model="vit_small", weights=None, bits="w8a8",
                      images=images)
    assert status == 0
    assert open_model("vit_small").network.shape.classes == 7
    assert zoo.names() == ["vit_small"]
    assert out.parent == zoo.FOLDER


def test_images_of_all_folders_are_used(inputs):
    floating = float_model.FloatModel.create("tiny", inputs / "tiny.safetensors")
    sources, pixels = images.pixels(inputs / "images", floating.preprocessing, 5)
    assert [one.file for one in sources] == ["00.png", "01.png", "02.png", "03.png", "04.png"]
    np.testing.assert_array_equal(pixels, vits.pixels(8)[:5])


def _missing_images(folder):
    return {"images": folder / "none"}


def _no_images(folder):
    (folder / "empty").mkdir()
    return {"images": folder / "empty"}


def _broken_image(folder):
    shipped.images(folder / "broken", 3)
    (folder / "broken" / "z.png").write_bytes(b"x")
    return {"images": folder / "broken"}


def _missing_weights(folder):
    return {"model": "test_vit", "weights": folder / "none.bin"}


def _other_weights(folder):
    return {"model": "deit_t"}


def _convolutions(folder):
    torch.save(models.create("test_resnet").state_dict(), folder / "r.pth")
    return {"model": "test_resnet", "weights": folder / "r.pth"}


@pytest.mark.parametrize(("make", "message"), [
    (_missing_images, "none is not a folder"),
    (_no_images, r"empty has no images \(\.jpg"),
    (_broken_image, "cannot read the image .*z.png: no image format is recognised"),
    (_missing_weights, "cannot read the weights: .*none.bin: No such file"),
    (_other_weights, "tiny.safetensors does not fit deit_tiny_patch16_224: "),
    (_convolutions, "test_resnet cannot be quantized: only timm's VisionTransformer, Beit and Swi"),
    (lambda folder: {"model": "vit_x", "weights": None}, "no model is called 'vit_x'"),
    (lambda folder: {"bits": "w2a4"}, "--bits: weights must have 4, 6 or 8 bits, not 2"),
    (lambda folder: {"bits": "4"}, "--bits: a precision is written like w4a4, not '4'"),
    (lambda folder: {"bits": None}, "the following arguments are required: --bits"),
    (lambda folder: {"step": 10**6}, r"--step: must be an integer within 0\.\.\d+, not '1000000'"),
    (lambda folder: {"widths_by": "x"}, "--widths-by must be one of measured, hawq-v2, not 'x'"),
    (lambda folder: {"observer": "x"},
     "--observer must be one of minmax, percentile, mse, not 'x'"),
    (lambda folder: {"epochs": -1}, "--epochs: must be an integer of 0 or more, not '-1'"),
    (lambda folder: {"reconstruct": -1}, "--reconstruct: must be an integer of 0 or more, not .-1"),
    (lambda folder: {"seed": "x"}, r"--seed: must be an integer within 0\.\.2147483647, not 'x'"),
    (lambda folder: {"count": 0}, "--count: must be a positive integer, not '0'"),
    (lambda folder: {"out": "x.bin"}, "--out must end in .safetensors, not 'x.bin'"),
    (lambda folder: {"out": "no/x.safetensors"}, "cannot write .*: .*no is not a folder"),
])
def test_errors_are_one_line(run, capsys, tmp_path, make, message):
    assert run(**make(tmp_path))[0] == 2
    error = error_of(capsys)
    assert re.search(message, error), error
