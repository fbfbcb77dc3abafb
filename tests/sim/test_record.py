"""The command line of sim.record, with timm's smallest ViT and random weights."""

import json
import lzma
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from sim import record
from sim.inputs import models
from sim.recordings import recording_file
from sim.recordings.sites import SITES


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    safetensors.torch.save_file(models.create("test_vit").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(1)
    for i in range(3):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{i}.png")
    return path


@pytest.fixture
def arguments(weights, tmp_path):
    return ["--model", "test_vit", "--weights", str(weights), "--out", str(tmp_path / "a.xz")]


def test_command_records_packaged_images(arguments, weights, tmp_path, capsys):
    assert record.main([*arguments, "--blocks", "1", "--sites", "v,q", "--bits", "8"]) == 0
    about = recording_file.read(tmp_path / "a.xz").metadata
    assert [image["file"] for image in about["images"]] == ["chelsea.png", "coffee.png",
                                                            "rocket.jpg"]
    assert [site["site"] for site in about["sites"]] == ["q", "v"]
    assert about["weights"]["file"] == "tiny.safetensors"
    assert about["command"] == ("python -m sim.record --model test_vit --weights tiny.safetensors "
                                "--blocks 1 --sites q,v --bits 8 --out a.xz")
    assert str(tmp_path) not in json.dumps(about)
    out = capsys.readouterr().out
    assert f"{(tmp_path / 'a.xz').stat().st_size:,} bytes" in out


def test_command_line_of_the_metadata_makes_the_file_again(arguments, weights, folder, tmp_path,
                                                           monkeypatch):
    options = ["--count", "2", "--sites", "fc2", "--bits", "4,8", "--site-images", "2",
               "--pixel-images", "0", "--chunk-tokens", "7", "--images", str(folder)]
    assert record.main([*arguments, *options]) == 0
    first = (tmp_path / "a.xz").read_bytes()
    command = recording_file.read(tmp_path / "a.xz").metadata["command"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(weights, elsewhere)
    shutil.copytree(folder, elsewhere / folder.name)
    monkeypatch.chdir(elsewhere)
    assert record.main(command.split()[3:]) == 0
    assert (elsewhere / "a.xz").read_bytes() == first


@pytest.fixture
def rebuild(arguments, weights, folder, tmp_path):
    """Arguments that rebuild a small file."""
    assert record.main([*arguments, "--sites", "fc1", "--images", str(folder)]) == 0
    return ["--rebuild", str(tmp_path / "a.xz"), "--weights", str(weights),
            "--images", str(folder)]


def test_rebuild_finds_no_difference(rebuild, tmp_path, capsys):
    assert record.main([*rebuild, "--out", str(tmp_path / "b.xz")]) == 0
    assert "comes out the same, bit for bit" in capsys.readouterr().out
    assert (tmp_path / "b.xz").read_bytes() == (tmp_path / "a.xz").read_bytes()


def test_rebuild_finds_a_difference(rebuild, tmp_path, capsys):
    old = recording_file.read(tmp_path / "a.xz")
    old.tensors["residual/1"] = old.tensors["residual/1"] ^ 1
    recording_file.write(old, tmp_path / "a.xz")
    assert record.main(rebuild) == 1
    assert "residual/1: " in capsys.readouterr().out


def test_rebuild_names_other_library_versions(rebuild, monkeypatch, capsys):
    monkeypatch.setattr(record, "versions", lambda: dict.fromkeys(record.LIBRARIES, "9.9"))
    assert record.main(rebuild) == 0
    out = capsys.readouterr().out
    assert "was recorded with numpy " in out
    assert ", here 9.9" in out
    assert "only the versions in the metadata differ" in out


def test_rebuild_shows_no_control_characters_of_the_file(rebuild, tmp_path, capsys):
    old = recording_file.read(tmp_path / "a.xz")
    tensors = old.tensors | {"a\x1b[2J": np.zeros(1)}
    about = old.metadata | {"libraries": old.metadata["libraries"] | {"numpy": "1\x1b[2J"}}
    recording_file.write(recording_file.Recording(tensors, about), tmp_path / "a.xz")
    assert record.main(rebuild) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"was recorded with numpy 1\x1b[2J, here" in out
    assert r"a\x1b[2J: only one has it" in out


def test_rebuild_says_when_only_the_compression_differs(rebuild, monkeypatch, capsys):
    monkeypatch.setattr(recording_file, "compress", lzma.compress)
    assert record.main(rebuild) == 0
    assert "this liblzma compresses it differently" in capsys.readouterr().out


def fails(capsys, argv, message):
    """Run the command and check that it fails with one line, the last one."""
    try:
        status = record.main(argv)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
    assert not captured.out


def test_rebuild_refuses_other_inputs(rebuild, tmp_path, folder, capsys):
    file, weights = rebuild[1], rebuild[3]
    capsys.readouterr()
    fails(capsys, ["--rebuild", file], "name tiny.safetensors with --weights")
    fails(capsys, ["--rebuild", file, "--weights", weights], "the images are not those that ")
    fails(capsys, ["--rebuild", file, "--weights", file], "is not the file that ")
    fails(capsys, ["--rebuild", weights], "is not a file of recorded activations")
    fails(capsys, [*rebuild, "--bits", "8"], "--bits is not for --rebuild")
    fails(capsys, [*rebuild, "--count", "2"], "--count is not for --rebuild")


@pytest.mark.parametrize(("options", "message"), [
    (["--model", "deit_x"], "no model is called 'deit_x'; did you mean deit_"),
    (["--weights", "none.safetensors"], "none.safetensors: No such file or directory"),
    (["--images", "nowhere"], "nowhere is not a folder"),
    (["--out", "nowhere/a.xz"], "cannot write nowhere/a.xz: nowhere is not a folder"),
    (["--blocks", "0,x"], "must be numbers separated by commas, not '0,x'"),
    (["--blocks", "99"], "blocks must be below 6, not 99"),
    (["--sites", "qkv,fc9"], "must be among qkv, q, k, v, probs, proj, fc1, fc2, not 'fc9'"),
    (["--bits", "8,3"], "must be 4, 8 or 8,4, not '8,3'"),
    (["--count", "0"], "must be a positive integer, not '0'"),
    (["--chunk-tokens", "100000"], "chunk_tokens must be within 1..65536, not 100000"),
    (["--chunk-tokens", "-1"], "must be a positive integer, not '-1'"),
    (["--site-images", "x"], "must be a positive integer, not 'x'"),
    (["--rebuild", "a.xz"], "not allowed with argument --model"),
])
def test_bad_input_is_one_line_and_writes_nothing(arguments, tmp_path, capsys, options, message):
    fails(capsys, [*arguments, *options], message)
    assert not list(tmp_path.iterdir())


def test_output_must_be_named(arguments, capsys):
    fails(capsys, arguments[:-2], "--model needs --out FILE")


def test_folder_with_a_broken_image(arguments, tmp_path, folder, capsys):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    fails(capsys, [*arguments, "--images", str(broken)], "cannot read the image ")
    shutil.rmtree(broken)
    broken.mkdir()
    fails(capsys, [*arguments, "--images", str(broken)], "has no images")
    assert not (tmp_path / "a.xz").exists()


@pytest.mark.parametrize("change", [
    {"weights": None}, {"weights": {}}, {"images": ["a.png"]}, {"images": [{}]}, {"model": 1},
    {"images": [{"file": 1}]}, {"choices": {"speed": 1}}, {"command": []}, {"libraries": None},
], ids=str)
def test_a_recording_of_unknown_origin_is_not_recorded_again(change, tmp_path, capsys):
    about = {"weights": {"file": "w", "sha256": "0"}, "images": [], "model": "vit", "choices": {},
             "command": "x", "libraries": {}}
    path = tmp_path / "a.xz"
    recording_file.write(recording_file.Recording({}, about), path)
    assert record.main(["--rebuild", str(path)]) == 2
    assert "name w with --weights" in capsys.readouterr().err
    recording_file.write(recording_file.Recording({}, about | change), path)
    assert record.main(["--rebuild", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"python -m sim.record: error: {path} does not say what it was recorded")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("choices", "message"), [
    ({"blocks": 0}, "blocks must be a list, not 0"),
    ({"blocks": ["0"]}, "blocks must be an integer, not '0'"),
    ({"blocks": [-1]}, "blocks must be 0 or more, not -1"),
    ({"sites": "qkv"}, "sites must be a list, not 'qkv'"),
    ({"sites": ["fc1", "fc9"]}, f"sites must be among {', '.join(SITES)}, not 'fc9'"),
    ({"sites": [["fc1"]]}, f"sites must be among {', '.join(SITES)}, not ['fc1']"),
    ({"bits": [5]}, "bits must be among 8, 4, not 5"),
    ({"bits": None}, "bits must be a list, not None"),
    ({"site_images": "1"}, "site_images must be an integer, not '1'"),
    ({"site_images": -1}, "site_images must be 0 or more, not -1"),
    ({"pixel_images": 1.5}, "pixel_images must be an integer, not 1.5"),
    ({"chunk_tokens": 0}, "chunk_tokens must be within 1..65536, not 0"),
    ({"chunk_tokens": 10**30}, f"chunk_tokens must be within 1..65536, not {10**30}"),
    ({"chunk_tokens": True}, "chunk_tokens must be an integer, not True"),
], ids=str)
def test_wrong_choices_of_a_recording_are_one_line(rebuild, tmp_path, capsys, choices, message):
    old = recording_file.read(tmp_path / "a.xz")
    changed = old.metadata | {"choices": old.metadata["choices"] | choices}
    recording_file.write(recording_file.Recording(old.tensors, changed), tmp_path / "a.xz")
    capsys.readouterr()
    assert record.main(rebuild) == 2
    assert capsys.readouterr().err == (
        f"python -m sim.record: error: {tmp_path}/a.xz does not say what was recorded: {message}\n")
