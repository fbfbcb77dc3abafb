"""The command that compiles a quantized model for a core."""

import json
import re
from dataclasses import replace

import pytest

from golden.common.config import CORES
from golden.core import program
from golden.core.machine import Machine
from golden.network.cascade import Cascade, CascadeVit
from golden.network.vit import Vit
from sim import compile as command
from sim import estimate
from sim.inputs.model_lookup import open_model
from tests.cases.networks import pixels


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_shipped_model_becomes_a_directory_that_runs(bits, tmp_path, capsys):
    name = f"vit_cifar10:{bits}"
    assert command.main(["--model", name, "--core", "4x4", "--out", str(tmp_path / "p"),
                         "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    compiled = program.load(tmp_path / "p")
    assert made["instructions"]["SOFTMAX"] == 6 * 4
    assert made["memory_bytes"] == len(compiled.memory)
    assert 0 < made["scratchpad_bytes"] <= made["scratchpad_limit"] == 128 * 1024
    assert compiled.about["bits"] == bits
    assert compiled.about["classes"][3] == "cat"
    network = open_model(name).network
    images = pixels(1, network.shape)
    machine = Machine(compiled, images[0])
    machine.run()
    assert (machine.logits == Vit(network).run(images).logits[0]).all()


def test_the_table_fits_a_terminal_and_the_listing_has_every_instruction(tmp_path, capsys,
                                                                        monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert command.main(["--out", str(tmp_path / "p"), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line for line in lines if line[:4].strip().isdecimal()]
    assert len(listed) == len(program.load(tmp_path / "p").instructions())
    table = lines[len(listed) + 1:]  # behind the name of the directory
    assert max(map(len, table)) <= 80
    size = f"of {CORES['8x16'].sram_kib} KiB"
    assert any(line.startswith("scratchpad") and size in line for line in table)


@pytest.mark.parametrize(("words", "message"), [
    (["--core", "9x9"], "must be one of 4x4, 8x8, 8x16, 16x16, 16x32 or a TOML file, not '9x9'"),
    (["--model", "vit_b"], "vit_b"),
    (["--sram", "0"], r"--sram: sram_kib must be within 1\.\.1048576, not 0"),
    (["--sram", "1"], "vit_cifar10 does not fit the core: the scratchpad must have .* KiB"),
])
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    try:
        status = command.main(["--out", str(tmp_path / "p"), *words])
    except SystemExit as stopped:  # from the parser
        status = stopped.code
    assert status == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    assert not (tmp_path / "p").exists()


def test_a_core_from_a_file(tmp_path):
    file = tmp_path / "core.toml"
    file.write_text("[accelerator]\nrows = 4\ncols = 8\nlanes = 4\n")
    assert command.main(["--core", str(file), "--out", str(tmp_path / "p")]) == 0
    assert program.load(tmp_path / "p").config.cols == 8


def test_a_cascade_is_compiled_and_estimated(tmp_path, capsys):
    words = ["--model", "vit_cifar10:w4a4", "--cascade", "vit_cifar10:w8a8", "--threshold", "9000",
             "--core", "4x4", "--out", str(tmp_path / "p")]
    assert command.main([*words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["instructions"]["EXIT"] == 1
    assert made["cascade"]["threshold"] == 9000
    compiled = program.load(tmp_path / "p")
    cascade = Cascade(*(open_model(f"vit_cifar10:{bits}").network for bits in ("w4a4", "w8a8")),
                      9000)
    images = pixels(1, cascade.first.shape)
    machine, wanted = Machine(compiled, images[0]), CascadeVit(cascade).run(images)
    machine.run()
    assert machine.logits.tolist() == wanted.logits[0].tolist()
    assert (machine.exited is not None) == wanted.exited[0]
    found = {}
    for name, options in (("early", ["--exited"]), ("late", [])):
        assert estimate.main(["--program", str(tmp_path / "p"), "--dram-bandwidth", "0.4", "--json",
                              *options]) == 0
        found[name] = json.loads(capsys.readouterr().out)["totals"]["cycles"]
    assert found == made["cascade"]["cycles"]
    assert found["early"] < found["late"] / 4
    assert command.main(words) == 0
    assert (f"threshold 9000: {found['early']:,} cycles, or {found['late']:,}"
            in capsys.readouterr().out)


@pytest.mark.parametrize(("words", "message"), [
    (["--cascade", "vit_cifar10:w8a8"], "--cascade and --threshold go together"),
    (["--threshold", "9000"], "--cascade and --threshold go together"),
    (["--cascade", "vit_cifar10:w8a8", "--threshold", "32768"],
     r"--threshold: must be an integer within 0\.\.32767, not '32768'"),
])
def test_mistakes_of_cascades_are_one_line(words, message, tmp_path, capsys):
    try:
        status = command.main(["--out", str(tmp_path / "p"), *words])
    except SystemExit as stopped:  # from the parser
        status = stopped.code
    assert status == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(("changed", "message"), [
    ({"metadata": {"classes": list("abcdefghij")}},
     "--cascade: classes of .* must be those of vit_cifar10"),
    ({"network": {"logit_point": 9}},
     "--cascade: .* and .*: logit_point must be the same .*, not 11 and 9"),
])
def test_models_of_a_cascade_go_together(changed, message, tmp_path, capsys, monkeypatch):
    good = open_model("vit_cifar10:w8a8")
    other = replace(good, metadata={**good.metadata, **changed.get("metadata", {})},
                    network=replace(good.network, **changed.get("network", {})))
    monkeypatch.setattr(command, "open_model", lambda name: other if name == "other" else good)
    assert command.main(["--cascade", "other", "--threshold", "9000", "--out",
                         str(tmp_path / "p")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_only_a_cascade_has_an_exit(tmp_path, capsys):
    assert command.main(["--core", "4x4", "--out", str(tmp_path / "p")]) == 0
    assert estimate.main(["--program", str(tmp_path / "p"), "--exited"]) == 2
    assert re.search("--exited needs the program of a cascade, and .* has no EXIT",
                     capsys.readouterr().err)
    assert estimate.main(["--exited"]) == 2
    assert "--exited needs --program" in capsys.readouterr().err
