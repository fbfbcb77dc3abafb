from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.common import formats
from golden.common.config import CORES
from golden.common.formats import ACT16
from golden.common.log2 import log2
from golden.core.isa import FIELDS, RANGE_FIELDS
from golden.prediction import range_unit
from golden.prediction.range_unit import (
    REGISTERS,
    _log_ranges,
    log_ranges,
    register_formats,
    statistics,
    sum_format,
)
from tests.cases.configs import TEST_CONFIGS

CONFIG = TEST_CONFIGS["8x16"]


def log_exact(value):
    """Logarithm of one unbounded Python integer, at least 1, in LOG2."""
    return int(log2([max(value, 1)])[0])


def log_ranges_exact(rows, chunk_tokens, groups):
    """Definition, on lists of Python integers."""
    size = len(rows[0]) // groups if rows else 1
    chunks = [rows[start:start + chunk_tokens] for start in range(0, len(rows), chunk_tokens)]
    totals = []
    for group in range(groups):
        parts = [[value for row in chunk for value in row[group * size:(group + 1) * size]]
                 for chunk in chunks]
        totals += [sum(max(part) for part in parts), sum(-min(part) for part in parts)]
    return [log_exact(total) - log_exact(len(chunks)) for total in totals]


def normalised_exact(log, mean, gain):
    """Definition: clip(floor((log - mean) * gain / 32 + 1/2)), on Python integers."""
    rounded = (2 * (log - mean) * gain + 32) // 64
    return min(max(rounded, formats.STATISTIC.min), formats.STATISTIC.max)


@st.composite
def tensors(draw):
    """Rows of a tensor, its tokens per chunk and its groups."""
    size, groups = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    tokens = draw(st.integers(0, 12))
    low, high = draw(st.sampled_from([(ACT16.min, ACT16.max), (-128, 127), (0, 9), (-9, -1)]))
    value = st.one_of(st.sampled_from([low, high]), st.integers(low, high))
    row = st.lists(value, min_size=size * groups, max_size=size * groups)
    rows = draw(st.lists(row, min_size=tokens, max_size=tokens))
    return rows, draw(st.integers(1, 14)), groups, size * groups


@settings(deadline=None)
@given(tensors())
def test_agrees_with_definition(tensor):
    rows, chunk_tokens, groups, channels = tensor
    x = np.array(rows, np.int16).reshape(-1, channels)
    assert log_ranges(x, chunk_tokens, groups).tolist() == log_ranges_exact(
        rows, chunk_tokens, groups)


@settings(deadline=None)
@given(tensors(), st.randoms(use_true_random=False))
def test_normalised_statistics_agree_with_definition(tensor, rng):
    rows, chunk_tokens, groups, channels = tensor
    x = np.array(rows, np.int16).reshape(-1, channels)
    mean = [rng.choice([formats.LOG2.min, formats.LOG2.max, rng.randint(0, 15 << 10)])
            for _ in range(2 * groups)]
    gain = [rng.choice([0, formats.GAIN.max, rng.randint(1, 4 << 8)]) for _ in range(2 * groups)]
    logs = log_ranges_exact(rows, chunk_tokens, groups)
    expected = [normalised_exact(*args) for args in zip(logs, mean, gain, strict=True)]
    assert statistics(x, chunk_tokens, groups, mean, gain).tolist() == expected


@pytest.mark.parametrize(("rows", "chunk_tokens", "expected"), [
    ([[256, -64]], 1, [8, 6]),
    ([[256, -64], [768, -192]], 1, [9, 7]),  # mean of 256 and 768, of 64 and 192
    ([[256, -64], [768, -64]], 2, [9.585, 6]),  # one chunk: the largest, log2(768)
    ([[4], [4], [16], [4], [4]], 2, [3, -1.585]),  # ragged: (4 + 16 + 4) / 3
    ([[ACT16.min], [ACT16.min]], 1, [-1, 15]),  # minus the minimum exceeds ACT16
    ([[0]], 3, [0, 0]),  # zero counts as one
    ([[-5]] * 4, 1, [-2, 2.322]),  # a maximum below zero counts as 1 / chunks
])
def test_examples(rows, chunk_tokens, expected):
    np.testing.assert_allclose(log_ranges(rows, chunk_tokens) / formats.LOG2.one, expected,
                               atol=1e-3)


def test_tensor_without_tokens_has_zero_logarithms():
    assert log_ranges(np.empty((0, 6), np.int16), 5, 3).tolist() == [0] * 6


def test_one_group_per_channel_equals_each_channel_alone():
    x = np.random.default_rng(1).integers(-900, 1200, (21, 7))
    alone = [log_ranges(x[:, [channel]], 4) for channel in range(7)]
    np.testing.assert_array_equal(log_ranges(x, 4, 7), np.concatenate(alone))


def test_an_outlier_moves_one_chunk_only():
    x = np.full((160, 4), 100)
    x[17, 2] = 100 * 17
    moved = log_ranges(x, 10)[0] - log_ranges(np.full_like(x, 100), 10)[0]
    assert moved == pytest.approx(formats.LOG2.one, abs=2)  # the mean doubles, not 17 times


def test_compiled_and_interpreted_kernels_agree():
    x = np.random.default_rng(1).integers(ACT16.min, ACT16.max, (11, 6), endpoint=True)
    compiled, interpreted = np.empty(6, np.int64), np.empty(6, np.int64)
    _log_ranges(x, 4, 3, np.zeros(6, np.int64), compiled)
    _log_ranges.py_func(x, 4, 3, np.zeros(6, np.int64), interpreted)
    np.testing.assert_array_equal(compiled, interpreted)


def test_truncation_instead_of_rounding_is_noticed(monkeypatch):
    monkeypatch.setattr(range_unit, "round_shift", lambda value, bits: value >> bits)
    logs, ones = np.arange(64), np.ones(64, np.int64)
    out = np.empty_like(logs)
    range_unit._normalise.py_func(logs, 0 * logs, ones, out)
    assert out.tolist() != [normalised_exact(log, 0, 1) for log in logs.tolist()]


@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_widths_hold_the_extremes(name):
    config = TEST_CONFIGS[name]
    chunks = min(config.range_entries, config.max_tokens)
    fmt = sum_format(config)
    assert chunks * -ACT16.min in fmt
    assert -chunks * ACT16.max in fmt
    assert 2 * chunks * -ACT16.min not in fmt
    span = 16 << 10  # |log2(sum) - log2(chunks)| <= 16
    assert span - formats.LOG2.min in range_unit.DIFFERENCE
    assert -span - formats.LOG2.max in range_unit.DIFFERENCE


@pytest.mark.parametrize("name", CORES)
def test_an_instruction_has_room_for_all_registers(name):
    formats_of = register_formats(CORES[name])
    assert (*formats_of,) == (*REGISTERS,) == RANGE_FIELDS
    for register, fmt in formats_of.items():
        assert FIELDS[register] == REGISTERS[register]
        assert fmt.signed == FIELDS[register].signed
        assert fmt.bits <= FIELDS[register].bits


def test_refuses_registers_that_no_instruction_has_room_for():
    config = SimpleNamespace(max_tokens=8, max_channels=64, lanes=8, range_entries=1 << 16)
    with pytest.raises(ValueError, match="chunk_entries must fit 16 bits, not 17"):
        register_formats(config)


@pytest.mark.parametrize(("x", "arguments", "error", "message"), [
    ([[1.0]], (1,), TypeError, "x must be an integer array, not float64"),
    ([[40000]], (1,), ValueError, r"x\[0, 0\] = 40000 is outside -32768..32767"),
    ([1], (1,), ValueError, r"x must have shape \(any, any\), not \(1,\)"),
    (np.empty((3, 0), int), (1,), ValueError, "channels must be 1 or more, not 0"),
    ([[1]], (0,), ValueError, "chunk_tokens must be 1 or more, not 0"),
    ([[1]], (2.0,), TypeError, "chunk_tokens must be an integer, not 2.0"),
    (np.zeros((65537, 1), int), (1,), ValueError, "chunks must be within 0..65536, not 65537"),
    ([[1, 2]], (1, 0), ValueError, "groups must be 1 or more, not 0"),
    ([[1, 2, 3]], (1, 2), ValueError, "groups must divide the channels, but 2 does not divide 3"),
])
def test_refuses_bad_tensors(x, arguments, error, message):
    with pytest.raises(error, match=message):
        log_ranges(x, *arguments)


@pytest.mark.parametrize(("mean", "gain", "message"), [
    ([0], [1, 1], r"mean must have shape \(2\), not \(1,\)"),
    ([0, 1 << 15], [1, 1], r"mean\[1\] = 32768 is outside"),
    ([0, 0], [1, -1], r"gain\[1\] = -1 is outside 0..65535"),
])
def test_refuses_bad_normalisation(mean, gain, message):
    with pytest.raises(ValueError, match=message):
        statistics([[1]], 1, 1, mean, gain)
