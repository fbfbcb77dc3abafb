"""Golden beside float64: what it does with each tensor, and what becomes of the whole."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from golden.common.formats import GAIN
from golden.network.network import Tap
from golden.network.precision import Precision, parse
from golden.network.vit import Vit
from golden.prediction import range_unit
from golden.prediction.scale_predictor import ScalePredictor
from sim import emulate
from sim.evaluation import arithmetic_errors, emulator
from sim.inputs import quantized_model
from sim.ptq import pipeline, source
from tests.cases import vits
from tests.cases.networks import (
    LONG,
    MEANS,
    MIXED,
    PREFIXES,
    RELATIVE,
    SHAPE,
    WINDOWS,
    massive,
    network,
    pixels,
    with_norm_pre,
    with_qk_norm,
)

PRECISIONS = [("w8a8", 0), ("w6a6", 0), ("w4a8", 600), ("w4a4", 0), ("w4a4", 512), ("w4a3", 700)]
UNITS = tuple(emulator.UNITS)
precisions = pytest.mark.parametrize(("bits", "step"), PRECISIONS)


def golden(made, images, **options):
    """Run golden; return its logits, its scales and all of its tensors."""
    seen = {}
    found = Vit(made).run(images, watch=seen.__setitem__, **options)
    return found.logits, found.scales, seen


def with_tap(made, shape=SHAPE, after=1):
    """Return a network that has scales of its own for each image behind so many blocks."""
    draw, sites = np.random.default_rng(5), np.arange(shape.first_site(after), shape.sites)
    streams = golden(made, pixels(4, shape))[2][f"{after - 1}.x"]
    mean = np.mean([range_unit.log_ranges(stream, 4, 2) for stream in streams], axis=0)
    predictor = ScalePredictor(made.scales[sites], [draw.integers(-1500, 1500, (len(sites), 4))])
    tap = Tap(after, 4, 2, np.rint(mean).astype(int), np.full(4, 4 * GAIN.one), predictor, sites)
    return dataclasses.replace(made, taps=(tap,))


@precisions
def test_with_every_unit_of_golden_it_is_golden(bits, step):
    made, images = network(Precision.parse(bits), step), pixels(11)
    wanted = golden(made, images)[0]
    assert (emulator.emulate(made, images, integer=UNITS, batch=4) == wanted).all()


@pytest.mark.parametrize("bits", MIXED)
def test_mixed_precisions_are_golden_with_every_unit_of_it_and_real_within_the_stated_error(bits):
    made, images = network(parse(bits), 512), pixels(3)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert all(error.beyond == 0 for error in errors.values())


def test_with_every_unit_of_golden_it_is_golden_where_channels_are_coarse():
    made, images = massive(network(Precision(8, 8))), pixels(6)
    logits = golden(made, images)[0]
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    first, *others = made.blocks
    blind = (dataclasses.replace(made, coarse=None),
             dataclasses.replace(made, blocks=(dataclasses.replace(first, coarse=None), *others)))
    error, *wrong = (np.abs(emulator.emulate(one, images, integer={"residual"}) - logits).mean()
                     for one in (made, *blind))
    assert error < wrong[0] / 2
    assert error < wrong[1]
    made = emulator.shifted("gelu", torch.tensor([800.0, 800.0]), np.array([0, 1])).tolist()
    assert made == pytest.approx([800 * 0.78267 + 174, 974], abs=0.01)


def test_with_every_unit_of_golden_it_is_golden_at_scales_of_each_image():
    made, images = with_tap(network(Precision(8, 8))), pixels(6)
    logits, scales, _ = golden(made, images)
    assert len(np.unique(scales, axis=0)) == len(images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    given = emulator.emulate(made, images, scales=scales, integer=UNITS)
    assert (given == logits).all()


@pytest.mark.parametrize("kind", [*LONG, "norm before"])
def test_others_are_golden_with_every_unit_of_it_and_real_within_the_stated_error(kind):
    shape = dataclasses.replace(SHAPE, depth=1, **LONG.get(kind, {}))
    made = network(Precision(8, 8), shape=shape)
    if kind not in LONG:
        made = massive(with_norm_pre(made))
    images = pixels(2, made.shape)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert all(error.beyond == 0 for error in errors.values())


@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
@pytest.mark.parametrize("change", [{}, WINDOWS], ids=["all tokens", "windows"])
def test_norms_of_queries_and_keys_are_golden_and_real_within_the_stated_error(change, bits, step):
    shape = dataclasses.replace(SHAPE, **change)
    made, images = with_qk_norm(network(Precision.parse(bits), step, shape=shape)), pixels(4, shape)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert not any(error.beyond for error in errors.values())
    for name, norm in (("0.q_norm", made.blocks[0].q_norm), ("1.k_norm", made.blocks[1].k_norm)):
        beyond = []
        for change in (-1, 1):
            wrong = seen[name].copy()
            wrong[0, 1, 2, 3] += change * norm.norm.gamma[3]
            one = arithmetic_errors.compare(made, images, scales, seen | {name: wrong})["layernorm"]
            beyond += [one.name] if one.beyond else []
        assert name in beyond
    logits, errors = arithmetic_errors.follow(made, images, scales, seen)
    assert {"q", "k", "v", "probs"} <= errors.keys()
    assert np.abs(logits - golden(made, images)[0]).max() < 3


@pytest.mark.parametrize("kind", PREFIXES)
def test_other_prefixes_are_golden_with_every_unit_of_it_and_real_within_the_stated_error(kind):
    shape = dataclasses.replace(SHAPE, **PREFIXES[kind])
    made, images = network(Precision(8, 8), shape=shape), pixels(6, shape)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert {"residual", "logits", "site"} <= errors.keys()
    assert not any(error.beyond for error in errors.values())


@pytest.mark.parametrize("kind", RELATIVE)
def test_relative_positions_are_golden_with_every_unit_and_real_within_the_stated_error(kind):
    shape = dataclasses.replace(SHAPE, **RELATIVE[kind])
    made, images = network(Precision(4, 4), 512, shape=shape), pixels(6, shape)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert not any(error.beyond for error in errors.values())


@pytest.mark.parametrize("kind", MEANS)
def test_means_of_patches_are_golden_with_every_unit_of_it_and_real_within_the_stated_error(kind):
    shape = dataclasses.replace(SHAPE, **MEANS[kind])
    made, images = network(Precision(8, 8), shape=shape), pixels(6, shape)
    if kind == "fc_norm":
        made = massive(made)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert not any(error.beyond for error in errors.values())
    logits, errors = arithmetic_errors.follow(made, images, scales, seen)
    assert {"pool", "head"} <= errors.keys()
    assert np.abs(logits - golden(made, images)[0]).max() < 3


@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
@pytest.mark.parametrize("change", [{}, {"image": 48, "depth": 5, "merges": (2, 4)},
                                    {"dim": 264, "merges": (1,), "depth": 2}],
                         ids=["merged", "merged twice", "in parts"])
def test_windows_are_golden_with_every_unit_of_it_and_real_within_the_stated_error(change, bits,
                                                                                   step):
    shape = dataclasses.replace(SHAPE, **WINDOWS | change)
    made = with_norm_pre(network(Precision.parse(bits), step, shape=shape))
    merge, coarse = made.merges[0], np.zeros(2 * shape.dim, np.uint8)
    coarse[5] = 1
    merge = dataclasses.replace(merge, stream=dataclasses.replace(merge.stream, coarse=coarse))
    made = dataclasses.replace(made, merges=(merge, *made.merges[1:]))
    images = pixels(3, shape)
    logits, scales, seen = golden(made, images)
    assert (emulator.emulate(made, images, integer=UNITS) == logits).all()
    errors = arithmetic_errors.compare(made, images, scales, seen)
    assert not any(error.beyond for error in errors.values())
    logits, errors = arithmetic_errors.follow(made, images, scales, seen)
    assert {"merge", "pool", "head", "probs", "q", "fc2"} <= errors.keys()
    assert np.abs(logits - golden(made, images)[0]).max() < 3


@pytest.mark.parametrize("unit", UNITS)
def test_each_unit_can_be_golden_alone(unit):
    made, images = network(Precision(8, 8)), pixels(8)
    real = emulator.emulate(made, images)
    assert (real != np.round(real)).all()
    one = emulator.emulate(made, images, integer=[unit])
    assert 0 < np.abs(one - real).max() < 0.25 * real.std()
    if unit == "logits":
        assert np.abs(one - real).max() <= 0.5


def test_a_unit_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="unit must be one of exp2, .* not 'gelus'"):
        emulator.emulate(network(Precision(8, 8)), pixels(1), integer=["gelus"])


def test_jitter_is_repeatable_and_small_jitter_has_small_effects():
    made, images = network(Precision(8, 8)), pixels(4)
    real = emulator.emulate(made, images)
    once, again = (emulator.emulate(made, images, jitter=1e-3) for _ in range(2))
    assert (once == again).all()
    assert 0 < np.abs(once - real).max() < 0.25 * real.std()
    assert (emulator.emulate(made, images, jitter=1e-15) == pytest.approx(real, abs=1e-6))


@precisions
def test_every_tensor_of_golden_is_the_real_one_within_the_stated_error(bits, step):
    made = with_tap(network(Precision.parse(bits), step))
    images = pixels(40)
    _, scales, tensors = golden(made, images)
    errors = arithmetic_errors.compare(made, images, scales, tensors)
    assert set(errors) == {"residual", "layernorm", "site", "qkv", "scores", "row exponents",
                           "hidden", "gelu", "logits", "codes" if step else "exponentials"}
    assert {kind: one for kind, one in errors.items() if one.beyond or one.ratio > 1} == {}
    loose = {kind: one for kind, one in errors.items() if one.ratio < 0.7}
    assert not loose, "bounds that are never nearly reached would let mistakes pass"


def test_coarse_channels_and_units_are_real_within_the_stated_error():
    made, images = massive(network(Precision(8, 8))), pixels(8)
    _, scales, tensors = golden(made, images)
    errors = arithmetic_errors.compare(made, images, scales, tensors)
    assert {kind: one for kind, one in errors.items() if one.beyond or one.ratio > 1} == {}


NAMES = ("embedding", "0.norm1", "1.norm2", "norm", "0.qkv", "0.y", "1.q", "1.k", "0.v", "0.scores",
         "1.probs", "0.row_scale", "1.proj", "0.attended", "1.fc1", "1.t", "0.gelu", "1.fc2", "1.x",
         "head", "logits")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
def test_one_number_off_by_one_is_noticed(name, bits, step):
    made, images = network(Precision.parse(bits), step), pixels(2)
    _, scales, tensors = golden(made, images)
    place = tuple(size // 2 for size in tensors[name].shape)
    one = 1
    if "norm" in name:  # one step of what is multiplied by gamma
        norm = {"0.norm1": made.blocks[0].norm1, "1.norm2": made.blocks[1].norm2}
        one = int(norm.get(name, made.norm).gamma[place[-1]])
    found = []
    for change in (-one, one):
        wrong = tensors[name].astype(np.int64)
        wrong[place] += change
        errors = arithmetic_errors.compare(made, images, scales, tensors | {name: wrong})
        found += [error.name for error in errors.values() if error.beyond]
    assert name in found


class Imitation(emulator.Emulation):
    """Golden as float64 has it, which a test can change; keeps its tensors."""

    def __init__(self, made, lambdas):
        super().__init__(made, lambdas, predicted=False, integer=UNITS)
        self.tensors = {}

    def _kept(self, name, made):
        self.tensors[name] = made.numpy()
        return made

    def requantized(self, kind, name, *arguments):
        return self._kept(name, super().requantized(kind, name, *arguments))

    def normalized(self, name, *arguments):
        return self._kept(name, super().normalized(name, *arguments))

    def stored(self, name, *arguments):
        return self._kept(name, super().stored(name, *arguments))

    def row_exponent(self, name, *arguments):
        return self._kept(name, super().row_exponent(name, *arguments))

    def activated(self, name, *arguments):
        return self._kept(name, super().activated(name, *arguments))


def imitated(made, images):
    """Compare an imitation of golden with float64; return the kinds beyond their bounds."""
    lambdas = np.tile(made.scales, (len(images), 1))
    imitation = Imitation(made, lambdas)
    logits = imitation.run(images).numpy()
    tensors = imitation.tensors
    tensors["embedding"] = np.pad(tensors["embedding"], ((0, 0), (1, 0), (0, 0)))
    tensors["logits"] = logits
    errors = arithmetic_errors.compare(made, images, lambdas, tensors)
    return {kind for kind, error in errors.items() if error.beyond}


def _floor(monkeypatch):
    monkeypatch.setattr(emulator, "_round", torch.floor)


def _exp2(monkeypatch):
    exact = emulator.exp2.exp2
    monkeypatch.setattr(emulator.exp2, "exp2", lambda x: (exact(x)[0] + 8, exact(x)[1]))


def _norm(monkeypatch):
    exact = emulator.layernorm.layer_norm
    monkeypatch.setattr(emulator.layernorm, "layer_norm", lambda x, gamma, *others:
                        exact(x, gamma, *others) + 2 * gamma.astype(np.int32))


def _log2(monkeypatch):
    exact = emulator.log2.log2
    monkeypatch.setattr(emulator.log2, "log2", lambda value: exact(value) - 1)


def _gelu(monkeypatch):
    exact = emulator.curve_columns
    monkeypatch.setattr(emulator, "curve_columns",
                        lambda curve, t, coarse: exact(curve, t, coarse)
                        + (np.abs(t.astype(int)) >> 7 == 3).astype(np.int16))


def _softmax(monkeypatch):
    exact = emulator.softmax.softmax
    monkeypatch.setattr(emulator.softmax, "softmax",
                        lambda scores: (exact(scores)[0] + 1 - exact(scores)[0] // 255, None))


SITES = {"site", "residual", "qkv", "scores", "hidden", "logits"}


@pytest.mark.parametrize(("mistake", "kinds"), [
    (None, set()), (_floor, SITES), (_exp2, {"site", "qkv", "hidden", "residual", "scores"}),
    (_norm, {"layernorm"}), (_log2, {"row exponents"}), (_gelu, {"gelu"}),
    (_softmax, {"exponentials"}),
], ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_rounding_or_table_is_noticed(mistake, kinds, monkeypatch):
    if mistake is not None:
        mistake(monkeypatch)
    assert imitated(network(Precision(8, 8)), pixels(8)) == kinds


@precisions
def test_following_golden_real_values_are_where_it_rounds_them(bits, step):
    made, images = network(Precision.parse(bits), step), pixels(8)
    logits, scales, tensors = golden(made, images)
    found, errors = arithmetic_errors.follow(made, images, scales, tensors)
    assert (found.argmax(1) == logits.argmax(1)).all()
    assert set(errors) == {"qkv", "q", "k", "v", "probs", "proj", "fc1", "fc2", "head"}
    assert np.abs(found - logits).max() <= 1  # both rounded
    for site, error in errors.items():
        widths = {"head": 8, "probs": 4 if step else 8}
        coarse = widths.get(site, Precision.parse(bits).activations) <= 4
        assert error.beyond <= (0.01 if coarse else 0.05) * error.count, site
        assert error.error <= 0.5 + (0.01 if coarse else 0.15), site


def test_what_golden_rounds_otherwise_is_counted():
    made, images = network(Precision(4, 4)), pixels(2)
    _, scales, tensors = golden(made, images)
    wrong = tensors["1.v"].copy()
    wrong[0, 0, 3, :2] += np.where(wrong[0, 0, 3, :2] > 0, -2, 2).astype(np.int8)
    error = arithmetic_errors.follow(made, images, scales, tensors | {"1.v": wrong})[1]["v"]
    assert (error.beyond, error.name) == (2, "1.v")
    assert 1.5 <= error.error <= 2.5


def test_errors_of_two_batches_are_those_of_both_together():
    made, images = network(Precision(8, 8)), pixels(6)
    _, scales, tensors = golden(made, images)
    whole = arithmetic_errors.compare(made, images, scales, tensors)
    parts = [arithmetic_errors.compare(made, images[part], scales[part],
                             {name: tensor[part] for name, tensor in tensors.items()})
             for part in (slice(0, 2), slice(2, 6))]
    merged = arithmetic_errors.merge(*parts)
    assert {kind: one.count for kind, one in merged.items()} == \
        {kind: one.count for kind, one in whole.items()}
    for kind, one in whole.items():
        assert merged[kind].error == pytest.approx(one.error, abs=1e-7)
    assert arithmetic_errors.merge({}, whole) == whole


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A quantized model of float weights in a file, and a folder of images with labels."""
    folder = tmp_path_factory.mktemp("inputs")
    images = vits.pixels(12)
    quantized = pipeline.quantize(source.read(vits.model(), vits.preprocessing()), images,
                                  pipeline.Plan(Precision(8, 8)))
    config = {"input_size": (3, 16, 16), "interpolation": "bicubic", "mean": vits.MEAN,
              "std": vits.STD, "crop_pct": 1.0, "crop_mode": "center"}
    quantized_model.save(quantized_model.QuantizedModel(quantized.network, {
        "model": "tiny", "preprocessing": config}), folder / "tiny.safetensors")
    (folder / "images").mkdir()
    classes = Vit(quantized.network).run(images).logits.argmax(1)
    classes[:3] = (classes[:3] + 1) % 7
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "label"))
        for index, (one, label) in enumerate(zip(images, classes, strict=True)):
            Image.fromarray(one).save(folder / "images" / f"{index:02}.png")
            table.writerow((f"{index:02}.png", label))
    return folder


def words(inputs, *more):
    return ["--model", str(inputs / "tiny.safetensors"), "--images", str(inputs / "images"), *more]


def test_report_as_json(inputs, capsys):
    assert emulate.main(words(inputs, "--labels", str(inputs / "labels.csv"), "--compared", "5",
                              "--jitter", "1e-7", "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["compared"]) == (12, 5)
    assert report["followed"] == report["agreement"] == report["jittered"] == 1
    assert report["accuracy"] == {"golden": 0.75, "followed": 0.75, "float64": 0.75}
    assert all(error["beyond"] == 0 for error in report["steps"].values())
    assert report["steps"]["hidden"]["count"] == 5 * 2 * 17 * 64
    assert report["sites"]["head"]["count"] == 12 * 32


def test_report_without_labels_and_jitter(inputs, capsys):
    assert emulate.main(words(inputs, "--count", "3", "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["compared"]) == (3, 3)
    assert report["accuracy"] is None
    assert report["jittered"] is None


@pytest.mark.parametrize("width", [40, 20])
def test_narrow_tables_cut_no_number(width, inputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert emulate.main(words(inputs, "--count", "3", "--jitter", "1e-7")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert width < 40 or max(map(len, lines)) <= width
    assert sum(bool(re.fullmatch(r".*…? +\d+\.\d\d %", line)) for line in lines) >= 3
    steps = next(line for line in lines if line.startswith("tensor")).split()
    assert steps[-1] == "beyond"
    numbers = [line.split() for line in lines if "exponents" in line]
    assert numbers
    assert all(number[-1] == "0" for number in numbers)
    assert ("error" in steps) == (width == 40)
    assert width < 40 or all(re.fullmatch(r"0\.\d+", number[-2]) for number in numbers)


def test_tables_fit_a_terminal(inputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert emulate.main(words(inputs, "--labels", str(inputs / "labels.csv"),
                              "--jitter", "1e-7")) == 0
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in output
    assert re.search(r"top-1 of golden +75.00 %", output)
    assert re.search(r"jittered by 1e-07 +100.00 %", output)
    assert re.search(r"row exponents +1,632 +0\.\d+ +0.75 +0 +[01]\.row_scale", output)


@pytest.mark.parametrize(("text", "message"), [
    (None, "cannot read .*No such file"),
    ("name,label\n00.png,3\n", "must be CSV with the columns file and label"),
    ("file,label\n00.png,three\n", "line 2: 00.png has no class of .*'three'"),
    ("file,label\n00.png,3\n", "has no label of 01.png"),
])
def test_labels_that_cannot_be_used_are_one_line(inputs, tmp_path, capsys, text, message):
    path = tmp_path / "labels.csv"
    if text is not None:
        path.write_text(text)
    assert emulate.main(words(inputs, "--labels", str(path))) == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
