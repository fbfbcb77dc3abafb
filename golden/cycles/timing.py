"""Cycles of a program on a core: of every instruction, the number that the hardware takes.

The core does one instruction at a time (:mod:`rtl.core.sequencer`), but the stream of the program
runs ahead of it, by as much as the ring holds and external memory gives, so that what an
instruction waits for depends on those before it. :func:`cycles` goes through a program from its
first cycle to its last: the stream as :mod:`golden.cycles.stream` has it; products cycle by cycle
(:mod:`golden.cycles.product_cycles`), predictions too (:mod:`golden.cycles.prediction_cycles`); the
rest in closed form, by what :mod:`golden.rows.layernorm` and :mod:`golden.rows.softmax_run` say of
their units. MEASURE and QUANTIZE, which the RTL does not have, are counted as passes at a word per
cycle, through the range unit and through the epilogue.
"""

from dataclasses import dataclass, field

import numpy as np

from ..common.checks import integer
from ..core.isa import (
    CODEBOOK_UNITS,
    FIELD_UNITS,
    GOLDEN_ONLY,
    INSTRUCTION_UNITS,
    SCALES,
    TABLE,
    Instruction,
    Opcode,
)
from ..core.program import Program, ProgramError, patch_places
from ..prediction.range_shape import RangeShape, range_cycles
from ..results.curves import LENGTH
from ..rows import layernorm, softmax_run
from .memory_model import IDEAL, MemoryModel, SdramMemory
from .prediction_cycles import prediction_cycles
from .product_cycles import EPILOGUE, PLACEMENT, READER, product_cycles
from .stream import drained, layout_of, requested, stream_of, take, transfer

START = 1
"""Cycle in which the first instruction is asked for; `start` is given in cycle 0."""

RESOLVE = 4
"""Cycles in which the exponents of an instruction are added up."""

SETTLED = START + LENGTH + 2
"""First cycle in which GELU's table is where a run has it from its beginning on."""

_SPLIT = len(SCALES)
assert len(TABLE) == _SPLIT


@dataclass(frozen=True, slots=True)
class Step:
    """What an instruction takes.

    Attributes
    ----------
    instruction
        The instruction.
    fetch, constants, run
        Cycles in which it is fetched, in which constants are taken that come before anything else,
        and all the others.
    array, weights, drain
        Cycles of a product in which the array takes operands, in which there are none for it, and
        in which it cannot take them; what is left of `run` is its beginning and its end.
    reads, writes
        Bytes of external memory that it reads, itself and its payload included, and writes. An EXIT
        that ends the program reads what has come of the stream behind it, too.
    results
        Cycles of a product from the first result that the epilogue takes to the end.
    words
        Words of the stream that it takes, itself and its payload.
    """

    instruction: Instruction
    fetch: int
    constants: int
    run: int
    array: int = 0
    weights: int = 0
    drain: int = 0
    reads: int = 0
    writes: int = 0
    results: int = 0
    words: int = 0

    @property
    def cycles(self) -> int:
        """All of them."""
        return self.fetch + self.constants + self.run


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles of a program.

    Attributes
    ----------
    steps
        Of each instruction, END or the EXIT included that ends the program. They follow each other
        without gaps, the first from the cycle of `start` on.
    arrived : int64 array, shape (words,)
        The cycle in which each word of the stream has come, the last of its responses.
    """

    steps: tuple[Step, ...]
    arrived: np.ndarray = field(compare=False, repr=False)

    def sum(self, field: str) -> int:
        """Total of a field of the steps."""
        return sum(getattr(step, field) for step in self.steps)

    @property
    def cycles(self) -> int:
        """From the cycle with `start` to the first one with `done`."""
        return self.sum("cycles")


def cycles(program: Program, memory: MemoryModel | SdramMemory = IDEAL,
           exited: int | None = None) -> list[int]:
    """Return the cycles of every instruction, END or the EXIT included that ends the program.

    Their sum is that of a run, from the cycle with `start` to the first one with `done`.
    """
    return [step.cycles for step in timing(program, memory, exited).steps]


def timing(program: Program, memory: MemoryModel | SdramMemory = IDEAL,
           exited: int | None = None, *, image_offset: int = 0, logits_offset: int = 0) -> Timing:
    """Return what every instruction of a program takes.

    Parameters
    ----------
    program
        Verified, as :func:`golden.core.rules.verify` does.
    memory
        External memory.
    exited
        Index of the EXIT that ends the program; without one, it runs to its END.
    image_offset, logits_offset
        By how many bytes image and logits are moved, as in :class:`golden.core.machine.Machine`:
        rows of a chip end elsewhere then.

    Raises
    ------
    ProgramError
        If an instruction would never end: a prediction without a tap, or a second tap without one;
        or there is no such EXIT.
    """
    return _Clock(program, memory, exited, (image_offset, logits_offset)).run()


class _Clock:
    """Goes through a program."""

    def __init__(self, program: Program, memory: MemoryModel | SdramMemory, exited: int | None,
                 offsets: tuple[int, int]):
        self._program, self._config = program, program.config
        self._stream = stream_of(program, *memory.port(self._config))
        self._layout = layout_of(self._config)
        self._word = 0  # the next one of the stream
        self._exited = exited
        self._image_offset, self._logits_offset = offsets
        self._tap: tuple[Instruction, int] | None = None

    def run(self) -> Timing:
        now, steps = START, []
        for index, op in enumerate(self._carried_out()):
            begun, first = now, self._word
            fetched = self._settled(op, self._fetch(now))
            try:
                ready, end, product = (
                    (fetched, int(drained(*self._stream, fetched)), ())
                    if index == self._exited else self._execute(op, fetched))
            except ValueError as error:
                raise ProgramError(f"instruction {index}, {op.opcode.name}: {error}") from None
            now = end + 1
            reads, writes = self._bytes(op)
            come = (requested(self._stream[0]) if index == self._exited
                    else self._word * self._config.cols)
            reads += come - first * self._config.cols
            product = product or (0, 0, 0)
            steps.append(Step(op, fetched - begun + (0 if index else START), ready - fetched,
                              now - ready, *product[:3], reads, writes, *product[3:],
                              words=self._word - first))
        return Timing(tuple(steps), self._stream[1])

    def _carried_out(self) -> list[Instruction]:
        """Return the instructions that are fetched."""
        ops = [op for _, op in self._program.instructions()]
        if self._exited is None:
            return ops
        last = integer("exited", self._exited, 0, len(ops) - 1)
        if ops[last].opcode is not Opcode.EXIT:
            raise ProgramError(f"exited must be the index of an EXIT, not {last}, of "
                               f"{ops[last].opcode.name}")
        return ops[:last + 1]

    def _units(self, count: int, start: int, interval: int = 1, mark: int = 0) -> tuple[int, int]:
        """Take units of the stream; return when `mark` and the last of them have been accepted."""
        self._word, marked, last = map(int, take(*self._stream, self._word, count, start, interval,
                                                 mark, *self._layout))
        return marked, last

    def _fetch(self, start: int) -> int:
        """Return the cycle after the fetch of an instruction."""
        kept, last = self._units(INSTRUCTION_UNITS, start, mark=FIELD_UNITS)
        return max(last + 1, kept + 1 + RESOLVE) + 1

    def _settled(self, op: Instruction, fetched: int) -> int:
        """Return when an instruction that has been fetched begins: with GELU, not at once."""
        return max(fetched, SETTLED) if op.gelu else fetched

    def _execute(self, op: Instruction, start: int) -> tuple[int, int, tuple]:
        """Return when an instruction begins to run, the last cycle of it, and a product's parts."""
        config, opcode = self._config, op.opcode
        if opcode is Opcode.END:
            return start, start, ()
        begin = self._constants(op, start)
        if opcode in (Opcode.SCALES, Opcode.TABLE, Opcode.EXIT):
            return begin, begin + 1, ()
        if opcode is Opcode.NORM:
            run = layernorm.cycles(op.m, op.n, config)
            return begin, begin + READER + run - 1 + EPILOGUE + PLACEMENT + 1, ()
        words = op.m * -(-op.n // config.lanes)
        if opcode is Opcode.QUANTIZE:
            return begin, begin + READER + words - 1 + EPILOGUE + PLACEMENT + 1, ()
        if opcode is Opcode.MEASURE:
            flush = range_cycles(RangeShape(1, config.lanes, 1), config) - 1
            return begin, begin + READER + words - 1 + flush, ()
        if opcode is Opcode.SOFTMAX:
            return begin, begin + READER + softmax_run.cycles(op.m, op.n, config), ()
        if opcode is Opcode.GEMM:
            return begin, *self._product(op, begin)
        if opcode is Opcode.PREDICT:
            return begin, self._predict(op, begin), ()
        return begin, int(transfer(*self._stream, begin, *self._beats(op))), ()

    def _constants(self, op: Instruction, start: int) -> int:
        """Return the first cycle after the constants that come before anything else."""
        if op.opcode is Opcode.NORM:
            return self._units(op.n, start)[1] + 2
        if op.opcode in GOLDEN_ONLY and op.words:
            return self._units(op.words, start)[1] + 2
        if op.opcode is Opcode.SOFTMAX and op.step:
            return self._units(CODEBOOK_UNITS, start)[1] + 2
        if op.opcode in (Opcode.SCALES, Opcode.TABLE):  # one number per cycle
            units = -(-op.n // _SPLIT)
            last = self._units(units, start, _SPLIT)[1] if units else start - 1
            return last + op.n - _SPLIT * (units - 1) * (units > 0) + 2
        return start

    def _product(self, op: Instruction, start: int) -> tuple[int, tuple]:
        if op.tap and self._tap:
            raise ValueError("the range unit has a tensor already that no PREDICT has asked for")
        made = product_cycles(op, self._config, self._stream, self._word, start)
        self._word = made.word
        if op.tap:
            self._tap = op, made.tapped
        return made.end, (made.array, made.weights, made.drain, made.end + 1 - made.first)

    def _predict(self, op: Instruction, start: int) -> int:
        if self._tap is None:
            raise ValueError("the range unit has seen no tensor")
        end, self._word = prediction_cycles(op, self._tap[0], self._config, self._stream,
                                            self._word, self._tap[1], start)
        self._tap = None
        return end

    def _beats(self, op: Instruction) -> tuple[np.ndarray, int, int]:
        """Return where a transfer has its beats, the beats of a group, and its words of zeros."""
        bus = self._config.bus_bytes
        if op.opcode is Opcode.PATCHES:
            places = patch_places(op, bus).reshape(-1) + self._image_offset
            return places, 0, (op.k + 1) // 2
        per_word = self._config.word_bytes // bus
        moved = self._logits_offset if op.opcode is Opcode.STORE and op.logits else 0
        return (op.address + moved + bus * np.arange(op.words * per_word),
                per_word if op.opcode is Opcode.STORE else 0, 0)

    def _bytes(self, op: Instruction) -> tuple[int, int]:
        """Return the bytes that an instruction reads and writes besides the stream."""
        if op.opcode not in (Opcode.LOAD, Opcode.STORE, Opcode.PATCHES):
            return 0, 0
        moved = self._beats(op)[0].size * self._config.bus_bytes
        return (0, moved) if op.opcode is Opcode.STORE else (moved, 0)
