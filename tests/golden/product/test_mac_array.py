"""Matrix products against unbounded integers, and against the array's packed bytes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from golden.common.config import CORES
from golden.common.formats import ACC, OPERAND, UINT4, Mode
from golden.product import gemm_kernels, mac_array
from golden.product.mac_array import (
    CODES,
    FILL,
    SHORTEST,
    Activation,
    activation_format,
    drain_cycles,
    gemm,
    gemm_cycles,
    pack_activations,
    pack_weights,
    prepare_weights,
    start_limit,
    start_values,
    tiles,
    utilisation,
)
from golden.product.packing import packed_activation, packed_weight, product_fields
from tests.cases.configs import TEST_CONFIGS

KINDS = [(mode, activation) for mode, activation in itertools.product(Mode, Activation)
         if (mode, activation) != (Mode.W4A4, Activation.CODE)]
SMALL = TEST_CONFIGS["uneven"]
kinds = pytest.mark.parametrize(("mode", "activation"), KINDS)


def operands(mode, activation, m, k, n, seed=1, batch=()):
    """Return random activations, weights, codebook or None, and start values."""
    rng = np.random.default_rng(seed)
    fmt = activation_format(mode, activation)
    a = rng.integers(fmt.min, fmt.max + 1, (*batch, m, k))
    w = rng.integers(mode.weight.min, mode.weight.max + 1, (*batch, k, n))
    codebook = None
    if activation is Activation.CODE:
        codebook = rng.integers(OPERAND.min, OPERAND.max + 1, CODES)
    limit = start_limit(k, mode, activation)
    return a, w, codebook, rng.integers(-limit, limit + 1, n)


def product(a, w, codebook=None, start=None):
    """Definition, on unbounded Python integers."""
    values = a.tolist() if codebook is None else [[int(codebook[code]) for code in row]
                                                  for row in a.tolist()]
    columns = w.T.tolist()
    start = [0] * len(columns) if start is None else start.tolist()
    return [[first + sum(x * y for x, y in zip(row, column, strict=True))
             for first, column in zip(start, columns, strict=True)] for row in values]


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


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 20), st.integers(1, 40), st.integers(1, 40),
       st.integers(0, 1 << 32))
def test_matches_the_definition(kind, m, k, n, seed):
    a, w, codebook, start = operands(*kind, m, k, n, seed)
    assert gemm(a, w, *kind, codebook, start).tolist() == product(a, w, codebook, start)


@kinds
@pytest.mark.parametrize(("m", "k", "n"), [(197, 64, 197), (197, 197, 64), (1, 192, 1000)])
def test_matches_the_definition_on_shapes_of_a_transformer(mode, activation, m, k, n):
    a, w, codebook, start = operands(mode, activation, m, k, n)
    values = a if codebook is None else codebook[a]
    result = gemm(a, w, mode, activation, codebook, start)
    assert result.dtype == np.int32
    assert np.array_equal(result, values @ w + start)


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


def test_a_start_value_beyond_the_limit_could_wrap():
    mode, activation, k = Mode.W4A4, Activation.SIGNED, SMALL.max_k
    a = np.full((1, k), mode.operand.min)
    w = np.full((k, 1), mode.weight.min)
    limit = start_limit(k, mode, activation, SMALL)
    assert gemm(a, w, mode, start=[limit], config=SMALL) == SMALL.accumulator(3).max
    with pytest.raises(ValueError, match=rf"start\[0\] = {limit + 1} is outside -{limit}..{limit}"):
        gemm(a, w, mode, start=[limit + 1], config=SMALL)


def test_the_widest_sums_of_the_largest_array_are_exact():
    config = CORES["16x32"]
    k = config.max_k
    a, w = np.full((7, k), 255), np.full((k, 17), -128)
    limit = start_limit(k, Mode.W8A8, Activation.UNSIGNED, config)
    lowest = gemm(a, w, Mode.W8A8, Activation.UNSIGNED, start=np.full(17, -limit), config=config)
    assert (lowest == -limit - 255 * 128 * k).all()
    assert lowest.min() >= ACC.min


@kinds
def test_a_batch_gives_each_of_its_products(mode, activation):
    a, w, codebook, start = operands(mode, activation, 70, 65, 90, batch=(3,))
    out = gemm(a, w, mode, activation, codebook, start)
    assert out.shape == (3, 70, 90)
    for one, x, y in zip(out, a, w, strict=True):
        assert np.array_equal(one, gemm(x, y, mode, activation, codebook, start))


@pytest.mark.parametrize("k", [1, 2, 7, 192])
def test_prepared_weights_give_the_same_product(k):
    a, w, _, start = operands(Mode.W4A8, Activation.SIGNED, 13, k, 50)
    prepared = prepare_weights(w, Mode.W4A8)
    assert prepared.shape == w.shape
    assert np.array_equal(gemm(a, prepared, Mode.W4A8, start=start),
                          gemm(a, w, Mode.W4A8, start=start))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8])
def test_any_integer_type_and_layout_is_taken(dtype):
    a, w, _, _ = operands(Mode.W8A8, Activation.SIGNED, 9, 30, 20)
    a, w = abs(a) // 2, abs(w) // 2
    result = gemm(a.astype(dtype)[::-2, ::3], w.astype(dtype).T[:, ::3].T, Mode.W8A8)
    assert np.array_equal(result, a[::-2, ::3] @ w[::3])


def test_no_rows_or_columns_give_an_empty_product():
    assert gemm(np.zeros((0, 3), int), np.zeros((3, 2), int), Mode.W8A8).shape == (0, 2)
    assert gemm(np.zeros((2, 3), int), np.zeros((3, 0), int), Mode.W8A8).shape == (2, 0)


@pytest.mark.parametrize("unit", [(gemm_kernels.LANES, gemm_kernels.INSTRUCTION),
                                  (gemm_kernels.LANES, None), gemm_kernels.PORTABLE])
@pytest.mark.parametrize("rows", [1, gemm_kernels.ROWS])
def test_every_way_to_multiply_pairs_gives_the_same_sums(unit, rows):
    lanes, instruction = unit
    cols, pairs = 2 * lanes, 33
    block = gemm_kernels.block_intrinsic(rows, lanes, instruction)

    @njit
    def run(a, panel, start, out):
        block(a.ctypes.data, a.strides[0], panel.ctypes.data, panel.shape[0], start.ctypes.data,
              out.ctypes.data, out.strides[0])

    rng = np.random.default_rng(3)
    a = rng.integers(-255, 256, (rows, 2 * pairs)).astype(np.int16)
    w = rng.integers(-128, 128, (2 * pairs, cols))
    panel = w.reshape(pairs, 2, cols).transpose(0, 2, 1).astype(np.int16)
    start = rng.integers(-1 << 20, 1 << 20, cols).astype(np.int32)
    out = np.empty((rows, cols), np.int32)
    run(a, np.ascontiguousarray(panel), start, out)
    assert np.array_equal(out, a.astype(np.int64) @ w + start)


def test_packing_is_the_same_compiled_and_interpreted():
    w = np.random.default_rng(4).integers(-128, 128, (2, 6, 2 * gemm_kernels.COLS)).astype(np.int8)
    panels = np.empty((2, 2, 2, 3, gemm_kernels.COLS), np.int32)
    gemm_kernels.pack_panels(w, panels[0])
    gemm_kernels.pack_panels.py_func(w.astype(np.int64), panels[1])
    assert np.array_equal(panels[0], panels[1])


def test_shares_of_the_work_add_up_to_all_of_it(monkeypatch):
    a, w, _, _ = operands(Mode.W8A8, Activation.SIGNED, 31, 40, 50, batch=(3,))
    whole = gemm(a, w, Mode.W8A8)
    monkeypatch.setattr(mac_array, "_SERIAL", 0)
    for threads in range(1, 8):
        monkeypatch.setattr(mac_array, "get_num_threads", lambda count=threads: count)
        assert np.array_equal(gemm(a, w, Mode.W8A8), whole), f"{threads} shares"


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


def test_columns_of_tiles_are_outermost():
    assert list(tiles(9, 17, Mode.W8A8)) == [(0, 0), (8, 0), (0, 16), (8, 16)]
    assert list(tiles(17, 32, Mode.W4A4)) == [(0, 0), (16, 0)]


@settings(deadline=None)
@given(st.sampled_from(list(Mode)), st.integers(1, 60), st.integers(1, 60),
       st.sampled_from(sorted(TEST_CONFIGS)))
def test_tiles_cover_every_result_once(mode, m, n, name):
    config = TEST_CONFIGS[name]
    covered = np.zeros((m, n), int)
    for row, col in tiles(m, n, mode, config):
        covered[row:row + config.tile_rows(mode), col:col + config.tile_cols(mode)] += 1
    assert (covered == 1).all()


def test_cycles_of_long_and_short_dot_products():
    config = CORES["8x16"]
    assert [drain_cycles(mode) for mode in Mode] == [16, 32, 64]
    assert gemm_cycles(8, 100, 16, Mode.W8A8) == 100 + FILL - 1 + 16  # one tile
    assert gemm_cycles(9, 100, 17, Mode.W8A8) == 4 * 100 + FILL - 1 + 16
    assert gemm_cycles(17, 10, 32, Mode.W4A4) == 64 + 10 + FILL - 1 + 64  # waits for the drain
    tiny = replace(config, rows=1, cols=1, lanes=1)
    assert gemm_cycles(3, 1, 1, Mode.W8A8, tiny) == 2 * SHORTEST + 1 + FILL - 1 + 1


def test_narrow_modes_are_faster_in_proportion():
    cycles = [gemm_cycles(192, 768, 192, mode) for mode in Mode]
    assert cycles[0] / cycles[1] == pytest.approx(2, rel=0.01)
    assert cycles[0] / cycles[2] == pytest.approx(4, rel=0.01)


@settings(deadline=None)
@given(st.sampled_from(list(Mode)), st.integers(1, 300), st.integers(1, 300), st.integers(1, 300))
def test_utilisation_is_a_share(mode, m, k, n):
    assert 0 < utilisation(m, k, n, mode) < 1


def test_utilisation_of_a_layer():
    assert utilisation(197, 768, 192, Mode.W8A8) == pytest.approx(0.98, abs=0.005)


def ones(*shape):
    return np.ones(shape, np.int64)


@pytest.mark.parametrize(("error", "message", "arguments"), [
    (TypeError, "a must be an integer array, not float64", {"a": [[1.0, 2.0]]}),
    (ValueError, r"a\[0, 1\] = 128 is outside -128..127", {"a": [[1, 128]]}),
    (ValueError, r"a must have shape \(any, any\), not \(2,\)", {"a": [1, 2]}),
    (ValueError, r"w\[1, 0\] = -129 is outside -128..127", {"w": [[1], [-129]]}),
    (ValueError, r"w\[0, 0\] = -8 is outside -7..7", {"w": [[-8], [1]], "mode": Mode.W4A4}),
    (ValueError, r"a and w must agree in batch and k, not be \(1, 2\) and \(3, 1\)",
     {"w": ones(3, 1)}),
    (ValueError, r"not be \(1, 2\) and \(4, 2, 1\)", {"w": ones(4, 2, 1)}),
    (ValueError, "w must be prepared for w8a8, not w4a8",
     {"w": prepare_weights(ones(2, 1), Mode.W4A8)}),
    (ValueError, "k must be within 1..600, not 601", {"a": ones(1, 601), "w": ones(601, 1)}),
    (ValueError, "k must be within 1..600, not 0", {"a": ones(1, 0), "w": ones(0, 1)}),
    (ValueError, r"start must have shape \(1\), not \(2,\)", {"start": [1, 2]}),
    (TypeError, "start must be an integer array, not float64", {"start": [0.5]}),
    (ValueError, "codebook must be given for codes, and only for them",
     {"activation": Activation.CODE}),
    (ValueError, "codebook must be given for codes", {"codebook": [0] * 16}),
    (ValueError, r"codebook must have shape \(16\), not \(4,\)",
     {"activation": Activation.CODE, "codebook": [0] * 4}),
    (ValueError, r"codebook\[0\] = 256 is outside -255..255",
     {"activation": Activation.CODE, "codebook": [256] * 16}),
    (ValueError, r"a\[0, 0\] = 16 is outside 0..15",
     {"a": [[16, 0]], "activation": Activation.CODE, "codebook": [0] * 16}),
    (ValueError, "activation must be signed or unsigned in w4a4, not code",
     {"mode": Mode.W4A4, "activation": Activation.CODE, "codebook": [0] * 16}),
    (TypeError, "mode must be a Mode, not 'w8a8'", {"mode": "w8a8"}),
    (TypeError, "activation must be an Activation, not True", {"activation": True}),
    (TypeError, "config must be an AcceleratorConfig, not 8", {"config": 8}),
])
def test_gemm_refuses(error, message, arguments):
    given = {"a": [[1, 2]], "w": [[1], [2]], "mode": Mode.W8A8, "config": SMALL} | arguments
    with pytest.raises(error, match=message):
        gemm(**given)


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
    ("m must be 1 or more, not 0", lambda: gemm_cycles(0, 1, 1, Mode.W8A8)),
    ("n must be 1 or more, not -1", lambda: gemm_cycles(1, 1, -1, Mode.W8A8)),
    ("k must be within 1..2048, not 2049", lambda: gemm_cycles(1, 2049, 1, Mode.W8A8)),
    ("m must be 1 or more, not 0", lambda: tiles(0, 1, Mode.W8A8)),
])
def test_shapes_that_do_not_fit_are_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()
