"""Order of the tiles of a matrix product, and cycles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golden.common.config import CORES
from golden.common.formats import Mode
from golden.product.tiling import FILL, SHORTEST, drain_cycles, gemm_cycles, tiles, utilisation
from tests.cases.configs import TEST_CONFIGS


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


@pytest.mark.parametrize(("message", "call"), [
    ("m must be 1 or more, not 0", lambda: gemm_cycles(0, 1, 1, Mode.W8A8)),
    ("n must be 1 or more, not -1", lambda: gemm_cycles(1, 1, -1, Mode.W8A8)),
    ("k must be within 1..1024, not 2049", lambda: gemm_cycles(1, 2049, 1, Mode.W8A8)),
    ("m must be 1 or more, not 0", lambda: tiles(0, 1, Mode.W8A8)),
])
def test_sizes_that_make_no_sense_are_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()
