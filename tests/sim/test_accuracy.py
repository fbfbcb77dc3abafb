import contextlib
import csv
import json
import re
import shlex

import numpy as np
import pytest
import torch

from sim import accuracy
from sim.evaluation import chunks, comparison, dask_cluster, preparation
from sim.inputs import float_model, images
from sim.reporting.runs import read as read_report
from sim.shifts.shift import FAMILIES, GROUPS, parse
from tests.cases import shipped

COUNT = 30
METHODS = ("mse", "oracle", "jit-minmax", "lsq", "predictor", "repq-vit")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with float weights, calibration images, images and their labels."""
    folder = tmp_path_factory.mktemp("inputs")
    shipped.weights(folder / "tiny.safetensors")
    shipped.images(folder / "calibration", 20)
    shipped.images(folder / "images", COUNT)
    with (folder / "labels.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("file", "label"))
        lines.writerows((f"{index:02}.png", index % 7) for index in range(COUNT))
    return folder


@pytest.fixture(scope="module")
def client():
    with dask_cluster.cluster(workers=1, processes=False) as made:
        yield made


@pytest.fixture
def connected(client, monkeypatch):
    """Let the command use workers in this process; a list of what it asked for."""
    asked = []

    def cluster(address, workers):
        asked.append((address, workers))
        return contextlib.nullcontext(client)

    monkeypatch.setattr(dask_cluster, "cluster", cluster)
    return asked


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def words(inputs, work, **options):
    options = {"model": "tiny", "weights": inputs / "tiny.safetensors",
               "calibration": inputs / "calibration", "images": inputs / "images",
               "labels": inputs / "labels.csv", "bits": "w4a4", "epochs": 1, "least": 0,
               "methods": METHODS, "work": work} | options
    made = []
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, tuple) else () if value is True else (value,)
            made += [f"--{name.replace('_', '-')}", *map(str, values)]
    return made


@pytest.fixture
def run(inputs, work, connected, capsys):
    """Compare with further options; None in place of an option's value takes it away."""
    def start(**options):
        try:
            status = accuracy.main(words(inputs, **{"work": work} | options))
        except SystemExit as error:
            status = error.code
        output = capsys.readouterr()
        return status, output.out, output.err
    return start


def rows_of(run, **options):
    status, out, _ = run(json=True, **options)
    assert status == 0
    return {(row["method"], row["bits"]): row for row in json.loads(out)["rows"]}


def test_json_has_the_methods_and_what_they_rest_on(run, inputs):
    status, out, _ = run(json=True)
    assert status == 0
    document = json.loads(out)
    assert document["images"]["count"] == COUNT
    assert document["calibration"]["count"] == 20
    assert (document["options"]["scales"]["epochs"], document["options"]["seed"]) == (1, 1)
    rows = {row["method"]: row for row in document["rows"]}
    assert list(rows) == ["fp32", *METHODS]
    assert {row["bits"] for row in rows.values()} == {"fp32", "w4a4"}
    assert rows["fp32"]["agreement"] == 100
    known = preparation.candidates()
    for name in METHODS:
        row = rows[name]
        assert (row["title"], row["baseline"]) == (known[name].title, known[name].baseline)
        assert row["integer"] is (name != "repq-vit")
        assert (row["against"] is None) == (name == "mse")
    assert rows["repq-vit"]["cost"] is None
    assert rows["mse"]["cost"]["cycles"] == 0
    assert 0 < rows["predictor"]["cost"]["cycles"] < rows["jit-minmax"]["cost"]["cycles"]
    assert rows["predictor"]["cost"]["parameters"] > 0
    assert [site["name"] for site in rows["jit-minmax"]["sites"]] == document["sites"]
    assert rows["predictor"]["sites"]
    assert {site["name"] for site in rows["predictor"]["sites"]} < {*document["sites"]}
    assert rows["oracle"]["sites"] == rows["lsq"]["sites"] == []


def test_a_report_shows_how_scales_spread_over_images(run, tmp_path, monkeypatch):
    rows, scales, path = comparison.rows, {}, tmp_path / "accuracy.json"

    def seen(answers, *rest):
        scales.update({one.prepared.method: one.scales for one in answers})
        return rows(answers, *rest)

    monkeypatch.setattr(comparison, "rows", seen)
    path.write_text(run(json=True)[1])
    one, = read_report([path]).scales
    assert (one["name"], one["images"], one["oracle"]) == ("tiny w4a4", COUNT, "oracle")
    found = {method["method"]: np.array(method["spread"]) for method in one["methods"]}
    assert list(found) == [name for name in METHODS if name != "repq-vit"]  # in float
    assert [one["methods"][number]["method"] for number in one["shown"]] == [
        "mse", "oracle", "predictor"]
    for method, spread in found.items():
        np.testing.assert_allclose(
            spread.T, np.percentile(scales[method], (5, 50, 95), axis=0) / 1024)
        varies = (spread[:, 0] < spread[:, 2]).any()
        assert varies == (method not in {"mse", "lsq"})


def test_first_row_is_the_float_model(run, inputs):
    floating = float_model.FloatModel.create("tiny", inputs / "tiny.safetensors")
    _, pixels = images.pixels(inputs / "images", floating.preprocessing)
    with torch.inference_mode():
        logits = torch.cat([floating.model(floating.preprocessing.tensor(one)) for one in pixels])
    top = logits.argsort(1, descending=True).numpy()
    labels = np.arange(COUNT) % 7
    row = rows_of(run)["fp32", "fp32"]
    assert row["top1"] == pytest.approx(100 * (top[:, 0] == labels).mean())
    assert row["top5"] == pytest.approx(100 * (top[:, :5] == labels[:, None]).any(1).mean())


def test_table_has_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run()
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    title, head, *lines = [line for line in out.splitlines() if line.strip("─ ")]
    assert title.strip() == f"tiny, {COUNT} images, calibrated with 20"
    assert head.split() == ["method", "top-1", "top-5", "=fp32", "against", "points", "R2", "rho",
                            "par", "ops", "cycles"]
    assert [line.split()[0] for line in lines[:8]] == ["fp32", "w4a4", *METHODS]
    assert re.search(r"^predictor .* lsq +[-+][\d.]+ ±[\d.]+ ", out, re.MULTILINE)
    assert "repq-vit float" in out


def test_same_command_again_computes_nothing(run, connected):
    first = run(json=True)
    connected.clear()
    again = run(json=True)
    assert again == (*first[:2], "")
    assert connected == []


def test_killed_run_goes_on_with_the_rest(run, tmp_path, monkeypatch, client):
    whole = rows_of(run, methods=("mse", "oracle"))
    store, stored = chunks.Chunk.store, []

    def stop(self, found):
        store(self, found)
        stored.append(self.path.name)
        if len(stored) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(chunks.Chunk, "store", stop)
        assert run(methods=("mse", "oracle"), work=tmp_path)[0] == 130
    client.submit(len, (), pure=False).result()  # what was on its way is done
    later = []
    monkeypatch.setattr(chunks.Chunk, "store", lambda self, found: (
        later.append(self.path.name), store(self, found))[1])
    assert rows_of(run, methods=("mse", "oracle"), work=tmp_path) == whole
    assert not {*stored} & {*later}
    assert len(stored) + len(later) == 6  # two chunks of fp32 and of each method


def test_options_and_images_have_results_of_their_own(run, inputs, tmp_path):
    before = rows_of(run, methods=("mse", "lsq"))
    for options in ({"seed": 2}, {"epochs": 2}, {"calibration_count": 15}):
        assert "Preparing lsq w4a4" in run(methods=("mse", "lsq"), **options)[2]
    assert rows_of(run, methods=("mse",), bits="w4a4,w8a8").keys() == {
        ("fp32", "fp32"), ("mse", "w4a4"), ("mse", "w8a8")}
    fewer = json.loads(run(methods=("mse", "lsq"), count=20, json=True)[1])
    assert fewer["images"]["count"] == 20
    assert all(row["top1"] % 5 == pytest.approx(0) for row in fewer["rows"])
    assert rows_of(run, methods=("mse", "lsq")) == before


def test_without_labels_there_is_agreement(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = rows_of(run, labels=None)
    assert all(row["top1"] is None and row["top5"] is None for row in rows.values())
    points = rows["predictor", "w4a4"]["agreement"] - rows["lsq", "w4a4"]["agreement"]
    assert rows["predictor", "w4a4"]["against"]["points"] == pytest.approx(points)
    assert "difference of agreement with fp32" in run(labels=None)[1]


def test_markdown_has_the_command_and_the_table(run, inputs, work, tmp_path):
    path = tmp_path / "table.md"
    assert run(markdown=path)[0] == 0
    text = path.read_text()
    typed = shlex.join(["python", "-m", "sim.accuracy",
                        *words(inputs, work, markdown=path)])
    assert text.startswith(f"```\n{typed}\n```\n\n| bits | method |")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 1 + len(METHODS)
    assert len({line.count("|") for line in lines}) == 1
    row = rows_of(run)["lsq", "w4a4"]
    assert f"| w4a4 | `lsq` | {row['title']} | {row['top1']:.2f} |" in text


def test_figures_are_written(run, tmp_path):
    folder = tmp_path / "figures"
    assert run(plot=folder)[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "accuracy_cost.png", "depth_w4a4_predictor.png", "scales_w4a4_predictor.png"]
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert np.asarray(images.read(path)[1]).std() > 5


def test_workers_and_scheduler_are_those_asked_for(run, connected, tmp_path):
    run(methods=("mse",), work=tmp_path, workers=3)
    run(methods=("mse",), work=tmp_path / "other", dask="tcp://there:1", workers=1)
    assert {*connected} == {(None, 3), ("tcp://there:1", 1)}


SHIFT = "dark:3,gaussian_noise:1,fog:5"
SHIFTS = SHIFT.split(",")


def test_shifts_have_a_table_of_their_own(run, inputs, monkeypatch, connected):
    status, out, _ = run(json=True, shift=SHIFT, methods=("mse", "lsq"))
    assert status == 0
    document = json.loads(out)
    assert document["rows"] == json.loads(run(json=True, methods=("mse", "lsq"))[1])["rows"]
    assert document["calibration"]["shifted"] == 0
    rows = document["shifts"]["rows"]
    assert [(row["method"], row["bits"]) for row in rows] == [
        ("fp32", "fp32"), ("mse", "w4a4"), ("lsq", "w4a4")]
    for row, plain in zip(rows, document["rows"], strict=True):
        assert [cell["shift"] for cell in row["cells"]] == SHIFTS
        assert row["clean"]["top1"] == plain["top1"]
        assert row["clean"]["against"] == plain["against"]
        shares = [cell["top1"] for cell in row["cells"]]
        assert row["mean"] == pytest.approx(np.mean(shares))
        assert row["worst"]["share"] == min(shares)
    # the float model, by hand
    floating = float_model.FloatModel.create("tiny", inputs / "tiny.safetensors")
    sources, pixels = images.pixels(inputs / "images", floating.preprocessing)
    for text, cell in zip(SHIFTS, rows[0]["cells"], strict=True):
        shift, = parse(text)
        with torch.inference_mode():
            top = [int(floating.model(floating.preprocessing.tensor(shift.apply(
                one, source.sha256, 1))).argmax()) for one, source in
                zip(pixels, sources, strict=True)]
        assert cell["top1"] == pytest.approx(100 * np.mean(np.array(top) == np.arange(COUNT) % 7))
    # all of it is kept
    connected.clear()
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(shift=SHIFT, methods=("mse", "lsq"))
    assert (status, err, connected) == (0, "", [])
    assert max(map(len, out.splitlines())) <= 80
    assert "top-1 of shifted images, per cent" in out
    assert re.search(r"^lsq +mse +[-+][\d.]+ ±[\d.]+ ", out, re.MULTILINE)
    run(shift=f"{SHIFT},saturate:2", methods=("mse", "lsq"))
    assert len(connected) == 2  # for the float model, and for the methods


def test_shifts_are_in_markdown(run, tmp_path):
    path = tmp_path / "table.md"
    assert run(markdown=path, shift=SHIFT, methods=("mse", "lsq"))[0] == 0
    text = path.read_text()
    assert ("| bits | method | clean | dark:3 | gaussian_noise:1 | fog:5 | mean | worst | at |"
            in text)
    assert "| bits | method | against | clean | dark:3 |" in text


def test_oracles_of_the_loss_and_their_controls(run, monkeypatch):
    names = ("oracle-loss", "oracle-loss-kinds", "mirrored-loss", "mirrored-loss-kinds")
    options = {"methods": ("mse", *names), "count": 8, "shift": "dark:3"}
    document = json.loads(run(json=True, **options)[1])
    rows = {row["method"]: row for row in document["rows"]}
    assert list(rows) == ["fp32", "mse", *names]
    for name in names:
        row = rows[name]
        assert (row["integer"], row["cost"], row["baseline"]) == (True, None, "mse")
        assert row["against"]["low"] <= row["against"]["points"] <= row["against"]["high"]
        assert any(site["low"] < site["high"] for site in row["spread"])
    shifted = {row["method"]: row for row in document["shifts"]["rows"]}
    assert all(shifted[name]["cells"][0]["against"] for name in names)
    monkeypatch.setenv("COLUMNS", "80")
    out = run(**options)[1]
    assert max(map(len, out.splitlines())) <= 80
    table = out.partition("=fp32:")[0].splitlines()
    cells = {line.split()[0]: line.split() for line in table if line.strip()}
    assert all(cells[name][1] == f"{rows[name]['top1']:.1f}" for name in names)


def test_all_are_held_against_one_network(run):
    options = {"methods": ("mse", "lsq"), "bits": "w4a4,w8a8", "shift": "dark:3"}
    document = json.loads(run(json=True, against="mse:w8a8", **options)[1])
    plain = json.loads(run(json=True, **options)[1])
    for made, own in ((document, plain), (document["shifts"], plain["shifts"])):
        assert [row["baseline"] for row in made["rows"]] == [
            None, *["mse:w8a8"] * 2, None, "mse:w8a8"]
        assert [row["bits"] for row in made["rows"]] == ["fp32", *["w4a4"] * 2, *["w8a8"] * 2]
        assert made["rows"][-1]["against"] == own["rows"][-1]["against"]  # lsq's own is mse
    out = run(against="mse:w8a8", **options)[1]
    assert out.count("mse:w8a8") == 6


def test_calibration_is_shifted(run, inputs):
    plain = json.loads(run(json=True, methods=("mse",), shift="dark:5")[1])
    made = [json.loads(run(json=True, methods=("mse",), shift="dark:5", shift_calibration=share)[1])
            for share in (True, 0.5, 1, 0)]
    assert [one["calibration"]["shifted"] for one in made] == [0.5, 0.5, 1, 0]
    digests = [one["calibration"]["sha256"] for one in made]
    assert digests[0] == digests[1]
    assert digests[3] == plain["calibration"]["sha256"]
    assert len({*digests}) == 3
    assert made[3]["shifts"] == plain["shifts"]
    assert made[2]["shifts"]["rows"][0] == plain["shifts"]["rows"][0]  # the float model
    title = run(methods=("mse",), shift="dark:5", shift_calibration=0.5)[1].strip()
    assert title.startswith(f"tiny, {COUNT} images, calibrated with 20, 50 % shifted")


def test_shifts_are_listed(capsys):
    with pytest.raises(SystemExit) as end:
        accuracy.main(["--list-shifts"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*FAMILIES, *GROUPS]
    assert all(len(line.split()) > 3 for line in lines)


def test_methods_are_listed(capsys):
    with pytest.raises(SystemExit) as end:
        accuracy.main(["--list-methods"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(preparation.candidates())
    assert any("arXiv 2606.21947" in line for line in lines)


def test_all_are_all_methods():
    known = preparation.candidates()
    assert accuracy._methods(["lsq", "all"], known) == [known["lsq"], *(
        one for name, one in known.items() if name != "lsq")]


def _broken_image(folder):
    shipped.images(folder / "broken", 3)
    (folder / "broken" / "z.png").write_bytes(b"x")
    return {"images": folder / "broken", "labels": None}


def _broken_calibration(folder):
    return {"calibration": _broken_image(folder)["images"]}


def _empty(folder):
    (folder / "empty").mkdir()
    return {"images": folder / "empty"}


def _labels(text):
    def make(folder):
        (folder / "labels.csv").write_text(text)
        return {"labels": folder / "labels.csv"}
    return make


def _file_as_work(folder):
    (folder / "file").write_text("")
    return {"work": folder / "file"}


@pytest.mark.parametrize(("make", "message"), [
    (_broken_image, "cannot read the image .*z.png: no image format is recognised"),
    (_broken_calibration, "cannot read the image .*z.png: no image format is recognised"),
    (_empty, r"empty has no images \(\.jpg"),
    (lambda folder: {"images": folder / "none"}, "none is not a folder"),
    (lambda folder: {"calibration": folder / "none"}, "none is not a folder"),
    (_labels("file,label\n00.png,1\n"), r"labels.csv has no label of class1/01.png \(and 28 more"),
    (_labels("file,label\n00.png,7\n"), r"line 2: 00.png has no class of 0\.\.6, label '7'"),
    (_labels("name,class\n00.png,1\n"), "labels.csv must be CSV with the columns file and label"),
    (lambda folder: {"labels": folder / "none.csv"}, "cannot read .*none.csv: No such file"),
    (lambda folder: {"methods": ("mse", "best")}, "no method is called 'best'; there are minmax, "),
    (lambda folder: {"bits": "w8a8,w2a2"}, "--bits: weights must have 4, 6 or 8 bits, not 2"),
    (lambda folder: {"model": "vit_x", "weights": None}, "no model is called 'vit_x'"),
    (lambda folder: {"calibration": None}, "arguments are required: --calibration"),
    (lambda folder: {"shift": "fgo"}, r"--shift: no shift is called 'fgo'; did you mean fog\?"),
    (lambda folder: {"shift": "fog:6"},
     r"--shift: the severity of fog must be within 1\.\.5, not '6'"),
    (lambda folder: {"shift": ""}, "--shift: shifts must be NAME or NAME:SEVERITY, .* not ''"),
    (lambda folder: {"shift_calibration": True}, "--shift-calibration needs shifts, of --shift"),
    (lambda folder: {"shift": "fog", "shift_calibration": 2},
     r"--shift-calibration: must be a number within 0\.\.1, not '2'"),
    (lambda folder: {"against": "lsq"}, "--against lsq must be one of --methods, in one of --bits"),
    (lambda folder: {"against": "mse:w8a8"}, "--against mse:w8a8 must be one of --methods, in one"),
    (lambda folder: {"against": "mse:w2a2"}, "--against: weights must have 4, 6 or 8 bits, not 2"),
    (lambda folder: {"count": 0}, "--count: must be a positive integer, not '0'"),
    (lambda folder: {"workers": 0}, "--workers: must be a positive integer, not '0'"),
    (_file_as_work, "cannot make the folder .*file/calibration: "),
    (lambda folder: {"plot": folder / "a" / "b"}, "cannot write .*b: .*a is not a folder"),
    (lambda folder: {"markdown": folder / "a" / "b"}, "cannot write .*b: .*a is not a folder"),
])
def test_errors_are_one_line(run, tmp_path, make, message):
    status, out, err = run(**{"methods": ("mse",)} | make(tmp_path))
    assert (status, out) == (2, "")
    errors = [line for line in err.splitlines() if "Preparing" not in line]
    assert len(errors) == 1
    assert re.search(f"python -m sim.accuracy: error: .*{message}", errors[0]), errors[0]


def test_method_that_cannot_do_a_precision_is_named(run, monkeypatch, tmp_path):
    candidates = preparation.candidates

    def refuse(bench, precision):
        raise ValueError("no such\nwidth")

    def known():
        one = candidates()["mse"]
        return {"mse": preparation.Candidate("mse", one.title, "", None, refuse, one.module)}

    monkeypatch.setattr(preparation, "candidates", known)
    status, _, err = run(methods=("mse",), work=tmp_path)
    assert status == 2
    assert err.endswith("error: mse cannot quantize to w4a4: no such width\n")


def test_damaged_contender_is_made_again(run, tmp_path):
    before = rows_of(run, methods=("mse",), work=tmp_path)
    path, = (tmp_path / "contenders").glob("w4a4_mse_*")
    path.write_bytes(path.read_bytes()[:-100])
    status, out, err = run(methods=("mse",), work=tmp_path, json=True)
    assert (status, err) == (0, "Preparing mse w4a4\n")
    assert {(row["method"], row["bits"]): row for row in json.loads(out)["rows"]} == before
