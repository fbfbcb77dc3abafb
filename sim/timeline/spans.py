"""When each unit of a core is at work in a run of a program, as the model of its cycles has it.

All of it is exact to the cycle, with cycle 0 that of the `start` of the run, but for two things: a
unit that waits in the middle of its work is shown at work, and how long is said beside it; and the
words of the stream that one instruction takes are one span, however memory paces them.
"""

from dataclasses import dataclass, field
from itertools import accumulate

from golden.core.isa import Opcode
from golden.core.program import Program
from golden.cycles.timing import Step, Timing

INSTRUCTION = "instruction"

UNITS = {
    INSTRUCTION: "the instruction that is done",
    "fetch": "sequencer: an instruction is taken out of the stream and its exponents are added up",
    "constants": "constants are taken before anything else",
    "stream": "words of the stream come from memory, for the instruction that is named",
    "transfer": "DMA: image and embedding come from memory, logits go there",
    "array": "from the start of a product to its last operands",
    "epilogue": "from the first result of a product to the last word written",
    "layer norm": "rows are normalised",
    "softmax": "rows of scores become probabilities",
    "range unit": "results of a product that is tapped are watched",
    "prediction": "range unit and scale unit turn what was watched into scales",
}
"""What a core consists of here, and when each is said to be at work."""

_UNIT_OF = {Opcode.LOAD: "transfer", Opcode.STORE: "transfer", Opcode.PATCHES: "transfer",
            Opcode.NORM: "layer norm", Opcode.SOFTMAX: "softmax", Opcode.PREDICT: "prediction",
            Opcode.MEASURE: "range unit", Opcode.QUANTIZE: "epilogue"}


@dataclass(frozen=True, slots=True)
class Span:
    """Cycles in which a unit is at work.

    Attributes
    ----------
    unit
        One of :data:`UNITS`.
    start, cycles
        The first of them, and how many; one at least.
    instruction
        Index of the instruction that it is for.
    details
        More numbers, by name.
    """

    unit: str
    start: int
    cycles: int
    instruction: int
    details: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Resident:
    """A tensor in the scratchpad.

    Attributes
    ----------
    name
        As in the program, like ``3.q.0``.
    address, size
        Of its place, in bytes.
    start, cycles
        The first cycle of the first instruction that writes it, and the cycles from there to the
        end of the last one that needs it.
    """

    name: str
    address: int
    size: int
    start: int
    cycles: int


def spans_of(timing: Timing) -> list[Span]:
    """Return when the units are at work; those of a unit come in order and do not overlap."""
    spans, start, word = [], 0, 0
    for index, step in enumerate(timing.steps):
        spans += [Span(unit, first, cycles, index, details)
                  for unit, first, cycles, details in _of_step(step, start) if cycles]
        if step.words:
            first, last = (int(timing.arrived[at]) for at in (word, word + step.words - 1))
            spans.append(Span("stream", first, last + 1 - first, index, {"words": step.words}))
        start += step.cycles
        word += step.words
    return spans


def _of_step(step: Step, start: int):
    """Yield unit, first cycle, cycles and details of an instruction that begins in a cycle."""
    op = step.instruction
    run = start + step.fetch + step.constants
    yield INSTRUCTION, start, step.cycles, {}
    yield "fetch", start, step.fetch, {}
    yield "constants", start + step.fetch, step.constants, {}
    if op.opcode is Opcode.GEMM:
        yield ("array", run, step.array + step.weights + step.drain,
               {"operands": step.array, "waits for operands": step.weights,
                "waits for room": step.drain})
        end = run + step.run
        yield "epilogue", end - step.results, step.results, {}
        if op.tap:
            yield "range unit", end - step.results, step.results, {}
    elif op.opcode in _UNIT_OF:
        yield _UNIT_OF[op.opcode], run, step.run, {}


def instructions_of(cycles: list[int]) -> list[Span]:
    """Return the spans of instructions alone, from the cycles of each in a run."""
    starts = accumulate(cycles, initial=0)
    return [Span(INSTRUCTION, start, count, index)
            for index, (start, count) in enumerate(zip(starts, cycles, strict=False)) if count]


def residents(program: Program, cycles: list[int]) -> list[Resident]:
    """Return what lies in the scratchpad when, from the cycles of each instruction."""
    starts = list(accumulate(cycles, initial=0))
    word = program.config.word_bytes
    return [Resident(tensor.name, tensor.address * word, tensor.words(program.config) * word,
                     starts[tensor.first], starts[tensor.last + 1] - starts[tensor.first])
            for tensor in program.tensors if tensor.last + 1 < len(starts)]


def occupied(tensors: list[Resident]) -> list[tuple[int, int]]:
    """Return the bytes that tensors take, as (cycle, bytes from then on), where that changes."""
    changes: dict[int, int] = {}
    for one in tensors:
        changes[one.start] = changes.get(one.start, 0) + one.size
        end = one.start + one.cycles
        changes[end] = changes.get(end, 0) - one.size
    points, total = [], 0
    for cycle in sorted(changes):
        if changes[cycle]:
            total += changes[cycle]
            points.append((cycle, total))
    return points
