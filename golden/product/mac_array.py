"""MAC array: int8 and int4 matrix products.

``y[m, n] = start[n] + sum_k a[m, k] * w[k, n]``, exact in 32 bits: shapes and start values that
could make any accumulator wrap are refused. :mod:`golden.product.operand_bytes` gives what the
hardware is fed for one tile, :mod:`golden.product.tiling` the order of the tiles and their cost.
"""

import enum
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import get_num_threads

from ..common import formats
from ..common.checks import integer, integers
from ..common.config import CORES, AcceleratorConfig
from ..common.formats import IntFormat, Mode
from .gemm_kernels import COLS, GROUP, ROWS, WIDE, multiply, multiply_share, pack_panels, words

CODES = formats.CODE.max + 1
"""Entries of a codebook."""

_OFFSET = 1 << (Mode.W4A4.activation_bits - 1)  # taken off unsigned 4-bit activations
_DEFAULT = CORES["8x16"]
_SERIAL = 1 << 19  # products in the time that starting the threads would take


class Activation(enum.Enum):
    """How the activations of a matrix product are stored."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    CODE = "code"


_KINDS = {"mode": Mode, "activation": Activation, "config": AcceleratorConfig}


@cache
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
    term = (mode.operand.magnitude + offset(mode, activation)) * mode.weight.magnitude
    return config.accumulator(mode.macs - 1).max - k * term


def offset(mode: Mode, activation: Activation) -> int:
    """Constant taken off an activation before it is stored."""
    return _OFFSET if mode is Mode.W4A4 and activation is Activation.UNSIGNED else 0


def check_kinds(**arguments):
    """Raise :exc:`TypeError` if `mode`, `activation` or `config` is something else."""
    for name, value in arguments.items():
        kind = _KINDS[name]
        if not isinstance(value, kind):
            article = "an" if kind.__name__[0] in "AI" else "a"
            raise TypeError(f"{name} must be {article} {kind.__name__}, not {value!r}")


@dataclass(frozen=True, slots=True, eq=False)
class PreparedWeights:
    """Weights laid out for :func:`gemm`, made once by :func:`prepare_weights`."""

    mode: Mode
    shape: tuple[int, ...]
    panels: np.ndarray


def prepare_weights(w, mode: Mode) -> PreparedWeights:
    """Return weights (k, n) or (batch, k, n) laid out for many calls of :func:`gemm`."""
    check_kinds(mode=mode)
    w = _matrices("w", w, mode.weight)
    batch, k, n = (1, *w.shape)[-3:]
    panels = np.empty((batch, -(-n // COLS), words(k) + 1, COLS), np.int32)
    padded = (batch, GROUP * words(k), COLS * panels.shape[1])
    whole = w.reshape(batch, k, n)
    if whole.shape != padded:
        whole = np.zeros(padded, np.int8)
        whole[:, :k, :n] = w
    pack_panels(whole, panels)
    return PreparedWeights(mode, w.shape, panels)


def _matrices(name: str, value, fmt: IntFormat):
    """Return a matrix, or a batch of matrices, as bytes."""
    shape = (None,) * (3 if np.ndim(value) == 3 else 2)
    return integers(name, value, fmt.min, fmt.max, shape=shape,
                    dtype=np.int8 if fmt.signed else np.uint8)


def gemm(a, w, mode: Mode, activation: Activation = Activation.SIGNED, codebook=None, start=None,
         config: AcceleratorConfig = _DEFAULT):
    """Multiply activations by weights and add the start value of each column.

    Parameters
    ----------
    a : int array, shape (m, k) or (batch, m, k)
        Activations: values of the format of `mode` and `activation`, or codes 0..15.
    w : int array or PreparedWeights, shape (k, n) or (batch, k, n)
        Weights, in the weight format of `mode`.
    codebook : int array, shape (16,), optional
        Operand of each code, in ``OPERAND``; given exactly when `activation` is ``CODE``.
    start : int array, shape (n,), optional
        Start values of the accumulators, at most :func:`start_limit` in magnitude.
    config : AcceleratorConfig
        Its `max_k` and accumulators limit `k` and `start`; the result does not depend on it.

    Returns
    -------
    int32 array, shape (m, n) or (batch, m, n)
        ``start[n] + sum_k a[m, k] * w[k, n]``, exact.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer, out of its format, of a shape that does not fit the others,
        longer than `max_k`, or could make an accumulator wrap.
    """
    check_kinds(mode=mode, activation=activation, config=config)
    a = _matrices("a", a, activation_format(mode, activation))
    weights = w if isinstance(w, PreparedWeights) else prepare_weights(w, mode)
    if weights.mode is not mode:
        raise ValueError(f"w must be prepared for {mode.value}, not {weights.mode.value}")
    if (*a.shape[:-2], a.shape[-1]) != weights.shape[:-1]:
        raise ValueError(f"a and w must agree in batch and k, not be {a.shape} and {weights.shape}")
    n = weights.shape[-1]
    table = _table(activation, codebook)
    padded = np.zeros(weights.panels.shape[1] * COLS, np.int32)
    padded[:n] = checked_start(start, weights.shape[-2], n, mode, activation, config)

    out = np.empty((*a.shape[:-1], n), np.int32)
    if out.size:
        first, *rest = _parts(table)
        a, made = a.reshape(-1, *a.shape[-2:]), out.reshape(-1, *out.shape[-2:])
        _multiply(a, first, weights.panels, padded, made)
        for part in rest:
            more = np.empty_like(made)
            _multiply(a, part, weights.panels, np.zeros_like(padded), more)
            made += more
    return out


def _parts(table):
    """Return tables, as far apart as kernels take them, that add up to one."""
    if not table.size or int(table.max()) - int(table.min()) <= np.iinfo(WIDE).max:
        return [table]
    return [np.maximum(table, 0), np.minimum(table, 0)]


def _multiply(a, table, panels, start, out):
    """Run the kernels on a batch, in parallel where that pays."""
    batch, m, k = a.shape
    mask = -1 if a.dtype == np.int8 else formats.UINT8.max
    wide = np.empty((batch, -(-m // ROWS) * ROWS, GROUP * words(k)), WIDE)
    arguments = a.view(np.int8), mask, table, panels, start, wide
    if out.size * k < _SERIAL:
        multiply_share(*arguments, 0, 1, out)
    else:
        multiply(*arguments, get_num_threads(), out)


def _table(activation, codebook):
    """Operands of codes; none where activations are operands themselves."""
    if (activation is Activation.CODE) != (codebook is not None):
        raise ValueError("codebook must be given for codes, and only for them")
    if codebook is None:
        return np.empty(0, np.int16)
    return integers("codebook", codebook, formats.OPERAND.min, formats.OPERAND.max, shape=(CODES,),
                    dtype=np.int16)


def checked_start(start, k: int, n: int, mode: Mode, activation: Activation,
                  config: AcceleratorConfig):
    """Return the start values of `n` sums of `k` products, or zero if None.

    Raises
    ------
    TypeError, ValueError
        As :func:`gemm`.
    """
    if start is None:
        integer("k", k, 1, config.max_k)
        return 0
    limit = start_limit(k, mode, activation, config)
    return integers("start", start, -limit, limit, shape=(n,))
