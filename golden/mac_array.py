"""MAC array: int8 and int4 matrix products, and how they are cut into tiles for the hardware.

``y[m, n] = start[n] + sum_k a[m, k] * w[k, n]``, exact in 32 bits: shapes and start values that
could make any accumulator wrap are refused. The functional model (:func:`gemm`) works on operand
values; :func:`pack_activations`, :func:`pack_weights` and :func:`start_values` give what the
hardware is fed for one tile, :func:`tiles` the order of the tiles and :func:`gemm_cycles` their cost.
"""

import enum
from collections.abc import Iterator

import numpy as np

from . import formats
from .checks import integer, integers
from .config import CONFIGS, AcceleratorConfig
from .formats import IntFormat, Mode
from .jit import kernel

FILL = 6
"""Cycles from the last operand beat of a tile to its first result beat."""

CODES = formats.CODE.max + 1
"""Entries of a codebook."""

_OFFSET = 1 << (Mode.W4A4.activation_bits - 1)  # taken off unsigned 4-bit activations
_DEFAULT = CONFIGS["8x16"]


class Activation(enum.Enum):
    """How the activations of a matrix product are stored."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    CODE = "code"


def activation_format(mode: Mode, activation: Activation) -> IntFormat:
    """Format of the stored activations of a matrix product.

    Raises
    ------
    ValueError
        For codes in W4A4, whose multipliers take 4-bit operands only.
    """
    if activation is not Activation.CODE:
        return mode.activation(activation is Activation.SIGNED)
    if mode is Mode.W4A4:
        raise ValueError("activation must be signed or unsigned in w4a4, not code")
    return formats.CODE


def start_limit(k: int, mode: Mode, activation: Activation,
                config: AcceleratorConfig = _DEFAULT) -> int:
    """Largest magnitude of a start value before a sum of `k` products.

    Start values up to it, and the offset of unsigned 4-bit activations added to them, leave room
    for any `k` products in the narrowest accumulator that `mode` uses.
    """
    k = integer("k", k, 1, config.max_k)
    products = k * mode.operand.magnitude * mode.weight.magnitude
    offset = k * _offset(mode, activation) * mode.weight.magnitude
    return config.accumulator(mode.macs - 1).max - products - offset


def _offset(mode: Mode, activation: Activation) -> int:
    """Constant taken off an activation before it is stored."""
    return _OFFSET if mode is Mode.W4A4 and activation is Activation.UNSIGNED else 0


def _check_kinds(mode, activation, config):
    for name, value, kind in (("mode", mode, Mode), ("activation", activation, Activation),
                              ("config", config, AcceleratorConfig)):
        if not isinstance(value, kind):
            article = "an" if kind.__name__[0] in "AI" else "a"
            raise TypeError(f"{name} must be {article} {kind.__name__}, not {value!r}")


@kernel
def _gemm(a, w, start, out):
    for row in range(a.shape[0]):
        for col in range(w.shape[1]):
            out[row, col] = start[col]
        for k in range(a.shape[1]):
            for col in range(w.shape[1]):
                out[row, col] += a[row, k] * w[k, col]


def gemm(a, w, mode: Mode, activation: Activation = Activation.SIGNED, codebook=None, start=None,
         config: AcceleratorConfig = _DEFAULT):
    """Multiply activations by weights and add the start value of each column.

    Parameters
    ----------
    a : int array, shape (m, k)
        Activations: values of the format of `mode` and `activation`, or codes 0..15.
    w : int array, shape (k, n)
        Weights, in the weight format of `mode`.
    codebook : int array, shape (16,), optional
        Operand of each code, in ``OPERAND``; given exactly when `activation` is ``CODE``.
    start : int array, shape (n,), optional
        Start values of the accumulators, at most :func:`start_limit` in magnitude.

    Returns
    -------
    int32 array, shape (m, n)
        ``start[n] + sum_k a[m, k] * w[k, n]``, exact.
    """
    _check_kinds(mode, activation, config)
    fmt = activation_format(mode, activation)
    a = integers("a", a, fmt.min, fmt.max, shape=(None, None))
    k = integer("k", a.shape[1], 1, config.max_k)
    w = integers("w", w, mode.weight.min, mode.weight.max, shape=(k, None))
    limit = start_limit(k, mode, activation, config)
    start = np.zeros(w.shape[1], np.int64) if start is None else start
    start = integers("start", start, -limit, limit, shape=(w.shape[1],))
    if (activation is Activation.CODE) != (codebook is not None):
        raise ValueError("codebook must be given for codes, and only for them")
    if codebook is not None:
        a = integers("codebook", codebook, formats.OPERAND.min, formats.OPERAND.max,
                     shape=(CODES,))[a]
    out = np.empty((a.shape[0], w.shape[1]), np.int32)
    _gemm(a, w, start, out)
    return out


def _packed(values, slots: int, size: int):
    """Return values (k, n) as bytes (k, size), `slots` values to a byte, low nibble first."""
    padded = np.zeros((values.shape[0], size * slots), np.int64)
    padded[:, :values.shape[1]] = values
    if slots == 1:
        return padded.astype(np.uint8)
    return (padded[:, ::2] & 15 | (padded[:, 1::2] & 15) << 4).astype(np.uint8)


def pack_activations(a, mode: Mode, activation: Activation,
                     config: AcceleratorConfig = _DEFAULT):
    """Return the activation bytes of one tile.

    Parameters
    ----------
    a : int array, shape (up to tile_rows, k)
        Activations as for :func:`gemm`. Missing rows are fed zero bytes.

    Returns
    -------
    uint8 array, shape (k, rows)
        Byte of each PE row in each cycle: an 8-bit activation or a code of that row; in W4A4
        logical row ``2 * r`` in the low and ``2 * r + 1`` in the high nibble, unsigned ones with
        8 taken off.
    """
    _check_kinds(mode, activation, config)
    fmt = activation_format(mode, activation)
    a = integers("a", a, fmt.min, fmt.max, shape=(None, None))
    integer("rows of a", a.shape[0], 1, config.tile_rows(mode))
    return _packed(a.T - _offset(mode, activation), mode.row_slots, config.rows)


def pack_weights(w, mode: Mode, config: AcceleratorConfig = _DEFAULT):
    """Return the weight bytes of one tile.

    Parameters
    ----------
    w : int array, shape (k, up to tile_cols)
        Weights as for :func:`gemm`. Missing columns are fed zero weights.

    Returns
    -------
    uint8 array, shape (k, cols)
        Byte of each PE column in each cycle: an 8-bit weight; or, 4-bit, logical column ``2 * c``
        in the low and ``2 * c + 1`` in the high nibble.
    """
    _check_kinds(mode, Activation.SIGNED, config)
    w = integers("w", w, mode.weight.min, mode.weight.max, shape=(None, None))
    integer("columns of w", w.shape[1], 1, config.tile_cols(mode))
    return _packed(w, mode.col_slots, config.cols)


def start_values(w, mode: Mode, activation: Activation, start=None,
                 config: AcceleratorConfig = _DEFAULT):
    """Return what the accumulators of each column start from.

    Parameters
    ----------
    w : int array, shape (k, n)
        Weights as for :func:`gemm`.
    start : int array, shape (n,), optional
        Start values as for :func:`gemm`.

    Returns
    -------
    int64 array, shape (n,)
        `start`, and ``8 * sum_k w[k, n]`` added where W4A4 stores unsigned activations with 8
        taken off.
    """
    _check_kinds(mode, activation, config)
    w = integers("w", w, mode.weight.min, mode.weight.max, shape=(None, None))
    limit = start_limit(w.shape[0], mode, activation, config)
    start = np.zeros(w.shape[1], np.int64) if start is None else start
    start = integers("start", start, -limit, limit, shape=(w.shape[1],))
    return start + _offset(mode, activation) * w.sum(axis=0)


def tiles(m: int, n: int, mode: Mode,
          config: AcceleratorConfig = _DEFAULT) -> Iterator[tuple[int, int]]:
    """First row and column of each tile of an (m, n) result, in the order they are computed.

    Columns of tiles are outermost, so that a tile's weights serve all rows before the next ones are
    fetched. Tiles at the edges are computed whole; what lies beyond the result is dropped.
    """
    rows, cols = range(0, m, config.tile_rows(mode)), range(0, n, config.tile_cols(mode))
    return ((row, col) for col in cols for row in rows)


def drain_cycles(mode: Mode, config: AcceleratorConfig = _DEFAULT) -> int:
    """Cycles in which the results of one tile leave the array."""
    return config.tile_rows(mode) * config.tile_cols(mode) // config.lanes


def gemm_cycles(m: int, k: int, n: int, mode: Mode,
                config: AcceleratorConfig = _DEFAULT) -> int:
    """Cycles from the first operand beat of an (m, k) x (k, n) product to its last result beat.

    Both included, with operands always there and results always taken. A tile takes `k` cycles,
    or as long as the tile before needs to drain; the last one drains alone.
    """
    for name, size in (("m", m), ("n", n)):
        integer(name, size, 1)
    integer("k", k, 1, config.max_k)
    drain = drain_cycles(mode, config)
    count = -(-m // config.tile_rows(mode)) * -(-n // config.tile_cols(mode))
    return (count - 1) * max(k, drain) + k + FILL - 1 + drain


def utilisation(m: int, k: int, n: int, mode: Mode,
                config: AcceleratorConfig = _DEFAULT) -> float:
    """Multiply-accumulates of a product over those the array could do in the same cycles, 0..1."""
    peak = config.multipliers * mode.macs * gemm_cycles(m, k, n, mode, config)
    return m * k * n / peak
