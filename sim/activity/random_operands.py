"""The instructions of a program on random operands: what its activity is compared with.

Every kind and shape of product, norm and softmax that the program has comes once, between loads of
uniformly random data: operands and weights take all their values equally often. Exponents are such
that results fill the width that they have, three deviations to its end. Weights come from the
stream in all products, and 8-bit activations are signed in all of them. Of taps there is one, and
the predictor behind it has random numbers.
"""

import math
from collections.abc import Collection

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, LAMBDA, Mode
from golden.core import isa
from golden.core.bit_fields import pack
from golden.core.isa import INSTRUCTION_BYTES, UNIT_BYTES, Instruction, Layout, Opcode, Path, Source
from golden.core.program import Program, Region, align, payload_bytes
from golden.core.rules import operand_layout
from golden.memory.scratchpad import stride_of, words_of
from golden.product.mac_array import Activation
from golden.results.gelu import END

CALIBRATED = (Opcode.GEMM, Opcode.NORM, Opcode.SOFTMAX, Opcode.PREDICT)
"""Instructions that a random program has."""

_SCORES = 2048  # of softmax: beyond, exponentials are zero beside that of the largest
_GAMMA = 1 << 14
_NORMALISED = 600  # deviation of a normalized row times its fractional bits, about
_DEVIATIONS = math.log2(3)  # from the middle of a format to its end
_FREE = ("source", "dest", "residual_address", "weights_address")


def random_program(program: Program, seed: int = 0, indexes: Collection[int] | None = None
                   ) -> tuple[Program, list[Instruction | None]]:
    """Return a program on random operands, and of each of its instructions the one that it is like,
    None where it only prepares another.

    Instructions that differ in nothing but addresses, strides, scales and limits are taken for one.
    With `indexes` only those instructions of the program are taken.
    """
    made = _Random(program.config, seed)
    seen = set()
    for index, (address, op) in enumerate(program.instructions()):
        if op.opcode not in CALIBRATED or (indexes is not None and index not in indexes):
            continue
        if (shape := shape_of(op)) in seen:
            continue
        if op.fields.get("tap") and made.tapped:
            continue
        if op.opcode is Opcode.PREDICT and (made.predicted or not made.tapped):
            continue
        seen.add(shape)
        begin = address + align(INSTRUCTION_BYTES, program.config)
        made.add(op, program.memory[begin:begin + payload_bytes(op, program.config)])
    return made.program(), made.like


def shape_of(op: Instruction) -> tuple:
    """Return what instructions that are alike have in common."""
    return (op.opcode, *(op.fields.get(name, 0) for name in (
        "mode", "path", "layout", "gelu", "residual", "tap", "m", "k", "n", "step",
        *isa.PREDICTOR_FIELDS)))


class _Random:
    """A stream in the making, and the random data that it loads."""

    def __init__(self, config: AcceleratorConfig, seed: int):
        self._config, self._draw = config, np.random.default_rng(seed)
        self.like: list[Instruction | None] = []
        self._data, self._stream = b"", b""
        self.tapped = self.predicted = False
        self._emit(Opcode.SCALES, bytes(align(UNIT_BYTES, config)), scale_a=0, n=1)

    def add(self, op: Instruction, payload: bytes) -> None:
        """Add what is like an instruction, and loads of its operands before."""
        fields = {name: value for name, value in op.fields.items() if name not in (
            *_FREE, "weights_stride", "scale_a", "scale_b", "scale_out", "subtract_b", "rows",
            "offset", "activation", "weights", "first_row")}
        if op.opcode is Opcode.PREDICT:
            data = self._draw.integers(0, 256, len(payload), np.uint8).tobytes()
            self.predicted = True
            self._emit(op.opcode, data, op, **op.fields)
            return
        layout = Layout(fields.get("layout", 0))
        if op.opcode is not Opcode.SOFTMAX and layout is not Layout.WIDE:
            half = 1 << layout.bits - 1
            fields |= {"low": -half, "high": half - 1}
        if op.opcode is Opcode.GEMM:
            self.tapped |= bool(op.tap)
            payload = self._product(op, fields)
        else:
            fields |= self._loaded("source", Layout.WIDE, op.m, op.n,
                                   scores=op.opcode is Opcode.SOFTMAX)
            if op.opcode is Opcode.NORM:
                fields |= _exponent(layout.bits, _NORMALISED * _GAMMA / math.sqrt(3))
                payload = self._channels(op.n)
            else:
                layout = Layout.OPERAND8
        stride = stride_of(layout, op.m, op.n, self._config)
        self._emit(op.opcode, payload, op, **fields | {"dest": self._next, "dest_stride": stride})

    def program(self) -> Program:
        """Return it."""
        self._emit(Opcode.END)
        begin = -(-len(self._data) // 64) * 64
        return Program(self._config, self._data.ljust(begin, b"\0") + self._stream,
                       Region(begin, len(self._stream)), Region(0, 0), Region(0, 0), 0, 0, 0, (),
                       {"model": "random operands"})

    def _product(self, op: Instruction, fields: dict) -> bytes:
        mode = op.mode_of
        fields |= {"weights": Source.STREAM, "activation": isa.ACTIVATIONS[Activation.SIGNED]}
        fields |= self._loaded("source", operand_layout(mode), op.m, op.k)
        if op.residual:
            fields |= self._loaded("residual", Layout.WIDE, op.m, op.n, first=self._next)
        deviation = math.sqrt(op.k) * _deviation(mode.activation_bits) * _deviation(
            4 if mode is not Mode.W8A8 else 8)
        bits = Layout(op.layout).bits if op.path == Path.DIRECT else 16
        wanted = END / 2 if op.gelu else 2.0 ** (bits - 1 - _DEVIATIONS)
        fields["exponent"] = round(math.log2(wanted / deviation) * LAMBDA.one)
        if op.path == Path.SITE:
            fields["exponent_out"] = _exponent(Layout(op.layout).bits, wanted)["exponent"]
        return self._columns(mode, op.k, op.n)

    def _columns(self, mode: Mode, k: int, n: int) -> bytes:
        tile, cols = self._config.tile_cols(mode), self._config.cols
        parts = []
        for _ in range(0, n, tile):
            biases = self._draw.integers(-(1 << 12), 1 << 12, tile)
            parts.append(_units([{"bias": int(bias)} for bias in biases], isa.COLUMN, self._config))
            weights = self._draw.integers(0, 256, (k, cols), np.uint8)
            if mode is not Mode.W8A8:  # no weight is -8
                weights = np.where(weights & 15 == 8, weights ^ 1, weights)
                weights = np.where(weights >> 4 == 8, weights ^ 16, weights)
            parts.append(weights.astype(np.uint8).tobytes())
        return b"".join(parts)

    def _channels(self, n: int) -> bytes:
        gammas = self._draw.integers(-_GAMMA, _GAMMA, n)
        return _units([{"gamma": int(gamma)} for gamma in gammas], isa.CHANNEL, self._config)

    def _loaded(self, name: str, layout: Layout, rows: int, cols: int, *, first: int = 0,
                scores: bool = False) -> dict:
        """Load a random matrix; return its address and stride."""
        config = self._config
        stride = stride_of(layout, rows, cols, config)
        words = words_of(layout, rows, cols, stride, config)
        self._next = first + words
        limit = _SCORES if scores else ACT16.max + 1
        data = self._draw.integers(-limit, limit, words * config.word_bytes // 2).astype("<i2")
        address = len(self._data)
        self._data += data.tobytes().ljust(-(-data.nbytes // config.bus_bytes) * config.bus_bytes,
                                           b"\0")
        self._emit(Opcode.LOAD, address=address, dest=first, words=words)
        where = name if name == "source" else f"{name}_address"
        return {where: first, f"{name}_stride": stride}

    def _emit(self, opcode: Opcode, payload: bytes = b"", like: Instruction | None = None,
              **fields) -> None:
        self._stream += isa.make(opcode, **fields).encode().ljust(
            align(INSTRUCTION_BYTES, self._config), b"\0") + payload
        self.like.append(like)


def _deviation(bits: int) -> float:
    """Of a uniform number of so many bits."""
    return 2**bits / math.sqrt(12)


def _exponent(bits: int, deviation: float) -> dict:
    return {"exponent": round((bits - 1 - _DEVIATIONS - math.log2(deviation)) * LAMBDA.one)}


def _units(units: list[dict], layout: dict, config: AcceleratorConfig) -> bytes:
    data = b"".join(pack(unit, layout).to_bytes(UNIT_BYTES, "little") for unit in units)
    return data.ljust(align(len(data), config), b"\0")
