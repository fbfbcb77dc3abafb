"""The golden machine: executes a program of the core on memory images, bit for bit.

Everything that the core keeps from one instruction to the next is here as well: external memory,
the scratchpad, the scale file, the row exponents of the last softmax and what the range unit has
seen. The arithmetic is that of the other golden modules; what an instruction does is said in
:mod:`golden.core.isa`.
"""

import numpy as np

from ..common import formats
from ..common.checks import integer
from ..common.exp2 import exp2
from ..common.formats import ACC, ACT16, EXPONENT, LAMBDA, Mode
from ..common.log2 import log2
from ..memory import scratchpad
from ..prediction import range_unit, scale_unit
from ..product.mac_array import Activation, gemm
from ..results.curves import GELU, Curve, curve_columns
from ..results.requant import requant
from ..rows import softmax
from ..rows.layernorm import layer_norm
from . import isa
from .bit_fields import unpack
from .isa import INSTRUCTION_BYTES, UNIT_BYTES, Instruction, Layout, Path, Source
from .program import Program, ProgramError, Tensor, align, patch_places, units_of
from .rules import check, key_layout, operand_layout, shape_of_predictor, verify, weight_layout


class Machine:
    """A core that executes a program.

    Parameters
    ----------
    program
        Verified first, see :func:`golden.core.rules.verify`.
    pixels : uint8 array, shape (side, side, colours), optional
        The image; without one, that of the program's memory.
    image_offset, logits_offset : int
        Bytes that are added to where the program has its image and its logits, whole beats of the
        bus; memory is as much larger.

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
        END has been reached, or an EXIT has ended the program.
    exited : int or None
        Index of the EXIT that has.
    """

    def __init__(self, program: Program, pixels=None, *, image_offset: int = 0,
                 logits_offset: int = 0):
        program.config.check_core()
        verify(program)
        self.program, self.config = program, program.config
        for name, value in (("image_offset", image_offset), ("logits_offset", logits_offset)):
            if integer(name, value, 0) % self.config.bus_bytes:
                raise ValueError(f"{name} must be a multiple of {self.config.bus_bytes}, not "
                                 f"{value}")
        self._image_offset, self._logits_offset = image_offset, logits_offset
        self.memory = np.zeros(len(program.memory) + max(image_offset, logits_offset), np.uint8)
        self.memory[:len(program.memory)] = np.frombuffer(program.memory, np.uint8)
        if pixels is not None:
            region = program.image
            image = program.with_image(pixels)[region.address:region.address + region.size]
            self.memory[region.address + image_offset:][:region.size] = image
        self.scratchpad = scratchpad.empty(self.config)
        self.scales = np.zeros(self.config.max_sites, np.int16)
        self.row_exponents = np.zeros(self.config.max_tokens, np.int16)
        self.index, self.done = 0, False
        self.exited: int | None = None
        self._cursor = program.stream.address
        self._tapped: tuple[np.ndarray, Instruction] | None = None
        self._codebook: np.ndarray | None = None
        self._curve = GELU
        self._last_exponent: int | None = None

    @property
    def logits(self) -> np.ndarray:
        """What is where the logits go: int16 (classes,)."""
        region = self.program.logits
        size = 2 * min(self.program.classes, region.size // 2)
        first = region.address + self._logits_offset
        return self.memory[first:][:size].view("<i2").astype(np.int16)

    def run(self, stop_after: int | None = None) -> None:
        """Execute up to the end, or up to an instruction, it included."""
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
        return [unpack(int.from_bytes(data[at:at + UNIT_BYTES], "little"), layout)
                for at in range(0, len(data), UNIT_BYTES)]

    def _end(self, op):
        self.done = True

    def _exit(self, op):
        if self._last_exponent is None:
            raise ValueError("there has been no SOFTMAX")
        if self._last_exponent <= op.exponent:
            self.done, self.exited = True, self.index

    def _scales(self, op):
        values = [value for unit in self._units(*units_of(op, self.config), isa.SCALES)
                  for value in unit.values()]
        self.scales[op.scale_a:op.scale_a + op.n] = values[:op.n]

    def _table(self, op):
        values = [value for unit in self._units(*units_of(op, self.config), isa.TABLE)
                  for value in unit.values()]
        self._curve = Curve(tuple(values[:op.n]), -op.low, bool(op.wide))

    def _patches(self, op):
        values = np.zeros((op.m, op.k), np.uint8)
        values[1:] = self.memory[patch_places(op) + self._image_offset]
        scratchpad.write_operand(self.scratchpad, op.dest, op.dest_stride, values, Layout.OPERAND8)

    def _load(self, op):
        size = op.words * self.config.word_bytes
        data = self.memory[op.address:op.address + size].view("<u2").reshape(op.words, -1)
        self.scratchpad[op.dest:op.dest + op.words] = data

    def _store(self, op):
        data = self.scratchpad[op.source:op.source + op.words].astype("<u2").view(np.uint8)
        first = op.address + op.logits * self._logits_offset
        self.memory[first:first + data.size] = data.reshape(-1)

    def _base(self, op) -> int:
        """Exponent of the multiplier, but for columns and rows."""
        b = int(self.scales[op.scale_b])
        return op.exponent + int(self.scales[op.scale_a]) + (-b if op.subtract_b else b)

    def _norm(self, op):
        channels = self._units(op.n, isa.CHANNEL)
        gamma, beta, coarse = ([unit[name] for unit in channels]
                               for name in ("gamma", "beta", "coarse"))
        x = scratchpad.read_wide(self.scratchpad, op.source, op.source_stride, op.m, op.n)
        acc = layer_norm(x, gamma, beta, op.epsilon, coarse)
        mantissa, shift = _multipliers(np.full(op.n, self._base(op)))
        self._place(op, requant(acc, mantissa, shift, op.low, op.high))

    def _place(self, op, values):
        layout = Layout(op.layout)
        if layout is Layout.WIDE:
            scratchpad.write_wide(self.scratchpad, op.dest, op.dest_stride, values)
            return
        values = values - 8 if op.offset else values
        if layout in isa.OPERANDS:
            scratchpad.write_operand(self.scratchpad, op.dest, op.dest_stride, values, layout,
                                     op.first_row)
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
            y = self._to_site(op, y, columns["coarse"])
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
        self._last_exponent = int(exponents[-1])
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
        ends = np.stack((x.min(axis=0), x.max(axis=0))).astype(np.int64)
        if op.gelu:
            ends = curve_columns(self._curve, ends, self._coarse(op)).astype(np.int64)
        largest = max(1, int(np.abs(ends).max()))
        value = int(log2([largest])[0]) + op.exponent
        self.scales[op.scale_a] = min(max(value, LAMBDA.min), LAMBDA.max)

    def _quantize(self, op):
        y = scratchpad.read_wide(self.scratchpad, op.source, op.source_stride, op.m, op.n)
        self._place(op, self._to_site(op, y.astype(np.int64), self._coarse(op)))

    def _coarse(self, op):
        """Return which columns the payload says are coarse."""
        units = self._units(op.words, isa.COLUMN)[:op.words]
        return np.array([unit["coarse"] for unit in units], np.uint8)

    def _to_site(self, op, y, coarse):
        """Quantize 16-bit results to a site, GELU before that."""
        if op.gelu:
            y = curve_columns(self._curve, y, coarse)
        out = np.full(op.n, op.exponent_out - int(self.scales[op.scale_out]))
        return requant(y, *_multipliers(out), op.low, op.high).astype(np.int64)


def _multipliers(exponents):
    return exp2(np.clip(exponents, EXPONENT.min, EXPONENT.max))


def read(memory: scratchpad.Memory, tensor: Tensor, config) -> np.ndarray:
    """Return a tensor of a scratchpad."""
    place = memory, tensor.address, tensor.stride, tensor.rows, tensor.cols
    if tensor.layout is Layout.WIDE:
        return scratchpad.read_wide(*place)
    if tensor.layout in isa.OPERANDS:
        return scratchpad.read_operand(*place, tensor.layout, signed=tensor.signed)
    return scratchpad.read_weights(*place, tensor.layout, config)
