"""The scratchpad of a core, and how matrices lie in it.

A word has a bank of 16 bits for each of the ``rows`` PE rows, :data:`BANK_BITS`. Banks are written
one by one and can have addresses of their own. Words are counted from 0, and a matrix is told by
the address of its first word and a stride in words. With ``R`` rows, ``C`` columns of the array:

WIDE, 16-bit elements (rows, n)
    Element ``(r, c)`` in word ``address + r * stride + c // R``, bank ``c % R``.

OPERAND, activations (rows, k) as the array takes them
    Row ``r`` belongs to PE row ``i`` of tile ``t``: with 8 bits ``t, i = divmod(r, R)``, with 4
    bits ``t, i = divmod(r // 2, R)``, the even row in the low nibble of their byte. The bytes of
    ``k`` and ``k + 1``, `k` even, first the one of `k` in the low byte, are in word
    ``w = address + t * stride + k // 2``, bank ``(i + w) % R``. So a column of a tile is in one
    word, and what one row has in neighbouring words is in neighbouring banks: the matrix is read
    by columns and written by rows, and neither needs a buffer to be turned in.

WEIGHT, weights (k, n) as the array takes them
    In tile columns of ``C`` bytes, with 8 bits ``C`` columns and with 4 bits ``2 * C``, the even
    column in the low nibble. The bytes of row ``k`` of tile column ``t`` follow each other from
    byte ``k * C`` on, counted from word ``address + t * stride``, low byte of bank 0 first.

Nibbles and bytes are two's complement or unsigned as the site is; unsigned 4-bit activations are
stored with 8 taken off, see :mod:`golden.product.operand_bytes`.
"""

import numpy as np

from ..common.config import AcceleratorConfig
from ..core.isa import OPERANDS, Layout

BANK_BITS = 16

READ_LATENCY = 3
"""Cycles from the request for a word to the word: each bank has its address out of a
register, and what it gives goes into one."""

Memory = np.ndarray
"""uint16 (words, rows)."""


def empty(config: AcceleratorConfig) -> Memory:
    """Return a scratchpad of zeros."""
    return np.zeros((config.scratchpad_words, config.rows), np.uint16)


def stride_of(layout: Layout, rows: int, cols: int, config: AcceleratorConfig) -> int:
    """Return the words from a row (WIDE), tile (OPERAND) or tile column (WEIGHT) to the next.

    `rows` and `cols` are those of the matrix as it is written: (rows, n), (rows, k), (k, n).
    """
    if layout is Layout.WIDE:
        return -(-cols // config.rows)
    if layout in OPERANDS:
        return -(-cols // 2)
    return -(-rows * config.cols // config.word_bytes)


def words_of(layout: Layout, rows: int, cols: int, stride: int, config: AcceleratorConfig) -> int:
    """Return the words that a matrix takes from its address on."""
    count = _parts(layout, rows, cols, config)
    return (count - 1) * stride + stride_of(layout, rows, cols, config)


def _parts(layout: Layout, rows: int, cols: int, config: AcceleratorConfig) -> int:
    sizes = {Layout.WIDE: (rows, 1), Layout.OPERAND8: (rows, config.rows),
             Layout.OPERAND4: (rows, 2 * config.rows), Layout.WEIGHT8: (cols, config.cols),
             Layout.WEIGHT4: (cols, 2 * config.cols)}
    size, part = sizes[layout]
    return -(-size // part)


def read_wide(memory: Memory, address: int, stride: int, rows: int, cols: int) -> np.ndarray:
    """Return a WIDE matrix: int16 (rows, cols)."""
    words = -(-cols // memory.shape[1])
    index = address + stride * np.arange(rows)[:, None] + np.arange(words)
    return memory[index].reshape(rows, -1)[:, :cols].astype(np.int16)


def write_wide(memory: Memory, address: int, stride: int, values: np.ndarray) -> None:
    """Store a WIDE matrix; lanes behind the last column of a row become zero."""
    rows, cols = values.shape
    lanes = memory.shape[1]
    words = -(-cols // lanes)
    padded = np.zeros((rows, words * lanes), np.uint16)
    padded[:, :cols] = values.astype(np.int16).view(np.uint16)
    index = address + stride * np.arange(rows)[:, None] + np.arange(words)
    memory[index] = padded.reshape(rows, words, lanes)


def _operand_places(memory: Memory, address: int, stride: int, rows: int, cols: int, packed: int,
                    first: int = 0):
    """Return word and bank of each PE row and pair of columns, (PE rows, pairs)."""
    lanes = memory.shape[1]
    row = first + np.arange(-(-rows // packed))[:, None]
    word = address + row // lanes * stride + np.arange(-(-cols // 2))
    return word, (row % lanes + word) % lanes


def read_operand(memory: Memory, address: int, stride: int, rows: int, cols: int, layout: Layout,
                 *, signed: bool) -> np.ndarray:
    """Return an OPERAND matrix as stored: int8 or uint8 (rows, cols)."""
    packed = 2 if layout is Layout.OPERAND4 else 1
    pairs = memory[_operand_places(memory, address, stride, rows, cols, packed)]
    data = np.stack((pairs & 255, pairs >> 8), 2).reshape(len(pairs), -1)[:, :cols]
    if packed == 2:
        data = np.stack((data & 15, data >> 4), 1).reshape(-1, cols)[:rows]
        data = (data ^ 8) - 8 if signed else data
        return data.astype(np.int16).astype(np.int8 if signed else np.uint8)
    return data.astype(np.uint8).view(np.int8 if signed else np.uint8)


def write_operand(memory: Memory, address: int, stride: int, values: np.ndarray,
                  layout: Layout, first: int = 0) -> None:
    """Store an OPERAND matrix from PE row `first` of its first tile on; a missing last row or
    column is stored as zero.
    """
    rows, cols = values.shape
    packed = 2 if layout is Layout.OPERAND4 else 1
    padded = np.zeros((rows + rows % packed, cols + cols % 2), np.uint16)
    padded[:rows, :cols] = values.astype(np.int16).view(np.uint16) & (255 if packed == 1 else 15)
    if packed == 2:
        padded = padded[::2] | padded[1::2] << 4
    pairs = padded[:, ::2] | padded[:, 1::2] << 8
    memory[_operand_places(memory, address, stride, rows, cols, packed, first)] = pairs


def read_weights(memory: Memory, address: int, stride: int, rows: int, cols: int, layout: Layout,
                 config: AcceleratorConfig) -> np.ndarray:
    """Return a WEIGHT matrix: int8 (rows, cols)."""
    packed = 2 if layout is Layout.WEIGHT4 else 1
    parts = []
    for part in range(_parts(layout, rows, cols, config)):
        data = _bytes(memory, address + part * stride, rows * config.cols)
        data = data.reshape(rows, config.cols).view(np.int8)
        if packed == 2:
            low = ((data & 15) ^ 8) - 8
            data = np.stack((low, data >> 4), 2).reshape(rows, -1)
        parts.append(data)
    return np.ascontiguousarray(np.concatenate(parts, 1)[:, :cols]).astype(np.int8)


def write_weights(memory: Memory, address: int, stride: int, values: np.ndarray, layout: Layout,
                  config: AcceleratorConfig) -> None:
    """Store a WEIGHT matrix. Columns are written `rows` of the array at a time, as many as there
    are; those behind the last are zero up to there, and others keep what they hold.
    """
    packed = 2 if layout is Layout.WEIGHT4 else 1
    rows, cols = values.shape
    beat, tile = config.rows, config.cols * packed
    wide = -(-cols // beat) * beat
    padded = np.zeros((rows, wide), np.uint8)
    padded[:, :cols] = values.astype(np.int8).view(np.uint8)
    if packed == 2:
        padded = padded[:, ::2] & 15 | (padded[:, 1::2] & 15) << 4
    flat = memory.view(np.uint8).reshape(-1)
    first = np.arange(rows)[:, None] * config.cols
    for start in range(0, wide, tile):
        part = padded[:, start // packed:(start + tile) // packed]
        place = (address + start // tile * stride) * config.word_bytes
        flat[place + first + np.arange(part.shape[1])] = part


def _bytes(memory: Memory, address: int, count: int) -> np.ndarray:
    word_bytes = 2 * memory.shape[1]
    words = memory[address:address - (-count // word_bytes)]
    return words.astype("<u2", copy=False).view(np.uint8).reshape(-1)[:count]
