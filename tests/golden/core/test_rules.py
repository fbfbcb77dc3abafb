"""Where transfers and payloads end: what lies in memory, and what a core can ask for at once."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.core import isa
from golden.core.field_rules import check_fields
from golden.core.isa import Layout, Opcode, make
from golden.core.rules import check, predictor_units
from golden.prediction.scale_predictor import PredictorShape

CONFIG = CORES["4x4"]
BUS = CONFIG.bus_bytes


def end_of_patches(op):
    """Return the byte behind the last one that a PATCHES reads, from the meaning of its fields."""
    return max(op.address + patch // op.grid * op.patch_row_bytes
               + patch % op.grid * op.run_bytes + run * op.image_row_bytes + op.run_bytes
               for patch in range(op.m - 1) for run in range(op.k // op.run_bytes))


def check_end(op, end):
    check(op, CONFIG, end)
    with pytest.raises(ValueError, match=f"^address must end at 0x{end - 1:x} or before"):
        check(op, CONFIG, end - 1)


def patches(grid, down, run, runs, row, patch_row, address=0):
    m, k = 1 + grid * down, run * runs
    return make(Opcode.PATCHES, m=m, k=k, address=address, run_bytes=run, grid=grid,
                image_row_bytes=row, patch_row_bytes=patch_row, dest_stride=(k + 1) // 2)


@pytest.mark.parametrize(("shape", "end"), [
    ((3, 1, 8, 1, 0, 0), 24),       # the patches of a row lie side by side
    ((3, 1, 8, 4, 24, 0), 96),      # rows of an image
    ((3, 2, 8, 4, 24, 96), 192),    # rows of patches
    ((1, 2, 8, 2, 12, 40, 4), 64),  # an address, and gaps
])
def test_patches_end_with_the_image(shape, end):
    op = patches(*shape)
    assert end_of_patches(op) == end
    check_end(op, end)


def test_any_patches_end_where_their_fields_say():
    draw = np.random.default_rng(1)
    for _ in range(200):
        # Distances that do not go backwards, so that the last byte is of the last patch.
        grid, down, run, runs, row, patch_row, address = (
            int(draw.integers(low, high)) for low, high in (
                (1, 6), (1, 5), (1, 6), (1, 5), (0, 20), (0, 60), (0, 100)))
        op = patches(grid, down, BUS * run, runs, BUS * row, BUS * patch_row, BUS * address)
        check_end(op, end_of_patches(op))


def test_the_class_token_alone_reads_nothing():
    check(patches(4, 0, 8, 2, 16, 32, address=1 << 20), CONFIG, 1)


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.STORE])
@pytest.mark.parametrize(("address", "words"), [(0, 1), (4, 1), (100, 7)])
def test_a_transfer_ends_with_its_words(opcode, address, words):
    check_end(make(opcode, address=address, words=words), address + words * CONFIG.word_bytes)


def predict(shape, config):
    return make(Opcode.PREDICT, words=predictor_units(shape, config), **shape.registers())


LARGE = replace(CONFIG, max_statistics=1 << 14, max_projected=64, max_sites=1 << 10)
MOST = isa.PART_UNITS.max


@pytest.mark.parametrize(("shape", "units"), [
    (PredictorShape(259, 63, 256, 1, True), (130, MOST)),
    (PredictorShape(63, 63, 512, 1, False), (32, MOST + 1)),
    (PredictorShape(2 * MOST, 1, 1, 1, True), (MOST, 4097)),
    (PredictorShape(2 * MOST + 1, 1, 1, 1, True), (MOST + 1, 4097)),
    (PredictorShape(1 << 14, 1, 1, 1, True), (MOST + 1, 4097)),
])
def test_a_predictor_has_no_more_units_than_a_core_can_ask_for(shape, units):
    op = predict(shape, LARGE)
    assert (-(-op.statistics // isa.PAIRS), op.words) == units
    if max(units) <= MOST:
        check(op, LARGE, 0)
    else:
        with pytest.raises(ValueError, match=f"^a part of the payload must have {MOST} units or "
                                             f"fewer, not {max(units)}$"):
            check(op, LARGE, 0)


def test_a_shipped_core_refuses_a_predictor_whose_units_it_cannot_ask_for():
    shape, core = PredictorShape(60, 30, 200, 2, True), CORES["8x16"]
    assert predict(shape, core).words > MOST
    with pytest.raises(ValueError, match="^a part of the payload must have"):
        check(predict(shape, core), core, 0)


@pytest.mark.parametrize("opcode", isa.GOLDEN_ONLY)
@pytest.mark.parametrize(("gelu", "words", "legal"), [
    (1, 0, True), (1, 6, True), (1, 5, False), (1, 7, False), (0, 0, True), (0, 6, False)])
def test_columns_that_are_coarse_are_those_of_gelu_or_none(opcode, gelu, words, legal):
    limits = ({"low": -8, "high": 7, "layout": Layout.OPERAND4} if opcode is Opcode.QUANTIZE
              else {})
    op = make(opcode, m=2, n=6, gelu=gelu, words=words, **limits)
    if legal:
        check_fields(op, CONFIG, 0)
        return
    with pytest.raises(ValueError, match=fr"^words must be 0, or n \(6\) with GELU, not {words}$"):
        check_fields(op, CONFIG, 0)
