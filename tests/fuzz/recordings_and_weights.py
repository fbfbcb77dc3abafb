"""Mutants of recordings and of float weights, and what reads them."""

import io
import json
import lzma
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from sim import zoo
from sim.inputs import weights
from sim.recordings import recording_file as recording
from sim.recordings.recording_file import Recording
from tests.fuzz.faults import Fault
from tests.fuzz.mutators import (
    mutated_bytes,
    mutated_header,
    mutated_json,
    mutated_tree,
    pick,
)

# Recordings.

@cache
def _recording() -> bytes:
    draw = np.random.default_rng(1)
    tensors = {"pixels/0": draw.integers(0, 256, (4, 4, 3), dtype=np.uint8),
               "residual/0": draw.integers(-99, 99, (5, 8)).astype(np.int16)}
    about = {"model": "vit", "tap": {"frac": 9, "chunk_tokens": 2}, "blocks": [0],
             "images": [{"file": "a.png"}], "choices": {"blocks": [0]}, "libraries": {"numpy": "2"},
             "sites": [{"site": "fc1", "block": 0, "bits": 8, "lam": 3}], "command": "x",
             "weights": {"file": None, "sha256": None}}
    return Recording(tensors, about).content()


def write_recording(draw, folder: Path) -> None:
    """Write a mutant of a recording: of the compressed file, of its content, or of its metadata."""
    content, kind = _recording(), int(draw.integers(4))
    if kind == 0:
        data = mutated_bytes(draw, lzma.compress(content, preset=0))
    elif kind == 1:
        data = lzma.compress(mutated_bytes(draw, content), preset=0)
    elif kind == 2:
        data = lzma.compress(mutated_header(draw, content), preset=0)
    else:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8:8 + size])
        inner = json.loads(header["__metadata__"]["vernier"])
        header["__metadata__"]["vernier"] = mutated_json(draw, inner)
        text = json.dumps(header).encode()
        data = lzma.compress(len(text).to_bytes(8, "little") + text + content[8 + size:], preset=0)
    (folder / "recording.xz").write_bytes(data)


def read_recording(folder: Path) -> None:
    """Read a recording and compare it with itself."""
    made = recording.read(folder / "recording.xz")
    if recording.differences(made, made):
        raise Fault("a recording differs from itself")


# Float weights.

@cache
def _weights() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    shapes = {"head.weight": (3, 8), "head.bias": (3,), "norm.weight": (8,)}
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


@cache
def _checkpoints() -> tuple[bytes, ...]:
    """Return the bytes of a zip and of a legacy file of PyTorch, a whole checkpoint in each."""
    made = []
    for new in (True, False):
        data = io.BytesIO()
        torch.save({"model": _weights(), "epoch": 3}, data, _use_new_zipfile_serialization=new)
        made.append(data.getvalue())
    return tuple(made)


def zip_with(data: bytes, change) -> bytes:
    """Return a zip file with ``change(name, content)`` in place of each member, checksums right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def mutated_checkpoint(draw, data: bytes) -> bytes:
    """Return a file of PyTorch changed anywhere, or in one member with its checksum right."""
    if not data.startswith(b"PK") or draw.random() < 0.4:
        return mutated_bytes(draw, data)
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        names = file.namelist()
    chosen = names[0] if draw.random() < 0.6 else pick(draw, names)  # the first is the pickle
    return zip_with(data, lambda name, content: mutated_bytes(draw, content) if name == chosen
                    else content)


def write_weights(draw, folder: Path) -> None:
    """Write a mutant of float weights: safetensors, or a checkpoint of PyTorch, new or old."""
    kind = int(draw.integers(4))
    if kind == 0:
        about = {"vernier": json.dumps({"architecture": {"img_size": 4}, "classes": ["a"],
                                        "mean": [0.5], "std": [0.5]})}
        data = safetensors.torch.save(_weights(), about)
        data = (mutated_bytes if draw.random() < 0.5 else mutated_header)(draw, data)
    elif kind == 1:
        tree = {"model": {name: value.tolist() for name, value in _weights().items()}, "epoch": 3}
        made = io.BytesIO()
        torch.save(mutated_tree(draw, tree), made)
        data = made.getvalue()
    else:
        data = mutated_checkpoint(draw, _checkpoints()[kind - 2])
    (folder / "weights").write_bytes(data)


def read_weights(folder: Path) -> None:
    """Read weights, as those of timm's models and as those of the package."""
    zoo.trained(folder / "weights")
    for name, value in weights.read_weights(folder / "weights").items():
        float(value.double().abs().sum()) if value.is_floating_point() else value.clone()
        str(name)
