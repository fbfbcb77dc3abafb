"""Bytes of a tile: what multipliers and accumulators make of them is the product."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from golden.common.formats import OPERAND, UINT4, Mode
from golden.product import mac_array
from golden.product.mac_array import CODES, Activation, activation_format, gemm, start_limit
from golden.product.operand_bytes import pack_activations, pack_weights, start_values
from golden.product.packing import packed_activation, packed_weight, product_fields
from golden.product.tiling import tiles
from tests.cases.configs import TEST_CONFIGS
from tests.cases.gemm_products import KINDS, operands

SMALL = TEST_CONFIGS["uneven"]
kinds = pytest.mark.parametrize(("mode", "activation"), KINDS)


def signed_nibbles(data):
    """Split bytes (k, n) into two's-complement nibbles (k, n), low ones first."""
    data = data.astype(np.int64)
    return [(nibble ^ 8) - 8 for nibble in (data & 15, data >> 4)]


def array_gemm(a_bytes, w_bytes, start, mode, activation, codebook, config):
    """What the multipliers and accumulators of the array make of one tile's bytes."""
    if mode is Mode.W4A4:
        activations = signed_nibbles(a_bytes)
    elif activation is Activation.CODE:
        activations = [codebook[a_bytes & UINT4.max]]
    else:
        signed = activation is Activation.SIGNED
        activations = [a_bytes.view(np.int8 if signed else np.uint8).astype(np.int64)]
    weights = ([w_bytes.view(np.int8).astype(np.int64)] if mode is Mode.W8A8
               else signed_nibbles(w_bytes))
    multiplied = (packed_activation(activations)[:, :, None] * packed_weight(weights)[:, None, :])
    out = np.empty((config.tile_rows(mode), config.tile_cols(mode)), np.int64)
    for slot, field in enumerate(product_fields(mode)):
        row, col = divmod(slot, mode.col_slots)
        first = start[col::mode.col_slots]
        sums = first + field.extract(multiplied).cumsum(axis=0)
        fmt = config.accumulator(slot)
        assert sums.min() >= fmt.min, f"accumulator {slot} wraps"
        assert sums.max() <= fmt.max, f"accumulator {slot} wraps"
        out[row::mode.row_slots, col::mode.col_slots] = sums[-1]
    return out


def tiled_gemm(a, w, mode, activation, codebook, start, config):
    """Product computed tile by tile through :func:`array_gemm`."""
    m, n = a.shape[0], w.shape[1]
    rows, cols = config.tile_rows(mode), config.tile_cols(mode)
    out = np.empty((m, n), np.int64)
    starts = np.append(start_values(w, mode, activation, start, config), np.zeros(cols, np.int64))
    for row, col in tiles(m, n, mode, config):
        a_bytes = pack_activations(a[row:row + rows], mode, activation, config)
        w_bytes = pack_weights(w[:, col:col + cols], mode, config)
        tile = array_gemm(a_bytes, w_bytes, starts[col:col + cols], mode, activation, codebook,
                          config)
        out[row:row + rows, col:col + cols] = tile[:m - row, :n - col]
    return out


@kinds
@pytest.mark.parametrize("name", TEST_CONFIGS)
def test_tiles_of_packed_bytes_give_the_same_product(mode, activation, name):
    config = TEST_CONFIGS[name]
    m, n = 2 * config.tile_rows(mode) + 1, config.tile_cols(mode) + 3
    a, w, codebook, start = operands(mode, activation, m, 23, n)
    start //= 1 << 10  # this configuration's accumulators may be narrower
    tiled = tiled_gemm(a, w, mode, activation, codebook, start, config)
    assert np.array_equal(tiled, gemm(a, w, mode, activation, codebook, start))


@kinds
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sums_fit_every_accumulator(mode, activation, sign):
    k, n = SMALL.max_k, SMALL.tile_cols(mode)
    fmt = activation_format(mode, activation)
    codebook = np.full(CODES, OPERAND.max) if activation is Activation.CODE else None
    start = np.full(n, sign * start_limit(k, mode, activation, SMALL))
    for value, weight in itertools.product((fmt.min, fmt.max), (mode.weight.min, mode.weight.max)):
        a = np.full((SMALL.tile_rows(mode), k), value)
        w = np.full((k, n), weight)
        tiled = tiled_gemm(a, w, mode, activation, codebook, start, SMALL)
        assert np.array_equal(tiled, gemm(a, w, mode, activation, codebook, start, SMALL))


def test_bytes_of_a_tile():
    config = replace(SMALL, rows=2, cols=2)
    a, w = [[1, -2], [3, -4], [5, -6]], [[-7, 6, 5], [4, -3, 2]]
    signed, unsigned = Activation.SIGNED, Activation.UNSIGNED
    assert pack_weights(w, Mode.W4A4, config).tolist() == [[0x69, 0x05], [0xd4, 0x02]]
    assert pack_weights([[-1, 2], [3, -128]], Mode.W8A8, config).tolist() == [[255, 2], [3, 128]]
    assert pack_activations(a[:2], Mode.W8A8, signed, config).tolist() == [[1, 3], [254, 252]]
    assert pack_activations(a, Mode.W4A4, signed, config).tolist() == [[0x31, 0x05], [0xce, 0x0a]]
    assert pack_activations([[0], [15], [8]], Mode.W4A4, unsigned, config).tolist() == [[0x78, 0]]


def test_start_values_carry_the_offset_of_unsigned_nibbles():
    w = [[-7, 6], [4, 5]]
    assert start_values(w, Mode.W4A4, Activation.UNSIGNED, [100, 200]).tolist() == [76, 288]
    for mode, activation in set(KINDS) - {(Mode.W4A4, Activation.UNSIGNED)}:
        assert start_values(w, mode, activation, [100, 200]).tolist() == [100, 200]
    assert start_values(w, Mode.W8A8, Activation.SIGNED).tolist() == [0, 0]


def test_a_wrong_offset_is_noticed(monkeypatch):
    kind = Mode.W4A4, Activation.UNSIGNED
    a, w, _, _ = operands(*kind, 5, 9, 7)
    monkeypatch.setattr(mac_array, "_OFFSET", 7)
    assert not np.array_equal(tiled_gemm(a, w, *kind, None, None, SMALL), gemm(a, w, *kind))


def ones(*shape):
    return np.ones(shape, np.int64)


@pytest.mark.parametrize(("message", "call"), [
    ("rows of a must be within 1..3, not 4",
     lambda: pack_activations(ones(4, 2), Mode.W8A8, Activation.SIGNED, SMALL)),
    ("columns of w must be within 1..10, not 11",
     lambda: pack_weights(ones(2, 11), Mode.W4A8, SMALL)),
    (r"a\[0, 0\] = 8 is outside -8..7",
     lambda: pack_activations([[8]], Mode.W4A4, Activation.SIGNED, SMALL)),
    (r"w\[0, 0\] = 8 is outside -7..7", lambda: pack_weights([[8]], Mode.W4A4, SMALL)),
    ("k must be within 1..600, not 601",
     lambda: start_values(ones(601, 1), Mode.W8A8, Activation.SIGNED, None, SMALL)),
])
def test_what_does_not_fit_a_tile_is_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("message", "call"), [
    ("mode must be a Mode, not 'w8a8'",
     lambda: pack_activations(ones(1, 2), "w8a8", Activation.SIGNED)),
    ("activation must be an Activation, not 'signed'",
     lambda: pack_activations(ones(1, 2), Mode.W8A8, "signed")),
    ("config must be an AcceleratorConfig, not '8x16'",
     lambda: pack_weights(ones(1, 2), Mode.W8A8, "8x16")),
    ("mode must be a Mode, not 8", lambda: start_values(ones(1, 2), 8, Activation.SIGNED)),
    ("activation must be an Activation, not None",
     lambda: start_values(ones(1, 2), Mode.W8A8, None)),
    ("config must be an AcceleratorConfig, not 3",
     lambda: start_values(ones(1, 2), Mode.W8A8, Activation.SIGNED, None, 3)),
])
def test_what_is_of_another_kind_is_refused_by_name(message, call):
    with pytest.raises(TypeError, match=f"^{message}$"):
        call()
