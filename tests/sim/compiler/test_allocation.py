import random

import pytest

from golden.common.config import CORES
from golden.core.isa import Layout
from sim.compiler import DoesNotFit
from sim.compiler.allocation import allocate
from sim.compiler.builder import Matrix

CONFIG = CORES["4x4"]


def matrix(name, words, first, last):
    return Matrix(name, Layout.WIDE, 1, words, True, words, words, first, last, last)


def overlap(one, other):
    """Whether two matrices are needed together, and share a word."""
    together = one.first <= other.last and other.first <= one.last
    return together and (one.address < other.address + other.words
                         and other.address < one.address + one.words)


@pytest.mark.parametrize("seed", range(20))
def test_what_is_needed_together_shares_no_word(seed):
    draw = random.Random(seed)
    matrices = []
    for number in range(30):
        first = draw.randrange(40)
        matrices.append(matrix(str(number), draw.randint(1, 40), first, first + draw.randrange(9)))
    allocate(matrices, CONFIG)
    assert not [(one.name, other.name) for number, one in enumerate(matrices)
                for other in matrices[:number] if overlap(one, other)]
    used = max(one.address + one.words for one in matrices)
    assert used < sum(one.words for one in matrices)  # places are used again


def test_the_lowest_place_that_is_free_is_taken():
    a, b, c, d = (matrix("a", 10, 0, 3), matrix("b", 5, 1, 5), matrix("c", 10, 4, 6),
                  matrix("d", 11, 4, 6))
    allocate([a, b, c, d], CONFIG)
    assert [one.address for one in (a, b, c, d)] == [0, 10, 0, 15]


def test_a_scratchpad_too_small_says_what_is_missing():
    words = CONFIG.scratchpad_words
    allocate([matrix("a", words - 5, 0, 1), matrix("b", 5, 1, 2)], CONFIG)
    with pytest.raises(DoesNotFit, match=f"has {CONFIG.sram_kib}: 1 KiB are missing for b") as it:
        allocate([matrix("a", words - 5, 0, 1), matrix("b", 6, 1, 2)], CONFIG)
    assert it.value.sram_kib == CONFIG.sram_kib + 1
