"""Cascades as programs: the golden machine gives what golden.network.cascade gives."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode
from golden.core.machine import Machine
from golden.core.program import load
from golden.core.rules import verify
from golden.cycles.memory_model import USUAL, MemoryModel
from golden.cycles.timing import cycles, timing
from golden.network.cascade import Cascade, CascadeVit
from golden.network.network import Network
from golden.network.precision import Precision
from golden.network.vit import Vit
from sim.compiler import DoesNotFit, compile_cascade, compile_network
from sim.compiler.cascade import SECOND
from sim.inputs.model_lookup import open_model
from tests.cases.networks import massive, network, pixels, with_norm_pre
from tests.sim.compiler.test_compiler import SHAPE, SMALL, WIDE
from tests.sim.test_emulate import with_tap

KINDS = {
    "static": (network(Precision(4, 4), shape=SHAPE), network(Precision(8, 8), 600, 5, SHAPE)),
    "predicted": (with_tap(network(Precision(4, 4), 512, shape=SHAPE), SHAPE),
                  with_tap(network(Precision(8, 8), seed=5, shape=SHAPE), SHAPE)),
    "other shapes": (network(Precision(4, 4), shape=replace(SHAPE, patch=8, dim=16, depth=1)),
                     massive(with_norm_pre(network(Precision(4, 8), 600, 5,
                                                   replace(SHAPE, prefix=3))))),
    "activations": (network(Precision(4, 4), shape=replace(SHAPE, activation="silu")),
                    network(Precision(8, 8), 600, 5, replace(SHAPE, activation="relu"))),
    "activation behind GELU": (network(Precision(4, 4), shape=SHAPE), network(
        Precision(8, 8), 600, 5, replace(SHAPE, activation="quick_gelu"))),
    "predicted first": (with_tap(network(Precision(8, 8), shape=SHAPE), SHAPE),
                        network(Precision(4, 4), seed=5, shape=SHAPE)),
}


def cascade_of(kind: str, images) -> Cascade:
    """A cascade that answers half of the images early."""
    first, second = KINDS[kind]
    doubts = CascadeVit(Cascade(first, second, 0)).run(images).doubts
    return Cascade(first, second, int(np.median(doubts)))


def seen_by(made: Network, images) -> dict:
    """The tensors of a network, by name."""
    seen = {}
    Vit(made).run(images, watch=seen.__setitem__)
    return seen


@pytest.mark.parametrize("config", [SMALL, WIDE, CORES["8x16"]], ids=["4x4", "4x8", "8x16"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_machine_gives_every_tensor_of_both_networks(kind, config):
    images = pixels(5, SHAPE)
    cascade = cascade_of(kind, images)
    wanted = CascadeVit(cascade).run(images)
    assert 0 < wanted.exited.sum() < len(images)
    program = compile_cascade(cascade, config)
    both = {"": seen_by(cascade.first, images), SECOND: seen_by(cascade.second, images)}
    left = program.about["cascade"]["exit"]
    for at, image in enumerate(images):
        machine, compared = Machine(program, image), set()
        while not machine.done:
            machine.step()
            for tensor in machine.alive():
                if tensor.written != machine.index - 1:
                    continue
                of = SECOND if tensor.name.startswith(SECOND) else ""
                values = both[of].get(tensor.name.removeprefix(of))
                if values is not None:
                    found = machine.tensor(tensor.name).astype(int)
                    offset = 8 if tensor.name.endswith("fc2") and tensor.signed else 0
                    assert (found + offset == values[at].reshape(found.shape)).all(), tensor.name
                    compared.add(tensor.name)
        assert machine.logits.tolist() == wanted.logits[at].tolist()
        assert machine.exited == (left if wanted.exited[at] else None)
        assert {"0.x", "head", "logits"} <= compared
        assert (f"{SECOND}0.fc1" in compared) == (not wanted.exited[at])


def test_both_networks_have_the_instructions_that_they_have_alone():
    cascade = Cascade(*KINDS["static"], 9000)
    ops = [op for _, op in compile_cascade(cascade, SMALL).instructions()]
    alone = [[op for _, op in compile_network(each, SMALL).instructions()]
             for each in KINDS["static"]]
    count = len(alone[0]) - 1  # but for END
    assert [op.opcode for op in ops[:count]] == [op.opcode for op in alone[0][:-1]]
    assert ops[:count - 1] == alone[0][:count - 1]
    assert [str(op).split()[0] for op in ops[count:count + 2]] == ["SOFTMAX", "EXIT"]
    assert (ops[count].m, ops[count].n, ops[count].step) == (1, SHAPE.classes, 0)
    assert ops[count].source == ops[count - 1].source
    assert ops[count + 1].exponent == 9000
    assert [op.opcode for op in ops[count + 2:]] == [op.opcode for op in alone[1]]


def test_it_needs_no_more_scratchpad_than_the_larger_of_both():
    program = compile_cascade(Cascade(*KINDS["static"], 9000), SMALL)
    alone = [compile_network(each, SMALL) for each in KINDS["static"]]
    assert program.scratchpad_bytes == max(each.scratchpad_bytes for each in alone)


def test_plans_are_those_for_the_memory():
    made = network(Precision(8, 8), shape=replace(SHAPE, depth=3))
    tight, norms = replace(SMALL, sram_kib=3), set()
    for memory in (USUAL, MemoryModel(20, 0.25)):
        alone, both = (sum(op.opcode is Opcode.NORM for _, op in each.instructions()) for each in (
            compile_network(made, tight, memory=memory),
            compile_cascade(Cascade(made, made, 9000), tight, memory=memory)))
        assert both == 2 * alone
        norms.add(alone)
    assert len(norms) == 2


def test_networks_in_blocks_keep_their_plans():
    tight = replace(SMALL, sram_kib=2)
    plans = [compile_network(each, tight).about["plan"] for each in KINDS["predicted"]]
    assert any(plan["residual"] for plan in plans)
    images = pixels(4, SHAPE)
    cascade = cascade_of("predicted", images)
    program = compile_cascade(cascade, tight)
    wanted = CascadeVit(cascade).run(images)
    for at, image in enumerate(images):
        machine = Machine(program, image)
        machine.run()
        assert machine.logits.tolist() == wanted.logits[at].tolist()


def test_a_cascade_takes_what_its_networks_take_and_a_thousandth_of_the_shipped_ones():
    shipped = [open_model(f"vit_cifar10:{bits}").network for bits in ("w4a4", "w8a8")]
    program = compile_cascade(Cascade(*shipped, 9000), CORES["8x16"])
    left = program.about["cascade"]["exit"]
    first, second = (sum(cycles(compile_network(each, CORES["8x16"]), USUAL)) for each in shipped)
    decided = sum(step.cycles for step in timing(program, USUAL).steps[left - 1:left + 1])
    late, early = sum(cycles(program, USUAL)), sum(cycles(program, USUAL, left))
    assert 0 < early - first < first / 1000
    assert late - first - second <= decided < first / 1000


def test_a_program_is_saved_with_all_of_it(tmp_path):
    program = compile_cascade(Cascade(*KINDS["static"], 9000), SMALL, {"model": "two"})
    program.save(tmp_path / "p")
    again = load(tmp_path / "p")
    verify(again)
    assert again.about == {"model": "two", "bits": "w4a4 then w8a8", "scales": "static",
                           "cascade": program.about["cascade"]}
    exit_line = list(again.disassemble())[again.about["cascade"]["exit"]]
    assert exit_line.split()[2:] == ["EXIT", "exponent=9000"]


def test_more_classes_than_a_core_has_tokens_do_not_fit():
    small = replace(SMALL, max_tokens=20)
    many = [network(each.precision, shape=replace(SHAPE, classes=21)) for each in KINDS["static"]]
    compile_network(many[0], small)
    with pytest.raises(DoesNotFit, match=r"^classes of a cascade must be 20 \(max_tokens\) or "
                                         "fewer, not 21$"):
        compile_cascade(Cascade(*many, 9000), small)


def test_pixels_of_other_sizes_do_not_fit():
    shapes = replace(SHAPE, image=12), replace(SHAPE, image=12, patch=2)
    made = [network(Precision(8, 8), shape=shape) for shape in shapes]
    with pytest.raises(DoesNotFit, match="^pixels must have the same bytes .*, not 3 and 4$"):
        compile_cascade(Cascade(*made, 9000), SMALL)


def test_what_does_not_fit_alone_does_not_fit():
    with pytest.raises(DoesNotFit, match="^dim must be 31 .max_channels. or fewer, not 32$"):
        compile_cascade(Cascade(*KINDS["static"], 9000), replace(SMALL, max_channels=31))
