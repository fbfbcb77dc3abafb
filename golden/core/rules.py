"""What a core can execute: the matrices that an instruction reads and writes, and its rules.

:func:`check` is for one instruction (its fields by :mod:`golden.core.field_rules`), :func:`verify`
for a program, in which none may destroy what a later one needs. What only a run can tell is
refused by :mod:`golden.core.machine`.
"""

from dataclasses import dataclass

from ..common.config import AcceleratorConfig
from ..common.formats import Mode
from ..memory.scratchpad import stride_of, words_of
from ..prediction import scale_unit
from ..prediction.scale_predictor import PredictorShape
from . import isa
from .field_rules import check_fields, check_slots
from .isa import Instruction, Layout, Opcode, Source
from .program import Program, ProgramError, Tensor, check_range, units_of, walk


@dataclass(frozen=True, slots=True)
class Span:
    """A matrix of the scratchpad that an instruction reads or writes."""

    what: str
    address: int
    stride: int
    layout: Layout
    rows: int
    cols: int

    def words(self, config) -> int:
        """Words from its address to its end."""
        return words_of(self.layout, self.rows, self.cols, self.stride, config)


def operand_layout(mode: Mode) -> Layout:
    """Return the layout of the activations of a product."""
    return Layout.OPERAND4 if mode is Mode.W4A4 else Layout.OPERAND8


def key_layout(mode: Mode) -> Layout:
    """Return the layout of keys: operands as narrow as the weights of the product."""
    return Layout.OPERAND8 if mode is Mode.W8A8 else Layout.OPERAND4


def weight_layout(mode: Mode) -> Layout:
    """Return the layout of weights that are activations."""
    return Layout.WEIGHT8 if mode is Mode.W8A8 else Layout.WEIGHT4


def spans(op: Instruction, config) -> tuple[list[Span], list[Span]]:
    """Return the matrices that an instruction reads from the scratchpad, and those it writes."""
    def words(name: str) -> Span:
        return Span(name, getattr(op, name), 1, Layout.WIDE, op.words, config.rows)

    if op.opcode is Opcode.PATCHES:
        return [], [Span("dest", op.dest, op.dest_stride, Layout.OPERAND8, op.m, op.k)]
    if op.opcode is Opcode.LOAD:
        return [], [words("dest")]
    if op.opcode is Opcode.STORE:
        return [words("source")], []
    if op.opcode in (Opcode.NORM, Opcode.SOFTMAX, Opcode.MEASURE, Opcode.QUANTIZE):
        layout = Layout.OPERAND8 if op.opcode is Opcode.SOFTMAX else Layout(op.layout)
        dest = Span("dest", op.dest, op.dest_stride, layout, op.m, op.n)
        return ([Span("source", op.source, op.source_stride, Layout.WIDE, op.m, op.n)],
                [] if op.opcode is Opcode.MEASURE else [dest])
    if op.opcode is not Opcode.GEMM:
        return [], []
    mode = op.mode_of
    reads = [Span("source", op.source, op.source_stride, operand_layout(mode), op.m, op.k)]
    if op.weights == Source.KEYS:
        reads.append(Span("weights_address", op.weights_address, op.weights_stride,
                          key_layout(mode), op.n, op.k))
    elif op.weights == Source.VALUES:
        reads.append(Span("weights_address", op.weights_address, op.weights_stride,
                          weight_layout(mode), op.k, op.n))
    if op.residual:
        reads.append(Span("residual_address", op.residual_address, op.residual_stride,
                          Layout.WIDE, op.m, op.n))
    layout = Layout(op.layout)
    before = op.first_row * (8 // layout.bits) if layout in isa.OPERANDS else 0
    return reads, [Span("dest", op.dest, op.dest_stride, layout, before + op.m, op.n)]


def check(op: Instruction, config, memory_size: int) -> None:
    """Raise :exc:`ValueError` if a core of this configuration cannot execute an instruction."""
    limits = {"m": (1, config.max_tokens), "k": (1, config.max_k), "n": (1, isa.FIELDS["n"].max)}
    for name, (low, high) in limits.items():
        if name in isa.fields_of(op.opcode) and not low <= getattr(op, name) <= high:
            raise ValueError(f"{name} must be within {low}..{high}, not {getattr(op, name)}")
    for units in units_of(op, config):
        if units > isa.PART_UNITS.max:
            raise ValueError(f"a part of the payload must have {isa.PART_UNITS.max} units or "
                             f"fewer, not {units}")
    reads, writes = spans(op, config)
    for span in (*reads, *writes):
        least = stride_of(span.layout, span.rows, span.cols, config)
        if span.stride < least:
            raise ValueError(f"the stride of {span.what} must be {least} or more, not "
                             f"{span.stride}")
        check_range(span.what, span.address, span.words(config), config.scratchpad_words)
    for read in reads:
        for write in writes:
            _check_apart(op, read, write, config)
    check_fields(op, config, memory_size)
    if op.opcode is Opcode.PREDICT:
        _check_predict(op, config)


def _check_apart(op: Instruction, read: Span, write: Span, config) -> None:
    in_place = (read.what == "residual_address" and op.layout == Layout.WIDE
                and (read.address, read.stride) == (write.address, write.stride))
    if not in_place and (read.address < write.address + write.words(config)
                         and write.address < read.address + read.words(config)):
        raise ValueError(f"{write.what} (0x{write.address:x}, {write.words(config)} words) must "
                         f"not overlap {read.what} (0x{read.address:x}, {read.words(config)} "
                         "words)")


def predictor_units(shape: PredictorShape, config) -> int:
    """Return the units that hold the numbers of a predictor."""
    return -(-scale_unit.beats(shape, config) * config.scale_lanes // len(isa.PREDICTOR))


def shape_of_predictor(op: Instruction) -> PredictorShape:
    """Return the size of the predictor of a PREDICT."""
    shape = PredictorShape(op.statistics, op.variables, op.sites, op.degree, bool(op.projected))
    if shape.monomials != op.monomials:
        raise ValueError(f"monomials must be {shape.monomials} for this predictor, not "
                         f"{op.monomials}")
    return shape


def _check_predict(op, config):
    shape = shape_of_predictor(op)
    shape.check(config)
    units = predictor_units(shape, config)
    if op.words != units:
        raise ValueError(f"words must be {units} for this predictor, not {op.words}")
    check_slots(op, config, op.sites)


def verify(program: Program) -> None:
    """Check every instruction of a program, and that none destroys what a later one needs.

    Raises
    ------
    ProgramError
        With the instruction and the reason.
    """
    steps = walk(program.memory, program.stream, program.config)
    coming = sorted(program.tensors, key=lambda tensor: tensor.first, reverse=True)
    alive: list[Tensor] = []
    for index, (address, op) in enumerate(steps):
        while coming and coming[-1].first < index:
            alive.append(coming.pop())
        alive = [tensor for tensor in alive if index <= tensor.last]
        try:
            check(op, program.config, len(program.memory))
            _check_store(op, program)
            for span in spans(op, program.config)[1]:
                _check_alive(index, span, alive, program.config)
        except ValueError as error:
            raise ProgramError(f"instruction {index} at 0x{address:x}, {op.opcode.name}: "
                               f"{error}") from None


def _check_store(op: Instruction, program: Program) -> None:
    if op.opcode is not Opcode.STORE:
        return
    end, stream = op.address + op.words * program.config.word_bytes, program.stream
    if op.address < stream.address + stream.size and stream.address < end:
        raise ValueError(f"memory from 0x{op.address:x} to 0x{end:x} must not overlap the stream")
    logits = program.logits
    if op.logits and not logits.address <= op.address <= end <= logits.address + logits.size:
        raise ValueError(f"memory from 0x{op.address:x} to 0x{end:x} must be that of the logits")


def _check_alive(index: int, span: Span, alive: list[Tensor], config: AcceleratorConfig) -> None:
    end = span.address + span.words(config)
    for tensor in alive:
        size = tensor.words(config)
        inside = tensor.address <= span.address and end <= tensor.address + size
        # Parts of a tensor may still be written; who needs it last may write in its place, which
        # `check` allows of residuals only.
        own = ((index <= tensor.written or index == tensor.last) and inside
               and span.layout is tensor.layout and span.stride == tensor.stride)
        if span.address < tensor.address + size and tensor.address < end and not own:
            raise ValueError(f"{span.what} (0x{span.address:x}, {end - span.address} words) "
                             f"overlaps {tensor.name}, which instruction {tensor.last} needs")
