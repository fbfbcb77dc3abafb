"""The core begins afresh: after a reset in any cycle, a run, and all that goes wrong."""

import os
from dataclasses import replace
from functools import cache
from itertools import count

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import INSTRUCTION_BYTES, Opcode, Status, make
from golden.core.program import Program, ProgramError, Region, align
from golden.network.precision import Precision
from sim.compiler import compile_network
from sim.harness import verilator
from sim.harness.expected import golden_run
from tests.cases.networks import network, pixels
from tests.cases.programs import random_program
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

CONFIG = CORES["4x4"]
SEED = int(os.environ.get("VERNIER_SEED", "1"))
TIMES = 6
ILLEGAL, BUS_ERROR = Status.ILLEGAL_INSTRUCTION, Status.BUS_ERROR
MEMORIES = ({}, {"ideal": True}, {"latency": 60, "bandwidth": 1})

pytestmark = pytest.mark.verilator
networks = pytest.mark.parametrize("name", ["w8a8", "w4a4"])
all_programs = pytest.mark.parametrize("name", ["w8a8", "w4a4", "transfers"])
with_an_exit = pytest.mark.parametrize("name", ["w8a8", "w4a4", "transfers", "exit"])
memories = pytest.mark.parametrize("index", range(len(MEMORIES)))


@cache
def made(name):
    """Return a program and what golden makes of it."""
    if name == "transfers":
        program = transfers()
    elif name == "exit":
        program = leaving()
    elif name == "random":
        program = _to_the_end()
    else:
        program = compile_network(network(Precision.parse(name), shape=SHAPE), CONFIG)
        program = replace(program, memory=program.with_image(pixels(1, SHAPE)[0]).tobytes())
    return program, golden_run(program)


def transfers():
    """Few and short instructions, most of which use the port for themselves."""
    ops = [make(Opcode.LOAD, address=64, dest=3, words=5),
           make(Opcode.PATCHES, m=5, k=16, address=0, run_bytes=8, grid=2, image_row_bytes=24,
                patch_row_bytes=48, dest=32, dest_stride=9),
           make(Opcode.STORE, address=512, source=3, words=6),
           make(Opcode.SOFTMAX, m=2, n=4, source=3, source_stride=1, dest=64, dest_stride=2),
           make(Opcode.STORE, address=568, source=32, words=9), make(Opcode.END)]
    stream = b"".join(op.encode() for op in ops)
    data = np.random.default_rng(SEED).integers(0, 256, 1024, dtype=np.uint8).tobytes()
    return Program(CONFIG, data + stream, Region(1024, len(stream)), Region(0, 0),
                   Region(512, 40), 0, 20, 0, (), {})


def _to_the_end():
    """The first random program that ends at its END."""
    for seed in count(SEED):
        program = random_program(seed, CONFIG, 20)
        if golden_run(program).machine.exited is None:
            return program


def leaving():
    """An EXIT that goes on, one that ends the program, and more than the ring has room for."""
    ops = [make(Opcode.LOAD, address=64, dest=3, words=5),
           make(Opcode.SOFTMAX, m=1, n=7, source=3, source_stride=2, dest=64, dest_stride=4),
           make(Opcode.EXIT, exponent=8185),
           make(Opcode.STORE, address=512, source=3, words=6),
           make(Opcode.EXIT, exponent=1 << 14),
           *[make(Opcode.LOAD, dest=32, words=9)] * 100, make(Opcode.END)]
    stream = b"".join(op.encode() for op in ops)
    data = np.random.default_rng(SEED).integers(0, 256, 1024, dtype=np.uint8).tobytes()
    return Program(CONFIG, data + stream, Region(1024, len(stream)), Region(0, 0),
                   Region(512, 40), 0, 20, 0, (), {})


def test_a_program_that_is_left_has_not_read_all_of_its_stream():
    program, expected = made("exit")
    once = reference("exit")
    assert expected.machine.exited == 4
    assert len(once.instruction_cycles) == 4
    carried_out = 5 * INSTRUCTION_BYTES // CONFIG.bus_bytes
    beats = once.reads - 5 * CONFIG.word_bytes // CONFIG.bus_bytes  # without those of LOAD
    assert carried_out < beats < program.stream.size // CONFIG.bus_bytes


@pytest.mark.parametrize("name", ["w4a4", "exit"])
def test_a_program_runs_after_one_that_was_left(name):
    program, left = made(name)[0], leaving()
    start = align(len(program.memory), CONFIG)
    # Without its store: what it reads is what the other one's memory has there.
    code = b"".join(op.encode() for _, op in left.instructions() if op.opcode is not Opcode.STORE)
    joined = replace(program, memory=program.memory.ljust(start, b"\0") + code)
    result = verilator.run(joined, check=golden_run(joined), runs=2,
                           first=Region(start, len(code)))
    same(name, replace(result, memory=result.memory[:len(program.memory)]), reference(name))


def test_what_is_cut_off_behind_an_exit_is_not_missed():
    program, stream = made("exit")[0], made("exit")[0].stream
    for instructions, status in ((4, ILLEGAL), (5, Status.FINE), (6, Status.FINE)):
        for beats in (-1, 0):
            size = instructions * INSTRUCTION_BYTES + beats * CONFIG.bus_bytes
            result = verilator.run(replace(program, stream=Region(stream.address, size)))
            whole = status if not beats or instructions == 6 else ILLEGAL
            assert (result.outcome, result.status) == ("done", whole)
            assert len(result.instruction_cycles) == min(4, size // INSTRUCTION_BYTES)


def run(name, **options):
    program, expected = made(name)
    return verilator.run(program, **({"check": expected} | options))


@cache
def reference(name, index=0):
    result = run(name, **MEMORIES[index])
    assert result.ok, result.message
    return result


def same(name, result, once):
    """Check that a run is like another one, but for what neither of them writes."""
    assert result.ok, result.message
    assert (result.cycles, result.counters) == (once.cycles, once.counters)
    assert result.instruction_cycles == once.instruction_cycles
    assert (result.memory == once.memory).all()
    assert (result.scratchpad == once.scratchpad)[made(name)[1].written].all()


def ended(result, status):
    """Check that a run has come to an end, and with which status."""
    assert (result.outcome, result.status) == ("done", status), result.message


def drawn(below, label, times=TIMES):
    """Return some of the numbers below `below`, the first and the last ones among them."""
    draw = np.random.default_rng([SEED, label])
    return [0, 1, below - 1, *map(int, draw.integers(0, below, times))]


@with_an_exit
def test_a_reset_in_any_cycle_and_a_new_start(name):
    once = reference(name)
    for cycle in drawn(once.cycles, 1, 2 * TIMES):
        same(name, run(name, reset_at=cycle), once)


@pytest.mark.long
def test_a_reset_in_every_cycle():
    once = reference("transfers")
    for cycle in range(once.cycles):
        same("transfers", run("transfers", reset_at=cycle), once)


@with_an_exit
def test_a_program_runs_again_without_a_reset(name):
    same(name, run(name, runs=3), reference(name))


@networks
def test_another_program_leaves_nothing_behind(name):
    program, _ = made(name)
    other = made("random")[0]
    steps = other.instructions()
    ends = [address for address, _ in steps[1:]] + [other.stream.address + other.stream.size]
    # Without its stores: what it reads is what the network's memory has there.
    code = b"".join(other.memory[address:end] for (address, op), end in
                    zip(steps, ends, strict=True) if op.opcode is not Opcode.STORE)
    memory = program.memory.ljust(align(len(program.memory), CONFIG), b"\0")
    joined = replace(program, memory=memory + code)
    first = Region(len(memory), len(code))
    assert verilator.run(replace(joined, stream=first)).ok
    result = verilator.run(joined, check=golden_run(joined), runs=2, first=first)
    same(name, replace(result, memory=result.memory[:len(program.memory)]), reference(name))


@memories
@with_an_exit
def test_a_bus_error_ends_the_run_and_the_next_one_is_right(name, index):
    once, memory = reference(name, index), MEMORIES[index]
    for request in drawn(once.reads + once.writes, 2):
        ended(run(name, fail_at=request, **memory), BUS_ERROR)
        same(name, run(name, fail_at=request, runs=2, **memory), once)


@memories
def test_a_bus_error_in_every_kind_of_request(index):
    once, memory = reference("transfers", index), MEMORIES[index]
    reached = set()
    for request in range(SEED % 3, once.reads + once.writes, 3):
        result = run("transfers", fail_at=request, **memory)
        ended(result, BUS_ERROR)
        reached.add(len(result.instruction_cycles))
        same("transfers", run("transfers", fail_at=request, runs=2, **memory), once)
    assert reached >= {0, 1, 2, 4}  # LOAD, PATCHES and both stores


def test_a_bus_error_never_hangs():
    once = reference("random")
    for request in drawn(once.reads + once.writes, 3, 10 * TIMES):
        ended(run("random", fail_at=request, check=False), BUS_ERROR)


@pytest.mark.parametrize("code", [0, 10, 15])
@pytest.mark.parametrize("name", ["w4a4", "transfers"])
def test_an_illegal_opcode_ends_the_run_and_the_next_one_is_right(name, code):
    program, _ = made(name)
    steps = program.instructions()
    for index in {0, 1, len(steps) // 2, len(steps) - 1}:
        place = steps[index][0]
        start = program.stream.address
        illegal = bytes([code]).ljust(INSTRUCTION_BYTES, b"\xff")
        stream = program.memory[start:place] + illegal + program.memory[place:]
        broken = replace(program, memory=program.memory[:start] + stream)
        result = verilator.run(broken)
        ended(result, ILLEGAL)
        assert result.message.startswith(f"illegal instruction at instruction {index}")
        assert len(result.instruction_cycles) == index
        memory = program.memory.ljust(align(len(program.memory), CONFIG), b"\0")
        joined = replace(program, memory=memory + stream)
        again = verilator.run(joined, check=golden_run(joined), runs=2,
                              first=Region(len(memory), align(len(stream), CONFIG)))
        assert again.ok, again.message
        assert again.cycles == reference(name).cycles


@networks
def test_predict_without_a_tap_and_a_second_tap_end_the_run(name):
    made = with_tap(network(Precision.parse(name), shape=SHAPE), SHAPE)
    program = compile_network(made, CONFIG)
    steps = program.instructions()
    ends = [address for address, _ in steps[1:]] + [program.stream.address + program.stream.size]
    code = [program.memory[address:end] for (address, _), end in zip(steps, ends, strict=True)]
    tap = next(at for at, (_, op) in enumerate(steps) if op.opcode is Opcode.GEMM and op.tap)
    predict = next(at for at, (_, op) in enumerate(steps) if op.opcode is Opcode.PREDICT)
    assert tap < predict
    for index, changed in ((predict + 1, code[:predict + 1] + code[predict:]),
                           (tap, code[:tap] + code[predict:]),
                           (tap + 1, code[:tap + 1] + code[tap:])):
        stream = b"".join(changed)
        broken = replace(program, memory=program.memory[:program.stream.address] + stream,
                         stream=Region(program.stream.address, len(stream)), tensors=())
        ended(result := verilator.run(broken), ILLEGAL)
        assert result.message.startswith(f"illegal instruction at instruction {index} ")
        with pytest.raises(ProgramError, match=f"instruction {index} .*(no tap|no PREDICT)"):
            golden_run(broken)


@memories
@all_programs
def test_a_stream_cut_short_ends_the_run_and_the_next_one_is_right(name, index):
    program, once = made(name)[0], reference(name, index)
    bus, stream, memory = CONFIG.bus_bytes, program.stream, MEMORIES[index]
    for beats in drawn(stream.size // bus, 4):
        cut = Region(stream.address, bus * beats)
        ended(verilator.run(replace(program, stream=cut), **memory), ILLEGAL)
        same(name, run(name, first=cut, runs=2, **memory), once)


def test_a_stream_cut_short_never_hangs():
    program = made("random")[0]
    for beats in drawn(program.stream.size // CONFIG.bus_bytes, 5, 10 * TIMES):
        cut = Region(program.stream.address, CONFIG.bus_bytes * beats)
        ended(verilator.run(replace(program, stream=cut)), ILLEGAL)
