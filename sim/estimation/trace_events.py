"""Timelines in the trace event format that Perfetto and chrome://tracing open.

The format is Google's "Trace Event Format": an object with a list ``traceEvents``; complete events
(``X``) with a beginning and a duration in microseconds, counters (``C``), and metadata (``M``).
"""

import json
from pathlib import Path

from ..cli import whole_file
from ..timeline.spans import (
    INSTRUCTION,
    UNITS,
    Span,
    instructions_of,
    occupied,
    residents,
    spans_of,
)
from .program_costs import ProgramEstimate

_PROCESS = 1


def trace_events(result: ProgramEstimate, measured: list[int] | None = None) -> dict:
    """Return a run as a trace: a track for each unit, and what the scratchpad holds.

    Parameters
    ----------
    result
        The run as the model of cycles has it.
    measured
        Cycles of each instruction in a run that was observed, those of END with the last before
        it (:class:`sim.harness.verilator.Result`). Where they are not those of the model, which
        knows no memory that stalls at random, the instructions are all there is.

    Returns
    -------
    dict
        JSON values. `ts` and `dur` are microseconds at the clock of `result`; `args` have the same
        in whole cycles.
    """
    modelled = [step.cycles for step in result.timing.steps]
    exact = measured is None or measured == [*modelled[:-2], sum(modelled[-2:])]
    cycles = modelled if exact else measured
    spans = spans_of(result.timing) if exact else instructions_of(measured)
    events = [_event(span, result) for span in spans]
    events += [{"name": "scratchpad", "ph": "C", "pid": _PROCESS, "ts": cycle / result.clock_mhz,
                "args": {"bytes": size}}
               for cycle, size in occupied(residents(result.program, cycles))]
    about = result.program.about
    config = result.program.config
    return {
        "traceEvents": [*_metadata(spans), *events],
        "displayTimeUnit": "ns",
        "otherData": {
            "model": str(about.get("model", "network")), "bits": str(about.get("bits", "")),
            "scales": str(about.get("scales", "")), "core": f"{config.rows}x{config.cols}",
            "clock_mhz": result.clock_mhz, "cycles": sum(cycles),
            "memory": result.memory.said(config),
            "source": "model of cycles" if measured is None else
                      "run, equal to the model of cycles" if exact else "run"},
    }


def write_trace(path: Path, result: ProgramEstimate, measured: list[int] | None = None) -> None:
    """Write :func:`trace_events` to a file, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(trace_events(result, measured)) + "\n")


def _metadata(spans: list[Span]) -> list[dict]:
    used = {span.unit for span in spans}

    def said(what, tid, **args):
        return {"name": what, "ph": "M", "pid": _PROCESS, "tid": tid, "args": args}

    rows = [said("process_name", 0, name="core")]
    for number, unit in enumerate(UNITS, 1):
        if unit in used:
            rows += [said("thread_name", number, name=unit),
                     said("thread_sort_index", number, sort_index=number)]
    return rows


def _event(span: Span, result: ProgramEstimate) -> dict:
    cost = result.costs[span.instruction]
    args = {"index": span.instruction, "instruction": cost.kind, "tensor": cost.name,
            "layer": cost.layer, "start": span.start, "cycles": span.cycles, **span.details}
    if span.unit == INSTRUCTION:
        args |= {"text": " ".join(str(result.timing.steps[span.instruction].instruction).split())}
    return {"name": f"{cost.kind} {cost.name}" if cost.name else cost.kind, "cat": span.unit,
            "ph": "X", "pid": _PROCESS, "tid": list(UNITS).index(span.unit) + 1,
            "ts": span.start / result.clock_mhz, "dur": span.cycles / result.clock_mhz,
            "args": args}
