"""Layouts of matrices against their definition, element by element on Python integers."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core.isa import OPERANDS, Layout
from golden.memory import scratchpad

CONFIGS = {name: replace(config, sram_kib=16) for name, config in
           {**CORES, "4x8": replace(CORES["4x4"], cols=8)}.items()}
WEIGHTS = (Layout.WEIGHT8, Layout.WEIGHT4)

every_layout = pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.name)
every_config = pytest.mark.parametrize("name", CONFIGS)


def place(layout, row, col, address, stride, config):
    """Word, bank, and lowest bit of an element."""
    lanes, tile_bytes = config.rows, config.cols
    if layout is Layout.WIDE:
        return address + row * stride + col // lanes, col % lanes, 0
    if layout in OPERANDS:
        packed = 8 // layout.bits
        tile, pe_row = divmod(row // packed, lanes)
        word = address + tile * stride + col // 2
        return word, (pe_row + word) % lanes, 8 * (col % 2) + 4 * (row % packed)
    packed = 8 // layout.bits
    tile, within = divmod(col, tile_bytes * packed)
    byte = row * tile_bytes + within // packed
    word, byte = divmod(byte, 2 * lanes)
    return address + tile * stride + word, byte // 2, 8 * (byte % 2) + 4 * (within % packed)


def padded(layout, rows, cols, config):
    """Size of what is written of a matrix."""
    if layout in OPERANDS:
        packed = 8 // layout.bits
        return -(-rows // packed) * packed, -(-cols // 2) * 2
    return rows, -(-cols // config.rows) * config.rows


def stored(memory, values, layout, address, stride, config):
    """Return `memory` with a matrix in it, and the words that were touched."""
    memory = memory.tolist()
    mask = (1 << layout.bits) - 1
    words = set()
    rows, cols = padded(layout, *values.shape, config)
    for row in range(rows):
        for col in range(cols):
            inside = row < values.shape[0] and col < values.shape[1]
            value = int(values[row, col]) if inside else 0
            word, bank, low = place(layout, row, col, address, stride, config)
            memory[word][bank] = memory[word][bank] & ~(mask << low) | (value & mask) << low
            words.add(word)
    return np.array(memory, np.uint16), words


def fetched(memory, layout, address, stride, rows, cols, signed, config):
    """Return the elements of a matrix."""
    values = np.empty((rows, cols), int)
    for row in range(rows):
        for col in range(cols):
            word, bank, low = place(layout, row, col, address, stride, config)
            value = int(memory[word, bank]) >> low & ((1 << layout.bits) - 1)
            negative = signed and value >> (layout.bits - 1)
            values[row, col] = value - (negative << layout.bits)
    return values


def write(memory, values, layout, address, stride, config):
    if layout is Layout.WIDE:
        scratchpad.write_wide(memory, address, stride, values)
    elif layout in OPERANDS:
        scratchpad.write_operand(memory, address, stride, values, layout)
    else:
        scratchpad.write_weights(memory, address, stride, values, layout, config)


def read(memory, layout, address, stride, rows, cols, signed, config):
    if layout is Layout.WIDE:
        return scratchpad.read_wide(memory, address, stride, rows, cols)
    if layout in OPERANDS:
        return scratchpad.read_operand(memory, address, stride, rows, cols, layout, signed=signed)
    return scratchpad.read_weights(memory, address, stride, rows, cols, layout, config)


def sizes(config):
    """Sizes of matrices: all small ones around a beat, and some with several tiles."""
    n, c = config.rows, config.cols
    return [(1, 1), (1, 2), (2, 1), (2, n), (3, n + 1), (n - 1, 2 * n - 1), (n, n), (n + 1, c),
            (2 * n, c + 1), (2 * n + 1, 2 * c), (5, 2 * c + 1), (4 * n + 3, n // 2 + 1),
            (3, 4 * c + n + 3)]


def matrices(layout, config):
    """Matrices with their address and stride, in a memory of random contents."""
    rng = np.random.default_rng(1)
    for rows, cols in sizes(config):
        stride = scratchpad.stride_of(layout, rows, cols, config) + int(rng.integers(4))
        words = scratchpad.words_of(layout, rows, cols, stride, config)
        address = int(rng.integers(config.scratchpad_words - words))
        memory = rng.integers(0, 1 << 16, (config.scratchpad_words, config.rows), np.uint16)
        limit = 1 << (layout.bits - 1)
        values = rng.integers(-limit, limit, (rows, cols))
        yield memory, values, address, stride, words


def check_written(layout, config):
    for memory, values, address, stride, words in matrices(layout, config):
        want, touched = stored(memory, values, layout, address, stride, config)
        write(memory, values, layout, address, stride, config)
        assert np.array_equal(memory, want), f"{values.shape} at {address}, stride {stride}"
        assert (min(touched), max(touched)) == (address, address + words - 1)


@every_config
@every_layout
def test_writes_every_element_to_its_place_and_nothing_else(layout, name):
    check_written(layout, CONFIGS[name])


@every_config
@pytest.mark.parametrize("layout", OPERANDS, ids=lambda layout: layout.name)
def test_operands_begin_at_a_row_within_a_tile(layout, name):
    config = CONFIGS[name]
    packed = 8 // layout.bits
    for memory, values, _, stride, _ in matrices(layout, config):
        rows, cols = values.shape
        for first in (1, config.rows - 1):
            whole = np.zeros((first * packed + rows, cols), int)
            whole[first * packed:] = values
            want = memory.copy()
            scratchpad.write_operand(want, 3, stride, whole, layout)
            kept = scratchpad.read_operand(memory, 3, stride, first * packed, cols + cols % 2,
                                           layout, signed=True)
            scratchpad.write_operand(want, 3, stride, kept, layout)
            scratchpad.write_operand(memory, 3, stride, values, layout, first)
            assert np.array_equal(memory, want), f"{values.shape} from row {first}"


@every_config
@every_layout
def test_reads_every_element_from_its_place(layout, name):
    config = CONFIGS[name]
    for memory, values, address, stride, _ in matrices(layout, config):
        for signed in (True, False) if layout in OPERANDS else (True,):
            args = (layout, address, stride, *values.shape, signed, config)
            got, want = read(memory, *args), fetched(memory, *args)
            assert got.dtype == (np.int16 if layout.bits == 16 else
                                 np.int8 if signed else np.uint8)
            assert np.array_equal(got, want), f"{values.shape} at {address}, stride {stride}"


@every_layout
def test_reads_back_what_was_written(layout):
    config = CONFIGS["8x16"]
    for memory, values, address, stride, _ in matrices(layout, config):
        write(memory, values, layout, address, stride, config)
        assert np.array_equal(
            read(memory, layout, address, stride, *values.shape, True, config), values)


@pytest.mark.parametrize("layout", OPERANDS, ids=lambda layout: layout.name)
def test_unsigned_operands_are_stored_as_their_bits(layout):
    config = CONFIGS["4x4"]
    values = np.arange(5 * (1 << layout.bits)).reshape(5, -1) & ((1 << layout.bits) - 1)
    memory = scratchpad.empty(config)
    scratchpad.write_operand(memory, 3, 200, values, layout)
    got = scratchpad.read_operand(memory, 3, 200, *values.shape, layout, signed=False)
    assert np.array_equal(got, values)


@every_config
def test_a_column_of_a_tile_is_one_word_turned_by_its_address(name):
    config = CONFIGS[name]
    rng = np.random.default_rng(2)
    values = rng.integers(-128, 128, (2 * config.rows, 7))
    memory = scratchpad.empty(config)
    scratchpad.write_operand(memory, 5, 6, values, Layout.OPERAND8)
    for tile in range(2):
        for pair in range(4):
            word = 5 + 6 * tile + pair
            turned = np.roll(memory[word], -word) & 255
            column = values[tile * config.rows:(tile + 1) * config.rows, 2 * pair] & 255
            assert np.array_equal(turned, column), f"tile {tile}, pair {pair}"


@every_config
def test_a_new_scratchpad_holds_zeros(name):
    config = CONFIGS[name]
    memory = scratchpad.empty(config)
    assert memory.shape == (16 * 1024 // (2 * config.rows), config.rows)
    assert memory.dtype == np.uint16
    assert not memory.any()


@every_layout
def test_a_flipped_bit_is_noticed(layout, monkeypatch):
    original = write

    def mutant(memory, values, *arguments):
        values = values.copy()
        values[-1, -1] ^= 1
        original(memory, values, *arguments)

    monkeypatch.setitem(globals(), "write", mutant)
    with pytest.raises(AssertionError, match="at"):
        check_written(layout, CONFIGS["4x4"])
