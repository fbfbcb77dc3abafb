"""What the golden machine writes, instruction after instruction, and where RTL differs from it."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from golden.core.isa import OPERANDS, Instruction, Layout, Opcode
from golden.core.machine import Machine
from golden.core.program import Program, Tensor
from golden.core.rules import Span, spans
from golden.memory.scratchpad import stride_of, write_operand, write_weights, write_wide


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """A run of the golden machine.

    Attributes
    ----------
    machine
        After the run.
    data
        What each instruction has written, as ``verilator_main.cpp`` reads it.
    written : bool array, shape (words, rows)
        Banks of words of the scratchpad that have been written at all.
    """

    machine: Machine
    data: bytes
    written: np.ndarray


def golden_run(program: Program, pixels=None) -> Expected:
    """Run the golden machine, and record what it writes."""
    machine = Machine(program, pixels)
    written = np.zeros(machine.scratchpad.shape, bool)
    parts = []
    while not machine.done:
        op = machine.step()
        banks = _banks(op, program)
        pieces = list(_pieces(op, program))
        parts.append(struct.pack("<I", len(pieces)))
        for first, count in pieces:
            words = slice(first, first + count)
            parts += [struct.pack("<II", first, count), banks[words].tobytes(),
                      machine.scratchpad[words].astype("<u2").tobytes()]
            written[words] |= banks[words]
        if op.opcode is Opcode.STORE:
            size = op.words * program.config.word_bytes
            parts += [struct.pack("<III", 1, op.address, size),
                      machine.memory[op.address:op.address + size].tobytes()]
        else:
            parts.append(struct.pack("<I", 0))
    return Expected(machine, b"".join(parts), written)


def _banks(op: Instruction, program: Program) -> np.ndarray:
    """Return which banks of words an instruction writes: those that become what it writes
    whatever they were.
    """
    config = program.config
    shape = config.scratchpad_words, config.rows
    written = np.zeros(shape, bool)
    for span in spans(op, config)[1]:
        words = slice(span.address, span.address + span.words(config))
        written[words] = _written(span, program)[words]
    return written


def _written(span: Span, program: Program) -> np.ndarray:
    config = program.config
    after = []
    for before in (0, 0xffff):
        memory = np.full((config.scratchpad_words, config.rows), before, np.uint16)
        values = np.zeros((span.rows, span.cols), np.int64)
        if span.layout is Layout.WIDE:
            write_wide(memory, span.address, span.stride, values)
        elif span.layout in OPERANDS:
            write_operand(memory, span.address, span.stride, values, span.layout)
        else:
            write_weights(memory, span.address, span.stride, values, span.layout, config)
        after.append(memory)
    return after[0] == after[1]


def _pieces(op: Instruction, program: Program) -> Iterator[tuple[int, int]]:
    """Yield first word and number of words of what an instruction writes, in order."""
    for span in spans(op, program.config)[1]:
        words = _words(span, program)
        for run in np.split(words, np.flatnonzero(np.diff(words) != 1) + 1):
            yield int(run[0]), run.size


def _words(span: Span | Tensor, program: Program) -> np.ndarray:
    """Return the words of a matrix, sorted."""
    config = program.config
    part = stride_of(span.layout, span.rows, span.cols, config)
    size = {Layout.WIDE: (span.rows, 1), Layout.OPERAND8: (span.rows, config.rows),
            Layout.OPERAND4: (span.rows, 2 * config.rows), Layout.WEIGHT8: (span.cols, config.cols),
            Layout.WEIGHT4: (span.cols, 2 * config.cols)}[span.layout]
    first = span.address + span.stride * np.arange(-(-size[0] // size[1]))
    return (first[:, None] + np.arange(part)).reshape(-1)


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where RTL and golden machine differ.

    Attributes
    ----------
    instruction
        Index of the instruction after which they do; None if only the end was looked at.
    text
        The instruction, disassembled.
    place, bank
        Word and bank of the scratchpad; of external memory, byte address and None.
    expected, actual
        What it should hold, and what it holds.
    count
        Banks of words, or bytes of memory, that differ altogether.
    tensor
        What lies there then, empty if nothing should.
    row, col
        Of the element in it, None where there is none.
    values
        Of this element, as it should be and as it is.
    written
        Whether the instruction should have written there at all.
    """

    instruction: int | None
    text: str
    place: int
    bank: int | None
    expected: int
    actual: int
    count: int
    tensor: str = ""
    row: int | None = None
    col: int | None = None
    values: tuple[int, int] | None = None
    written: bool = True

    def __str__(self) -> str:
        """One line."""
        head = "" if self.instruction is None else f"instruction {self.instruction}: "
        digits, unit = (4, "banks") if self.bank is not None else (2, "bytes")
        raw = f"0x{self.actual:0{digits}x}, not 0x{self.expected:0{digits}x}"
        place = (f"word 0x{self.place:x} bank {self.bank}" if self.bank is not None
                 else f"memory 0x{self.place:x}")
        if self.row is None:
            what = f"{f'{self.tensor}, ' if self.tensor else ''}{place}, is {raw}"
            more = f"{self.count} {unit} differ"
        else:
            what = (f"{self.tensor}[{self.row}, {self.col}] is {self.values[1]}, not "
                    f"{self.values[0]}")
            more = f"{place} is {raw}; {self.count} {unit} differ"
        stray = "" if self.written else ", where it should not write"
        tail = f": {self.text}" if self.text else ""
        return f"{head}{what}{stray} ({more}){tail}"


def locate(program: Program, *, scratchpad: bool, instruction: int | None, place: int, bank: int,
           expected: int, actual: int, count: int) -> Difference:
    """Return a difference with all that the program knows about the place."""
    op = None if instruction is None else program.instructions()[instruction][1]
    text = "" if op is None else " ".join(str(op).split())
    if not scratchpad:
        return _in_memory(program, op, Difference(instruction, text, place, None, expected, actual,
                                                  count))
    matrices = [tensor for tensor in program.tensors
                if instruction is None or tensor.first <= instruction <= tensor.last]
    matrices.sort(key=lambda tensor: tensor.first if instruction is None
                  else tensor.first <= instruction <= tensor.written)
    written = True
    if op is not None:
        dest = spans(op, program.config)[1]
        written = any(place in _words(span, program) for span in dest)
        if written and not any(place in _words(tensor, program) for tensor in matrices):
            matrices += [Tensor(span.what, span.address, span.stride, span.layout, span.rows,
                                span.cols, True, 0, 0, 0) for span in dest]
    made = Difference(instruction, text, place, bank, expected, actual, count, written=written)
    for tensor in reversed(matrices):
        if place in _words(tensor, program):
            return _in_tensor(program, made, tensor)
    return made


def _in_memory(program: Program, op: Instruction | None, made: Difference) -> Difference:
    written = op is None or (op.opcode is Opcode.STORE and 0 <= made.place - op.address
                             < op.words * program.config.word_bytes)
    for name in ("image", "logits", "stream"):
        region = getattr(program, name)
        if 0 <= made.place - region.address < region.size:
            return replace(made, tensor=name, written=written)
    return replace(made, written=written)


def _in_tensor(program: Program, made: Difference, tensor: Tensor) -> Difference:
    """Find the lowest element of a bank that differs."""
    bits = tensor.layout.bits
    differing = made.expected ^ made.actual
    part = ((differing & -differing).bit_length() - 1) // bits
    row, col = _element(program, tensor, made.place, made.bank, part)
    values = tuple(_value(word, bits, part, tensor.signed)
                   for word in (made.expected, made.actual))
    return replace(made, tensor=tensor.name, row=row, col=col, values=values)


def _element(program: Program, tensor: Tensor, word: int, bank: int,
             part: int) -> tuple[int, int]:
    """Return row and column of an element, see :mod:`golden.memory.scratchpad`."""
    lanes, layout = program.config.rows, tensor.layout
    packed = 8 // min(layout.bits, 8)
    tile, within = divmod(word - tensor.address, tensor.stride)
    byte, nibble = divmod(part, packed)
    if layout is Layout.WIDE:
        return tile, within * lanes + bank
    if layout in OPERANDS:
        pe_row = tile * lanes + (bank - word) % lanes
        return pe_row * packed + nibble, 2 * within + byte
    row, col = divmod(2 * (within * lanes + bank) + byte, program.config.cols)
    return row, (tile * program.config.cols + col) * packed + nibble


def _value(word: int, bits: int, part: int, signed: bool) -> int:
    value = word >> bits * part & (1 << bits) - 1
    return value - (1 << bits) if signed and value >> bits - 1 else value


def differences(program: Program, machine: Machine, memory: np.ndarray,
                words: np.ndarray) -> list[Difference]:
    """Return the first place in external memory, and the first in the scratchpad, that differs
    from the golden machine at the end of a run; none if they are equal.
    """
    found = []
    at = np.flatnonzero(memory != machine.memory)
    if at.size:
        place = int(at[0])
        found.append(locate(program, scratchpad=False, instruction=None, place=place, bank=0,
                            expected=int(machine.memory[place]), actual=int(memory[place]),
                            count=at.size))
    at = np.argwhere(words != machine.scratchpad)
    if at.size:
        place, bank = map(int, at[0])
        found.append(locate(program, scratchpad=True, instruction=None, place=place, bank=bank,
                            expected=int(machine.scratchpad[place, bank]),
                            actual=int(words[place, bank]), count=len(at)))
    return found
