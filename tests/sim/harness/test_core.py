"""The whole core under Verilator: networks from image bytes to logits, equal to golden."""

import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.core.isa import INSTRUCTION_BYTES, UNIT_BYTES, Opcode
from golden.core.program import align
from golden.cycles import memory_model, timing
from golden.network.precision import Precision, parse
from golden.network.shape import VitShape
from golden.network.vit import Vit
from sim import calibrate
from sim import run as run_command
from sim.cli import UserError
from sim.compiler import compile_network
from sim.compiler.blank import begins_with_norm, shape_of
from sim.harness import checked_run, verilator
from sim.harness.expected import golden_run
from sim.inputs.model_lookup import open_model
from tests.cases.networks import (
    LONG,
    MEANS,
    MIXED,
    PREFIXES,
    RELATIVE,
    WINDOWS,
    massive,
    network,
    pixels,
    with_norm_pre,
    with_qk_norm,
)
from tests.cases.recorded import SHARED
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

CONFIGS = {"4x4": CORES["4x4"], "4x8": AcceleratorConfig(4, 8, lanes=4, scale_lanes=2, sram_kib=64),
           "8x16": CORES["8x16"]}
configs = pytest.mark.parametrize("name", [
    "4x4", "4x8", pytest.param("8x16", marks=pytest.mark.long)])


def run(made, config, image, program=None, **options):
    """Run a network on the RTL, checked after every instruction; return what came of it. Large
    ones take minutes to be compiled: their program may be given.
    """
    program = program or compile_network(made, config)
    result = verilator.run(program, image, check=True, **options)
    assert result.ok, result.message
    assert len(result.instruction_cycles) == len(program.instructions()) - 1
    assert sum(result.instruction_cycles) == result.cycles
    found = result.memory[program.logits.address:][:2 * program.classes].view("<i2")
    assert (found == Vit(made).run(image[None]).logits[0]).all()
    return result


@configs
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w6a6", 0), ("w4a8", 600), ("w4a4", 0),
                                            ("w4a4", 512), ("w4a3", 700), ("w8a4", 0)])
def test_a_small_network_of_every_precision(bits, step, name):
    made = network(Precision.parse(bits), step, shape=SHAPE)
    result = run(made, CONFIGS[name], pixels(1, SHAPE)[0])
    macs = 2 * SHAPE.tokens * SHAPE.dim * SHAPE.hidden * SHAPE.depth
    mode = made.precision.mode
    assert result.counters["array"] * CONFIGS[name].multipliers * mode.macs > macs
    assert result.counters["cycles"] <= result.cycles


@pytest.mark.parametrize("bits", MIXED)
def test_mixed_precisions(bits):
    made = with_tap(network(parse(bits), 512, shape=SHAPE), SHAPE)
    result = run(made, CONFIGS["4x4"], pixels(1, SHAPE)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_massive_activations(bits):
    made = massive(network(Precision.parse(bits), shape=SHAPE))
    run(made, CONFIGS["4x4"], pixels(1, SHAPE)[0])


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_tokens_of_other_prefixes(bits, kind):
    shape = replace(SHAPE, **PREFIXES[kind])
    made = with_tap(network(Precision.parse(bits), shape=shape), shape)
    result = run(made, CONFIGS["4x4"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize(("bits", "kind"), [("w8a8", "fc_norm"), ("w4a4", "fc_norm"),
                                            ("w8a8", "norm"), ("w4a4", "patches alone")])
def test_the_mean_of_patches(bits, kind):
    shape = replace(SHAPE, **MEANS[kind])
    made = with_tap(network(Precision.parse(bits), shape=shape), shape)
    result = run(made, CONFIGS["4x4"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
def test_relative_positions_of_all_tokens(bits, step):
    shape = replace(SHAPE, **RELATIVE["mean"])
    made = with_tap(network(Precision.parse(bits), step, shape=shape), shape)
    result = run(made, CONFIGS["4x4"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize(("bits", "activation"), [
    ("w8a8", "gelu_tanh"), ("w8a8", "quick_gelu"), ("w8a8", "silu"), ("w8a8", "relu"),
    ("w4a4", "silu")])
def test_other_activations(bits, activation):
    shape = replace(SHAPE, activation=activation)
    made = with_tap(massive(network(Precision.parse(bits), shape=shape)), shape)
    result = run(made, CONFIGS["4x4"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert sum(op.opcode is Opcode.TABLE for _, op in program.instructions()) == 1
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))
    assert result.instruction_cycles[:-1] == timing.cycles(program, memory_model.USUAL)[:-2]


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_norm_before_the_blocks(bits):
    run(with_norm_pre(network(Precision.parse(bits), shape=SHAPE)), CONFIGS["4x4"],
        pixels(1, SHAPE)[0])


@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
@pytest.mark.parametrize("change", [{}, WINDOWS], ids=["all tokens", "windows"])
def test_norms_of_queries_and_keys(bits, step, change):
    shape = replace(SHAPE, **change)
    made = with_qk_norm(massive(network(Precision.parse(bits), step, shape=shape)))
    result = run(made, CONFIGS["4x4"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize("change", [{}, {"image": 48, "depth": 5, "merges": (2, 4)}],
                         ids=["merged", "merged twice"])
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
def test_windows_and_merges(bits, step, change):
    shape = replace(SHAPE, **WINDOWS | change)
    made = massive(with_norm_pre(network(Precision.parse(bits), step, shape=shape)))
    result = run(made, CONFIGS["4x4"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x4"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
@pytest.mark.parametrize("name", ["4x4", "4x8"])
def test_patches_that_are_embedded_window_by_window(bits, name):
    """As in Swin Transformers: what is added to them is the same for all."""
    shape = replace(SHAPE, **WINDOWS)
    made = with_norm_pre(network(Precision.parse(bits), shape=shape))
    made = replace(made, embedding=np.repeat(made.embedding[:1], shape.tokens, 0))
    result = run(made, CONFIGS[name], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS[name])
    assert sum(op.opcode is Opcode.PATCHES for _, op in program.instructions()) == 4
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_windows_in_blocks(bits):
    """In the scratchpad of another size, only as large for the compiler."""
    shape = replace(SHAPE, hidden=128, **WINDOWS | {"image": 48, "depth": 5, "merges": (2, 4)})
    made = with_norm_pre(network(Precision.parse(bits), shape=shape))
    image = pixels(1, shape)[0]
    program = compile_network(made, replace(CONFIGS["4x4"], sram_kib=8))
    plan = program.about["plan"]
    assert min(plan["patches"], plan["attention"][0], plan["mlp"][1], plan["merge"][1]) > 1
    assert plan["places"] in ([True, False, False], [True, True, False])
    program = replace(program, config=CONFIGS["4x4"])
    result = verilator.run(program, image, check=True)
    assert result.ok, result.message
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))
    found = result.memory[program.logits.address:][:2 * program.classes].view("<i2")
    assert (found == Vit(made).run(image[None]).logits[0]).all()


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
def test_products_in_parts(bits, step, kind):
    shape = replace(SHAPE, depth=1, **LONG[kind])
    made = network(Precision.parse(bits), step, shape=shape)
    result = run(made, CONFIGS["4x8"], pixels(1, shape)[0])
    program = compile_network(made, CONFIGS["4x8"])
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_rows_of_patches_that_are_no_words_of_the_bus(bits):
    shape = replace(SHAPE, image=14, patch=7)
    run(network(Precision.parse(bits), shape=shape), CONFIGS["4x4"], pixels(1, shape)[0])


@pytest.mark.parametrize(("colours", "patch", "pixel"), [(1, 4, 1), (1, 7, 4), (1, 6, 2),
                                                         (2, 6, 2), (4, 4, 4)])
def test_images_of_other_colours(colours, patch, pixel):
    shape = replace(SHAPE, image=2 * patch, patch=patch, colours=colours, depth=1)
    made = network(Precision(8, 8), shape=shape)
    assert compile_network(made, CONFIGS["4x4"]).pixel_bytes == pixel
    run(made, CONFIGS["4x4"], pixels(1, shape)[0])


@configs
def test_predicted_scales(name):
    made = with_tap(network(Precision(4, 4), shape=SHAPE), SHAPE)
    for image in pixels(2, SHAPE):
        assert run(made, CONFIGS[name], image).counters["predict"] > 0


def test_a_network_in_blocks_that_is_stored_in_between():
    """In the scratchpad of another size, only as large for the compiler."""
    made = with_tap(network(Precision(8, 8), shape=SHAPE), SHAPE)
    image = pixels(1, SHAPE)[0]
    program = compile_network(made, replace(CONFIGS["4x4"], sram_kib=2))
    plan = program.about["plan"]
    assert plan["heads"]
    assert plan["residual"]
    assert min(plan["mlp"], plan["attention"]) > 1
    program = replace(program, config=CONFIGS["4x4"])
    result = verilator.run(program, image, check=True)
    assert result.ok, result.message
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))
    found = result.memory[program.logits.address:][:2 * program.classes].view("<i2")
    assert (found == Vit(made).run(image[None]).logits[0]).all()


@pytest.mark.parametrize(("bits", "name"), [("w4a4", "4x8"), *(
    pytest.param(bits, name, marks=pytest.mark.long) for bits, name in (
        ("w8a8", "4x4"), ("w4a4", "4x4"), ("w8a8", "4x8"), ("w8a8", "8x16"), ("w4a4", "8x16")))])
def test_the_shipped_model(bits, name):
    made = open_model(f"vit_cifar10:{bits}").network
    result = run(made, CONFIGS[name], pixels(1, made.shape)[0])
    assert result.counters["array"] > 0.7 * result.cycles  # small products: much is beginnings


@pytest.mark.long
@pytest.mark.parametrize("name", ["16x16", "16x32"])
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_the_shipped_model_on_a_large_array(bits, name):
    made = open_model(f"vit_cifar10:{bits}").network
    run(made, CORES[name], pixels(1, made.shape)[0])


@pytest.mark.parametrize("memory", [{"ideal": True}, {"latency": 3, "bandwidth": 1.3},
                                    {"latency": 90}], ids=str)
def test_the_speed_of_memory_changes_nothing_but_cycles(memory):
    made = with_tap(network(Precision(4, 4), 512, shape=SHAPE), SHAPE)
    image = pixels(1, SHAPE)[0]
    slow, fast = (run(made, CONFIGS["4x4"], image, **options) for options in ({}, memory))
    assert slow.cycles != fast.cycles
    assert (slow.memory == fast.memory).all()
    assert (slow.scratchpad == fast.scratchpad).all()


@pytest.mark.parametrize("name", ["weight", "image", "exponent"])
def test_one_bit_that_is_not_the_golden_machines_is_noticed(name):
    made = network(Precision(8, 8), shape=SHAPE)
    program = compile_network(made, CONFIGS["4x4"])
    image = pixels(1, SHAPE)[0]
    expected = golden_run(program, image)
    product = next(at for at, (_, op) in enumerate(program.instructions())
                   if op.opcode is Opcode.GEMM)
    header = align(INSTRUCTION_BYTES, program.config)
    place = program.instructions()[product][0] + header  # the first column's exponent
    place += {"exponent": 1, "weight": program.config.cols * UNIT_BYTES, "image": 0}[name]
    memory = bytearray(program.memory)
    memory[place] ^= 1 << 6 if name != "image" else 0
    image = image ^ np.uint8(128) if name == "image" else image
    result = verilator.run(dataclasses.replace(program, memory=bytes(memory)), image,
                           check=expected)
    assert result.outcome == "mismatch"
    assert result.difference.instruction == (product - 1 if name == "image" else product)


def test_compared_gives_the_logits_or_says_what_differs(monkeypatch):
    made = network(Precision(8, 8), shape=SHAPE)
    image = pixels(1, SHAPE)[0]
    program = compile_network(made, CONFIGS["4x4"])
    wanted = Vit(made).run(image[None]).logits[0]
    assert (checked_run.compared(program, image) == wanted).all()
    assert (checked_run.compared(program, image, check=True) == wanted).all()
    right = golden_run(program, image)
    right.machine.memory[program.logits.address] ^= 1
    monkeypatch.setattr(checked_run, "golden_run", lambda *_: right)
    with pytest.raises(UserError, match="logits"):
        checked_run.compared(program, image)


def test_a_difference_says_where_its_trace_is(monkeypatch, tmp_path):
    program = compile_network(network(Precision(8, 8), shape=SHAPE), CONFIGS["4x4"])
    trace = tmp_path / "new" / "core.vcd"
    asked = []

    def differs(*_, **options):
        asked.append(options["trace"])
        return SimpleNamespace(ok=False, message="3.q.0[1, 2] is 3", trace=options["trace"])

    monkeypatch.setattr(verilator, "run", differs)
    with pytest.raises(UserError, match=rf"^3.q.0\[1, 2\] is 3; trace: {trace}$"):
        checked_run.compared(program, pixels(1, SHAPE)[0], check=True, trace=trace)
    assert asked == [trace]
    assert trace.parent.is_dir()


DEIT_T = VitShape(image=224, patch=16, dim=192, depth=12, heads=3, hidden=768, classes=1000)


@pytest.mark.long
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_network_of_the_size_of_deit_tiny(bits):
    """Random weights, and a tap."""
    made = with_tap(network(Precision.parse(bits), shape=DEIT_T), DEIT_T)
    result = run(made, CORES["8x16"], pixels(1, DEIT_T)[0])
    assert result.counters["predict"] > 0
    assert result.cycles < {"w8a8": 10_900_000, "w4a4": 3_500_000}[bits]


@pytest.mark.long
def test_a_network_of_the_size_of_deit_small():
    shape = replace(DEIT_T, dim=384, heads=6, hidden=1536)
    run(network(Precision(4, 4), shape=shape), replace(CORES["8x16"], sram_kib=640),
        pixels(1, shape)[0])


LARGE = {
    "swin_tiny_patch4_window7_224": (("w8a8", 0), ("w4a4", 512)),
    "deit_base_patch16_224": (("w4a4", 512),),
    "vit_small_patch14_dinov2": (("w4a4", 512),),
}


@pytest.mark.long
@pytest.mark.parametrize(("model", "bits", "step"), [
    (model, *each) for model, those in LARGE.items() for each in those])
def test_a_whole_model_that_is_larger_than_the_scratchpad(model, bits, step):
    """With random weights."""
    made = network(Precision.parse(bits), step, shape=shape_of(model))
    if begins_with_norm(model):
        made = with_norm_pre(made)
    if made.shape.window:  # as Swin Transformers have it
        made = replace(made, embedding=np.repeat(made.embedding[:1], made.shape.tokens, 0))
    program = compile_network(made, CORES["8x16"])
    result = run(made, CORES["8x16"], pixels(1, made.shape)[0], program)
    assert result.cycles == sum(timing.cycles(program, memory_model.USUAL))


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
@pytest.mark.parametrize(("name", "options", "coarse"), [
    ("deit_tiny_patch16_224", ["--predict"], False), ("vit_tiny_patch16_224", [], True)])
def test_a_real_checkpoint_on_validation_images(name, options, coarse, bits, tmp_path, capsys):
    """As a user has it done, by the commands; few calibration images, to be quicker."""
    weights = str(SHARED / "weights" / f"{name}.safetensors")
    model = str(tmp_path / "model.safetensors")
    assert calibrate.main(["--model", name, "--weights", weights, "--bits", bits,
                           "--images", str(SHARED / "calibration"), "--count", "64", *options,
                           "--out", model]) == 0
    made = open_model(model).network
    assert (made.coarse is not None) == coarse
    assert any(block.coarse is not None for block in made.blocks) == coarse
    images = sorted(map(str, (SHARED / "validation").glob("*.jpg")))[:3]
    capsys.readouterr()
    status = run_command.main([*images, "--model", model, "--weights", weights,
                               "--backend", "rtl", "--check", "--json"])
    assert status == 0, capsys.readouterr().err
    answers = json.loads(capsys.readouterr().out)["images"]
    alike = [one["quantized"][0]["index"] == one["torch"][0]["index"] for one in answers]
    assert sum(alike) >= 2
