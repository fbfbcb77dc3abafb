"""A disk that is full: one line for the user, and every file as it was before."""

import dataclasses
import errno
import re
import resource
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from golden.common.config import CORES
from golden.core import program
from golden.network.precision import Precision
from sim import cli, train
from sim import compile as command
from sim.compiler import compile_network
from sim.evaluation import evaluation, preparation
from sim.evaluation.contender import Integer
from sim.harness import verilator
from sim.inputs import quantized_model
from sim.inputs.model_lookup import open_model
from sim.inputs.quantized_model import QuantizedModel
from sim.ptq.checkpoint import Checkpoint
from sim.recordings import recording_file as recording
from tests.cases import networks, shipped, vits

ROOM = 512  # bytes


@pytest.fixture
def full():
    """Let files grow to 512 bytes only, from the call of what this gives on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _checkpoint(path):
    stages = {"blocks": torch.zeros(5000)}
    return lambda: Checkpoint(path, {"model": "x"}).save(stages)


def _run(path):
    pixels = vits.pixels(28)
    split = train.Split(pixels, np.arange(len(pixels)) % 7)
    recipe = dataclasses.replace(train.Recipe(), epochs=1, full_epochs=1, batch=8, padding=1)
    return train.Run(train.Data(split, split, shipped.CLASSES), recipe, path, compiled=False)


def _epoch(path):
    run = _run(path.with_suffix(".safetensors"))
    return lambda: run.epoch(lambda steps, what: steps)


def _finish(path):
    run = _run(path)
    run.log.append(dict.fromkeys(train.LOG_FIELDS, 0.5))
    return run.finish


def _contender(path):
    contender = Integer(networks.network(Precision(4, 4)), None)
    return lambda: preparation._write(path, "mse", "w4a4", contender)


def _chunk(path):
    class Prepared:
        integer = False

    found = evaluation.Found([f"{index}.png" for index in range(99)], np.zeros((99, 5)), None)
    chunk = object.__new__(evaluation.Chunk)
    for name, value in {"path": path, "key": "k", "prepared": Prepared()}.items():
        object.__setattr__(chunk, name, value)
    return lambda: chunk.store(found)


def _model(path):
    model = QuantizedModel(networks.network(Precision(8, 8)), {"model": "x"})
    return lambda: quantized_model.save(model, path)


def _recording(path):
    noise = np.random.default_rng(1).integers(0, 256, 5000, dtype=np.uint8)
    return lambda: recording.write(recording.Recording({"x": noise}, {}), path)


@pytest.mark.parametrize(("prepare", "name"), [
    (_checkpoint, "x.checkpoint"), (_epoch, "x.checkpoint"), (_finish, "x.safetensors"),
    (_contender, "x.contender"), (_chunk, "x.npz"), (_model, "x.safetensors"),
    (_recording, "x.safetensors.xz"),
])
def test_writers_leave_what_was_there(tmp_path, monkeypatch, full, prepare, name):
    monkeypatch.setattr(train, "ARCHITECTURE", shipped.ARCHITECTURE)
    path = tmp_path / name
    path.write_bytes(b"before")
    write = prepare(path)
    full()
    with pytest.raises(cli.UserError, match=rf"^cannot write {re.escape(str(path))}: File too lar"):
        write()
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(name, b"before")]


@pytest.mark.parametrize("prepare", [_checkpoint, _epoch, _model, _recording])
def test_the_system_says_no_space(tmp_path, monkeypatch, prepare):
    monkeypatch.setattr(train, "ARCHITECTURE", shipped.ARCHITECTURE)
    write = prepare(tmp_path / "x.checkpoint")

    def nothing(path, content):
        with path.open("wb") as file:
            file.write(bytes(content)[:100])
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(content)

    monkeypatch.setattr(Path, "write_bytes", nothing)
    with pytest.raises(cli.UserError, match=r"^cannot write .*: No space left on device$"):
        write()
    assert not list(tmp_path.iterdir())


def simulated(program, binary, place):
    """Run an executable in the place of a compiled core; its files are to go."""
    with pytest.raises(cli.UserError) as caught:
        verilator._execute(binary, program, np.frombuffer(program.memory, np.uint8), {}, None, None)
    assert not list(place.iterdir())
    return str(caught.value)


@pytest.fixture
def simulation(tmp_path, monkeypatch):
    """A program, an executable that ends with an error, and the folder for temporary files."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    binary = tmp_path / "binary"
    binary.write_text("#!/bin/sh\nexit 3\n")
    binary.chmod(0o755)
    compiled = compile_network(open_model("vit_cifar10:w4a4").network, CORES["4x4"])
    return compiled, binary, place


def test_a_simulation_says_that_the_disk_is_full(simulation, full):
    assert simulated(*simulation) == "the simulation failed: status 3"
    full()
    assert re.fullmatch("cannot simulate: .*File too large", simulated(*simulation))


def test_a_simulation_says_what_there_is_not(simulation, monkeypatch):
    program, binary, place = simulation
    binary.unlink()
    assert simulated(*simulation) == f"cannot simulate: {binary}: No such file or directory"
    monkeypatch.setattr(tempfile, "tempdir", str(place / "nowhere"))
    assert re.fullmatch(r"cannot simulate: .*/nowhere/.*: No such file or directory",
                        simulated(*simulation))


def test_programs_are_whole_or_not_there(tmp_path, capsys, full):
    words = ["--model", "vit_cifar10:w4a4", "--core", "4x4", "--out", str(tmp_path / "a" / "b")]
    full()
    assert command.main(words) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(rf"python -m sim.compile: error: cannot write {tmp_path}/a/b: .*\n", said)
    assert not list(tmp_path.iterdir())


def test_a_program_that_was_there_stays(tmp_path, monkeypatch):
    quantized = open_model("vit_cifar10:w4a4")
    made = compile_network(quantized.network, CORES["4x4"], {"model": "before"})
    made.save(tmp_path / "p")
    before = {path.name: path.read_bytes() for path in (tmp_path / "p").iterdir()}
    write = Path.write_bytes

    def one_file(path, content):
        if program.ABOUT in path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", one_file)
    with pytest.raises(OSError, match="No space left"):
        made.save(tmp_path / "p")
    with pytest.raises(OSError, match="No space left"):
        made.save(tmp_path / "q" / "r")
    assert {path.name: path.read_bytes() for path in (tmp_path / "p").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
