"""Activations of MLPs other than GELU, from float to integers: calibration and emulation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.common.config import CORES
from golden.core.isa import Opcode
from golden.core.machine import Machine
from golden.network.precision import Precision
from golden.network.vit import Vit
from golden.results.curves import CURVES
from sim.compiler import compile_network
from sim.evaluation import arithmetic_errors, emulator
from sim.ptq import pipeline, source
from sim.ptq.float_vit import ACTIVATIONS, offset_of
from sim.ptq.recipes import harness
from sim.ptq.twin import Twin
from tests.cases import networks, vits
from tests.sim.compiler.test_compiler import SHAPE

names = pytest.mark.parametrize("name", networks.ACTIVATIONS)


def made_of(name, bits="w8a8"):
    shape = replace(SHAPE, activation=name)
    return networks.massive(networks.network(Precision.parse(bits), shape=shape))


def run(made, images):
    """What golden makes of images, and every tensor by name."""
    seen = {}
    return Vit(made).run(images, watch=seen.__setitem__), seen


def test_every_activation_has_a_float_function():
    assert ACTIVATIONS.keys() == CURVES.keys()
    assert {"gelu", *networks.ACTIVATIONS} == CURVES.keys()


@names
def test_emulation_with_all_units_is_golden(name):
    made, images = made_of(name), networks.pixels(3, SHAPE)
    wanted, seen = run(made, images)
    assert (emulator.emulate(made, images, integer=emulator.UNITS) == wanted.logits).all()
    _, other = run(replace(made, shape=replace(made.shape, activation="gelu")), images)
    assert (other["0.t"] == seen["0.t"]).all()
    assert (other["0.gelu"] != seen["0.gelu"]).any()


@names
def test_every_step_is_within_its_error(name):
    made, images = made_of(name), networks.pixels(2, SHAPE)
    result, seen = run(made, images)
    errors = arithmetic_errors.compare(made, images, result.scales, seen)
    assert not any(error.beyond for error in errors.values())
    seen["0.gelu"] = seen["0.gelu"] + np.int16(4)
    errors = arithmetic_errors.compare(made, images, result.scales, seen)
    assert errors["gelu"].beyond


@names
def test_scales_measured_just_in_time_are_of_the_activation(name):
    """The machine quantizes with a scale of its own what is GELU's or another's."""
    made, image = made_of(name), networks.pixels(1, SHAPE)[0]
    config = replace(CORES["4x4"], sram_kib=1024)
    logits = []
    for each in (made, replace(made, shape=replace(made.shape, activation="gelu"))):
        program = compile_network(each, config, jit=True)
        tables = [op for _, op in program.instructions() if op.opcode is Opcode.TABLE]
        assert len(tables) == (each is made)
        kinds = {op.opcode for _, op in program.instructions() if op.gelu}
        assert kinds == {Opcode.MEASURE, Opcode.QUANTIZE}
        machine = Machine(program, image)
        machine.run()
        logits.append(machine.logits.tolist())
    assert logits[0] != logits[1]


@pytest.mark.parametrize("name", ["silu", "relu"])
def test_the_offset_is_folded_into_the_bias(name):
    """With activations as they are, the twin is the float network."""
    model, images = vits.model(act_layer=name), torch.from_numpy(vits.pixels(4))
    network = source.read(model, vits.preprocessing())
    assert offset_of(network.shape) == CURVES[name].offset / 1024
    made = pipeline.quantize(network, images.numpy(), pipeline.Plan(Precision(8, 8))).network
    seen = {}
    Vit(made).run(images.numpy(), watch=seen.__setitem__)
    assert seen["0.gelu"].min() >= 0
    twin = Twin(network, Precision(8, 8))
    twin.active = False
    t = torch.linspace(-6, 6, 64)
    np.testing.assert_allclose(twin.gelu(0, t) - twin.offset, ACTIVATIONS[name](t), atol=1e-6)


def test_recipes_are_for_gelu_alone():
    network = source.read(vits.model(act_layer="silu"), vits.preprocessing())
    with pytest.raises(ValueError, match="recipes know GELU alone, not silu"):
        harness.check(network, Precision(8, 8))
