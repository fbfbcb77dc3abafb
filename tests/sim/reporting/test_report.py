"""The report as a file: all of it inside, nothing from outside, and everything that was found."""

import json
import re

import pytest

from sim import report
from sim.reporting.html import page_of
from sim.reporting.runs import Shown, read
from tests.cases.reports import IMAGES, NAME, SHAPE, accuracies, estimated, scales


def data_of(page):
    text, = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_nothing_comes_from_outside(page):
    urls = set(re.findall(r"""[a-z]+://[^"'\s)<]*""", page))
    assert urls <= {"http://www.w3.org/2000/svg"}  # a name, not a place
    assert not re.search(r"<(script|img|iframe|object|embed)[^>]*\ssrc=|@import|url\((?!#)", page)
    assert [link for link in re.findall(r"<link[^>]*>", page) if 'href="data:' not in link] == []
    assert "default-src 'none'" in page
    for name in ("fetch(", "XMLHttpRequest", "WebSocket", "import(", "sendBeacon"):
        assert name not in page


def test_what_is_named_by_users_is_text(page):
    assert "A &lt;title&gt;" in page
    assert "<b>" not in page
    assert page.count("</script>") == 2
    assert "innerHTML" not in page
    assert data_of(page)["runs"][0]["name"] == f"{NAME} w4a4 predicted 8x16"


def test_the_page_is_small_and_is_one_document(page):
    assert len(page) < 3_000_000
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<html") == page.count("</html>") == 1
    assert "{{" not in page


def test_runs_are_those_of_the_files(page):
    data = data_of(page)
    found = [estimated(), *(estimated("w8a8", kind) for kind in ("static", "predicted", "jit"))]
    assert len(data["runs"]) == len(found)
    for run, result in zip(data["runs"], found, strict=True):
        assert run["totals"]["cycles"] == result.cycles
        assert sum(row["cycles"] for row in run["layers"]) == result.cycles
        assert sum(row["cycles"] for row in run["roles"]) == result.cycles
        assert len(run["instructions"]) == len(result.costs)
        assert len(run["residents"]) == len(result.program.tensors)
        assert sum(span[2] for span in run["spans"] if span[0] == 0) == result.cycles
        assert sum(run["totals"]["energy_pj"].values()) == pytest.approx(result.energy.total)
        names = [(row["instruction"], row["name"], row["layer"]) for row in run["layers"]]
        assert len(set(names)) == len(names)
    heads = [row for row in data["runs"][1]["layers"] if row["name"] == "1.scores"]
    assert [row["count"] for row in heads] == [SHAPE.heads]
    assert {run["modes"][-1][0] for run in data["runs"]} == {"w4a4", "w8a8"}


def test_designs_are_those_of_the_exploration(page, files):
    designs = data_of(page)["designs"]
    rows = json.loads(files[2].read_text())["designs"]
    assert len(rows) == 16
    for name, values in designs.items():
        assert values == [row[name] for row in rows]
    assert {"fps", "luts", "front", "reason"} <= set(designs)


def test_scales_are_the_percentiles_of_those_of_images(page):
    data, sites = data_of(page)["scales"], SHAPE.site_names()
    assert [one["name"] for one in data] == [f"{NAME} w4a4", f"{NAME} w8a8"]
    for one in data:
        assert (one["images"], one["sites"], one["source"]) == (IMAGES, sites, "accuracy")
        assert one["percentiles"] == [5, 50, 95]
        assert [method["method"] for method in one["methods"]] == list(scales())
        shown = [one["methods"][number]["method"] for number in one["shown"]]
        assert shown == ["mse", "oracle", "ridge"]  # one of each kind
        for method, found in zip(one["methods"], scales().values(), strict=True):
            wanted = [sorted_percentiles(found[:, site] / 1024) for site in range(len(sites))]
            assert method["spread"] == [pytest.approx(site) for site in wanted]
            varies = any(low < high for low, _, high in method["spread"])
            assert varies is (method["method"] in {"oracle", "ridge"})


def sorted_percentiles(values):
    """By definition: between the two neighbours of the place in the sorted row."""
    ordered, made = sorted(values), []
    for percent in 5, 50, 95:
        place = percent / 100 * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        made.append(ordered[below] + (place - below) * (ordered[above] - ordered[below]))
    return made


def test_without_the_usual_methods_the_first_is_shown(tmp_path):
    document, path = accuracies(), tmp_path / "accuracy.json"
    document["rows"] = [row | {"method": f"{row['method']}-other"} for row in document["rows"]]
    path.write_text(json.dumps(document))
    assert [one["shown"] for one in read([path]).scales] == [[0], [0]]


def test_comparisons_of_the_same_name_are_told_apart(files, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(files[3].read_text())
    names = [one["name"] for one in read([files[3], other]).scales]
    assert names == [f"{NAME} {bits} ({source})" for source in ("accuracy", "other")
                     for bits in ("w4a4", "w8a8")]


def _broken(change):
    document = json.loads(json.dumps(accuracies()))
    change(document)
    return json.dumps(document)


@pytest.mark.parametrize(("change", "message"), [
    (lambda one: one.pop("sites"), "KeyError('sites')"),
    (lambda one: one["rows"][2].pop("spread"), "KeyError('spread')"),
    (lambda one: one["rows"][2]["spread"].pop(), "ValueError('14 scales of 15 sites')"),
    (lambda one: one["rows"][2]["spread"][3].update(low="x"), "ValueError("),
    (lambda one: one["rows"][2]["spread"][3].update(low=float("inf")),
     "ValueError('scales must be finite, not ["),
    (lambda one: one.update(percentiles=[5, 95]), "ValueError("),
    (lambda one: one.update(rows=one["rows"][:2]),
     "ValueError('no method has scales of integers')")])
def test_scales_that_are_none_are_one_line(change, message, tmp_path, capsys):
    path, out = tmp_path / "run.json", tmp_path / "report.html"
    path.write_text(_broken(change))
    assert report.main([str(path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"python -m sim.report: error: {path} lacks what a report needs "
                           f"({message}")
    assert said.count("\n") == 1
    assert not out.exists()


def test_runs_of_the_same_name_are_told_apart(files, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(files[0].read_text())
    names = [run["name"] for run in read([files[0], other, other]).runs]
    assert len(set(names)) == 3
    assert names[0].endswith("(one)")
    assert names[1].endswith("(other)")


def test_designs_or_runs_alone_make_a_report(files):
    assert read(files[:1]).designs is None
    assert read(files[:3]).scales == []
    for part in files[2:3], files[3:], files[2:]:
        assert data_of(page_of(read(part), "x"))["runs"] == []
    assert data_of(page_of(read(files[3:]), "x"))["scales"]


def test_a_number_that_json_has_not_is_no_page():
    with pytest.raises(ValueError, match="not JSON compliant"):
        page_of(Shown([{"cycles": float("nan")}], None, []), "x")


@pytest.mark.parametrize(("content", "message"), [
    (None, "cannot read {path}: No such file or directory; sim.estimate --json, sim.explore"),
    ("{", "{path} is not JSON"), ("[1]", "{path} must hold an object, not list"),
    ('{"mapping": "generic"}', "{path} must be what sim.estimate --json writes of a compiled "),
    ('{"mapping": "program"}', "{path} lacks what a report needs (KeyError('program')); write it"),
    ('{"kind": "explore", "designs": 3}', "{path} lacks what a report needs (TypeError("),
    ('{"programs": 3}', "{path} lacks what a report needs (AttributeError(")])
def test_mistakes_are_one_line(content, message, tmp_path, capsys):
    path, out = tmp_path / "run.json", tmp_path / "report.html"
    if content is not None:
        path.write_text(content)
    assert report.main([str(path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"python -m sim.report: error: {message.format(path=path)}")
    assert said.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_there_is_not_is_one_line(files, tmp_path, capsys):
    assert report.main([str(files[0]), "--out", str(tmp_path / "no" / "report.html")]) == 2
    assert "cannot write" in capsys.readouterr().err
