"""Names that a terminal cannot show: tables, JSON and CSV have them nevertheless."""

import argparse
import csv
import io
import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from golden.common.config import CORES
from sim import estimate, run
from sim.cli import command
from sim.estimation import estimate_report, program_report
from sim.inference.classes import Guess
from sim.inference.classify import Answer
from sim.inputs.labels import read_labels

NAMES = {b"caf\xe9.png": r"caf\udce9.png", "猫.png".encode(): "猫.png",
         b"a\x1b[31mb\nc.png": r"a\x1b[31mb\nc.png"}
CLASSES = ["猫 cat", "b\udce9te"]


@pytest.fixture
def files(tmp_path):
    """Images whose names are no text, none of the terminal's, and a command to it."""
    paths = [tmp_path / os.fsdecode(name) for name in NAMES]
    for path in paths:
        Image.new("L", (8, 8), 3).save(path, "PNG")
    return paths


def stream(encoding, monkeypatch):
    made = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", made)
    return made


@pytest.fixture
def call(monkeypatch):
    """Run sim.run, its model replaced by two classes, on a stdout of some encoding."""
    shape = SimpleNamespace(colours=3)
    model = SimpleNamespace(name="猫", network=SimpleNamespace(precision="w8a8", shape=shape))

    def classify(model, pixels, files, floating, **options):
        found = [Guess(index, name, 1.0, 0.5) for index, name in enumerate(CLASSES)]
        return [Answer(file, found, None) for file in files]

    def start(encoding, *words):
        out = stream(encoding, monkeypatch)
        status = run.main([str(word) for word in words])
        monkeypatch.undo()
        return status, out.buffer.getvalue().decode(encoding)

    monkeypatch.setattr(run, "open_model", lambda text: model)
    monkeypatch.setattr(run, "preprocessing_of_model",
                        lambda model: SimpleNamespace(pixels=np.asarray))
    monkeypatch.setattr(run, "_beside", lambda model, weights: (None, []))
    monkeypatch.setattr(run, "classify", classify)
    return start


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_table_has_every_name(files, call, encoding):
    status, out = call(encoding, *files)
    assert status == 0
    shown = [name.encode(encoding, "backslashreplace").decode(encoding) for name in NAMES.values()]
    assert [line.rpartition("/")[2] for line in out.splitlines() if ".png" in line] == shown
    assert "\x1b" not in out
    assert out.count("50.0 %") == 2 * len(files)
    assert r"b\udce9te" in out


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_has_every_name_as_it_is(files, call, encoding):
    status, out = call(encoding, "--json", *files)
    assert status == 0
    found = json.loads(out)["images"]
    assert [one["file"] for one in found] == [str(path) for path in files]
    assert [one["name"] for one in found[0]["quantized"]] == CLASSES


def test_message_has_the_name(call, tmp_path, capsys):
    assert call("latin-1", tmp_path / os.fsdecode(b"\xe9\n.png"))[0] == 2
    err = capsys.readouterr().err
    assert "\\udce9" in err
    assert err.count("\n") == 1


ROWS = [{"name": name, "cycles": 1} for name in CLASSES]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_csv_has_every_name(encoding, monkeypatch, tmp_path):
    out = stream(encoding, monkeypatch)
    assert command("x")(lambda argv=None: print(estimate.report.as_csv(ROWS), end="") or 0)([]) == 0
    text = out.buffer.getvalue().decode(encoding)
    assert [row["name"].encode("ascii", "backslashreplace") for row in csv.DictReader(
        io.StringIO(text))][1] == rb"b\udce9te"
    monkeypatch.undo()
    monkeypatch.setattr(io, "text_encoding", lambda given, *args: (
        "latin-1" if given in {None, "locale"} else given))
    args = argparse.Namespace(json=str(tmp_path / "a.json"), csv=str(tmp_path / "a.csv"),
                              trace_events=None, topology=None, products=None)
    estimate._write(args, {"rows": ROWS}, ROWS, None)
    assert (tmp_path / "a.csv").read_bytes() == "name,cycles\n猫 cat,1\nb\\udce9te,1\n".encode()
    assert json.loads((tmp_path / "a.json").read_bytes())["rows"] == ROWS


def test_estimates_show_escapes_in_the_place_of_control_characters():
    program = SimpleNamespace(config=CORES["4x4"], about={"model": "a\x1b[2J", "bits": "w\x07"})
    title = program_report._title(SimpleNamespace(program=program, clock_mhz=100, tech="t"))
    assert title.plain.startswith(r"a\x1b[2J w\x07 on a 4x4 core")
    out = io.StringIO()
    row = {"operation": "o\x1b[2J", "shape": [1, 2], "count": 1, "macs": 2, "cycles": 3,
           "utilisation": 0.5}
    estimate_report.print_scalesim(
        {"model": "a\x1b[2J", "array": [4, 4], "dataflow": "os", "cycles": 3, "macs": 2,
         "utilisation": 0.5, "operations": [row]}, Console(file=out, width=80))
    assert "\x1b" not in out.getvalue()
    assert r"a\x1b[2J" in out.getvalue()
    assert r"o\x1b[2J" in out.getvalue()


def test_labels_name_files_whose_names_are_no_text(files, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"file,label\ncaf\xe9.png,1\n" + "猫.png,0\n".encode())
    assert read_labels(path, [file.name for file in files[:2]], 2).tolist() == [1, 0]
