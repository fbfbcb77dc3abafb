"""Programs on random operands: legal, like their models, results as wide as they may be."""

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Layout, Opcode
from golden.core.machine import Machine
from golden.core.rules import verify
from sim.activity.measure import chosen
from sim.activity.random_operands import random_program, shape_of
from sim.compiler.compiler import compile_network
from sim.inputs.model_lookup import open_model


@pytest.fixture(scope="module")
def pair():
    program = compile_network(open_model("vit_cifar10:w4a4").network, CORES["4x4"])
    return program, *random_program(program)


def test_every_shape_comes_once(pair):
    program, made, like = pair
    verify(made)
    ops = [op for _, op in program.instructions()]
    kept = [op for op in like if op is not None]
    shapes = [shape_of(op) for op in kept]
    assert len(set(shapes)) == len(shapes)
    wanted = {shape_of(ops[index]) for index in chosen(ops, 1) if ops[index].opcode in (
        Opcode.GEMM, Opcode.NORM, Opcode.SOFTMAX)}
    assert wanted <= set(shapes)
    assert sum(op.opcode is Opcode.PREDICT for op in kept) == 1
    for (_, op), model in zip(made.instructions(), [*like, None], strict=False):
        if model is not None:
            assert shape_of(op) == shape_of(model)


def test_results_are_as_wide_as_they_may_be(pair):
    _, made, like = pair
    machine = Machine(made)
    looked_at = 0
    for (_, op), model in zip(made.instructions(), [*like, None], strict=False):
        machine.step()
        if model is None or op.opcode is not Opcode.GEMM or op.m < 8 or op.gelu:
            continue
        words = machine.scratchpad[op.dest:op.dest + op.m * op.dest_stride // 4]
        ones = np.unpackbits(words.view(np.uint8)).mean()
        assert 0.45 < ones < 0.55
        if op.layout == Layout.WIDE:
            values = words.view(np.int16)
            assert 5_000 < values.std() < 23_000
            assert (np.abs(values.astype(int)) >= 32_767).mean() < 0.2
        looked_at += 1
    assert looked_at > 5


def test_seeds_differ(pair):
    program, made, _ = pair
    assert random_program(program)[0].memory == made.memory
    assert random_program(program, 1)[0].memory != made.memory
