"""Plans: networks larger than the scratchpad, in blocks of rows, and stored in between."""

import json
from dataclasses import asdict, replace

import pytest

from golden.common.config import CORES
from golden.core.isa import Opcode, Source
from golden.core.machine import Machine
from golden.cycles.memory_model import USUAL, MemoryModel
from golden.cycles.timing import cycles
from golden.network.precision import Precision, parse
from golden.network.shape import VitShape
from golden.network.vit import Vit
from sim import compile as compile_command
from sim.compiler import DoesNotFit, compile_network, compiler
from sim.compiler.plan import PHASES, Plan, blocks, counts, finer, kinds, plan_line
from sim.estimation.program_costs import estimate_program
from sim.inputs import quantized_model
from tests.cases.networks import (
    LONG,
    MIXED,
    PREFIXES,
    network,
    pixels,
    with_norm_pre,
    with_qk_norm,
)
from tests.sim.test_emulate import with_tap

SHAPE = VitShape(image=16, patch=4, dim=32, depth=2, heads=2, hidden=72, classes=11)
SMALL = CORES["4x4"]
PLANS = [Plan(patches, attention, mlp, heads, *stored)
         for patches, attention, mlp in ((1, 2, 1), (2, 1, 3), (4, 5, 5))
         for heads in (False, True)
         for stored in ((), (True,), (True, False, True), (True, True))]


def planned(made, plan, config=SMALL):
    """Return the program of a plan, whether it is needed or not."""
    return compiler._with_plan(plan, made, config, {}, False, {})


@pytest.mark.parametrize(("bits", "step", "prefix"), [
    ("w8a8", 0, {}), ("w4a4", 512, {}), ("w4a8", 0, PREFIXES["registers"]),
    ("w8a8", 0, PREFIXES["distilled"])])
def test_every_plan_gives_the_logits_of_the_network(bits, step, prefix):
    shape = replace(SHAPE, **prefix)
    made, image = network(Precision.parse(bits), step, shape=shape), pixels(1, shape)
    check_plans(made, image)


@pytest.mark.parametrize("bits", MIXED)
def test_mixed_precisions_can_be_planned(bits):
    check_plans(network(parse(bits), 512, shape=SHAPE), pixels(1, SHAPE))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_a_norm_before_the_blocks_can_be_planned(bits):
    check_plans(with_norm_pre(network(Precision.parse(bits), shape=SHAPE)), pixels(1, SHAPE))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_norms_of_queries_and_keys_can_be_planned(bits):
    check_plans(with_qk_norm(network(Precision.parse(bits), shape=SHAPE)), pixels(1, SHAPE))


@pytest.mark.parametrize("kind", LONG)
def test_products_in_parts_can_be_planned(kind):
    shape = replace(SHAPE, depth=1, **LONG[kind])
    made, image = network(Precision(8, 8), shape=shape), pixels(1, shape)
    check_plans(made, image, replace(SMALL, sram_kib=512, max_k=2048, key_words=256))


def check_plans(made, image, config=SMALL):
    wanted = Vit(made).run(image).logits[0]
    for plan in PLANS:
        machine = Machine(planned(made, plan, config), image[0])
        machine.run()
        assert (machine.logits == wanted).all(), plan


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_scales_are_predicted_from_a_stream_that_comes_about_in_blocks(bits):
    made = with_tap(network(Precision.parse(bits), shape=SHAPE), SHAPE)
    early = replace(made, taps=(replace(made.taps[0], after=0),))
    image = pixels(1, SHAPE)
    for tapped, plans in ((made, PLANS), (early, PLANS[-2:])):
        wanted = Vit(tapped).run(image)
        for plan in plans:
            machine = Machine(planned(tapped, plan), image[0])
            machine.run()
            assert (machine.logits == wanted.logits[0]).all(), plan


def test_the_plan_with_the_fewest_cycles_is_taken():
    made = network(Precision(8, 8), shape=SHAPE)
    core = replace(SMALL, sram_kib=3)
    program, (plain, *others) = compile_network(made, core), kinds(made, core)
    with pytest.raises(DoesNotFit, match="scratchpad must have 4 KiB"):
        compiler._coarsest(plain, made, core, {}, {})
    found = [compiler._coarsest(plan, made, core, {}, {}) for plan in others]
    spent = [sum(cycles(one, USUAL)) for one in found]
    assert len(set(spent)) > 1
    assert sum(cycles(program, USUAL)) == min(spent)
    assert program.scratchpad_bytes <= 3 * 1024 < compile_network(made, SMALL).scratchpad_bytes
    assert estimate_program(program).cycles == min(spent)


def test_the_plan_is_that_for_the_memory():
    made = network(Precision(8, 8), shape=replace(SHAPE, depth=3))
    core = replace(SMALL, sram_kib=3)
    found = {memory: compile_network(made, core, memory=memory)
             for memory in (USUAL, MemoryModel(20, 0.25))}
    for memory, program in found.items():
        assert sum(cycles(program, memory)) == min(sum(cycles(each, memory))
                                                   for each in found.values())
    assert [each.about["plan"]["ahead"] for each in found.values()] == [True, False]


@pytest.mark.parametrize("sram", [9, 12, 16])
def test_no_plan_with_fewer_blocks_would_fit(sram):
    shape = replace(SHAPE, image=40)
    made, core = network(Precision(8, 8), shape=shape), replace(SMALL, sram_kib=sram)
    found = 0
    for plan in kinds(made, core):
        try:
            about = compiler._coarsest(plan, made, core, {}, {}).about["plan"]
        except DoesNotFit:
            continue
        taken, found = Plan(**{name: about[name] for name in asdict(plan)}), found + 1
        for phase in PHASES:
            fewer = [count for count in counts(phase, made, core) if count < getattr(taken, phase)]
            if fewer:
                with pytest.raises(DoesNotFit, match="scratchpad"):
                    planned(made, replace(taken, **{phase: fewer[-1]}), core)
    assert found


def test_what_fits_has_no_plan():
    assert "plan" not in compile_network(network(Precision(8, 8), shape=SHAPE), SMALL).about


def test_bytes_that_are_stored_are_counted():
    made = network(Precision(8, 8), shape=SHAPE)
    program = compile_network(made, replace(SMALL, sram_kib=2))
    plan = program.about["plan"]
    assert plan["heads"]
    assert plan["residual"]
    stream = 2 * SHAPE.tokens * SHAPE.dim
    heads = -(-SHAPE.tokens // SMALL.rows) * SMALL.rows * SHAPE.dim
    assert plan["stored_bytes"] == (1 + SHAPE.depth) * stream + SHAPE.depth * heads
    one = 2 * SHAPE.dim
    twice = SHAPE.depth - plan["ahead"] * (SHAPE.depth - 1)  # blocks that load the stream twice
    assert plan["loaded_bytes"] == (SHAPE.depth + twice) * stream + SHAPE.depth * heads + one
    layers = {row.layer for row in estimate_program(program).costs}
    assert {"blocks.1.mlp.fc1", "blocks.1.attn", "patch_embed", ""} <= layers
    macs = estimate_program(compile_network(made, SMALL)).sum("macs")
    assert estimate_program(program).sum("macs") == macs


def test_weights_come_once_for_each_block():
    made = network(Precision(8, 8), shape=SHAPE)
    once, thrice = (planned(made, Plan(mlp=count)) for count in (1, 3))

    def products(program):
        return sum(op.opcode is Opcode.GEMM and op.weights == Source.STREAM
                   for _, op in program.instructions())
    assert products(thrice) - products(once) == SHAPE.depth * 2 * 2


@pytest.mark.parametrize(("rows", "count", "unit"), [
    (17, 1, 4), (17, 2, 4), (17, 5, 4), (197, 3, 8), (14, 4, 1), (5, 3, 16)])
def test_blocks_are_all_rows_one_behind_the_other(rows, count, unit):
    made = list(blocks(rows, count, unit))
    assert [row for first, size in made for row in range(first, first + size)] == list(range(rows))
    assert 1 <= len(made) <= count
    assert all(first % unit == 0 for first, _ in made)
    assert len({size for _, size in made[:-1]}) <= 1


def test_a_finer_plan_has_more_blocks_until_each_is_a_tile():
    made, plan, seen = network(Precision(8, 8), shape=SHAPE), Plan(), []
    while plan:
        seen.append(plan.mlp)
        plan = finer(plan, "mlp", made, SMALL)
    assert seen == [1, 2, 5]


def test_heads_are_stored_where_they_begin_in_one_bank():
    made = network(Precision(8, 8), shape=replace(SHAPE, heads=4))
    assert any(plan.heads for plan in kinds(made, SMALL))
    assert not any(plan.heads for plan in kinds(made, CORES["8x16"]))


def test_the_command_says_what_was_planned(tmp_path, capsys):
    made = network(Precision(8, 8), shape=SHAPE)
    model = quantized_model.QuantizedModel(made, {})
    quantized_model.save(model, tmp_path / "m.safetensors")
    words = ["--model", str(tmp_path / "m.safetensors"), "--core", "4x4", "--sram", "3", "--out",
             str(tmp_path / "program")]
    assert compile_command.main(words) == 0
    shown = capsys.readouterr().out
    assert compile_command.main([*words, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert f"plan: {plan_line(plan)}; {plan['cycles']:,} cycles" in shown
