"""What the fields of one instruction may say, by opcode.

What the matrices of the scratchpad add to that, and the sizes of a predictor, is in
:mod:`golden.core.rules`.
"""

from ..common.formats import ACT16, LOG2, Mode
from ..prediction.range_shape import RangeShape
from ..product.mac_array import Activation
from ..results.curves import LENGTH, OFFSETS
from ..rows.layernorm import highest_channels
from ..rows.softmax import reciprocal
from ..rows.softmax_run import highest_keys
from .isa import OPERANDS, Instruction, Layout, Opcode, Path, Source
from .program import check_range, tile_column_words


def check_fields(op: Instruction, config, memory_size: int) -> None:
    """Raise :exc:`ValueError` if a core of this configuration cannot do what the fields say."""
    if op.opcode in _CHECKS:
        _CHECKS[op.opcode](op, config, memory_size)


def check_slots(op: Instruction, config, count: int) -> None:
    """Raise :exc:`ValueError` if `count` slots from that of an instruction on are too many."""
    if op.scale_a + count > config.max_sites:
        raise ValueError(f"slots must be below {config.max_sites}, but {count} from {op.scale_a} "
                         f"on reach {op.scale_a + count - 1}")


def _check_scales(op, config, memory_size):
    check_slots(op, config, op.n)


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
    most = highest_channels(config)
    if op.n % config.lanes or op.n > most:
        raise ValueError(f"n must be a multiple of {config.lanes} up to {most}, not {op.n}")
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
        if tile_column_words(op) > config.stream_words:
            raise ValueError(f"a tile column must have {config.stream_words} stream words or "
                             f"fewer, not {tile_column_words(op)}")
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
    most = config.rows - 1 if Layout(op.layout) in OPERANDS else 0
    if op.first_row > most:
        raise ValueError(f"first_row must be within 0..{most} in this layout, not {op.first_row}")
    _check_multiplier(op, config)
    if op.tap:
        _check_tap(op, config)


def _check_tap(op, config):
    words = -(-op.n // config.lanes)
    groups = op.n if op.per_channel else words // (op.last_group_word + 1)
    shape = RangeShape(op.m, op.n, op.last_chunk_token + 1, max(groups, 1),
                       config.tile_cols(op.mode_of) // config.lanes)
    for name, value in shape.registers(config).items():
        if getattr(op, name) != value:
            raise ValueError(f"{name} must be {value} for this tap, not {getattr(op, name)}")


def _check_measure(op, config, memory_size):
    if op.words not in (0, op.n * op.gelu):
        raise ValueError(f"words must be 0, or n ({op.n}) with GELU, not {op.words}")
    _check_multiplier(op, config)


def _check_quantize(op, config, memory_size):
    _check_measure(op, config, memory_size)
    if Layout(op.layout) is Layout.WIDE:
        raise ValueError("layout must be of operands or weights, not wide")
    _check_limits(op)


def _check_softmax(op, config, memory_size):
    most = highest_keys(config)
    if op.n > most:
        raise ValueError(f"n must be within 1..{most}, not {op.n}")
    if op.step and (op.factor, op.shift) != reciprocal(op.step):
        raise ValueError(f"factor and shift must be {reciprocal(op.step)} for step "
                         f"{op.step}, not {(op.factor, op.shift)}")


def _check_table(op, config, memory_size):
    if op.n != LENGTH:
        raise ValueError(f"n must be {LENGTH}, the values of a table, not {op.n}")
    if not 0 <= -op.low <= OFFSETS.max:
        raise ValueError(f"low must be within {-OFFSETS.max}..0, not {op.low}")


def _check_exit(op, config, memory_size):
    if not 0 <= op.exponent <= LOG2.max:
        raise ValueError(f"exponent must be within 0..{LOG2.max}, not {op.exponent}")


_CHECKS = {Opcode.SCALES: _check_scales, Opcode.LOAD: _check_transfer,
           Opcode.STORE: _check_transfer, Opcode.PATCHES: _check_patches,
           Opcode.NORM: _check_norm, Opcode.GEMM: _check_gemm, Opcode.SOFTMAX: _check_softmax,
           Opcode.MEASURE: _check_measure, Opcode.QUANTIZE: _check_quantize,
           Opcode.EXIT: _check_exit, Opcode.TABLE: _check_table}
