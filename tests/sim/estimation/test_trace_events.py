"""Timelines: exact, a track for each unit, in the format that Perfetto opens."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.cycles.memory_model import USUAL, MemoryModel
from golden.network.precision import Precision
from sim import estimate, simulate
from sim.compiler import compile_network
from sim.estimation.program_costs import estimate_program
from sim.estimation.trace_events import trace_events
from sim.harness.expected import golden_run
from sim.timeline.spans import UNITS, occupied, residents, spans_of
from tests.cases.networks import network
from tests.sim.compiler.test_compiler import SHAPE
from tests.sim.test_emulate import with_tap

MEMORIES = [USUAL, MemoryModel(50, 0.7)]


def estimated(memory=USUAL, *, bits="w8a8", jit=False):
    made = network(Precision.parse(bits), shape=SHAPE)
    program = compile_network(made if jit else with_tap(made, SHAPE), CORES["4x4"],
                              {"model": "small"}, jit=jit)
    return estimate_program(program, memory, 50.0)


@pytest.fixture(scope="module", params=MEMORIES, ids=["fast", "slow"])
def result(request):
    return estimated(request.param)


def of(spans, unit):
    return [span for span in spans if span.unit == unit]


def test_spans_add_up_to_the_estimate(result):
    spans, timing = spans_of(result.timing), result.timing
    cycles = {unit: sum(span.cycles for span in of(spans, unit)) for unit in UNITS}
    by_kind = {row.kind: row.cycles for row in result.kinds}
    assert cycles["instruction"] == result.cycles == sum(by_kind.values())
    assert cycles["fetch"] == timing.sum("fetch")
    assert cycles["constants"] == timing.sum("constants")
    assert cycles["array"] == sum(timing.sum(name) for name in ("array", "weights", "drain"))
    for unit, kinds in (("transfer", ("LOAD", "STORE", "PATCHES")), ("softmax", ("SOFTMAX",)),
                        ("layer norm", ("NORM",)), ("prediction", ("PREDICT",))):
        steps = [step for step in timing.steps if step.instruction.opcode.name in kinds]
        assert cycles[unit] == sum(step.run for step in steps) > 0
    operands = sum(span.details["operands"] for span in of(spans, "array"))
    assert operands == result.sum("array")


def test_spans_of_a_unit_follow_each_other_within_the_run(result):
    spans = spans_of(result.timing)
    for unit in UNITS:
        end = 0
        for span in of(spans, unit):
            assert span.cycles > 0
            assert span.start >= end, (unit, span)
            end = span.start + span.cycles
        assert end <= result.cycles


def test_work_is_within_its_instruction_and_words_come_before_it_ends(result):
    spans = spans_of(result.timing)
    ends = [span.start + span.cycles for span in of(spans, "instruction")]
    for span in spans:
        end = span.start + span.cycles
        assert end <= ends[span.instruction]
        if span.unit == "epilogue":
            assert end == ends[span.instruction]
        if span.unit not in ("stream", "instruction"):
            assert span.start >= (ends[span.instruction - 1] if span.instruction else 0)
    words = sum(span.details["words"] for span in of(spans, "stream"))
    assert words * result.program.config.cols == result.program.stream.size


def test_a_product_drains_while_it_multiplies(result):
    spans = spans_of(result.timing)
    assert len(of(spans, "array")) == len(of(spans, "epilogue"))
    for array, epilogue in zip(of(spans, "array"), of(spans, "epilogue"), strict=True):
        assert array.start < epilogue.start
        assert epilogue.start + epilogue.cycles > array.start + array.cycles
    tapped = of(spans, "range unit")
    assert [result.costs[span.instruction].name for span in tapped] == ["0.x"]


def test_a_trace_has_the_format_of_trace_events(result):
    trace = json.loads(json.dumps(trace_events(result)))
    assert trace["displayTimeUnit"] in ("ms", "ns")
    assert trace["otherData"]["cycles"] == result.cycles
    threads = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"]
               if event["name"] == "thread_name"}
    assert set(threads.values()) == set(UNITS)
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        assert isinstance(event["args"], dict)
        if event["ph"] == "X":
            assert threads[event["tid"]] == event["cat"]
            assert event["ts"] == pytest.approx(event["args"]["start"] / 50)
            assert event["dur"] == pytest.approx(event["args"]["cycles"] / 50)
        else:
            assert event["ph"] in ("C", "M")
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(spans) == len(spans_of(result.timing))
    assert sum(event["args"]["cycles"] for event in spans
               if event["cat"] == "instruction") == result.cycles
    assert "blocks.0.mlp.fc1" in {event["args"]["layer"] for event in spans}


def test_what_lies_in_the_scratchpad():
    result = estimated()
    tensors = residents(result.program, [step.cycles for step in result.timing.steps])
    assert len(tensors) == len(result.program.tensors)
    for one in tensors:
        assert 0 <= one.address < one.address + one.size <= result.program.scratchpad_bytes
        assert 0 <= one.start < one.start + one.cycles <= result.cycles
        for other in tensors:  # none in the place of another
            apart = (one.address + one.size <= other.address
                     or other.address + other.size <= one.address
                     or one.start + one.cycles <= other.start
                     or other.start + other.cycles <= one.start)
            assert apart or one is other or one.address == other.address  # x, changed in place
    points = occupied(tensors)
    assert points[-1][1] == 0
    assert 0 < max(size for _, size in points) <= result.program.config.sram_kib * 1024


def test_measuring_has_tracks_too():
    result = estimated(jit=True)
    spans = spans_of(result.timing)
    assert of(spans, "range unit")
    measured = [step.run for step in result.timing.steps
                if step.instruction.opcode.name == "MEASURE"]
    assert [span.cycles for span in of(spans, "range unit")] == measured


def as_measured(result):
    *cycles, last, end = (step.cycles for step in result.timing.steps)
    return [*cycles, last + end]


def test_a_run_like_the_model_has_all_units_and_another_has_instructions():
    result = estimated()
    measured = as_measured(result)
    same = trace_events(result, measured)
    assert same["traceEvents"] == trace_events(result)["traceEvents"]
    measured[5] += 17
    other = trace_events(result, measured)
    events = [event for event in other["traceEvents"] if event["ph"] == "X"]
    assert {event["cat"] for event in events} == {"instruction"}
    assert [event["args"]["cycles"] for event in events] == measured
    assert other["otherData"]["cycles"] == result.cycles + 17
    assert (same["otherData"]["source"], other["otherData"]["source"]) == (
        "run, equal to the model of cycles", "run")


def test_estimate_writes_a_trace(tmp_path, capsys):
    estimated().program.save(tmp_path / "program")
    path = tmp_path / "trace.json"
    assert estimate.main(["--program", str(tmp_path / "program"), "--clock", "50",
                          "--trace-events", str(path)]) == 0
    assert json.loads(path.read_text())["traceEvents"] == json.loads(
        json.dumps(trace_events(estimated(MemoryModel(20)))))["traceEvents"]


@pytest.mark.parametrize(("argv", "message"), [
    (["--model", "mixer_s16_224"], "--trace-events needs a compiled program: "),
    (["--mapping", "generic"], "--trace-events has no meaning with --mapping generic"),
    (["--compat", "scalesim"], "--trace-events has no meaning with --compat"),
    (["--scales", "all"], "--trace-events has no meaning with --scales all")])
def test_what_has_no_cycles_has_no_trace(argv, message, tmp_path, capsys):
    path = tmp_path / "trace.json"
    assert estimate.main([*argv, "--trace-events", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"python -m sim.estimate: error: {message}")
    assert said.count("\n") == 1
    assert not path.exists()


def test_simulate_writes_a_trace(tmp_path, capsys, monkeypatch):
    result = estimated(MemoryModel(9, 2.0))
    result.program.save(tmp_path / "program")

    def run(program, pixels, *, latency, bandwidth, **_):
        timed = estimated(MemoryModel(latency, bandwidth))
        machine = golden_run(program, pixels).machine
        return SimpleNamespace(
            ok=True, outcome="done", status=0, message="", trace=None, cycles=timed.cycles,
            instruction_cycles=as_measured(timed), counters={"array": timed.sum("array")},
            memory=machine.memory, scratchpad=np.array(machine.scratchpad), reads=1, writes=1,
            seconds=1.0, speed=1.0)
    monkeypatch.setattr(simulate.verilator, "run", run)
    path = tmp_path / "trace.json"
    assert simulate.main([str(tmp_path / "program"), "--random", "1", "--latency", "9",
                          "--bandwidth", "2", "--trace-events", str(path), "--json"]) == 0
    trace = json.loads(path.read_text())
    assert trace["otherData"]["source"] == "run, equal to the model of cycles"
    assert trace["otherData"]["cycles"] == result.cycles
