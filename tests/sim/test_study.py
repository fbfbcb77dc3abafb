"""Cross-validation of predictors from the command line."""

import json

import pytest
import torch

from golden.network.shape import VitShape
from sim import study
from sim.prediction import predictor
from tests.cases import shipped
from tests.sim.common.test_tables import printed

SHAPE = VitShape(image=16, patch=4, dim=32, depth=6, heads=4, hidden=64, classes=7)


def test_candidates_differ_and_hold_the_default():
    tried = study.candidates(SHAPE.depth, SHAPE.tokens)
    assert len(set(tried)) == len(tried)
    assert predictor.Options().placed(SHAPE.depth) in tried


def test_numbers_are_counted_by_hand():
    options = predictor.Options(taps=(4,), groups=1, rank=0, degree=2)
    sites = 7 * 2 + 1
    assert study.coefficients(options, SHAPE) == sites * (2 + 3 + 1)
    options = predictor.Options(taps=(4,), rank=3, degree=1)
    assert study.coefficients(options, SHAPE) == sites * (3 + 1) + 3 * (64 + 1)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    weights = shipped.weights(folder / "float.safetensors")
    return ["--model", "tiny", "--weights", str(weights), "--bits", "w8a8",
            "--images", str(shipped.images(folder / "images", 20)), "--work", str(folder / "work")]


def test_every_candidate_has_a_share_for_every_site_it_may_predict(words, capsys):
    assert study.main([*words, "--json"]) == 0
    *rows, mirror = json.loads(capsys.readouterr().out)
    assert len(rows) == len(study.candidates(2, 17))
    assert mirror["options"] is None
    assert len(mirror["sites"]) == 7 + 1
    assert 0 < mirror["mean"] < 1
    for row in rows:
        first = min(row["options"]["taps"])
        assert len(row["sites"]) == 7 * (2 - first) + 1
        assert max(row["sites"].values()) <= 1
        assert row["mean"] == pytest.approx(sum(row["sites"].values()) / len(row["sites"]))


def test_the_table_names_what_was_tried(words, capsys):
    assert study.main(words) == 0
    said = capsys.readouterr().out
    assert "w8a8: R2 of per-image scales" in said
    assert max(map(len, said.splitlines())) <= 80
    assert "channel" in said
    assert "tensor" in said


def test_mirror_images_explain_what_they_have_in_common():
    random = torch.Generator().manual_seed(1)
    oracle, noise = (torch.randn(2000, SHAPE.sites, generator=random) for _ in range(2))
    found = study.mirrored(oracle, 3 - 2 * oracle, 7, SHAPE)
    assert len(found["sites"]) == SHAPE.sites - 7
    assert found["sites"]["1.qkv"] == pytest.approx(1)
    assert study.mirrored(oracle, noise, 0, SHAPE)["mean"] == pytest.approx(0, abs=0.01)
    half = study.mirrored(oracle, oracle + noise, 0, SHAPE)
    assert half["kinds"]["fc2"] == pytest.approx(0.5, abs=0.05)
    assert study.mirrored(torch.ones(9, SHAPE.sites), oracle[:9], 0, SHAPE)["mean"] == 0


@pytest.mark.parametrize("width", [80, 60, 40, 20])
def test_the_table_keeps_what_is_most_worth(width):
    rows = [{"options": {"groups": 1, "taps": (0, 3, 6, 9), "chunk_tokens": 196, "rank": 24,
                         "degree": 2}, "numbers": 123_456, "mean": share, "kinds": {}}
            for share in (0.123, 0.456)]
    rows.append({"options": None, "numbers": 0, "mean": 0.9, "kinds": {}})
    lines = printed(study._table(rows, "Title", width), width)
    assert lines[-1].split()[0] == "mirror"
    last = lines[-2].split()
    assert "0.456" in last
    assert ("123.5k" in last) == (width > 40)
    assert last[0] == "0,3,6,9"
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("change", "message"), [
    (["--count", "9"], "--images must be 10 or more, not 9"),
    (["--images", "nowhere"], "nowhere is not a folder"),
    (["--work", __file__], "cannot make the folder"),
])
def test_what_cannot_be_done_is_one_line(words, capsys, change, message):
    assert study.main([*words, *change]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert "Traceback" not in said
