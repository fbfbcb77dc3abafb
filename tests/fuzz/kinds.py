"""Kinds of files that are mutated, and what must come of a mutant.

A kind writes a mutant of a good file into a folder and reads it back as the product does. Reading
gives a legal object, which is then used as the product uses it, or raises what the reader
documents. Whatever else happens is a fault.
"""

import hashlib
import io
import json
import lzma
import zipfile
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numba
import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from golden.common.config import CORES
from golden.core import program as programs
from golden.core.machine import Machine
from golden.core.program import ABOUT, MEMORY, Program, ProgramError, Region
from golden.core.rules import verify
from golden.network.network import Precision, Tap, VitShape
from golden.network.vit import Vit
from golden.prediction.scale_predictor import ScalePredictor
from sim import zoo
from sim.cli import UserError, one_line
from sim.compiler.compiler import compile_network
from sim.evaluation import preparation
from sim.evaluation.evaluation import Chunk, Found, ImageFile
from sim.inputs import models, quantized_model
from sim.inputs.quantized_model import QuantizedModel
from sim.ptq.checkpoint import Checkpoint
from sim.ptq.contender import Integer
from sim.recordings import recording
from sim.recordings.recording import Recording
from tests.cases import networks
from tests.cases.programs import random_program
from tests.fuzz.mutators import (
    mutated_arrays,
    mutated_bytes,
    mutated_header,
    mutated_instructions,
    mutated_json,
    mutated_tree,
    pick,
)

SHAPE = VitShape(image=8, patch=4, dim=8, depth=1, heads=2, hidden=8, classes=3)
SMALL = replace(CORES["4x4"], sram_kib=16)
PROGRAMS = 4
"""Random programs that are mutated, beside a compiled network."""


class Fault(AssertionError):
    """A mutant that was neither refused as documented nor used."""


@cache
def network():
    """Return the smallest network, with a predictor."""
    made = networks.network(Precision(4, 4), step=0, shape=SHAPE)
    predictor = ScalePredictor(np.zeros(2, int), (np.zeros((2, 2), int),))
    tap = Tap(0, 2, 1, np.zeros(2, int), np.ones(2, int), predictor, np.array([0, 7]))
    return replace(made, taps=(tap,))


# Model files.

@cache
def _model() -> tuple[dict, dict]:
    """Return the JSON object of a model file without its digest, and its arrays."""
    arrays = {}
    tree = quantized_model._take_apart(type(network()), network(), "", arrays)
    about = {"model": "vit", "classes": ["ant", "bee", "cat"], "preprocessing": {
        "input_size": [3, 8, 8], "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5], "crop_pct": 1.0, "crop_mode": "center"}}
    return {"format": quantized_model.FORMAT, "version": quantized_model.VERSION,
            "network": tree, "about": about}, arrays


def write_model(draw, folder: Path) -> None:
    """Write a mutant of a model file; behind a right digest, or anywhere."""
    about, arrays = _model()
    kind = int(draw.integers(4))
    if kind == 0:
        data = mutated_bytes(draw, quantized_model.content(about, arrays))
    elif kind == 1:
        data = mutated_header(draw, quantized_model.content(about, arrays))
    elif kind == 2:
        data = quantized_model.content(about, mutated_arrays(draw, arrays))
    else:
        about = mutated_tree(draw, about)
        data = (quantized_model.content(about, arrays) if isinstance(about, dict) else
                safetensors.numpy.save(arrays, {"vernier": json.dumps(about)}))
    (folder / "model.safetensors").write_bytes(data)


def read_model(folder: Path) -> None:
    """Load a model, prepare its pixels and classify an image."""
    model: QuantizedModel = quantized_model.load(folder / "model.safetensors")
    _ = model.name, model.classes
    try:
        model.preprocessing()
    except UserError as error:
        check_message(error)
    made = Vit(model.network).run(networks.pixels(1, model.network.shape))
    if made.logits.shape != (1, model.network.shape.classes):
        raise Fault(f"logits of shape {made.logits.shape}")


# Programs.

@cache
def _programs() -> tuple[Program, ...]:
    compiled = compile_network(network(), CORES["4x4"])
    made = [random_program(seed, SMALL, 10) for seed in range(PROGRAMS)]
    return (compiled, *(replace(one, side=1, image=Region(0, 3)) for one in made))


@cache
def _manifest(index: int) -> dict:
    one = _programs()[index]
    return {"format": programs.FORMAT, "version": programs.VERSION,
            "sha256": hashlib.sha256(one.memory).hexdigest(), "config": asdict(one.config),
            **{name: asdict(getattr(one, name)) for name in ("stream", "image", "logits")},
            **{name: getattr(one, name) for name in ("side", "classes", "logit_point")},
            "tensors": [asdict(tensor) | {"layout": int(tensor.layout)}
                        for tensor in one.tensors], "about": dict(one.about)}


def write_program(draw, folder: Path) -> None:
    """Write a mutant of a program: its manifest, its memory, or fields of its instructions."""
    index = int(draw.integers(1 + PROGRAMS))
    program, manifest = _programs()[index], _manifest(index)
    memory, text = program.memory, json.dumps(manifest)
    kind = int(draw.integers(5))
    if kind == 0:
        text = mutated_json(draw, manifest)
    elif kind == 1:
        text = json.dumps(mutated_tree(draw, manifest))
    else:
        memory = (mutated_instructions(draw, program).memory if kind > 2
                  else _mutated_stream(draw, program))
        text = json.dumps(manifest | {"sha256": hashlib.sha256(memory).hexdigest()})
    (folder / MEMORY).write_bytes(memory)
    (folder / ABOUT).write_bytes(text.encode("utf-8", "surrogatepass"))


def _mutated_stream(draw, program: Program) -> bytes:
    """Return memory with bytes changed, half the time in the instructions and payloads."""
    if draw.random() < 0.5:
        return mutated_bytes(draw, program.memory)
    start = program.stream.address
    return program.memory[:start] + mutated_bytes(draw, program.memory[start:])


def read_program(folder: Path) -> None:
    """Load, verify, list and run a program; a run that goes on must end."""
    program = programs.load(folder)
    verify(program)
    list(program.disassemble())
    _ = program.scratchpad_bytes
    if program.config.sram_kib > 1 << 14:  # a legal core, but gigabytes of it
        return
    machine = Machine(program)
    machine.run()
    if machine.logits.shape != (program.classes,):
        raise Fault(f"logits of shape {machine.logits.shape} for {program.classes} classes")
    for tensor in program.tensors:
        machine.tensor(tensor.name)


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
    for name, value in models.read_weights(folder / "weights").items():
        float(value.double().abs().sum()) if value.is_floating_point() else value.clone()
        str(name)


# States of runs that can be continued.

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
    import tempfile

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
    return Chunk(prepared, images, {}, "code", folder / "chunk.npz", "key")


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


@dataclass(frozen=True)
class Kind:
    """How mutants of a kind are written and read, and what a refusal raises."""

    write: object
    read: object
    refusal: type[Exception]


KINDS = {
    "model": Kind(write_model, read_model, UserError),
    "program": Kind(write_program, read_program, ProgramError),
    "recording": Kind(write_recording, read_recording, UserError),
    "weights": Kind(write_weights, read_weights, UserError),
    "checkpoint": Kind(write_checkpoint, read_checkpoint, UserError),
    "contender": Kind(write_contender, read_contender, UserError),
    "chunk": Kind(write_chunk, read_chunk, UserError),
}


def check_message(error: Exception) -> None:
    """Raise :exc:`Fault` unless an error is printed as one readable line."""
    text = one_line(error)
    if not (text and text.isprintable() and len(text) < 2000):
        raise Fault(f"the message is {text[:2000]!r}") from error


def run(name: str, seed: int, index: int, folder: Path) -> str:
    """Write and read mutant `index` of a seed; return ``refused`` or ``used``.

    Raises
    ------
    Fault
        If it is neither; says how to repeat it.
    """
    kind = KINDS[name]
    draw = np.random.default_rng([seed, index, *name.encode()])
    kind.write(draw, folder)
    threads = numba.get_num_threads()
    numba.set_num_threads(1)  # starting threads takes longer than a small network does
    try:
        used = kind.read(folder)
    except kind.refusal as error:
        check_message(error)
        return "refused"
    except Exception as error:
        raise Fault(f"{name} {index} of seed {seed}: {type(error).__name__}: {error} (python -m "
                    f"tests.fuzz --kind {name} --seed {seed} --first {index} --count 1)"
                    ) from error
    finally:
        numba.set_num_threads(threads)
    return "refused" if used is False else "used"
