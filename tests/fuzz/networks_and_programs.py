"""Mutants of model files and of programs, and what reads and runs them."""

import hashlib
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.numpy

from golden.common.config import CORES
from golden.core import program as programs
from golden.core.machine import Machine
from golden.core.program import ABOUT, MEMORY, Program, Region
from golden.core.rules import verify
from golden.network.network import Tap
from golden.network.precision import Precision
from golden.network.shape import VitShape
from golden.network.vit import Vit
from golden.prediction.scale_predictor import ScalePredictor
from sim.cli import UserError
from sim.compiler import compile_network
from sim.inputs import quantized_model
from sim.inputs.model_lookup import preprocessing_of_model
from sim.inputs.quantized_model import QuantizedModel
from tests.cases import networks
from tests.cases.programs import random_program
from tests.fuzz.faults import Fault, check_message
from tests.fuzz.mutators import (
    mutated_arrays,
    mutated_bytes,
    mutated_header,
    mutated_instructions,
    mutated_json,
    mutated_tree,
)

SHAPE = VitShape(image=8, patch=4, dim=8, depth=1, heads=2, hidden=8, classes=3)
SMALL = replace(CORES["4x4"], sram_kib=16)
PROGRAMS = 4
"""Random programs that are mutated, beside a compiled network."""


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
        preprocessing_of_model(model)
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
