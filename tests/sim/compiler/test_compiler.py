"""Compiled programs: the golden machine gives what golden.network.vit gives, tensor by tensor."""

import json
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
import torch

from golden.common.config import CORES, AcceleratorConfig
from golden.common.exp2 import exp2
from golden.core import isa, program
from golden.core.isa import INSTRUCTION_BYTES, Opcode, Source
from golden.core.machine import Machine, read
from golden.core.program import ProgramError
from golden.core.rules import verify
from golden.memory import scratchpad
from golden.network.network import Tap
from golden.network.precision import Precision, parse
from golden.network.shape import LONGEST, LONGEST_KEYS, VitShape
from golden.network.vit import Vit
from golden.prediction.scale_predictor import PredictorShape, ScalePredictor
from golden.results import gelu
from golden.results.curves import GELU, curve_columns
from golden.results.requant import requant
from sim.compiler import DoesNotFit, compile_network
from sim.harness import verilator
from sim.inputs.model_lookup import open_model
from sim.ptq import pipeline, source
from tests.cases import vits
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
from tests.sim.test_emulate import with_tap

SHAPE = VitShape(image=16, patch=4, dim=32, depth=2, heads=2, hidden=72, classes=11)
SMALL = CORES["4x4"]
WIDE = AcceleratorConfig(4, 8, lanes=4, scale_lanes=2, sram_kib=64)


def compare(made, config, images):
    """Run a network's program for each image, and compare all that Vit shows with it."""
    seen = {}
    wanted = Vit(made).run(images, watch=seen.__setitem__)
    compiled = compile_network(made, config)
    compared = set()
    for at, image in enumerate(images):
        machine = Machine(compiled, image)
        while not machine.done:
            machine.step()
            for tensor in machine.alive():
                if tensor.written != machine.index - 1:
                    continue
                name, _, head = tensor.name.rpartition(".")
                part = (seen[name][at][int(head)] if head.isdecimal() and name in seen
                        else seen.get(tensor.name, [None] * len(images))[at])
                if part is not None:
                    found = read(machine.scratchpad, tensor, config).astype(int)
                    offset = 8 if tensor.name.endswith("fc2") and tensor.signed else 0
                    np.testing.assert_array_equal(found + offset, part.reshape(found.shape),
                                                  tensor.name)
                    compared.add(tensor.name)
        np.testing.assert_array_equal(machine.logits, wanted.logits[at])
    return compared


@pytest.mark.parametrize("config", [SMALL, WIDE, CORES["16x32"]], ids=["4x4", "4x8", "16x32"])
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w6a6", 0), ("w4a8", 600), ("w4a4", 0),
                                            ("w4a4", 512), ("w4a3", 700), ("w8a4", 0)])
def test_the_machine_gives_every_tensor_of_the_network(bits, step, config):
    made = network(Precision.parse(bits), step, shape=SHAPE)
    compared = compare(made, config, pixels(2, SHAPE))
    names = {"embedding", "head", "logits"} | {
        f"{block}.{name}" for block in range(2)
        for name in ("qkv", "proj", "attended", "fc1", "fc2", "x", "q.0", "k.1", "v.1",
                     "scores.0", "probs.1")}
    assert names <= compared


@pytest.mark.parametrize("config", [SMALL, WIDE], ids=["4x4", "4x8"])
@pytest.mark.parametrize("bits", MIXED)
def test_the_machine_gives_every_tensor_of_mixed_precisions(bits, config):
    made = with_tap(network(parse(bits), 512, shape=SHAPE), SHAPE)
    compared = compare(made, config, pixels(1, SHAPE))
    assert {f"{block}.{name}" for block in range(2)
            for name in ("qkv", "proj", "fc1", "fc2", "x", "q.0", "k.1", "v.1", "scores.0")
            } <= compared
    program = compile_network(made, config)
    assert program.about["bits"] == bits


def test_mixed_precisions_within_windows():
    shape = replace(SHAPE, **WINDOWS)
    made = with_norm_pre(network(parse("w4a4,1=w8a8,merge=w4a8,2.fc2=w8a8"), shape=shape))
    image = pixels(1, shape)
    wanted = Vit(made).run(image).logits[0]
    for sram_kib in (128, 6):
        program = compile_network(made, replace(SMALL, sram_kib=sram_kib))
        assert (program.about["plan"]["attention"][0] > 1) == (sram_kib < 128)
        machine = Machine(program, image[0])
        machine.run()
        assert (machine.logits == wanted).all()


@pytest.mark.parametrize(("change", "sram_kib", "needed"), [
    ({"dim": 64, "heads": 4, "image": 50, "patch": 5, "window": 5, "merges": ()}, 5, 19),
    ({"dim": 8, "heads": 4, "image": 28, "patch": 2, "window": 7, "merges": (1,)}, 2, None)],
    ids=["mean", "merged"])
def test_the_room_that_windows_need_is_that_of_what_needs_most(change, sram_kib, needed):
    made = network(Precision(8, 8), shape=replace(SHAPE, **WINDOWS | change))
    with pytest.raises(DoesNotFit, match=rf"and has {sram_kib}: ") as refused:
        compile_network(made, replace(SMALL, sram_kib=sram_kib))
    enough = refused.value.sram_kib
    assert needed in (None, enough)
    compile_network(made, replace(SMALL, sram_kib=enough))
    with pytest.raises(DoesNotFit, match=rf"must have {enough} KiB .* has {enough - 1}: 1 KiB are"):
        compile_network(made, replace(SMALL, sram_kib=enough - 1))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_massive_activations_have_coarse_channels(bits):
    made, images = massive(network(Precision.parse(bits), shape=SHAPE)), pixels(2, SHAPE)
    seen = {}
    Vit(made).run(images, watch=seen.__setitem__)
    reach = np.abs(seen["1.x"].astype(int)).max((0, 1)) * np.exp2(-made.channel_points)
    assert reach[3] > 4 * np.delete(reach, 3).max()
    assert {"0.x", "1.x", "1.qkv", "logits"} <= compare(made, SMALL, images)


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize(("bits", "config"), [("w8a8", SMALL), ("w4a4", SMALL), ("w4a8", WIDE),
                                              ("w8a8", CORES["8x16"])],
                         ids=["4x4 w8a8", "4x4 w4a4", "4x8 w4a8", "8x16 w8a8"])
def test_tokens_of_other_prefixes(bits, config, kind):
    shape = replace(SHAPE, **PREFIXES[kind])
    made, images = network(Precision.parse(bits), shape=shape), pixels(2, shape)
    assert {"embedding", "0.x", "1.x", "head", "logits"} <= compare(made, config, images)
    tapped = with_tap(made, shape)
    assert len(np.unique(Vit(tapped).run(images).scales, axis=0)) == len(images)
    compare(tapped, config, images)


@pytest.mark.parametrize("kind", MEANS)
@pytest.mark.parametrize(("bits", "config"), [("w8a8", SMALL), ("w4a4", WIDE),
                                              ("w8a8", CORES["8x16"])],
                         ids=["4x4 w8a8", "4x8 w4a4", "8x16 w8a8"])
def test_the_mean_of_patches(bits, config, kind):
    shape = replace(SHAPE, **MEANS[kind])
    made, images = network(Precision.parse(bits), shape=shape), pixels(2, shape)
    if kind == "fc_norm":
        made = massive(made)
    names = {"pool", "head", "logits", *(["mean"] if shape.fc_norm else [])}
    assert names <= compare(made, config, images)
    tapped = with_tap(made, shape)
    assert len(np.unique(Vit(tapped).run(images).scales, axis=0)) == len(images)
    compare(tapped, config, images)


@pytest.mark.parametrize("kind", MEANS)
@pytest.mark.parametrize(("side", "sram_kib"), [(16, 2), (32, 4)])
def test_the_mean_of_patches_that_are_stored_in_between(side, sram_kib, kind):
    shape = replace(SHAPE, image=side, **MEANS[kind])
    made, image = network(Precision(8, 8), shape=shape), pixels(1, shape)
    program = compile_network(made, replace(SMALL, sram_kib=sram_kib))
    assert program.about["plan"]["residual"]
    assert program.about["plan"]["mlp"] > 1
    machine = Machine(program, image[0])
    machine.run()
    assert (machine.logits == Vit(made).run(image).logits[0]).all()


def test_a_mean_of_more_patches_than_the_array_takes_at_once_is_refused():
    shape = replace(SHAPE, image=68, **MEANS["fc_norm"])
    with pytest.raises(DoesNotFit, match=r"tokens of which the mean is taken must be 256 "
                                         r"\(key_words\) or fewer, not 289"):
        compile_network(network(Precision(8, 8), shape=shape), CORES["8x16"])


@pytest.mark.parametrize("kind", RELATIVE)
@pytest.mark.parametrize(("bits", "step", "config"), [("w8a8", 0, SMALL), ("w4a4", 512, WIDE),
                                                      ("w8a8", 0, CORES["8x16"])],
                         ids=["4x4 w8a8", "4x8 w4a4", "8x16 w8a8"])
def test_relative_positions_of_all_tokens(bits, step, config, kind):
    shape = replace(SHAPE, **RELATIVE[kind])
    made, images = network(Precision.parse(bits), step, shape=shape), pixels(2, shape)
    assert {"0.scores.1", "1.probs.0", "head", "logits"} <= compare(made, config, images)


@pytest.mark.parametrize("change", [{}, {"image": 68, "depth": 1, "classified": 1,
                                         "fc_norm": False}], ids=["whole", "keys in parts"])
def test_relative_positions_where_queries_are_done_in_blocks(change):
    shape = replace(SHAPE, **RELATIVE["mean"] | change)
    made, image = network(Precision(8, 8), shape=shape), pixels(1, shape)
    program = compile_network(made, replace(WIDE, sram_kib=16 if change else 2))
    assert program.about["plan"]["attention"] > 1
    machine = Machine(program, image[0])
    machine.run()
    assert (machine.logits == Vit(made).run(image).logits[0]).all()


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_norm_before_the_blocks(bits):
    made = massive(with_norm_pre(network(Precision.parse(bits), shape=SHAPE)))
    assert {"embedding", "begun", "0.qkv", "1.x", "logits"} <= compare(
        with_tap(made, SHAPE), SMALL, pixels(2, SHAPE))


@pytest.mark.parametrize("config", [SMALL, WIDE, CORES["16x32"]], ids=["4x4", "4x8", "16x32"])
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a8", 600), ("w4a4", 512)])
def test_norms_of_queries_and_keys(bits, step, config):
    made = with_qk_norm(massive(network(Precision.parse(bits), step, shape=SHAPE)))
    assert {"0.q.0", "0.k.1", "1.v.1", "1.scores.0", "1.x", "logits"} <= compare(
        with_tap(made, SHAPE), config, pixels(2, SHAPE))
    norms = [op for _, op in compile_network(made, config).instructions()
             if op.opcode is Opcode.NORM and op.n == SHAPE.head_dim]
    assert len(norms) == 2 * SHAPE.heads * SHAPE.depth


def test_norms_of_queries_and_keys_need_whole_words_of_heads():
    made = with_qk_norm(network(Precision(8, 8), shape=replace(SHAPE, heads=16)))
    with pytest.raises(DoesNotFit, match="^channels of a head that is normalised must be a multiple"
                                         r" of 4 \(lanes\), not 2$"):
        compile_network(made, SMALL)


@pytest.mark.parametrize("sram_kib", [128, 8])
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_norms_of_queries_and_keys_within_windows(bits, sram_kib):
    shape = replace(SHAPE, **WINDOWS | {"image": 48, "depth": 5, "merges": (2, 4)})
    made = with_qk_norm(massive(with_norm_pre(network(Precision.parse(bits), shape=shape))))
    plain, *others = made.blocks
    made = replace(made, blocks=(replace(plain, k_norm=None), *others))
    program, image = compile_network(made, replace(SMALL, sram_kib=sram_kib)), pixels(1, shape)
    machine = Machine(program, image[0])
    machine.run()
    assert (machine.logits == Vit(made).run(image).logits[0]).all()
    assert (program.about["plan"]["attention"][0] > 1) == (sram_kib < 128)


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize(("bits", "step", "config"), [("w8a8", 0, CORES["8x16"]),
                                                      ("w4a4", 512, WIDE)],
                         ids=["8x16 w8a8", "4x8 w4a4"])
def test_products_in_parts(bits, step, config, kind):
    shape = replace(SHAPE, depth=1, **LONG[kind])
    made, images = network(Precision.parse(bits), step, shape=shape), pixels(1, shape)
    part = {"hidden": "0.x.part0", "patch": "embedding", "keys": "0.proj", "head": "head"}[kind]
    assert {part, "0.x", "0.attended", "head", "logits"} <= compare(made, config, images)
    wide = [op for _, op in compile_network(made, config).instructions()
            if op.opcode is Opcode.PATCHES or op.opcode is Opcode.GEMM]
    assert max(op.k for op in wide) <= LONGEST
    assert max(op.k for op in wide if op.opcode is Opcode.GEMM and op.weights == Source.VALUES
               ) <= LONGEST_KEYS


@pytest.mark.parametrize(("side", "patch", "bus", "pixel"), [
    (10, 5, 4, 4), (14, 7, 4, 4), (12, 2, 4, 4), (9, 1, 4, 4), (15, 5, 8, 8), (12, 6, 8, 4)])
def test_rows_of_patches_that_are_no_words_of_the_bus(side, patch, bus, pixel):
    shape = replace(SHAPE, image=side, patch=patch)
    made, images = network(Precision(8, 8), shape=shape), pixels(2, shape)
    config = replace(SMALL, rows=bus, cols=bus, lanes=bus, bus_bytes=bus)
    assert {"embedding", "1.x", "logits"} <= compare(made, config, images)
    program = compile_network(made, config)
    assert (program.pixel_bytes, program.image.size) == (pixel, pixel * side**2)
    stored = program.with_image(images[0])[program.image.address:][:program.image.size]
    assert (stored.reshape(side, side, pixel)[..., :3] == images[0]).all()
    assert not stored.reshape(-1, pixel)[:, 3:].any()


@pytest.mark.parametrize(("bus_bytes", "patch", "colours", "pixel"), [
    (2, 5, 3, 4), (2, 3, 1, 2), (2, 2, 3, 3), (8, 5, 3, 8), (8, 2, 3, 4), (16, 5, 4, 16),
    (16, 14, 3, 8)])
def test_rows_of_patches_are_words_of_any_bus(bus_bytes, patch, colours, pixel):
    shape = replace(SHAPE, image=2 * patch, patch=patch, colours=colours, depth=1)
    made, images = network(Precision(8, 8), shape=shape), pixels(1, shape)
    config = AcceleratorConfig(8, 16, bus_bytes=bus_bytes)
    assert compile_network(made, config).pixel_bytes == pixel
    compare(made, config, images)


def test_a_prefix_is_not_seen_by_a_tap_of_the_embedding():
    made = with_tap(network(Precision(8, 8), shape=replace(SHAPE, prefix=2)),
                    replace(SHAPE, prefix=2))
    early = replace(made, taps=(replace(made.taps[0], after=0),))
    with pytest.raises(DoesNotFit, match="class token is the only one .*, but there are 2$"):
        compile_network(early, SMALL)


@pytest.mark.parametrize("family", vits.FAMILIES)
def test_families_of_timm_from_float_to_a_program(family):
    """W8A8 from random weights: golden's logits are within 8 % of timm's, root mean square over
    standard deviation; the program's are golden's.
    """
    model, images = vits.FAMILIES[family](), vits.pixels(48)
    made = pipeline.quantize(source.read(model, vits.preprocessing()), images,
                             pipeline.Plan(Precision(8, 8))).network
    steps = vits.preprocessing()
    wanted = model(torch.cat([steps.tensor(image) for image in images])).double().numpy()
    found = Vit(made).run(images).logits
    error = found / 2.0**made.logit_point - wanted
    assert np.sqrt((error**2).mean() / (wanted - wanted.mean(0)).var()) < 0.08
    for image, logits in zip(images[:2], found, strict=False):
        machine = Machine(compile_network(made, SMALL), image)
        machine.run()
        assert (machine.logits == logits).all()


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_predicted_scales_are_used(bits):
    shape = replace(SHAPE, dim=32)
    made = with_tap(network(Precision.parse(bits), shape=shape), shape)
    images = pixels(3, shape)
    assert len(np.unique(Vit(made).run(images).scales, axis=0)) == len(images)
    compare(made, SMALL, images)


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
@pytest.mark.parametrize("name", CORES)
def test_the_shipped_model(bits, name):
    made = open_model(f"vit_cifar10:{bits}").network
    assert "0.x" in compare(made, CORES[name], pixels(1, made.shape))


@pytest.mark.long
def test_deit_small_in_blocks():
    shape = VitShape(image=224, patch=16, dim=384, depth=12, heads=6, hidden=1536, classes=1000)
    made = network(Precision(4, 4), shape=shape)
    core = CORES["8x16"]
    compiled = compile_network(made, core)
    assert compiled.about["plan"]["attention"] > 1
    assert compiled.scratchpad_bytes <= core.sram_kib * 1024
    image = pixels(1, shape)
    machine = Machine(compiled, image[0])
    machine.run()
    assert (machine.logits == Vit(made).run(image).logits[0]).all()


@pytest.mark.parametrize(("shape", "config", "message"), [
    ({"image": 32}, {"sram_kib": 1},
     r"scratchpad must have 4 KiB .* has 1: 3 KiB are missing for 0\.probs\.0@0 beside"),
    ({}, {"key_words": 16}, r"keys mixed at once must be 16 \(key_words\) or fewer, not 17"),
    ({"dim": 36, "heads": 3}, {"rows": 8, "cols": 8, "lanes": 8},
     r"dim must be a multiple of 8 \(lanes\), not 36"),
    ({}, {"max_k": 64}, r"hidden channels at once must be 64 \(max_k\) or fewer, not 72"),
    ({}, {"max_sites": 10}, "scale file must have 16 slots or more .* but max_sites is 10"),
    ({"classes": 3, "prefix": 3, "classified": 3}, {"max_k": 72},
     r"values that the head takes at once must be 72 \(max_k\) or fewer, not 96"),
])
def test_what_does_not_fit_is_said(shape, config, message):
    made = network(Precision(8, 8), shape=replace(SHAPE, **shape))
    with pytest.raises(DoesNotFit, match=message):
        compile_network(made, replace(SMALL, **config))


def test_a_predictor_or_a_tile_column_too_large_is_said():
    made = with_tap(network(Precision(8, 8), shape=SHAPE), SHAPE)
    with pytest.raises(DoesNotFit, match="statistics must be within 3, not 4"):
        compile_network(made, replace(SMALL, max_statistics=3))
    with pytest.raises(DoesNotFit, match="a tile column must have 64 stream words or fewer"):
        compile_network(made, replace(SMALL, stream_words=64))


def test_a_predictor_of_more_units_than_a_core_asks_for_is_said():
    shape = replace(SHAPE, depth=5)
    made, groups = network(Precision(8, 8), shape=shape), shape.dim
    sites = np.arange(shape.site(1, "qkv"), shape.sites)
    size = PredictorShape(2 * groups, 2 * groups, len(sites), 2, False)
    predictor = ScalePredictor(made.scales[sites], [
        np.zeros((len(sites), size.monomials_of_degree(degree)), int) for degree in (1, 2)])
    tap = Tap(1, 4, groups, *np.ones((2, 2 * groups), int), predictor, sites)
    core = replace(SMALL, max_projected=64, max_monomials=4096)
    with pytest.raises(DoesNotFit, match=r"^instruction \d+ at 0x\w+, PREDICT: a part of the "
                                         r"payload must have 8191 units or fewer, not 15552$"):
        compile_network(replace(made, taps=(tap,)), core)


def test_a_configuration_that_is_no_core_is_refused():
    with pytest.raises(ValueError, match=r"lanes must be rows \(4\) in a core, not 2"):
        compile_network(network(Precision(8, 8), shape=SHAPE), replace(SMALL, lanes=2))


@pytest.fixture(scope="module")
def compiled():
    return compile_network(network(Precision(4, 4), 512, shape=SHAPE), SMALL, {"model": "tiny"})


def test_a_saved_program_is_the_same(compiled, tmp_path):
    compiled.save(tmp_path / "a")
    again = program.load(tmp_path / "a")
    assert again.memory == compiled.memory
    for name in ("config", "stream", "image", "logits", "side", "classes", "logit_point",
                 "tensors", "about"):
        assert getattr(again, name) == getattr(compiled, name)


@pytest.mark.parametrize(("change", "message"), [
    (lambda folder: (folder / "memory.bin").write_bytes(b"x"), "checksum of memory.bin is wrong"),
    (lambda folder: (folder / "program.json").write_text("{}"), "not a program, or is damaged"),
    (lambda folder: (folder / "program.json").write_text("{"), "not a program, or is damaged"),
    (lambda folder: (folder / "program.json").write_text(
        (folder / "program.json").read_text().replace('"version": 3', '"version": 9')),
     "has version 9 of the format, and this program reads version 3"),
])
def test_a_damaged_program_is_refused(compiled, tmp_path, change, message):
    compiled.save(tmp_path)
    change(tmp_path)
    with pytest.raises(ProgramError, match=message):
        program.load(tmp_path)


def edit(folder, *path, value):
    """Change a value of a manifest; None: take it away."""
    made = json.loads((folder / "program.json").read_text())
    *outer, last = path
    where = reduce(lambda part, key: part[key], outer, made)
    if value is None:
        del where[last]
    else:
        where[last] = value
    (folder / "program.json").write_text(json.dumps(made))


@pytest.mark.parametrize(("path", "value", "message"), [
    (("config",), None, "program.json lacks 'config'"),
    (("config", "rows"), 3, r"lanes must be rows \(3\) in a core, not 4"),
    (("config", "bus_bytes"), "a", "bus_bytes must be an integer, not 'a'"),
    (("stream", "size"), 1 << 30, "stream must end at 0x"),
    (("logits", "size"), 23, "size of logits must be a multiple of 2 bytes, not 23"),
    (("image", "address"), 1 << 30, "image must end at 0x"),
    (("logits", "address"), -1, "logits must be 0 or more, not -1"),
    (("side",), 31, "side must be such that 2883 bytes fit 768, but it is 31"),
    (("classes",), "a", "classes must be an integer, not 'a'"),
    (("classes",), 4000, "classes must be such that 8000 bytes fit"),
    (("logit_point",), 1.5, "logit_point must be an integer, not 1.5"),
    (("about",), 3, "about must be an object, not 3"),
    (("tensors", 0, "rows"), "x", "tensor 'embedding': rows must be an integer, not 'x'"),
    (("tensors", 0, "name"), float("nan"), "name of a tensor must be a str, not nan"),
    (("tensors", 0, "signed"), 1, "signed of a tensor must be a bool, not 1"),
    (("tensors", 0, "address"), 10**9, "tensor 'embedding': address must end at 0x4000 or before"),
    (("tensors", 0, "layout"), 9, "9 is not a valid Layout"),
    (("tensors", 0, "last"), None, "missing 1 required positional argument: 'last'"),
])
def test_a_manifest_that_makes_no_sense_is_refused(compiled, tmp_path, path, value, message):
    compiled.save(tmp_path)
    edit(tmp_path, *path, value=value)
    with pytest.raises(ProgramError, match=f"{tmp_path} is not a program, .*{message}"):
        program.load(tmp_path)


def test_the_machine_can_stop_after_any_instruction(compiled):
    images = pixels(1, SHAPE)
    whole, parts = Machine(compiled, images[0]), Machine(compiled, images[0])
    whole.run()
    for stop in range(0, len(compiled.instructions()), 7):
        parts.run(stop_after=stop)
        assert parts.index == stop + 1
        for tensor in parts.alive():
            assert parts.tensor(tensor.name).shape == (tensor.rows, tensor.cols)
    parts.run()
    assert (parts.logits == whole.logits).all()
    with pytest.raises(ProgramError, match="the program has ended"):
        parts.step()
    with pytest.raises(KeyError):
        parts.tensor("9.x")


def changed(compiled, index, **fields):
    """Return a program with fields of an instruction changed."""
    address, op = compiled.instructions()[index]
    op = isa.Instruction(op.opcode, op.fields | fields)
    memory = bytearray(compiled.memory)
    memory[address:address + INSTRUCTION_BYTES] = op.encode()
    return replace(compiled, memory=bytes(memory))


def first(compiled, opcode, which=0):
    return [at for at, (_, op) in enumerate(compiled.instructions())
            if op.opcode is opcode][which]


@pytest.mark.parametrize(("opcode", "which", "fields", "message"), [
    (Opcode.LOAD, 0, {"address": 1 << 30}, "address must end at 0x"),
    (Opcode.LOAD, 0, {"address": 2}, "address must be a multiple of 4, not 0x2"),
    (Opcode.LOAD, 0, {"dest": 0xfff0}, "dest must end at 0x4000 or before, but 0xfff0"),
    (Opcode.LOAD, 0, {"words": 0}, "words must be 1 or more, not 0"),
    (Opcode.PATCHES, 0, {"run_bytes": 0}, "run_bytes must be a multiple of 4, not 0"),
    (Opcode.PATCHES, 0, {"grid": 3}, "m must be 1 more than a multiple of grid"),
    (Opcode.SCALES, 0, {"scale_a": 127}, "slots must be below 128"),
    (Opcode.NORM, 0, {"n": 30}, "n must be a multiple of 4 up to 256, not 30"),
    (Opcode.NORM, 0, {"high": 16}, r"low and high must be within -8\.\.15"),
    (Opcode.NORM, 0, {"dest_stride": 3}, "the stride of dest must be 16 or more, not 3"),
    (Opcode.NORM, 0, {"dest": 0}, r"dest \(0x0, .* must not overlap source"),
    (Opcode.GEMM, 1, {"k": 0}, r"k must be within 1\.\.1024, not 0"),
    (Opcode.GEMM, 1, {"layout": 0}, "path wide and layout wide go together"),
    (Opcode.GEMM, 1, {"activation": 2}, "activation must be signed or unsigned in w4a4, not code"),
    (Opcode.GEMM, 1, {"scale_out": 200}, "scale_out must be below 128, not 200"),
    (Opcode.GEMM, 2, {"dest": 0x10}, r"dest \(0x10, .* overlaps embedding, which"),
    (Opcode.GEMM, 0, {"first_row": 1}, r"first_row must be within 0\.\.0 in this layout, not 1"),
    (Opcode.GEMM, 1, {"first_row": 4}, r"first_row must be within 0\.\.3 in this layout, not 4"),
    (Opcode.GEMM, 0, {"gelu": 1}, "path wide has no GELU or offset"),
    (Opcode.GEMM, 0, {"offset": 1}, "path wide has no GELU or offset"),
    (Opcode.GEMM, 1, {"rows": 1}, "row exponents go with weights of the scratchpad, not of"),
    (Opcode.GEMM, 0, {"tap": 1}, "last_token must be 16 for this tap, not 0"),
    (Opcode.NORM, 0, {"layout": 0, "offset": 1, "dest_stride": 64, "dest": 0x2000},
     "layout wide has no offset"),
    (Opcode.NORM, 0, {"scale_b": 200}, "scale_b must be below 128, not 200"),
    (Opcode.STORE, 0, {"address": 0xb00}, r"memory from 0xb00 to 0x\w+ must not overlap the str"),
    (Opcode.STORE, 0, {"address": 0x0}, r"memory from 0x0 to 0x\w+ must be that of the logits$"),
    (Opcode.SOFTMAX, 0, {"factor": 3}, r"factor and shift must be \("),
    (Opcode.SOFTMAX, 0, {"n": 1025, "source": 0, "source_stride": 257, "dest": 0x2000,
                         "dest_stride": 513}, r"n must be within 1\.\.1024, not 1025"),
])
def test_an_illegal_program_is_refused_with_the_instruction(compiled, opcode, which, fields,
                                                            message):
    index = first(compiled, opcode, which)
    with pytest.raises(ProgramError, match=f"instruction {index} at 0x[0-9a-f]+, {opcode.name}: "
                                            f"{message}"):
        verify(changed(compiled, index, **fields))
    verify(compiled)


def test_a_run_may_have_image_and_logits_elsewhere(compiled):
    image = np.random.default_rng(1).integers(0, 256, (compiled.side, compiled.side, 3), np.uint8)
    here = Machine(compiled, image)
    here.run()
    size, region = len(compiled.memory), compiled.logits
    there = Machine(compiled, image, image_offset=size + 64, logits_offset=size)
    assert len(there.memory) == 2 * size + 64
    there.run()
    assert (there.logits == here.logits).all()
    own = there.memory[region.address:region.address + region.size]
    assert not own.any()  # nothing is where they would have been
    assert there.memory[:size].tobytes() == compiled.memory
    for wrong in ({"image_offset": 2}, {"logits_offset": compiled.config.bus_bytes // 2}):
        name = next(iter(wrong))
        with pytest.raises(ValueError, match=f"^{name} must be a multiple of 4, not 2$"):
            Machine(compiled, image, **wrong)


def test_a_tensor_is_not_overwritten_by_one_that_lies_like_it(compiled):
    """The residual stream, by scores of the same layout and stride, before its last use."""
    index = next(at for at, (_, op) in enumerate(compiled.instructions())
                 if op.opcode is Opcode.GEMM and op.weights == isa.Source.KEYS)
    stream = next(tensor for tensor in compiled.tensors
                  if tensor.layout is isa.Layout.WIDE and tensor.written < index < tensor.last)
    broken = changed(compiled, index, dest=stream.address, dest_stride=stream.stride)
    with pytest.raises(ProgramError, match=f"instruction {index} .* overlaps {stream.name}, which "
                                           f"instruction {stream.last} needs"):
        verify(broken)


def test_what_is_no_instruction_is_refused(compiled):
    address, _ = compiled.instructions()[3]
    memory = bytearray(compiled.memory)
    memory[address] = 0
    with pytest.raises(ProgramError, match=f"instruction 3 at 0x{address:x}: opcode must be one"):
        Machine(replace(compiled, memory=bytes(memory)))
    cut = replace(compiled.stream, size=compiled.stream.size - 8)
    with pytest.raises(ProgramError, match="the stream has ended without END"):
        Machine(replace(compiled, stream=cut))


@pytest.mark.parametrize("change", [{}, RELATIVE["class token"]], ids=["plain", "relative"])
def test_scales_measured_just_in_time_are_near_static_ones(change):
    made = network(Precision(8, 8), shape=replace(SHAPE, **change))
    images = pixels(6, SHAPE)
    compiled = compile_network(made, replace(SMALL, sram_kib=64), jit=True)
    opcodes = [op.opcode for _, op in compiled.instructions()]
    sites = 2 * (4 + 3 * SHAPE.heads) + 1
    assert opcodes.count(Opcode.MEASURE) == opcodes.count(Opcode.QUANTIZE) == sites
    assert compiled.about["scales"] == "jit"
    found, slots = [], []
    for image in images:
        machine = Machine(compiled, image)
        machine.run()
        found.append(machine.logits)
        slots.append(machine.scales[1:SHAPE.sites + 1].copy())
    wanted = Vit(made).run(images).logits
    assert np.corrcoef(np.ravel(found), wanted.ravel())[0, 1] > 0.98
    assert len(np.unique(slots, axis=0)) == len(images)


def test_scales_of_normalised_queries_and_keys_are_measured_behind_the_norm():
    made, images = with_qk_norm(network(Precision(8, 8), shape=SHAPE)), pixels(6, SHAPE)
    compiled = compile_network(made, replace(SMALL, sram_kib=64), jit=True)
    found = []
    for image in images:
        machine = Machine(compiled, image)
        machine.run()
        found.append(machine.logits)
    assert np.corrcoef(np.ravel(found), Vit(made).run(images).logits.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_coarse_columns_are_known_where_scales_are_measured(bits):
    made, image = massive(network(Precision.parse(bits), shape=SHAPE)), pixels(1, SHAPE)
    compiled = compile_network(made, replace(SMALL, sram_kib=64), jit=True)
    machine, coarse = Machine(compiled, image[0]), made.blocks[0].coarse
    counts = []
    while not machine.done:
        op = machine.step()
        if op.gelu and op.opcode in (Opcode.MEASURE, Opcode.QUANTIZE):
            counts.append(op.words)
        if op.gelu and op.words and op.opcode is Opcode.MEASURE:
            t = scratchpad.read_wide(machine.scratchpad, op.source, op.source_stride, op.m, op.n)
            wanted = 1024 * np.log2(curve_columns(GELU, t, coarse).max()) + op.exponent
            assert abs(machine.scales[op.scale_a] - wanted) <= 1
        if op.gelu and op.words and op.opcode is Opcode.QUANTIZE:
            exponent = np.array([op.exponent_out - int(machine.scales[op.scale_out])])
            mantissa, shift = exp2(exponent.repeat(op.n))
            wanted = requant(curve_columns(GELU, t, coarse), mantissa, shift, op.low, op.high)
            found = scratchpad.read_operand(machine.scratchpad, op.dest, op.dest_stride, op.m, op.n,
                                            isa.Layout(op.layout), signed=bool(op.offset))
            assert (found == wanted - 8 * op.offset).all()
    assert counts == [SHAPE.hidden, SHAPE.hidden, 0, 0]


def test_measuring_takes_the_largest_magnitude_after_gelu():
    compiled = compile_network(network(Precision(8, 8), shape=SHAPE), replace(SMALL, sram_kib=64),
                               jit=True)
    machine = Machine(compiled, pixels(1, SHAPE)[0])
    measured = 0
    while not machine.done:
        op = machine.step()
        if op.opcode is not Opcode.MEASURE:
            continue
        wide = scratchpad.read_wide(machine.scratchpad, op.source, op.source_stride, op.m, op.n)
        real = wide.astype(float)
        if op.gelu:
            real = gelu.gelu(np.array([real.min(), real.max()]).astype(int)).astype(float)
        wanted = 1024 * np.log2(np.abs(real).max()) + op.exponent
        assert abs(machine.scales[op.scale_a] - wanted) <= 1
        measured += 1
    assert measured == 2 * (4 + 3 * SHAPE.heads) + 1


def test_a_core_ends_with_an_error_where_scales_are_measured():
    compiled = compile_network(network(Precision(8, 8), shape=SHAPE), SMALL, jit=True)
    result = verilator.run(compiled, pixels(1, SHAPE)[0])
    assert (result.outcome, verilator.STATUS[result.status]) == ("done", "illegal instruction")
    opcodes = [op.opcode for _, op in compiled.instructions()]
    assert len(result.instruction_cycles) == opcodes.index(Opcode.MEASURE)


def test_just_in_time_scales_need_room_and_whole_words_of_heads():
    with pytest.raises(DoesNotFit, match="KiB are missing") as caught:
        compile_network(network(Precision(8, 8), shape=SHAPE), replace(SMALL, sram_kib=4), jit=True)
    assert caught.value.sram_kib > 4
    narrow = network(Precision(8, 8), shape=replace(SHAPE, heads=16))
    with pytest.raises(DoesNotFit, match=r"channels of a head must be a multiple of 4 \(lanes\)"):
        compile_network(narrow, SMALL, jit=True)


@pytest.mark.parametrize("sram_kib", [128, 12, 8])
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w6a6", 0), ("w4a8", 600), ("w4a4", 512)])
def test_windows_in_any_scratchpad_give_the_same_logits(bits, step, sram_kib):
    shape = replace(SHAPE, **WINDOWS | {"image": 48, "depth": 5, "merges": (2, 4)})
    made = massive(with_norm_pre(network(Precision.parse(bits), step, shape=shape)))
    program = compile_network(made, replace(SMALL, sram_kib=sram_kib))
    images = pixels(2, shape)
    for image, wanted in zip(images, Vit(made).run(images).logits, strict=True):
        machine = Machine(program, image)
        machine.run()
        assert (machine.logits == wanted).all()
    plan = program.about["plan"]
    assert (plan["attention"][0] > 1) == (sram_kib < 128)
    assert plan["stored_bytes"] == plan["loaded_bytes"] > 0


@pytest.mark.parametrize("change", [WINDOWS, MEANS["fc_norm"]], ids=["windows", "mean"])
def test_scales_measured_just_in_time_are_refused_where_no_token_is_classified(change):
    made = network(Precision(8, 8), shape=replace(SHAPE, **change))
    with pytest.raises(DoesNotFit, match="^scales that are measured just in time are for networks"):
        compile_network(made, SMALL, jit=True)


def test_windows_have_a_plan_whatever_the_room():
    made = network(Precision(8, 8), shape=replace(SHAPE, **WINDOWS))
    with pytest.raises(DoesNotFit, match="^networks of patches alone are done in blocks, by a "):
        compile_network(made, SMALL, whole=True)


def test_scales_are_predicted_from_the_stream_of_any_stage():
    shape = replace(SHAPE, **WINDOWS)
    made = network(Precision(8, 8), shape=shape)
    for after in range(1, shape.depth + 1):
        tapped = with_tap(made, shape, after)
        sites = tapped.taps[0].sites
        image = pixels(1, shape)
        machine = Machine(compile_network(tapped, SMALL), image[0])
        machine.run()
        wanted = Vit(tapped).run(image)
        assert (machine.logits == wanted.logits[0]).all()
        assert (wanted.scales[0, sites] != made.scales[sites]).any()
