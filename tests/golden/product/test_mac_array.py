"""Matrix products against unbounded integers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from golden.common.config import CORES
from golden.common.formats import ACC, Mode
from golden.product import gemm_kernels, mac_array
from golden.product.gemm_kernels import Unit
from golden.product.mac_array import Activation, gemm, prepare_weights, start_limit
from tests.cases.configs import TEST_CONFIGS
from tests.cases.gemm_products import KINDS, operands

SMALL = TEST_CONFIGS["uneven"]
kinds = pytest.mark.parametrize(("mode", "activation"), KINDS)


def product(a, w, codebook=None, start=None):
    """Definition, on unbounded Python integers."""
    values = a.tolist() if codebook is None else [[int(codebook[code]) for code in row]
                                                  for row in a.tolist()]
    columns = w.T.tolist()
    start = [0] * len(columns) if start is None else start.tolist()
    return [[first + sum(x * y for x, y in zip(row, column, strict=True))
             for first, column in zip(start, columns, strict=True)] for row in values]


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


@pytest.mark.parametrize("unit", [*gemm_kernels.units(), Unit(16, 2, None)], ids=str)
@pytest.mark.parametrize("rows", [1, gemm_kernels.ROWS])
def test_every_unit_gives_the_same_sums(unit, rows):
    cols, count, group = 2 * unit.lanes, 33, unit.group
    block = gemm_kernels.block_intrinsic(rows, unit)

    @njit
    def run(a, panel, start, out):
        block(a.ctypes.data, a.strides[0], panel.ctypes.data, panel.shape[0], start.ctypes.data,
              out.ctypes.data, out.strides[0])

    rng = np.random.default_rng(3)
    wide, operand = (np.int16, np.int16) if group == 2 else (np.uint8, np.int8)
    a = rng.integers(-255 if group == 2 else 0, 256, (rows, group * count)).astype(wide)
    w = rng.integers(-128, 128, (group * count, cols))
    panel = w.reshape(count, group, cols).transpose(0, 2, 1).astype(operand)
    start = rng.integers(-1 << 20, 1 << 20, cols).astype(np.int32)
    out = np.empty((rows, cols), np.int32)
    run(a, np.ascontiguousarray(panel), start, out)
    assert np.array_equal(out, a.astype(np.int64) @ w + start)


def test_largest_sums_wrap_nowhere():
    """Extremes of all operands, whatever is added to them on the way."""
    k = 1024
    for mode, activation, low, high in ((Mode.W8A8, Activation.SIGNED, -128, 127),
                                        (Mode.W8A8, Activation.UNSIGNED, 0, 255)):
        for a, w in itertools.product((low, high), (-128, 127)):
            found = gemm(np.full((7, k), a), np.full((k, 3), w), mode, activation)
            assert np.array_equal(found, np.full((7, 3), k * a * w))
    for operands_of in ([-255] * 16, [255] * 16, [-255, 255] * 8, [0, 255] * 8, [-128, 127] * 8):
        codes = np.tile(np.arange(16), (5, k // 16))
        found = gemm(codes, np.full((k, 2), -128), Mode.W8A8, Activation.CODE, operands_of)
        assert np.array_equal(found, np.full((5, 2), -128 * sum(operands_of) * k // 16))


def test_packing_is_the_same_compiled_and_interpreted():
    group, cols = gemm_kernels.GROUP, 2 * gemm_kernels.COLS
    w = np.random.default_rng(4).integers(-128, 128, (2, 3 * group, cols)).astype(np.int8)
    panels = np.empty((2, 2, 2, 4, gemm_kernels.COLS), np.int32)
    gemm_kernels.pack_panels(w, panels[0])
    gemm_kernels.pack_panels.py_func(w.astype(np.int64), panels[1])
    assert np.array_equal(panels[0], panels[1])
    assert np.array_equal(panels[0, :, :, -1].reshape(2, -1), w.sum(1))


def test_shares_of_the_work_add_up_to_all_of_it(monkeypatch):
    a, w, _, _ = operands(Mode.W8A8, Activation.SIGNED, 31, 40, 50, batch=(3,))
    whole = gemm(a, w, Mode.W8A8)
    monkeypatch.setattr(mac_array, "_SERIAL", 0)
    for threads in range(1, 8):
        monkeypatch.setattr(mac_array, "get_num_threads", lambda count=threads: count)
        assert np.array_equal(gemm(a, w, Mode.W8A8), whole), f"{threads} shares"


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
