"""The command that compiles a quantized model for a core."""

import json
import re

import pytest

from golden.common.config import CORES
from golden.core import program
from golden.core.machine import Machine
from golden.network.vit import Vit
from sim import compile as command
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
    (["--core", "9x9"], "must be one of 4x4, 8x16, 16x16, 16x32 or a TOML file, not '9x9'"),
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
