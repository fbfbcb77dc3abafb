"""Mutants of the states of runs that can be continued, and what reads them."""

import io
import json
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import torch

from sim.evaluation import preparation
from sim.evaluation.chunks import Chunk, Found, ImageFile
from sim.evaluation.contender import Integer
from sim.ptq.checkpoint import Checkpoint
from tests.cases import networks
from tests.fuzz.faults import Fault
from tests.fuzz.mutators import (
    mutated_arrays,
    mutated_bytes,
    mutated_tree,
    pick,
)
from tests.fuzz.networks_and_programs import SHAPE, network
from tests.fuzz.recordings_and_weights import mutated_checkpoint, zip_with

_RUN = {"model": "vit", "images": "digest"}


def write_checkpoint(draw, folder: Path) -> None:
    """Write a mutant of a calibration's state."""
    path = folder / "state.checkpoint"
    stages = {"channels": {"low": torch.zeros(8)}, "blocks": {"done": 1, "scales": torch.ones(4)}}
    Checkpoint(path, _RUN).save(stages)
    if draw.random() < 0.8:
        path.write_bytes(mutated_checkpoint(draw, path.read_bytes()))
        return
    key = torch.load(path, weights_only=True)["key"]
    torch.save(mutated_tree(draw, {"key": key, "stages": {"blocks": {"done": 1}}}), path)


def read_checkpoint(folder: Path) -> None:
    """Read a calibration's state: stages by name."""
    stages = Checkpoint(folder / "state.checkpoint", _RUN).load()
    if not isinstance(stages, dict) or not all(isinstance(name, str) for name in stages):
        raise Fault(f"stages are {stages!r}")


@cache
def _contender() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.contender"
        preparation._write(path, "mse", "w4a4", Integer(network()))
        return path.read_bytes()


def write_contender(draw, folder: Path) -> None:
    """Write a mutant of a prepared contender; what it says about itself behind a right digest."""
    data = _contender()
    if draw.random() < 0.6:
        data = mutated_bytes(draw, data)
    else:
        line, _, pickled = data.partition(b"\n")
        about = json.loads(line)
        about.pop("sha256", None)
        about = mutated_tree(draw, about)
        if isinstance(about, dict):
            about["sha256"] = preparation.content_digest(about, pickled)
        data = json.dumps(about).encode() + b"\n" + pickled
    (folder / "x.contender").write_bytes(data)


def read_contender(folder: Path) -> bool:
    """Read a prepared contender; return False for one that is to be made anew."""
    found = preparation._read(folder / "x.contender")
    if found is not None:
        repr(found), hash(found.predicted), hash(found.modules)
        contender = preparation.open_contender(found.path, found.sha256)
        contender.run(networks.pixels(1, SHAPE))
    return found is not None


def _chunk(folder: Path) -> Chunk:
    prepared = preparation.Prepared("mse", "w4a4", True, (), None, (), folder / "x", "0")
    images = (ImageFile(folder / "a.png", "a.png", "0"), ImageFile(folder / "b.png", "b.png", "1"))
    return Chunk(prepared, images, None, {}, "code", folder / "chunk.npz", "key")


def write_chunk(draw, folder: Path) -> None:
    """Write a mutant of what contenders made of some images."""
    chunk = _chunk(folder)
    found = Found(["a.png", "b.png"], np.arange(6, dtype=np.int32).reshape(2, 3),
                  np.zeros((2, 8), np.int16))
    chunk.store(found)
    data, kind = chunk.path.read_bytes(), int(draw.integers(3))
    if kind == 0:
        chunk.path.write_bytes(mutated_bytes(draw, data))
    elif kind == 1:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            chosen = pick(draw, file.namelist())
        chunk.path.write_bytes(zip_with(data, lambda name, content: mutated_bytes(draw, content)
                                        if name == chosen else content))
    else:
        arrays = mutated_arrays(draw, {"top": found.top, "scales": found.scales})
        with chunk.path.open("wb") as file:
            np.savez(file, key=np.array("key"), names=np.array(found.names), **arrays)


def read_chunk(folder: Path) -> bool:
    """Read what contenders made of some images; return False if it is to be made anew."""
    chunk = _chunk(folder)
    found = chunk.load()
    if found is not None and not (
            found.names == ["a.png", "b.png"] and found.top.shape[0] == 2
            and found.top.ndim == 2 and found.top.dtype.kind == "i"
            and found.scales.shape[0] == 2 and found.scales.ndim == 2):
        raise Fault(f"taken for whole: {found!r}")
    return found is not None
