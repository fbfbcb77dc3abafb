"""Runs of the range unit: registers, beats and cycles."""

import numpy as np
import pytest

from golden.common.config import AcceleratorConfig
from golden.common.log2 import log2
from golden.prediction.range_shape import LATENCY, RangeShape, beats, range_cycles
from golden.prediction.range_unit import register_formats
from tests.cases.configs import TEST_CONFIGS

CONFIG = TEST_CONFIGS["8x16"]


@pytest.mark.parametrize("shape", [
    RangeShape(197, 192, 16), RangeShape(197, 192, 16, 24), RangeShape(197, 192, 16, 192),
    RangeShape(7, 11, 2, 1, 1), RangeShape(7, 11, 2, 11), RangeShape(1, 1, 1),
    RangeShape(50, 64, 9, 8, 3),
])
def test_registers_fit_their_formats(shape):
    formats_of = register_formats(CONFIG)
    registers = shape.registers(CONFIG)
    assert list(registers) == list(formats_of)
    for name, value in registers.items():
        assert value in formats_of[name], name


def test_registers_of_a_ragged_tiled_run():
    assert RangeShape(10, 21, 4, 1, 2).registers(CONFIG) == {
        "last_token": 9, "last_chunk_token": 3, "last_word": 2, "last_tile_word": 1,
        "last_group_word": 2, "last_lane": 4, "last_chunk": 2, "chunk_entries": 1,
        "per_channel": 0, "log2_chunks": int(log2([3])[0])}


def test_a_group_may_be_any_number_of_words():
    shape = RangeShape(20, 192, 5, 4)
    assert (shape.words(CONFIG), shape.chunk_entries(CONFIG), shape.entries(CONFIG)) == (24, 4, 16)
    assert RangeShape(20, 192, 5, 192).entries(CONFIG) == 4 * 24


def test_beats_come_by_column_tile_then_token_then_word():
    x = np.arange(6).reshape(2, 3)
    config = AcceleratorConfig(2, 4, lanes=1)
    shape = RangeShape(2, 3, 1, tile_words=2)
    assert beats(x, shape, config).ravel().tolist() == [0, 1, 3, 4, 2, 5]
    wide = beats(x, RangeShape(2, 3, 1), AcceleratorConfig(2, 4, lanes=2))
    assert wide.tolist() == [[0, 1], [2, 0], [3, 4], [5, 0]]


@pytest.mark.parametrize(("shape", "flush"), [
    (RangeShape(197, 192, 16), 13 + 2 + 3),
    (RangeShape(197, 192, 16, 8), 7 * 13 + 13 + 2 + 3),
    (RangeShape(197, 192, 16, 192), 23 * 16 + 13 + 16),
    (RangeShape(4, 11, 1, 11), 16 + 4 + 6),
])
def test_cycles_are_beats_flush_and_latency(shape, flush):
    beat_count = shape.tokens * shape.words(CONFIG)
    assert range_cycles(shape, CONFIG) == beat_count + flush + LATENCY


@pytest.mark.parametrize(("choices", "message"), [
    ({"tokens": -1}, "tokens must be 0 or more, not -1"),
    ({"channels": 0}, "channels must be 1 or more, not 0"),
    ({"chunk_tokens": 0}, "chunk_tokens must be 1 or more, not 0"),
    ({"groups": 5}, "groups must divide the channels, but 5 does not divide 64"),
    ({"tile_words": 0}, "tile_words must be 1 or more, not 0"),
])
def test_shape_refuses_nonsense(choices, message):
    with pytest.raises(ValueError, match=message):
        RangeShape(**{"tokens": 8, "channels": 64, "chunk_tokens": 2, **choices})


@pytest.mark.parametrize(("shape", "message"), [
    (RangeShape(0, 8, 1), "tokens must be within 1..2048, not 0"),
    (RangeShape(5000, 8, 100), "tokens must be within 1..2048, not 5000"),
    (RangeShape(5, 4096, 1), "channels must be within 1..2048, not 4096"),
    (RangeShape(9, 48, 3, 4), "a group must be one channel, a multiple of 8 channels or the whole"),
    (RangeShape(197, 192, 4, 192), "chunks x groups must be within 512 entries, not 50 x 24"),
    (RangeShape(9, 1024, 9, 1024), "statistics must be within 1024, not 2048"),
])
def test_hardware_refuses_what_has_no_room(shape, message):
    for function in (shape.check, shape.registers):
        with pytest.raises(ValueError, match=message):
            function(CONFIG)
    with pytest.raises(ValueError, match=message):
        range_cycles(shape, CONFIG)
