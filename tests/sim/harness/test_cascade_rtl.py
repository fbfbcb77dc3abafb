"""Cascades under Verilator: equal to golden after every instruction, whichever network answers."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode
from golden.cycles.memory_model import IDEAL, USUAL, MemoryModel
from golden.cycles.timing import timing
from golden.network.cascade import Cascade, CascadeVit
from sim import calibrate
from sim.compiler import compile_cascade, compile_network
from sim.harness import verilator
from sim.harness.expected import golden_run
from sim.inputs import images as image_files
from sim.inputs.model_lookup import open_model, preprocessing_of_model
from tests.cases.networks import pixels
from tests.cases.recorded import SHARED
from tests.sim.compiler.test_cascade import KINDS, cascade_of
from tests.sim.compiler.test_compiler import SHAPE, SMALL, WIDE
from tests.sim.harness.test_timing_rtl import compare

pytestmark = pytest.mark.verilator


def both(cascade, images):
    """An image that the first network answers, and one that the second one does; and answers."""
    wanted = CascadeVit(cascade).run(images)
    at = [int(np.flatnonzero(wanted.exited == exited)[0]) for exited in (True, False)]
    return [(images[one], bool(wanted.exited[one]), wanted.logits[one]) for one in at]


@pytest.mark.parametrize("config", [SMALL, WIDE], ids=["4x4", "4x8"])
@pytest.mark.parametrize("kind", KINDS)
def test_small_cascades(kind, config):
    images = pixels(5, SHAPE)
    cascade = cascade_of(kind, images)
    program = compile_cascade(cascade, config)
    for image, exited, logits in both(cascade, images):
        shown = replace(program, memory=program.with_image(image).tobytes())
        machine = golden_run(shown).machine
        assert machine.logits.tolist() == logits.tolist()
        assert (machine.exited is not None) == exited
        compare(shown, IDEAL, USUAL, MemoryModel(7, 3), MemoryModel(200, 1.5))


def hold(cascade, config, images):
    """Hold both ways through a cascade against golden and the estimate; return their cycles."""
    program = compile_cascade(cascade, config)
    left = program.about["cascade"]["exit"]
    cycles = []
    for image, exited, logits in both(cascade, images):
        result = verilator.run(program, image, check=True)
        assert result.ok, result.message
        found = result.memory[program.logits.address:][:2 * program.classes].view("<i2")
        assert found.tolist() == logits.tolist()
        assert result.cycles == timing(program, USUAL, left if exited else None).cycles
        count = left if exited else len(program.instructions()) - 1
        assert len(result.instruction_cycles) == count
        cycles.append(result.cycles)
    return cycles


def in_doubt_of_half(first, second, images):
    """Return a cascade whose first network answers half of the images."""
    doubts = CascadeVit(Cascade(first, second, 0)).run(images).doubts
    return Cascade(first, second, int(np.median(doubts)))


@pytest.mark.parametrize("name", ["4x8", pytest.param("8x16", marks=pytest.mark.long)])
def test_the_shipped_models(name):
    first, second = (open_model(f"vit_cifar10:{bits}").network for bits in ("w4a4", "w8a8"))
    images = pixels(5, first.shape)
    early, late = hold(in_doubt_of_half(first, second, images), {"4x8": WIDE, **CORES}[name],
                       images)
    assert late > 3 * early


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_deit_tiny_on_validation_images(tmp_path):
    """As a user calibrates both networks; few calibration images, to be quicker."""
    name, networks = "deit_tiny_patch16_224", []
    weights = str(SHARED / "weights" / f"{name}.safetensors")
    for bits in ("w4a4", "w8a8"):
        path = tmp_path / f"{bits}.safetensors"
        assert calibrate.main(["--model", name, "--weights", weights, "--bits", bits, "--images",
                               str(SHARED / "calibration"), "--count", "64",
                               "--out", str(path)]) == 0
        networks.append(open_model(str(path)))
    _, images = image_files.pixels(SHARED / "validation", preprocessing_of_model(networks[0]), 4)
    cascade = in_doubt_of_half(*(each.network for each in networks), images)
    early, late = hold(cascade, CORES["8x16"], images)
    alone = timing(compile_network(cascade.first, CORES["8x16"]), USUAL).cycles
    assert alone < early < 1.001 * alone
    assert late > 3 * early


def test_it_is_the_core_that_decides():
    """Another threshold in the instruction, and no other bit, has the other network answer."""
    images = pixels(5, SHAPE)
    cascade = cascade_of("static", images)
    image, _, logits = both(cascade, images)[0]
    late = compile_cascade(replace(cascade, threshold=0), SMALL)
    early = compile_cascade(cascade, SMALL)
    changed = [at for at, (one, other) in enumerate(zip(late.memory, early.memory, strict=True))
               if one != other]
    place, op = early.instructions()[early.about["cascade"]["exit"]]
    assert op.opcode is Opcode.EXIT
    assert set(changed) <= set(range(place, place + 64))
    answers = []
    for program in (early, late):
        result = verilator.run(program, image)
        assert result.ok
        answers.append(result.memory[program.logits.address:][:2 * program.classes].view("<i2"))
    assert answers[0].tolist() == logits.tolist()
    assert answers[1].tolist() != logits.tolist()
