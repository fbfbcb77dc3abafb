"""Instructions of the accelerator: what each does, its fields, encoding and disassembly.

A program is one stream of bytes in external memory, read once from its beginning to its end: each
instruction, and right behind it, in the order of use, the constants and weights that it takes
(its payload). There are no jumps and no instruction pointer; :data:`Opcode.END` ends it, or an
:data:`Opcode.EXIT` before that: what is behind it is then left out. The stream passes through the
weight buffer in words of ``cols`` bytes. An instruction has :data:`INSTRUCTION_BYTES`; it and every
part of a payload begin with a new word.

What is not weights comes in units of 8 bytes, :data:`UNIT_BYTES`, fields from bit 0 up:

    column     exponent (20, signed), bias (16, signed), start (27, signed), coarse (1)
    channel    gamma (16, signed), coarse (1), 15 bits of zero, beta (32, signed)
    scales     4 lambdas (16, signed)
    codebook   8 operands (8, unsigned)
    statistics 2 times mean (16, signed) and gain (16, unsigned)
    predictor  numbers of the beats of :func:`golden.prediction.scale_unit.pack` (16, signed),
               4 to a unit
    table      4 values of an activation's table (16, signed)

Scales lie in the scale file, one lambda to a slot; by convention a program sets slot 0 to zero. A
multiplier is ``exp2(exponent + file[scale_a] +- file[scale_b])``, where `exponent` is the
instruction's and, of a product with weights from the stream, the column's added to it.

==========  ========================================================================================
SCALES      ``file[scale_a ...] = payload``, `n` slots.                         Payload: scales.
PATCHES     The patches of an image at `address`, as an 8-bit operand matrix (m, k) at `dest`: a row
            of zeros for a prefix token, then ``m - 1`` patches. Patch ``y * grid + x`` begins at
            ``address + y * patch_row_bytes + x * run_bytes`` and has ``k / run_bytes`` runs of
            `run_bytes` bytes, `image_row_bytes` apart. A run may have its image elsewhere: that
            many bytes, its image offset, are added to `address`.
LOAD        `words` words of the scratchpad from external memory at `address`.
STORE       `words` words of the scratchpad at `source` to external memory at `address`, to which
            the run's logits offset is added if they are `logits`.
NORM        LayerNorm of `m` rows of `n` channels, quantized: ``clip(round(acc * multiplier))`` with
            ``low, high``, where acc is what :func:`golden.rows.layernorm.layer_norm` gives;
            `coarse` channels of the matrix have less fractional bits than the others.
                                                                     Payload: channels.
GEMM        Operands (m, k) times weights (k, n), `start` of each column added, then by `path`:
              WIDE    ``y = clip(clip(round(acc * multiplier)) + bias + residual)``, 16 bits
              SITE    ``clip(round(y * multiplier_out))`` with ``low, high``, before that, if
                      `gelu`, GELU or what the last TABLE of the run is for;
                      ``multiplier_out = exp2(exponent_out - file[scale_out])``. `coarse` columns
                      of GELU have less fractional bits, :mod:`golden.results.gelu`
              DIRECT  ``clip(round(acc * multiplier))`` with ``low, high``; with `rows` the row
                      exponents of the last SOFTMAX are taken off the exponent
            With `tap` the range unit watches ``y``. With `residual` a wide matrix is added.
            Results that are operands begin at PE row `first_row` of the tile at `dest`.
            Payload, if `weights` is STREAM: of each tile column, its columns, then the bytes of
            :func:`golden.product.operand_bytes.pack_weights`. Bias and start are zero without it.
SOFTMAX     Of `m` rows of `n` scores, as operands or codes (`step`); keeps the row exponents.
                                                             Payload, if `step` > 0: codebook.
PREDICT     The statistics of the last tap and the predictor in the payload give
            ``file[scale_a ...]``, one slot per predicted site; the predictor has `words` units.
                                                          Payload: statistics, predictor.
MEASURE     ``file[scale_a] = clip(log2(largest) + exponent)``, with the largest magnitude of a wide
            matrix, 1 at least, by :func:`golden.common.log2.log2`; of its columns' extremes after
            GELU, or what the last TABLE is for, if `gelu`. `words` columns say which are coarse
            for it: `n`, or 0 if none is.
                                                             Payload, if `words` > 0: columns.
QUANTIZE    A wide matrix as SITE of a product has it: GELU, or what the last TABLE is for, if
            `gelu`, then ``clip(round(y * multiplier_out))`` with ``low, high``. `words` as for
            MEASURE.
                                                             Payload, if `words` > 0: columns.
EXIT        Ends the program if the answer is sure: if the last row exponent of the last SOFTMAX is
            `exponent` or less (:mod:`golden.network.cascade`). Otherwise it goes on.
TABLE       Loads the table of an activation, a :class:`golden.results.curves.Curve` with ``-low``
            as its offset, `wide` or not, which is kept until the next TABLE or the end of the run.
            `n` is the number of its values.                                     Payload: table.
END         Ends the program.
==========  ========================================================================================

MEASURE and QUANTIZE are for scales that are measured just in time, and for the golden machine only
(:data:`GOLDEN_ONLY`): a core ends with an error. NORM and GEMM then give wide results.

Matrices lie in the scratchpad as :mod:`golden.memory.scratchpad` says; addresses and strides are
words.
"""

import enum
from dataclasses import dataclass
from itertools import accumulate

from ..common import formats
from ..common.checks import integer
from ..common.formats import EXPONENT, IntFormat, Mode
from ..prediction import range_unit
from ..product.mac_array import CODES, Activation
from ..rows import layernorm, softmax
from .bit_fields import pack, unpack

UNIT_BYTES = 8
INSTRUCTION_BYTES = 128

ENCODING = 3
"""Version of instructions and payloads: another wherever a program for a core as it was would mean
something else. Programs have it, and cores say it in a register of theirs.
"""


class Opcode(enum.IntEnum):
    """What an instruction does, see above. Zero, what empty memory holds, is none."""

    END = 1
    SCALES = 2
    PATCHES = 3
    LOAD = 4
    STORE = 5
    NORM = 6
    GEMM = 7
    SOFTMAX = 8
    PREDICT = 9
    MEASURE = 10
    QUANTIZE = 11
    EXIT = 12
    TABLE = 13


GOLDEN_ONLY = frozenset({Opcode.MEASURE, Opcode.QUANTIZE})
"""Instructions that the RTL does not have."""


class Source(enum.IntEnum):
    """Where the weights of a product come from."""

    STREAM = 0
    """The payload."""
    KEYS = 1
    """An operand matrix (n, k) of the scratchpad, transposed; 4 bits in w4a8, too."""
    VALUES = 2
    """A weight matrix (k, n) of the scratchpad."""


class Path(enum.IntEnum):
    """What becomes of the results of a product."""

    WIDE = 0
    SITE = 1
    DIRECT = 2


class Status(enum.IntEnum):
    """How a run has ended."""

    FINE = 0
    ILLEGAL_INSTRUCTION = 1
    """No such opcode, PREDICT without a tap, a second tap before PREDICT, or the stream ended where
    more of it was needed."""
    BUS_ERROR = 2


STATUS_BITS, INDEX_BITS = 4, 16
"""Width of a core's ``status``."""


class Layout(enum.IntEnum):
    """How a result is stored, see :mod:`golden.memory.scratchpad`."""

    WIDE = 0
    OPERAND8 = 1
    OPERAND4 = 2
    WEIGHT8 = 3
    WEIGHT4 = 4

    @property
    def bits(self) -> int:
        """Width of an element."""
        return {"WIDE": 16}.get(self.name) or int(self.name[-1])


OPERANDS = (Layout.OPERAND8, Layout.OPERAND4)
"""Layouts that the array's rows read."""

MODES = {Mode.W8A8: 0b00, Mode.W4A8: 0b01, Mode.W4A4: 0b11}
"""Codes of the modes: bit 0 tells two columns from one, bit 1 two rows."""

ACTIVATIONS = {Activation.SIGNED: 0, Activation.UNSIGNED: 1, Activation.CODE: 2}
"""Codes of the kinds of activations."""


def _up(bits: int) -> IntFormat:
    return IntFormat(bits, signed=False)


_FLAG = _up(1)
_SIZE = _up(13)
_ADDRESS = _up(20)
_STRIDE = _up(16)
_SLOT = _up(12)
_EXPONENT = IntFormat(20)

FIELDS: dict[str, IntFormat] = {
    "opcode": _up(4),
    "mode": _up(2), "activation": _up(2), "weights": _up(2), "path": _up(2), "layout": _up(3),
    "gelu": _FLAG, "residual": _FLAG, "rows": _FLAG, "tap": _FLAG, "offset": _FLAG,
    "subtract_b": _FLAG,
    "m": _SIZE, "k": _SIZE, "n": _SIZE,
    "source": _ADDRESS, "source_stride": _STRIDE,
    "weights_address": _ADDRESS, "weights_stride": _STRIDE,
    "residual_address": _ADDRESS, "residual_stride": _STRIDE,
    "dest": _ADDRESS, "dest_stride": _STRIDE,
    "low": IntFormat(16), "high": IntFormat(16),
    "exponent": _EXPONENT, "exponent_out": _EXPONENT,
    "scale_a": _SLOT, "scale_b": _SLOT, "scale_out": _SLOT,
    "epsilon": layernorm.EPSILON,
    "step": softmax.STEP, "factor": softmax.RECIPROCAL, "shift": _up(5),
    "address": _up(32), "words": _up(20),
    "run_bytes": _up(12), "grid": _up(8), "image_row_bytes": _up(16), "patch_row_bytes": _up(20),
    **range_unit.REGISTERS,
    # The predictor, golden.prediction.scale_predictor.PredictorShape.registers.
    "statistics": _up(16), "variables": _up(8), "monomials": _up(16), "sites": _SLOT,
    "degree": _up(2), "projected": _FLAG,
    "logits": _FLAG,
    "first_row": _up(5),
    "wide": _FLAG,
}
"""Format of each field. They lie in an instruction one behind the other in this order, each at the
same place in all instructions; fields that an instruction does not have are zero."""

PART_UNITS = _SIZE
"""Number of units of a part of a payload, which a core asks its stream for at once: of NORM `n`."""

INSTRUCTION_UNITS = INSTRUCTION_BYTES // UNIT_BYTES
FIELD_UNITS = -(-sum(fmt.bits for fmt in FIELDS.values()) // (8 * UNIT_BYTES))
"""Units of an instruction, and those of them that have fields."""

POSITIONS = dict(zip(FIELDS, accumulate((fmt.bits for fmt in FIELDS.values()), initial=0),
                     strict=False))
"""Lowest bit of each field."""

RANGE_FIELDS = tuple(range_unit.REGISTERS)
PREDICTOR_FIELDS = ("statistics", "variables", "monomials", "sites", "degree", "projected")

_MULTIPLIER = ("exponent", "scale_a", "scale_b", "subtract_b")
_LIMITS = ("low", "high", "offset", "layout", "dest", "dest_stride")
_HAS = {
    Opcode.END: (),
    Opcode.SCALES: ("scale_a", "n"),
    Opcode.PATCHES: ("m", "k", "address", "run_bytes", "grid", "image_row_bytes", "patch_row_bytes",
                     "dest", "dest_stride"),
    Opcode.LOAD: ("address", "dest", "words"),
    Opcode.STORE: ("address", "source", "words", "logits"),
    Opcode.NORM: ("m", "n", "source", "source_stride", "epsilon", *_MULTIPLIER, *_LIMITS),
    Opcode.GEMM: ("mode", "activation", "weights", "path", "gelu", "residual", "rows", "tap",
                  "m", "k", "n", "source", "source_stride", "weights_address", "weights_stride",
                  "residual_address", "residual_stride", *_MULTIPLIER, "exponent_out", "scale_out",
                  *_LIMITS, *RANGE_FIELDS, "first_row"),
    Opcode.SOFTMAX: ("m", "n", "source", "source_stride", "dest", "dest_stride", "step", "factor",
                     "shift"),
    Opcode.PREDICT: ("scale_a", "words", *PREDICTOR_FIELDS),
    Opcode.MEASURE: ("m", "n", "source", "source_stride", "scale_a", "exponent", "gelu", "words"),
    Opcode.QUANTIZE: ("m", "n", "source", "source_stride", "gelu", "words", "exponent_out",
                      "scale_out", *_LIMITS),
    Opcode.EXIT: ("exponent",),
    Opcode.TABLE: ("n", "low", "wide"),
}

COLUMN = {"exponent": _EXPONENT, "bias": formats.ACT16, "start": IntFormat(27), "coarse": _FLAG}
"""Fields of a column unit."""

CHANNEL = {"gamma": formats.ACT16, "coarse": _FLAG, "zero": IntFormat(15), "beta": formats.ACC}
"""Fields of a channel unit."""

SCALES = {f"scale{index}": formats.LAMBDA for index in range(4)}
"""Fields of a scales unit."""

PAIRS = 2
"""Statistics of a statistics unit."""

CODEBOOK = {f"operand{index}": formats.UINT8 for index in range(8)}
"""Fields of a codebook unit."""

CODEBOOK_UNITS = CODES // len(CODEBOOK)
"""Units of a codebook."""

STATISTICS = {f"{name}{index}": fmt for index in range(PAIRS)
              for name, fmt in (("mean", formats.LOG2), ("gain", formats.GAIN))}
"""Fields of a statistics unit."""

PREDICTOR = {f"number{index}": IntFormat(16) for index in range(4)}
"""Fields of a predictor unit."""

TABLE = {f"value{index}": IntFormat(16) for index in range(4)}
"""Fields of a table unit."""

assert sum(fmt.bits for fmt in FIELDS.values()) <= 8 * INSTRUCTION_BYTES
assert EXPONENT.bits <= _EXPONENT.bits


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    Attributes
    ----------
    opcode
        What it does.
    fields
        Value of each of its fields that is not zero; modes and the like as their codes.

    Raises
    ------
    ValueError
        If the instruction has no such field, or a value leaves its format.
    """

    opcode: Opcode
    fields: dict[str, int]

    def __post_init__(self):
        object.__setattr__(self, "opcode", Opcode(self.opcode))
        kept = {}
        for name, value in self.fields.items():
            if name not in _HAS[self.opcode]:
                raise ValueError(f"{self.opcode.name} has no field {name!r}")
            value = integer(name, int(value), FIELDS[name].min, FIELDS[name].max)
            if value:
                kept[name] = value
        object.__setattr__(self, "fields", kept)

    def __getattr__(self, name: str) -> int:
        if name.startswith("_") or name not in FIELDS:
            raise AttributeError(name)
        return self.fields.get(name, 0)

    @property
    def mode_of(self) -> Mode:
        """Mode of a product."""
        return _by_code(MODES, "mode", self.mode)

    @property
    def activation_of(self) -> Activation:
        """Kind of the activations of a product."""
        return _by_code(ACTIVATIONS, "activation", self.activation)

    def encode(self) -> bytes:
        """Return its :data:`INSTRUCTION_BYTES`."""
        word = pack({"opcode": int(self.opcode), **self.fields}, FIELDS)
        return word.to_bytes(INSTRUCTION_BYTES, "little")

    def __str__(self) -> str:
        """One line: the opcode and what is not zero, codes by their names."""
        shown = (f"{name}={_shown(name, self.fields[name])}" for name in FIELDS
                 if name in self.fields)
        return " ".join([f"{self.opcode.name:<8}", *shown]).rstrip()


def header_words(mode: Mode) -> int:
    """Return the stream words of the column units of a tile column, in an array of any size."""
    return UNIT_BYTES * mode.col_slots


def fields_of(opcode: Opcode) -> tuple[str, ...]:
    """Return the names of the fields that instructions of an opcode have."""
    return _HAS[opcode]


_NAMES = {
    "mode": {code: mode.value for mode, code in MODES.items()},
    "activation": {code: kind.value for kind, code in ACTIVATIONS.items()},
    "weights": {each.value: each.name.lower() for each in Source},
    "path": {each.value: each.name.lower() for each in Path},
    "layout": {each.value: each.name.lower() for each in Layout},
}


def _shown(name: str, value: int) -> str:
    if name in _NAMES:
        return _NAMES[name].get(value, str(value))
    if name in ("source", "dest", "weights_address", "residual_address", "address"):
        return f"0x{value:x}"
    return str(value)


def _by_code(codes: dict, name: str, code: int):
    for key, value in codes.items():
        if value == code:
            return key
    raise ValueError(f"{name} must be one of {', '.join(map(str, codes.values()))}, not {code}")


def make(opcode: Opcode, **fields) -> Instruction:
    """Return an instruction; modes and kinds of activations may be given as they are."""
    plain = {name: MODES[value] if isinstance(value, Mode) else
             ACTIVATIONS[value] if isinstance(value, Activation) else value
             for name, value in fields.items()}
    return Instruction(opcode, plain)


def decode(data: bytes) -> Instruction:
    """Return the instruction in :data:`INSTRUCTION_BYTES` bytes.

    Raises
    ------
    ValueError
        If there is no such opcode, mode or layout, or bits are set that the instruction has not.
    """
    if len(data) != INSTRUCTION_BYTES:
        raise ValueError(f"an instruction has {INSTRUCTION_BYTES} bytes, not {len(data)}")
    word = int.from_bytes(data, "little")
    values = unpack(word, FIELDS)
    code = values.pop("opcode")
    if code not in list(Opcode):
        raise ValueError(f"opcode must be one of {', '.join(str(int(op)) for op in Opcode)}, "
                         f"not {code}")
    made = Instruction(Opcode(code), {name: value for name, value in values.items() if value})
    if made.encode() != data:
        raise ValueError(f"{made.opcode.name} has bits set behind its fields")
    for name, value in made.fields.items():
        if name in _NAMES and value not in _NAMES[name]:
            raise ValueError(f"{name} must be one of {', '.join(_NAMES[name].values())}, "
                             f"not code {value}")
    return made
