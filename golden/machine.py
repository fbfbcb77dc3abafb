"""The golden machine: executes a program of the core on memory images, bit for bit.

Everything that the core keeps from one instruction to the next is here as well: external memory,
the scratchpad, the scale file, the row exponents of the last softmax and what the range unit has
seen. The arithmetic is that of the other golden modules; what an instruction does is said in
:mod:`golden.isa`.
"""

from dataclasses import dataclass

import numpy as np

from . import formats, isa, range_unit, scale_unit, scratchpad, softmax
from .exp2 import exp2
from .formats import ACC, ACT16, EXPONENT, LAMBDA, Mode
from .gelu import gelu_table
from .isa import INSTRUCTION_BYTES, UNIT_BYTES, Instruction, Layout, Opcode, Path, Source
from .layernorm import HIGHEST_CHANNELS, layer_norm
from .log2 import log2
from .mac_array import Activation, gemm
from .program import (
    Program,
    ProgramError,
    Tensor,
    align,
    check_range,
    tile_column_words,
    units_of,
    walk,
)
from .requant import requant
from .scale_predictor import PredictorShape
from .scratchpad import stride_of, words_of

_OPERANDS = (Layout.OPERAND8, Layout.OPERAND4)


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
    return reads, [Span("dest", op.dest, op.dest_stride, Layout(op.layout), op.m, op.n)]


def check(op: Instruction, config, memory_size: int) -> None:
    """Raise :exc:`ValueError` if a core of this configuration cannot execute an instruction."""
    limits = {"m": (1, config.max_tokens), "k": (1, config.max_k), "n": (1, isa.FIELDS["n"].max)}
    for name, (low, high) in limits.items():
        if name in isa.fields_of(op.opcode) and not low <= getattr(op, name) <= high:
            raise ValueError(f"{name} must be within {low}..{high}, not {getattr(op, name)}")
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
    _CHECKS.get(op.opcode, _nothing)(op, config, memory_size)


def _check_apart(op: Instruction, read: Span, write: Span, config) -> None:
    in_place = (read.what == "residual_address" and op.layout == Layout.WIDE
                and (read.address, read.stride) == (write.address, write.stride))
    if not in_place and (read.address < write.address + write.words(config)
                         and write.address < read.address + read.words(config)):
        raise ValueError(f"{write.what} (0x{write.address:x}, {write.words(config)} words) must "
                         f"not overlap {read.what} (0x{read.address:x}, {read.words(config)} "
                         "words)")


def _nothing(op, config, memory_size):
    """Everything has been checked."""


def _check_slots(op, config, count):
    if op.scale_a + count > config.max_sites:
        raise ValueError(f"slots must be below {config.max_sites}, but {count} from {op.scale_a} "
                         f"on reach {op.scale_a + count - 1}")


def _check_scales(op, config, memory_size):
    _check_slots(op, config, op.n)


def _check_transfer(op, config, memory_size):
    if op.address % config.bus_bytes:
        raise ValueError(f"address must be a multiple of {config.bus_bytes}, not 0x{op.address:x}")
    if not op.words:
        raise ValueError("words must be 1 or more, not 0")
    check_range("address", op.address, op.words * config.word_bytes, memory_size)


def _check_patches(op, config, memory_size):
    for name in ("address", "run_bytes", "image_row_bytes", "patch_row_bytes"):
        if getattr(op, name) % config.bus_bytes or (name == "run_bytes" and not op.run_bytes):
            raise ValueError(f"{name} must be a multiple of {config.bus_bytes}, not "
                             f"{getattr(op, name)}")
    if op.k % op.run_bytes:
        raise ValueError(f"k must be a multiple of run_bytes ({op.run_bytes}), not {op.k}")
    if not op.grid or (op.m - 1) % op.grid:
        raise ValueError(f"m must be 1 more than a multiple of grid ({op.grid}), not {op.m}")
    if op.m > 1:
        size = (((op.m - 1) // op.grid - 1) * op.patch_row_bytes + op.grid * op.run_bytes
                + (op.k // op.run_bytes - 1) * op.image_row_bytes)
        check_range("address", op.address, size, memory_size)


def _check_norm(op, config, memory_size):
    most = min(config.max_channels, HIGHEST_CHANNELS)
    if op.n % config.lanes or op.n > most:
        raise ValueError(f"n must be a multiple of {config.lanes} up to {most}, not {op.n}")
    if Layout(op.layout) not in (*_OPERANDS, Layout.WIDE):
        raise ValueError("layout must be wide, operand8 or operand4, not "
                         f"{Layout(op.layout).name.lower()}")
    if Layout(op.layout) is Layout.WIDE and op.offset:
        raise ValueError("layout wide has no offset")
    _check_limits(op)
    _check_multiplier(op, config)


def _check_limits(op):
    layout = Layout(op.layout)
    low, high = {4: (-8, 15), 8: (-128, 255), 16: (ACT16.min, ACT16.max)}[layout.bits]
    if not low <= op.low <= op.high <= high:
        raise ValueError(f"low and high must be within {low}..{high} in this layout and in order, "
                         f"not {op.low}..{op.high}")


def _check_multiplier(op, config):
    for name in ("scale_a", "scale_b", "scale_out"):
        if getattr(op, name) >= config.max_sites:
            raise ValueError(f"{name} must be below {config.max_sites}, not {getattr(op, name)}")


def _check_gemm(op, config, memory_size):
    mode = op.mode_of
    if op.activation_of is Activation.CODE and mode is Mode.W4A4:
        raise ValueError("activation must be signed or unsigned in w4a4, not code")
    if op.weights == Source.STREAM:
        if tile_column_words(op, config) > config.stream_words:
            raise ValueError(f"a tile column must have {config.stream_words} stream words or "
                             f"fewer, not {tile_column_words(op, config)}")
    elif op.k > config.key_words:
        raise ValueError(f"k must be {config.key_words} or less with weights of the scratchpad, "
                         f"not {op.k}")
    wide = op.path == Path.WIDE
    if wide != (Layout(op.layout) is Layout.WIDE):
        raise ValueError("path wide and layout wide go together")
    if not wide:
        _check_limits(op)
    if op.path == Path.DIRECT and (op.residual or op.gelu or op.tap):
        raise ValueError("path direct has no residual, GELU or tap")
    if wide and (op.gelu or op.offset):
        raise ValueError("path wide has no GELU or offset")
    if op.rows and op.weights == Source.STREAM:
        raise ValueError("row exponents go with weights of the scratchpad, not of the stream")
    _check_multiplier(op, config)
    if op.tap:
        _check_tap(op, config)


def _check_tap(op, config):
    words = -(-op.n // config.lanes)
    groups = op.n if op.per_channel else words // (op.last_group_word + 1)
    shape = range_unit.RangeShape(op.m, op.n, op.last_chunk_token + 1, max(groups, 1),
                                  config.tile_cols(op.mode_of) // config.lanes)
    for name, value in shape.registers(config).items():
        if getattr(op, name) != value:
            raise ValueError(f"{name} must be {value} for this tap, not {getattr(op, name)}")


def _check_measure(op, config, memory_size):
    _check_multiplier(op, config)


def _check_quantize(op, config, memory_size):
    if Layout(op.layout) is Layout.WIDE:
        raise ValueError("layout must be of operands or weights, not wide")
    _check_limits(op)
    _check_multiplier(op, config)


def _check_softmax(op, config, memory_size):
    most = softmax.highest_keys(config)
    if op.n > most:
        raise ValueError(f"n must be within 1..{most}, not {op.n}")
    if op.step and (op.factor, op.shift) != softmax.reciprocal(op.step):
        raise ValueError(f"factor and shift must be {softmax.reciprocal(op.step)} for step "
                         f"{op.step}, not {(op.factor, op.shift)}")


def _check_predict(op, config, memory_size):
    shape = shape_of_predictor(op)
    shape.check(config)
    units = predictor_units(shape, config)
    if op.words != units:
        raise ValueError(f"words must be {units} for this predictor, not {op.words}")
    _check_slots(op, config, op.sites)


_CHECKS = {Opcode.SCALES: _check_scales, Opcode.LOAD: _check_transfer,
           Opcode.STORE: _check_transfer, Opcode.PATCHES: _check_patches,
           Opcode.NORM: _check_norm, Opcode.GEMM: _check_gemm, Opcode.SOFTMAX: _check_softmax,
           Opcode.PREDICT: _check_predict, Opcode.MEASURE: _check_measure,
           Opcode.QUANTIZE: _check_quantize}


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


def verify(program: Program) -> None:
    """Check every instruction of a program, and that none destroys what a later one needs.

    Raises
    ------
    ProgramError
        With the instruction and the reason.
    """
    steps = walk(program.memory, program.stream, program.config)
    for index, (address, op) in enumerate(steps):
        try:
            check(op, program.config, len(program.memory))
            _check_stream(op, program)
            for span in spans(op, program.config)[1]:
                _check_alive(index, span, program)
        except ValueError as error:
            raise ProgramError(f"instruction {index} at 0x{address:x}, {op.opcode.name}: "
                               f"{error}") from None


def _check_stream(op: Instruction, program: Program) -> None:
    if op.opcode is not Opcode.STORE:
        return
    end, stream = op.address + op.words * program.config.word_bytes, program.stream
    if op.address < stream.address + stream.size and stream.address < end:
        raise ValueError(f"memory from 0x{op.address:x} to 0x{end:x} must not overlap the stream")


def _check_alive(index: int, span: Span, program: Program) -> None:
    end = span.address + span.words(program.config)
    for tensor in program.tensors:
        if not tensor.first < index <= tensor.last:
            continue
        size = words_of(tensor.layout, tensor.rows, tensor.cols, tensor.stride, program.config)
        inside = tensor.address <= span.address and end <= tensor.address + size
        # Parts of a tensor may still be written; who needs it last may write in its place, which
        # `check` allows of residuals only.
        own = ((index <= tensor.written or index == tensor.last) and inside
               and span.layout is tensor.layout and span.stride == tensor.stride)
        if span.address < tensor.address + size and tensor.address < end and not own:
            raise ValueError(f"{span.what} (0x{span.address:x}, {end - span.address} words) "
                             f"overlaps {tensor.name}, which instruction {tensor.last} needs")


class Machine:
    """A core that executes a program.

    Parameters
    ----------
    program
        Verified first, see :func:`verify`.
    pixels : uint8 array, shape (side, side, 3), optional
        The image; without one, that of the program's memory.

    Attributes
    ----------
    memory : uint8 array
        External memory.
    scratchpad : uint16 array, shape (words, rows)
    scales : int16 array, shape (max_sites,)
        The scale file.
    row_exponents : int16 array
        Of the last softmax.
    index : int
        Of the next instruction.
    done : bool
        END has been reached.
    """

    def __init__(self, program: Program, pixels=None):
        program.config.check_core()
        verify(program)
        self.program, self.config = program, program.config
        self.memory = (np.frombuffer(program.memory, np.uint8).copy() if pixels is None
                       else program.with_image(pixels))
        self.scratchpad = scratchpad.empty(self.config)
        self.scales = np.zeros(self.config.max_sites, np.int16)
        self.row_exponents = np.zeros(self.config.max_tokens, np.int16)
        self.index, self.done = 0, False
        self._cursor = program.stream.address
        self._tapped: tuple[np.ndarray, Instruction] | None = None
        self._codebook: np.ndarray | None = None

    @property
    def logits(self) -> np.ndarray:
        """What is where the logits go: int16 (classes,)."""
        region = self.program.logits
        data = self.memory[region.address:region.address + region.size]
        return data.view("<i2")[:self.program.classes].astype(np.int16)

    def run(self, stop_after: int | None = None) -> None:
        """Execute up to END, or up to an instruction, it included."""
        while not self.done and (stop_after is None or self.index <= stop_after):
            self.step()

    def step(self) -> Instruction:
        """Execute the next instruction and return it.

        Raises
        ------
        ProgramError
            If the program has ended, or does what it must not: says which instruction, and why.
        """
        if self.done:
            raise ProgramError("the program has ended")
        where = f"instruction {self.index} at 0x{self._cursor:x}"
        try:
            op = isa.decode(self._words(INSTRUCTION_BYTES))
            check(op, self.config, len(self.memory))
            getattr(self, f"_{op.opcode.name.lower()}")(op)
        except ValueError as error:
            raise ProgramError(f"{where}: {error}") from None
        self.index += 1
        return op

    def tensor(self, name: str) -> np.ndarray:
        """Return a tensor of the program by name, from where it lies.

        Raises
        ------
        KeyError
            If the program has none of that name.
        """
        for tensor in self.program.tensors:
            if tensor.name == name:
                return read(self.scratchpad, tensor, self.config)
        raise KeyError(name)

    def alive(self) -> list[Tensor]:
        """Return the tensors that are whole, and still needed, now."""
        done = self.index - 1
        return [tensor for tensor in self.program.tensors if tensor.written <= done < tensor.last]

    def _words(self, size: int) -> bytes:
        # the next bytes of the stream, whole words of it
        start = self._cursor
        self._cursor += align(size, self.config)
        return self.memory[start:start + size].tobytes()

    def _units(self, count: int, layout: dict) -> list[dict[str, int]]:
        data = self._words(UNIT_BYTES * count)
        return [isa.unpack(int.from_bytes(data[at:at + UNIT_BYTES], "little"), layout)
                for at in range(0, len(data), UNIT_BYTES)]

    def _end(self, op):
        self.done = True

    def _scales(self, op):
        values = [value for unit in self._units(*units_of(op, self.config), isa.SCALES)
                  for value in unit.values()]
        self.scales[op.scale_a:op.scale_a + op.n] = values[:op.n]

    def _patches(self, op):
        patch = np.arange(op.m - 1)
        first = (op.address + patch // op.grid * op.patch_row_bytes
                 + patch % op.grid * op.run_bytes)
        byte = np.arange(op.k)
        place = first[:, None] + byte // op.run_bytes * op.image_row_bytes + byte % op.run_bytes
        values = np.zeros((op.m, op.k), np.uint8)
        values[1:] = self.memory[place]
        scratchpad.write_operand(self.scratchpad, op.dest, op.dest_stride, values, Layout.OPERAND8)

    def _load(self, op):
        size = op.words * self.config.word_bytes
        data = self.memory[op.address:op.address + size].view("<u2").reshape(op.words, -1)
        self.scratchpad[op.dest:op.dest + op.words] = data

    def _store(self, op):
        data = self.scratchpad[op.source:op.source + op.words].astype("<u2").view(np.uint8)
        self.memory[op.address:op.address + data.size] = data.reshape(-1)

    def _base(self, op) -> int:
        """Exponent of the multiplier, but for columns and rows."""
        b = int(self.scales[op.scale_b])
        return op.exponent + int(self.scales[op.scale_a]) + (-b if op.subtract_b else b)

    def _norm(self, op):
        channels = self._units(op.n, isa.CHANNEL)
        gamma, beta = ([unit[name] for unit in channels] for name in ("gamma", "beta"))
        x = scratchpad.read_wide(self.scratchpad, op.source, op.source_stride, op.m, op.n)
        acc = layer_norm(x, gamma, beta, op.epsilon)
        mantissa, shift = _multipliers(np.full(op.n, self._base(op)))
        self._place(op, requant(acc, mantissa, shift, op.low, op.high))

    def _place(self, op, values):
        layout = Layout(op.layout)
        if layout is Layout.WIDE:
            scratchpad.write_wide(self.scratchpad, op.dest, op.dest_stride, values)
            return
        values = values - 8 if op.offset else values
        if layout in _OPERANDS:
            scratchpad.write_operand(self.scratchpad, op.dest, op.dest_stride, values, layout)
        else:
            scratchpad.write_weights(self.scratchpad, op.dest, op.dest_stride, values, layout,
                                     self.config)

    def _gemm(self, op):
        mode, activation = op.mode_of, op.activation_of
        if mode is Mode.W4A4:
            activation = Activation.SIGNED  # as stored; the start values make up for the offset
        a = scratchpad.read_operand(self.scratchpad, op.source, op.source_stride, op.m, op.k,
                                    operand_layout(mode), signed=activation is Activation.SIGNED)
        book = None
        if activation is Activation.CODE:
            if self._codebook is None:
                raise ValueError("there has been no codebook")
            a, book = a & formats.CODE.max, self._codebook
        w, columns = self._weights(op, mode)
        acc = gemm(a, w, mode, activation, book, config=self.config).astype(np.int64)
        acc += columns["start"]
        if acc.size and not ACC.min <= acc.min() <= acc.max() <= ACC.max:
            raise ValueError("the sums and start values must stay within 32 bits")

        base = self._base(op)
        low, high = (op.low, op.high) if op.path == Path.DIRECT else (ACT16.min, ACT16.max)
        if op.rows:
            mantissa, shift = _multipliers(base - self.row_exponents[:op.m].astype(np.int64))
            y = requant(acc.T, mantissa, shift, low, high).T
        else:
            mantissa, shift = _multipliers(base + columns["exponent"])
            y = requant(acc, mantissa, shift, low, high)
        if op.path != Path.DIRECT:
            y = y.astype(np.int64) + columns["bias"]
            if op.residual:
                y += scratchpad.read_wide(self.scratchpad, op.residual_address,
                                          op.residual_stride, op.m, op.n)
            y = y.clip(ACT16.min, ACT16.max)
        if op.tap:
            if self._tapped is not None:
                raise ValueError("there has been no PREDICT since the last tap")
            self._tapped = y.astype(np.int16), op
        if op.path == Path.SITE:
            y = self._to_site(op, y)
        self._place(op, np.ascontiguousarray(y).astype(np.int64))

    def _weights(self, op, mode):
        """Return the weights (k, n) of a product, and exponent, bias and start of its columns."""
        n = op.n
        if op.weights != Source.STREAM:
            columns = dict.fromkeys(isa.COLUMN, np.zeros(n, np.int64))
            place = self.scratchpad, op.weights_address, op.weights_stride
            if op.weights == Source.KEYS:
                return scratchpad.read_operand(*place, n, op.k, key_layout(mode),
                                               signed=True).T, columns
            return scratchpad.read_weights(*place, op.k, n, weight_layout(mode),
                                           self.config), columns
        parts, units = [], []
        for count in units_of(op, self.config):
            units += self._units(count, isa.COLUMN)
            data = np.frombuffer(self._words(op.k * self.config.cols), np.int8)
            data = data.reshape(op.k, self.config.cols)
            if mode is not Mode.W8A8:
                data = np.stack((((data & 15) ^ 8) - 8, data >> 4), 2).reshape(op.k, -1)
            parts.append(data)
        return (np.ascontiguousarray(np.concatenate(parts, 1)[:, :n]),
                {name: np.array([unit[name] for unit in units[:n]]) for name in isa.COLUMN})

    def _softmax(self, op):
        if op.step:
            units = self._units(isa.CODEBOOK_UNITS, isa.CODEBOOK)
            self._codebook = np.array([entry for unit in units for entry in unit.values()])
            if (self._codebook != softmax.codebook(op.step)).any():
                raise ValueError(f"the codebook is not that of step {op.step}")
        scores = scratchpad.read_wide(self.scratchpad, op.source, op.source_stride, op.m, op.n)
        values, exponents = (softmax.softmax_codes(scores, op.step) if op.step
                             else softmax.softmax(scores))
        self.row_exponents[:op.m] = exponents
        scratchpad.write_operand(self.scratchpad, op.dest, op.dest_stride, values, Layout.OPERAND8)

    def _predict(self, op):
        if self._tapped is None:
            raise ValueError("there has been no tap")
        stream, tap = self._tapped
        shape = shape_of_predictor(op)
        words = -(-tap.n // self.config.lanes)
        groups = tap.n if tap.per_channel else words // (tap.last_group_word + 1)
        first, second = units_of(op, self.config)
        units = self._units(first, isa.STATISTICS)
        mean, gain = (np.array([unit[f"{name}{index}"] for unit in units
                                for index in range(isa.PAIRS)]) for name in ("mean", "gain"))
        numbers = [number for unit in self._units(second, isa.PREDICTOR)
                   for number in unit.values()]
        u = range_unit.statistics(stream, tap.last_chunk_token + 1, groups,
                                  mean[:op.statistics], gain[:op.statistics])
        predictor = scale_unit.unpack(numbers, shape, self.config)
        made = scale_unit.predict_batch(u[None], predictor)[0]
        self.scales[op.scale_a:op.scale_a + op.sites] = made
        self._tapped = None


    def _measure(self, op):
        x = scratchpad.read_wide(self.scratchpad, op.source, op.source_stride, op.m, op.n)
        ends = np.array([x.min(), x.max()], np.int64)
        if op.gelu:
            ends = gelu_table()[ends - ACT16.min].astype(np.int64)
        largest = max(1, int(np.abs(ends).max()))
        value = int(log2([largest])[0]) + op.exponent
        self.scales[op.scale_a] = min(max(value, LAMBDA.min), LAMBDA.max)

    def _quantize(self, op):
        y = scratchpad.read_wide(self.scratchpad, op.source, op.source_stride, op.m, op.n)
        self._place(op, self._to_site(op, y.astype(np.int64)))

    def _to_site(self, op, y):
        """Quantize 16-bit results to a site, GELU before that."""
        if op.gelu:
            y = gelu_table()[y - ACT16.min]
        out = np.full(op.n, op.exponent_out - int(self.scales[op.scale_out]))
        return requant(y, *_multipliers(out), op.low, op.high).astype(np.int64)


def _multipliers(exponents):
    return exp2(np.clip(exponents, EXPONENT.min, EXPONENT.max))


def read(memory: scratchpad.Memory, tensor: Tensor, config) -> np.ndarray:
    """Return a tensor of a scratchpad."""
    place = memory, tensor.address, tensor.stride, tensor.rows, tensor.cols
    if tensor.layout is Layout.WIDE:
        return scratchpad.read_wide(*place)
    if tensor.layout in _OPERANDS:
        return scratchpad.read_operand(*place, tensor.layout, signed=tensor.signed)
    return scratchpad.read_weights(*place, tensor.layout, config)
