"""The Verilator harness, with a small component in the place of the core."""

import json
import re
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from math import floor

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import Layout, Opcode, make
from golden.core.program import Program, Region, Tensor
from golden.memory import scratchpad
from golden.memory.scratchpad import READ_LATENCY, stride_of
from sim import simulate
from sim.cli import UserError
from sim.harness import core_build, verilator
from sim.harness.disturbance import REGULAR, Disturbance
from sim.harness.expected import golden_run, locate
from tests.cases.stand_in import StandIn

CONFIG = replace(CORES["4x4"], sram_kib=1)
WIDER = replace(CONFIG, rows=8, cols=8, lanes=8, bus_bytes=8)
FETCH = 32  # beats of an instruction
STREAM, LOGITS = 1024, 512


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr(core_build, "core_verilog", lru_cache(core_build.core_verilog))
        patch.setenv("VERNIER_CACHE", str(folder))
        yield folder / "verilator"


def program_of(*ops, config=CONFIG, tensors=(), seed=1):
    """Random bytes, then the instructions."""
    stream = b"".join(op.encode() for op in (*ops, make(Opcode.END)))
    memory = np.random.default_rng(seed).integers(0, 256, STREAM, dtype=np.uint8).tobytes()
    return Program(config, memory + stream, Region(STREAM, len(stream)), Region(0, 48),
                   Region(LOGITS, 40), 4, 20, 4, tuple(tensors),
                   {"model": "stand-in", "bits": "w8a8"})


LOAD = make(Opcode.LOAD, address=64, dest=3, words=5)
STORE = make(Opcode.STORE, address=LOGITS, source=3, words=5)
NORM = make(Opcode.NORM, m=1, n=4)
ENDLESS = make(Opcode.SOFTMAX, m=1, n=4)


def run(program, **options):
    return verilator.run(program, factory=StandIn, **options)


@pytest.mark.verilator
@pytest.mark.parametrize(("latency", "bandwidth", "pace"), [
    (1, 4, 1), (20, 4, 1), (20, 100, 1), (7, 2, 2), (9, 3, Fraction(4, 3)), (9, 0.5, 8)])
def test_memory_has_its_latency_and_bandwidth(latency, bandwidth, pace):
    def burst(beats):
        return floor((beats - 1) * pace) + latency

    result = run(program_of(LOAD, LOAD), latency=latency, bandwidth=bandwidth, check=True)
    load = burst(FETCH) + 3 + burst(10) + 2
    assert result.ok
    assert result.instruction_cycles == [1 + load, load, burst(FETCH) + 3]
    assert result.cycles == sum(result.instruction_cycles)
    assert (result.reads, result.writes) == (3 * FETCH + 20, 0)


@pytest.mark.verilator
def test_ideal_memory_answers_in_the_next_cycle_and_takes_a_write_per_cycle():
    program = program_of(LOAD, STORE)
    result = run(program, ideal=True, latency=99, bandwidth=0.1, check=True)
    fetch = FETCH + 3
    waited = (5 + 1) * (READ_LATENCY - 1)  # for words, one of them in vain
    assert result.instruction_cycles == [1 + fetch + 12, fetch + 5 * 3 + 2 + waited, fetch]
    assert (result.reads, result.writes) == (3 * FETCH + 10, 10)
    assert result.counters == {"cycles": result.cycles - 1, "array": result.cycles - 1,
                               "responses": 3 * FETCH + 20}
    assert result.memory[LOGITS:LOGITS + 40].tobytes() == program.memory[64:104]
    assert result.scratchpad[3:8].tobytes() == program.memory[64:104]
    assert not result.scratchpad[:3].any()
    assert not result.scratchpad[8:].any()
    assert result.scratchpad.shape == (CONFIG.scratchpad_words, CONFIG.rows)


@pytest.mark.verilator
@pytest.mark.parametrize(("latency", "interval", "pause"), [(1, 16, 5), (1, 50, 49), (20, 40, 13)])
def test_nothing_passes_while_memory_is_refreshed(latency, interval, pause):
    def passing(cycle):
        return cycle if cycle % interval < interval - pause else cycle + -cycle % interval

    def burst(first, beats):
        """Cycle of the last response, if the first request comes at `first`."""
        request, response = first - 1, 0
        for _ in range(beats):
            request = passing(request + 1)
            response = passing(max(response + 1, request + latency))
        return response

    result = run(program_of(LOAD, LOAD), latency=latency, bandwidth=100, check=True,
                 disturbance=Disturbance(None, interval, pause))
    assert result.ok
    end, ends = 1, []
    for _ in range(2):
        end = burst(burst(end, FETCH) + 3, 10) + 2
        ends.append(end)
    assert np.cumsum(result.instruction_cycles).tolist() == [*ends, burst(end, FETCH) + 3]
    assert (result.reads, result.writes) == (3 * FETCH + 20, 0)


@pytest.mark.verilator
def test_random_stalls_are_those_of_the_seed_and_change_no_results():
    program = program_of(LOAD, STORE, LOAD, STORE)
    plain = run(program, ideal=True)
    runs = [run(program, ideal=True, check=True, disturbance=Disturbance(seed))
            for seed in (0, 1, 2, 3, 1)]
    cycles = [result.cycles for result in runs]
    assert cycles[1] == cycles[-1]
    assert len(set(cycles)) == 4
    assert min(cycles) > plain.cycles
    for result in runs:
        assert result.ok, result.message
        assert (result.reads, result.writes) == (plain.reads, plain.writes)
        assert (result.memory == plain.memory).all()
        assert (result.scratchpad == plain.scratchpad).all()


@pytest.mark.parametrize(("values", "message"), [
    ((-1,), "seed must be within 0"), ((1 << 64,), "seed must be within 0"),
    ((1, 10, 10), r"pause must be within 1\.\.9, not 10"),
    ((None, 10, 0), r"pause must be within 1\.\.9, not 0"),
    ((None, 0, 3), r"pause must be within 0\.\.0, not 3"),
])
def test_a_disturbance_lets_something_through(values, message):
    with pytest.raises(ValueError, match=message):
        Disturbance(*values)


def test_a_disturbed_run_has_more_patience():
    assert Disturbance(None, 100, 75).longest(1000) == 4000
    assert Disturbance(1).longest(1000) > 10_000
    assert REGULAR.longest(1000) == 1000


@pytest.mark.verilator
def test_pixels_go_where_the_image_is():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    program = program_of(make(Opcode.LOAD, address=0, dest=0, words=6))
    result = run(program, pixels=pixels, check=True)
    assert result.ok
    assert result.scratchpad[:6].tobytes() == pixels.tobytes()


@pytest.mark.verilator
def test_another_bus_and_array_and_a_response_that_is_always_taken(cache):
    factory = partial(StandIn, always_ready=True)
    before = set(cache.iterdir()) if cache.exists() else set()
    result = verilator.run(program_of(LOAD, make(Opcode.STORE, address=LOGITS, source=3, words=2),
                                      config=WIDER), factory=factory, check=True, ideal=True)
    assert result.ok
    waited = (2 + 1) * (READ_LATENCY - 1)
    assert result.cycles == 1 + (16 + 3 + 12) + (16 + 3 + 2 * 3 + 2 + waited) + 16 + 3
    assert len(set(cache.iterdir()) - before) == 1


@pytest.mark.verilator
@pytest.mark.parametrize(("ops", "options", "message"), [
    ([LOAD, NORM], {}, r"illegal instruction at instruction 1 \(NORM\) in cycle \d+"),
    ([make(Opcode.LOAD, address=1 << 20, dest=0, words=2)], {}, r"bus error at instruction 0"),
    ([make(Opcode.STORE, address=1 << 20, source=0, words=2)], {}, r"bus error at instruction 0"),
    ([LOAD], {"stream": 1026}, r"bus error at instruction 0"),
    ([LOAD, LOAD], {"fail_at": 2 * FETCH + 10 - 1}, r"bus error at instruction 1 \(LOAD\)"),
])
def test_the_core_complains(ops, options, message):
    result = run(program_of(*ops), **options)
    assert (result.outcome, result.ok) == ("done", False)
    assert re.match(message, result.message)


@pytest.mark.verilator
def test_an_injected_error_changes_nothing_in_memory():
    program = program_of(LOAD, STORE)
    result = run(program, fail_at=2 * FETCH + 10)  # the first write
    assert result.status == 2
    at = program.memory[LOGITS:LOGITS + 4]
    assert result.memory[LOGITS:LOGITS + 4].tobytes() == at


@pytest.mark.verilator
def test_a_hang_ends_and_says_where(tmp_path):
    shown = []
    program = program_of(LOAD, ENDLESS)
    result = run(program, watchdog=8_000_000, progress=lambda *args: shown.append(args))
    assert result.outcome == "hang"
    assert result.message.startswith("hang at instruction 1 (SOFTMAX): nothing was completed in "
                                     "the last 8000000 cycles, the memory port was last used in "
                                     "cycle 1")
    assert result.cycles == result.instruction_cycles[0] + 8_000_000
    assert shown
    index, cycles, speed = shown[-1]
    assert (index, 0 < cycles < result.cycles, speed > 0) == (1, True, True)
    shorter = run(program, watchdog=500)
    assert shorter.cycles == shorter.instruction_cycles[0] + 500


@pytest.mark.verilator
@pytest.mark.parametrize("options", [{"reset_at": 3}, {"reset_at": 75}, {"reset_at": 150},
                                     {"runs": 3}])
def test_a_core_runs_again_after_a_reset_and_after_a_run(options):
    program = program_of(LOAD, STORE)
    once = run(program, check=True)
    again = run(program, check=True, **options)
    assert again.ok
    assert (again.cycles, again.counters) == (once.cycles, once.counters)
    assert again.instruction_cycles == once.instruction_cycles
    assert (again.reads, again.writes) == (once.reads, once.writes)
    assert (again.scratchpad == once.scratchpad).all()
    assert (again.memory == once.memory).all()
    assert again.simulated > once.simulated


X = Tensor("x", 3, 1, Layout.WIDE, 5, 4, True, 0, 0, 2)


def changed(program, address, value):
    memory = bytearray(program.memory)
    memory[address] = value
    return replace(program, memory=bytes(memory))


@pytest.mark.verilator
def test_a_check_stops_at_the_first_difference_and_names_the_element(tmp_path):
    program = program_of(LOAD, LOAD, STORE, tensors=[replace(X, first=1, written=1)])
    place = 64 + 2 * (2 * 4 + 3)  # low byte of row 2, column 3
    program = changed(program, place + 1, 0)
    other = changed(changed(program, place, program.memory[place] ^ 8), place + 8, 77)
    result = run(program, check=golden_run(other))
    low = program.memory[place]
    assert result.outcome == "mismatch"
    assert result.instruction_cycles == run(program).instruction_cycles[:1]
    assert result.message.startswith(f"instruction 0: dest[2, 3] is {low}, not {low ^ 8} (word")
    trace = tmp_path / "x.vcd"
    named = replace(program, tensors=(X,))
    result = run(named, check=golden_run(other), trace=trace)
    assert result.message == (
        f"instruction 0: x[2, 3] is {low}, not {low ^ 8} (word 0x5 bank 3 is 0x00{low:02x}, not "
        f"0x00{low ^ 8:02x}; 2 banks differ): LOAD dest=0x3 address=0x40 words=5")
    assert result.trace == trace
    assert times(trace)[0] == 0  # the cycle is among the first thousand


def times(trace):
    return [int(line[1:]) for line in trace.read_text().splitlines() if line.startswith("#")]


@pytest.mark.verilator
def test_a_trace_is_made_around_the_write_that_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(verilator, "_AROUND", 3)
    program = program_of(LOAD)
    trace = tmp_path / "x.vcd"
    result = run(program, check=golden_run(changed(program, 64, 1)), trace=trace, latency=50)
    assert result.cycles == 1 + (FETCH - 1 + 50 + 3) + (9 + 50 + 2)
    seen = 1 + (FETCH - 1 + 50 + 3) + 50 + 2  # the first cycle with the value in the memory
    assert times(trace)[0] == 10 * (seen - 3)
    assert times(trace)[-1] == 10 * (seen + 3) - 5


@pytest.mark.verilator
def test_a_trace_of_a_window(tmp_path):
    trace = tmp_path / "x.vcd"
    result = run(program_of(LOAD), trace=trace, window=(50, 60))
    assert (result.ok, result.trace) == (True, trace)
    assert (times(trace)[0], times(trace)[-1]) == (500, 595)
    assert "counter_cycles" in trace.read_text()


def test_a_trace_must_have_a_known_format():
    with pytest.raises(UserError, match=r"must be a file named \*\.vcd or \*\.fst, not x\.txt"):
        run(program_of(LOAD), trace="x.txt")


@pytest.mark.verilator
def test_a_check_finds_stray_writes_and_wrong_stores():
    program = program_of(LOAD)
    shorter = program_of(make(Opcode.LOAD, address=64, dest=3, words=4))
    result = run(program, check=golden_run(shorter))
    assert result.difference.place == 7
    result = run(shorter, check=golden_run(program))
    assert result.difference.place == 7
    assert not result.difference.written
    assert "word 0x7 bank 0, is 0x0000" in result.message
    assert "where it should not write" in result.message

    program = program_of(LOAD, STORE)
    wrong = changed(program_of(LOAD, make(Opcode.STORE, address=LOGITS, source=4, words=4)), 0, 0)
    result = run(program, check=golden_run(wrong))
    assert (result.difference.instruction, result.difference.bank) == (1, None)
    assert result.message.startswith("instruction 1: logits, memory 0x200, is 0x")


@pytest.mark.verilator
def test_a_check_does_not_run_beyond_what_is_expected():
    result = run(program_of(LOAD, LOAD), check=golden_run(program_of(LOAD)))
    assert result.outcome == "protocol"
    assert result.message.startswith("there were more instructions than the program has, at "
                                     "instruction 2 (END) in cycle")


@pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.name)
def test_elements_are_found_in_every_layout(layout):
    rng = np.random.default_rng(layout)
    rows, cols = 11, 21
    stride = stride_of(layout, rows, cols, CONFIG) + 1
    tensor = Tensor("t", 5, stride, layout, rows, cols, True, 0, 0, 0)
    program = program_of(tensors=[tensor])
    limit = 1 << layout.bits - 1
    values = rng.integers(-limit, limit, (rows, cols))
    write = {Layout.WIDE: scratchpad.write_wide, Layout.OPERAND8: scratchpad.write_operand,
             Layout.OPERAND4: scratchpad.write_operand}.get(layout, scratchpad.write_weights)
    extra = {Layout.WIDE: (), Layout.OPERAND8: (layout,), Layout.OPERAND4: (layout,)}.get(
        layout, (layout, CONFIG))

    def stored(values):
        memory = scratchpad.empty(CONFIG)
        write(memory, 5, stride, values, *extra)
        return memory

    before = stored(values)
    for _ in range(30):
        row, col = int(rng.integers(rows)), int(rng.integers(cols))
        after = values.copy()
        after[row, col] ^= 1
        memory = stored(after)
        (word, bank), = np.argwhere(memory != before)
        found = locate(program, scratchpad=True, instruction=None, place=int(word),
                       bank=int(bank), expected=int(before[word, bank]),
                       actual=int(memory[word, bank]), count=1)
        assert (found.tensor, found.row, found.col) == ("t", row, col)
        assert found.values == (values[row, col], after[row, col])


def test_what_lies_there_now_is_named_rather_than_what_lay_there_before():
    old = Tensor("old", 3, 1, Layout.WIDE, 5, 4, True, 0, 0, 3)
    new = replace(old, name="new", first=2, written=2, last=9)
    for tensors in ([old, new], [new, old]):
        program = program_of(LOAD, LOAD, LOAD, tensors=tensors)
        where = {"scratchpad": True, "place": 4, "bank": 1, "expected": 1, "actual": 0, "count": 1}
        assert locate(program, instruction=2, **where).tensor == "new"
        assert locate(program, instruction=0, **where).tensor == "old"
        assert locate(program, instruction=None, **where).tensor == "new"


@pytest.mark.parametrize(("options", "message"), [
    ({"latency": 0}, "latency must be"),
    ({"bandwidth": 0}, "bytes per cycle must be 1/1000 or more, not 0"),
    ({"runs": 0}, "runs must be")])
def test_run_refuses_what_makes_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        run(program_of(LOAD), **options)


@pytest.fixture
def stood_in(monkeypatch):
    build = verilator.build
    monkeypatch.setattr(verilator, "build", lambda config, factory=None, trace=None:
                        build(config, factory=StandIn, trace=trace))


@pytest.mark.verilator
def test_the_command_prints_a_table_that_fits(stood_in, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    program_of(LOAD, STORE).save(tmp_path / "p")
    assert simulate.main([str(tmp_path / "p"), "--random", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert lines[-1] == "equal to the golden machine"
    assert any(line.split() == ["LOAD", "86"] for line in lines)
    assert any(line.startswith("class ") and line.endswith(" %") for line in lines)


@pytest.mark.verilator
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_the_command_says_what_differs(check, stood_in, monkeypatch, tmp_path, capsys):
    program = program_of(LOAD, tensors=[X])
    other = program_of(LOAD, seed=2)
    monkeypatch.setattr(simulate, "golden_run", lambda *args: golden_run(replace(
        program, memory=other.memory[:256] + program.memory[256:])))
    program.save(tmp_path / "p")
    words = [str(tmp_path / "p"), "--random", "1", "--json", *check]
    monkeypatch.chdir(tmp_path)
    assert simulate.main(words) == 1
    made = json.loads(capsys.readouterr().out)
    assert (made["equal"], made["outcome"]) == (False, "mismatch" if check else "done")
    assert any("x[0, 0] is " in line for line in made["differs"])
    traces = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.vcd")]
    assert traces == ([made["trace"]] if check else [])


@pytest.mark.verilator
def test_the_options_reach_the_memory(stood_in, tmp_path, capsys):
    program_of(LOAD).save(tmp_path / "p")
    cycles = {}
    for options in ("--ideal", "--latency 30", "--bandwidth 1"):
        assert simulate.main([str(tmp_path / "p"), "--random", "1", "--json",
                              *options.split()]) == 0
        cycles[options] = json.loads(capsys.readouterr().out)["cycles"]
    plain = 1 + 2 * (FETCH - 1) + 9 + 3 + 2 + 3
    assert cycles == {"--ideal": plain + 3, "--latency 30": plain + 90,
                      "--bandwidth 1": plain + 60 + 3 * (2 * (FETCH - 1) + 9)}


@pytest.mark.verilator
@pytest.mark.parametrize("options", ["--memory-seed 5", "--refresh 40 10",
                                     "--memory-seed 5 --refresh 40 10"])
def test_disturbances_reach_the_memory(options, stood_in, tmp_path, capsys):
    program_of(LOAD).save(tmp_path / "p")
    words = options.split()
    seed = 5 if "--memory-seed" in words else None
    refresh = (40, 10) if "--refresh" in words else ()
    assert simulate.main([str(tmp_path / "p"), "--random", "1", "--json", *words]) == 0
    wanted = run(program_of(LOAD), disturbance=Disturbance(seed, *refresh))
    assert json.loads(capsys.readouterr().out)["cycles"] == wanted.cycles
    assert wanted.cycles > run(program_of(LOAD)).cycles


@pytest.mark.parametrize(("words", "message"), [
    (["--random", "1"], "cannot read .*: No such file or directory; sim.compile makes programs"),
    ([], "one of the arguments --image --random is required"),
    (["--random", "1", "--latency", "0"], "--latency: must be a positive integer, not '0'"),
    (["--random", "1", "--bandwidth", "-1"], "--bandwidth: must be a positive number, not '-1'"),
    (["--random", "1", "--memory-seed", "-1"], "--memory-seed: must be an integer within 0"),
    (["--random", "1", "--refresh", "9", "9"], r"--refresh: pause must be within 1\.\.8, not 9$"),
    (["--random", "1", "--refresh", "0", "9"], "--refresh: must be a positive integer, not '0'"),
])
def test_mistakes_are_one_line(words, message, tmp_path, capsys):
    try:
        status = simulate.main([str(tmp_path / "p"), *words])
    except SystemExit as stopped:  # from the parser
        status = stopped.code
    assert status == 2
    assert re.search(message, capsys.readouterr().err.strip().splitlines()[-1])


def test_a_program_must_say_how_images_are_prepared(tmp_path, capsys):
    program_of(LOAD).save(tmp_path / "p")
    assert simulate.main([str(tmp_path / "p"), "--image", "x.png"]) == 2
    assert "does not say how its images are prepared; use --random" in capsys.readouterr().err
