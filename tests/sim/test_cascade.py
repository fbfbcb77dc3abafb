"""Cascades from the command line: thresholds that are chosen, and what they are worth."""

import json

import numpy as np
import pytest

from golden.common.config import CORES
from golden.network.cascade import Cascade, CascadeVit
from sim import cascade
from sim.cascades import answers
from sim.cascades.answers import Images, seen, with_mirrored
from sim.cascades.thresholds import cycles_of
from sim.inputs import images as image_files
from sim.inputs.model_lookup import open_model, preprocessing_of_model
from sim.shifts.shift import Shift
from tests.cases import shipped

FIRST, SECOND = "vit_cifar10:w4a4", "vit_cifar10:w8a8"
SHIFT = Shift("gaussian_noise", 3)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = shipped.images(tmp_path_factory.mktemp("cascade") / "images", 30, side=32)
    labels = [f"{file.relative_to(folder)},{number % 10}"
              for number, file in enumerate(image_files.files(folder))]
    (folder / "labels.csv").write_text("\n".join(["file,label", *labels]) + "\n")
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def pixels(images):
    return image_files.pixels(images, preprocessing_of_model(open_model(FIRST)))


def answered(words, capsys):
    assert cascade.main([FIRST, SECOND, *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_rows_are_what_the_cascade_does(images, pixels, work, capsys):
    sources, arrays = pixels
    networks = [open_model(name).network for name in (FIRST, SECOND)]
    made = answered(["--threshold", 8600, "--images", images, "--labels", images / "labels.csv",
                     "--shift", str(SHIFT), "--seed", 3, "--work", work, "--core", "8x8"], capsys)
    compiled = cascade.compile_cascade(Cascade(*networks, 0), CORES["8x8"])
    taken = cycles_of(compiled)
    shifted = np.stack([SHIFT.apply(each, source.sha256, 3)
                        for each, source in zip(arrays, sources, strict=True)])
    assert [row["images"] for row in made["rows"]] == ["clean", str(SHIFT), "mean of shifts"]
    for row, these in zip(made["rows"], (arrays, shifted, shifted), strict=True):
        ran = CascadeVit(Cascade(*networks, 8600)).run(these)
        right = ran.logits.argmax(axis=1) == np.arange(len(these)) % 10
        assert 0 < ran.exited.mean() < 1
        assert row["exited"] == pytest.approx(100 * ran.exited.mean())
        assert row["cascade"] == pytest.approx(100 * right.mean())
        assert row["points"] == pytest.approx(row["cascade"] - row["second"])
        assert row["low"] <= row["points"] <= row["high"]
        assert row["against"] == row["second"]
        mean = np.where(ran.exited, taken.early, taken.late).mean()
        assert row["cycles"] == pytest.approx(mean)
        assert row["share"] == pytest.approx(100 * mean / made["cycles"]["against"])


@pytest.mark.parametrize("loss", [0, 5, 100])
def test_the_threshold_keeps_as_many_answers_as_it_must_and_no_more(loss, images, pixels, work,
                                                                    capsys):
    made = answered(["--calibration", images, "--loss", loss, "--work", work], capsys)
    sources, arrays = pixels
    both = with_mirrored(Images(arrays, [source.sha256 for source in sources]))
    assert (both.pixels[len(arrays):] == arrays[:, :, ::-1]).all()
    first, second = (seen(open_model(name), both, work) for name in (FIRST, SECOND))

    def changed(threshold):
        return 100 * ((first.doubts <= threshold) & (first.classes != second.classes)).mean()

    assert changed(made["threshold"]) <= loss
    assert made["calibration"]["kept"] == pytest.approx(100 - changed(made["threshold"]))
    further = first.doubts[first.doubts > made["threshold"]]
    assert loss == 100 or changed(further.min()) > loss
    assert (loss == 100) == (not len(further))


def test_what_was_answered_is_kept_and_a_damaged_file_is_not_taken(pixels, tmp_path, monkeypatch):
    sources, arrays = pixels
    some = Images(arrays[:7], [source.sha256 for source in sources[:7]])
    model = open_model(FIRST)
    before = seen(model, some, tmp_path)
    kept, = tmp_path.iterdir()
    other = seen(model, Images(some.pixels, some.keys, SHIFT), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert (other.doubts != before.doubts).any()
    kept.write_bytes(kept.read_bytes()[:100])
    again = seen(model, some, tmp_path)
    assert (again.classes == before.classes).all()

    monkeypatch.setattr(answers, "Vit", None)
    again = seen(model, some, tmp_path)
    assert (again.doubts == before.doubts).all()


def test_the_table_fits_a_terminal(images, work, capsys):
    assert cascade.main([FIRST, SECOND, "--calibration", str(images), "--images", str(images),
                         "--shift", "fog:1", "--work", str(work)]) == 0
    said = capsys.readouterr().out
    for part in ("threshold ", "share of the answers kept", "mean of shifts", "points"):
        assert part in said
    assert max(map(len, said.splitlines()[4:])) <= 80


@pytest.mark.parametrize(("words", "said"), [
    (["--threshold", "9000", "--shift", "fog"], "--shift needs --images"),
    (["--threshold", "9000", "--labels", "labels.csv"], "--labels needs --images"),
    (["--threshold", "9000", "--loss", "1"], "--loss needs --calibration"),
    (["--threshold", "9000", "--calibration", "x"], "not allowed with argument"),
    ([], "one of the arguments --calibration --threshold is required"),
    (["--threshold", "99999"], "must be an integer within 0..32767, not '99999'"),
    (["--calibration", "x", "--loss", "101"], "must be a number within 0..100, not '101'"),
    (["--calibration", "nowhere"], "nowhere is not a folder"),
    (["--threshold", "0", "--against", "nothing"], "nothing"),
])
def test_what_cannot_be_is_one_line(words, said, tmp_path, capsys):
    try:
        status = cascade.main([FIRST, SECOND, *words, "--work", str(tmp_path / "work")])
    except SystemExit as error:
        status = error.code
    output = capsys.readouterr()
    assert (status, output.out) == (2, "")
    assert said in output.err
    assert output.err.count("\n") == 1
