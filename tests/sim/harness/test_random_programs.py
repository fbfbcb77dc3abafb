"""Random programs: golden accepts them, RTL gives the same, and every bin is covered.

``VERNIER_SEED`` sets the seed of the first program; it is in the message of whatever fails.
"""

import os

import pytest

from golden.common.formats import Mode
from golden.core.isa import Layout, Opcode, Path, Source, make
from golden.core.machine import Machine
from golden.core.program import Program, ProgramError, Region
from golden.core.rules import spans, verify
from golden.prediction.range_shape import RangeShape
from golden.product.mac_array import Activation
from rtl.core.core import Core
from rtl.results import rescale
from sim.harness import verilator
from sim.harness.expected import golden_run
from tests.cases.coverage import Coverage
from tests.cases.programs import PRODUCTS, STREAM, random_program
from tests.random_runs import CONFIGS, disturbance_of, main, memory_of, run, run_all

SEED = int(os.environ.get("VERNIER_SEED", "1"))

configs = pytest.mark.parametrize("name", CONFIGS)


@configs
@pytest.mark.parametrize("seed", range(SEED, SEED + 12))
def test_golden_accepts_a_random_program(seed, name):
    program = random_program(seed, CONFIGS[name], 40)
    verify(program)
    machine = Machine(program)
    machine.run()
    assert machine.index >= 40
    assert machine.memory[:STREAM].any()


def test_a_seed_is_one_program():
    made = [random_program(seed, CONFIGS["4x4"], 20).memory for seed in (SEED, SEED, SEED + 1)]
    assert made[0] == made[1] != made[2]
    assert memory_of(SEED) == memory_of(SEED)


def test_a_short_program_has_most_opcodes():
    opcodes = [{op.opcode for _, op in random_program(SEED, config, 60).instructions()}
               for config in CONFIGS.values()]
    assert all(len(each) >= 7 for each in opcodes)


@pytest.mark.verilator
@pytest.mark.parametrize("name", ["4x4", "4x8", "4x8-small"])
def test_rtl_equals_golden_after_every_instruction(name):
    assert run_all([name], SEED, 240, Coverage()) >= 240


def test_some_programs_have_a_disturbed_memory():
    drawn = [disturbance_of(seed) for seed in range(SEED, SEED + 40)]
    assert disturbance_of(SEED) == drawn[0]
    kinds = {(one.seed is None, one.pause == 0) for one in drawn}
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.long
@pytest.mark.verilator
def test_every_bin_is_covered(capsys):
    coverage = Coverage()
    done = run_all(CONFIGS, SEED, 8000, coverage)
    with capsys.disabled():
        print("\n".join(["", *coverage.table(), f"{done} instructions from seed {SEED} on"]))
    assert not coverage.missing()


def test_coverage_says_what_is_missing():
    coverage = Coverage()
    assert coverage.counts.keys() == dict.fromkeys(group for group, _ in coverage.missing()).keys()
    assert len(coverage.counts["products"]) == len(PRODUCTS)
    coverage.add(random_program(SEED, CONFIGS["4x4"], 30))
    missing = coverage.missing()
    assert ("opcodes", "GEMM") not in missing
    assert ("latency", "1") in missing
    assert any(line == "missing: latency: 1" for line in coverage.table())
    assert max(map(len, coverage.table())) <= 80
    assert coverage.markdown()[1].startswith("| :--")
    with pytest.raises(KeyError, match="opcodes has no bin 'X'"):
        coverage.hit("opcodes", "X")


@pytest.mark.verilator
def test_the_command_prints_a_report_and_fails_if_a_bin_is_missing(capsys):
    assert main(["--seed", str(SEED), "--instructions", "1", "--core", "4x4", "--markdown"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("| Group | Bins |")
    assert f"seed {SEED}" in shown.err


@pytest.mark.verilator
def test_a_difference_names_the_seed(monkeypatch):
    wrong = golden_run(random_program(SEED, CONFIGS["4x4"], 5))
    original = verilator.run
    monkeypatch.setattr(verilator, "run", lambda program, check, **memory:
                        original(program, check=wrong, **memory))
    with pytest.raises(AssertionError, match=f"seed {SEED + 1} on 4x4, .* instruction 0: "):
        run("4x4", SEED + 1, Coverage(), 5)


@pytest.mark.long
@pytest.mark.verilator
def test_a_wrong_bit_in_the_core_is_noticed(monkeypatch):
    monkeypatch.setattr(rescale, "OFFSET", rescale.OFFSET ^ 1)
    original = verilator.build
    monkeypatch.setattr(verilator, "build", lambda config, factory, trace:
                        original(config, factory=Core, trace=trace))
    with pytest.raises(AssertionError, match="seed .* on 4x4, .* instruction .* offset=1 "):
        run_all(["4x4"], SEED, 400, Coverage())


def program_of(*ops, config=CONFIGS["4x4"]):
    """Some bytes, then the instructions."""
    stream = b"".join(op.encode() for op in (*ops, make(Opcode.END)))
    memory = bytes(range(16, 144)) + stream
    return Program(config, memory, Region(128, len(stream)), Region(0, 0), Region(0, 64), 0, 32, 0,
                   (), {})


PRODUCT = {"weights": Source.KEYS, "m": 3, "k": 4, "n": 5, "source_stride": 2,
           "weights_address": 64, "weights_stride": 2, "dest": 128, "dest_stride": 3}
TAP = {**PRODUCT, "path": Path.WIDE, "layout": Layout.WIDE, "tap": 1,
       **RangeShape(3, 5, 1, 1, 1).registers(CONFIGS["4x4"])}


@pytest.mark.parametrize(("ops", "message"), [
    ([make(Opcode.GEMM, activation=Activation.CODE, **PRODUCT)],
     "instruction 0 at 0x80: there has been no codebook"),
    ([make(Opcode.GEMM, **TAP)] * 2,
     "instruction 1 at 0x100: there has been no PREDICT since the last tap"),
])
def test_golden_refuses_what_no_core_can_do(ops, message):
    with pytest.raises(ProgramError, match=message):
        Machine(program_of(*ops)).run()


def test_keys_are_as_narrow_as_the_weights_of_a_product():
    load = make(Opcode.LOAD, dest=64, words=16)
    found = {}
    for mode in Mode:
        product = make(Opcode.GEMM, mode=mode, **PRODUCT)
        (_, keys), _ = spans(product, CONFIGS["4x4"])
        found[mode] = keys.layout
        Machine(program_of(load, product)).run()
    assert found == {Mode.W8A8: Layout.OPERAND8, Mode.W4A8: Layout.OPERAND4,
                     Mode.W4A4: Layout.OPERAND4}
