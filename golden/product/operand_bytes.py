"""What the MAC array is fed for a tile: bytes of its operands, and what its sums start from.

How the multipliers take them apart is :mod:`golden.product.packing`.
"""

import numpy as np

from ..common.checks import integer, integers
from ..common.config import CORES, AcceleratorConfig
from ..common.formats import Mode
from .mac_array import Activation, activation_format, check_kinds, checked_start, offset

_DEFAULT = CORES["8x16"]


def pack_activations(a, mode: Mode, activation: Activation,
                     config: AcceleratorConfig = _DEFAULT):
    """Return the activation bytes of one tile.

    Parameters
    ----------
    a : int array, shape (up to tile_rows, k)
        Activations as for :func:`~golden.product.mac_array.gemm`. Missing rows are fed zero bytes.

    Returns
    -------
    uint8 array, shape (k, rows)
        Byte of each PE row in each cycle: an 8-bit activation or a code of that row; in W4A4
        logical row ``2 * r`` in the low and ``2 * r + 1`` in the high nibble, unsigned ones with
        8 taken off.
    """
    check_kinds(mode=mode, activation=activation, config=config)
    fmt = activation_format(mode, activation)
    a = integers("a", a, fmt.min, fmt.max, shape=(None, None))
    integer("rows of a", a.shape[0], 1, config.tile_rows(mode))
    return _packed(a.T - offset(mode, activation), mode.row_slots, config.rows)


def pack_weights(w, mode: Mode, config: AcceleratorConfig = _DEFAULT):
    """Return the weight bytes of one tile.

    Parameters
    ----------
    w : int array, shape (k, up to tile_cols)
        Weights as for :func:`~golden.product.mac_array.gemm`. Missing columns are fed zero weights.

    Returns
    -------
    uint8 array, shape (k, cols)
        Byte of each PE column in each cycle: an 8-bit weight; or, 4-bit, logical column ``2 * c``
        in the low and ``2 * c + 1`` in the high nibble.
    """
    check_kinds(mode=mode, config=config)
    w = integers("w", w, mode.weight.min, mode.weight.max, shape=(None, None))
    integer("columns of w", w.shape[1], 1, config.tile_cols(mode))
    return _packed(w, mode.col_slots, config.cols)


def start_values(w, mode: Mode, activation: Activation, start=None,
                 config: AcceleratorConfig = _DEFAULT):
    """Return what the accumulators of each column start from.

    Parameters
    ----------
    w : int array, shape (k, n)
        Weights as for :func:`~golden.product.mac_array.gemm`.
    start : int array, shape (n,), optional
        Start values as for :func:`~golden.product.mac_array.gemm`.

    Returns
    -------
    int64 array, shape (n,)
        `start`, and ``8 * sum_k w[k, n]`` added where W4A4 stores unsigned activations with 8
        taken off.
    """
    check_kinds(mode=mode, activation=activation, config=config)
    w = integers("w", w, mode.weight.min, mode.weight.max, shape=(None, None))
    start = checked_start(start, *w.shape, mode, activation, config)
    return start + offset(mode, activation) * w.sum(axis=0)


def _packed(values, slots: int, size: int):
    """Return values (k, n) as bytes (k, size), `slots` values to a byte, low nibble first."""
    padded = np.zeros((values.shape[0], size * slots), np.int64)
    padded[:, :values.shape[1]] = values
    if slots == 1:
        return padded.astype(np.uint8)
    return (padded[:, ::2] & 15 | (padded[:, 1::2] & 15) << 4).astype(np.uint8)
