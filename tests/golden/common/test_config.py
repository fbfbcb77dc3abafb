"""What a user may choose of an accelerator, and what follows from it."""

import re
from dataclasses import fields, replace

import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.common.formats import ACC, Mode
from tests.cases.configs import TEST_CONFIGS


def test_every_name_is_that_of_a_core():
    for config in CORES.values():
        config.check_core()


def test_no_configuration_of_a_test_has_the_name_of_another_core():
    assert {name: TEST_CONFIGS[name] for name in set(TEST_CONFIGS) & set(CORES)} == {
        "8x16": CORES["8x16"]}


@pytest.mark.parametrize("name", CORES)
def test_names_give_rows_and_columns(name):
    config = CORES[name]
    assert name == f"{config.rows}x{config.cols}"
    assert config.multipliers == config.rows * config.cols


def test_tiles_grow_with_the_slots_of_a_mode():
    config = CORES["8x16"]
    assert [(config.tile_rows(mode), config.tile_cols(mode)) for mode in Mode] == [
        (8, 16), (8, 32), (16, 32)]


@pytest.mark.parametrize("name", [*CORES, *TEST_CONFIGS])
def test_accumulators_hold_every_sum_of_their_modes(name):
    config = {**CORES, **TEST_CONFIGS}[name]
    assert config.accumulator(0) == ACC
    for mode in Mode:
        for slot in range(mode.macs):
            assert config.product_sum(mode) in config.accumulator(slot)
            assert -config.product_sum(mode) in config.accumulator(slot)
    assert config.accumulator(3).bits < config.accumulator(1).bits <= ACC.bits


@pytest.mark.parametrize("name", [*CORES, *TEST_CONFIGS])
def test_registers_hold_every_sum_without_start_value(name):
    config = {**CORES, **TEST_CONFIGS}[name]
    for mode in Mode:
        for slot in range(mode.macs):
            largest = config.max_k * mode.operand.magnitude * mode.weight.magnitude
            assert largest in config.partial_sum(slot)
            assert -largest in config.partial_sum(slot)


def test_product_sum_counts_the_start_value():
    assert replace(CORES["8x16"], max_k=100).product_sum(Mode.W4A4) == 2 * 100 * 8 * 7


@pytest.mark.parametrize("name", [field.name for field in fields(AcceleratorConfig)])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError),
                                              (1 << 30, ValueError), (True, TypeError),
                                              (8.0, TypeError), ("8", TypeError)])
def test_refuses_choices_that_make_no_sense(name, value, error):
    rule = "an integer" if error is TypeError else r"within 1\.\.\d+"
    with pytest.raises(error, match=rf"{name} must be {rule}, not {re.escape(repr(value))}"):
        replace(CORES["8x16"], **{name: value})


def test_refuses_lanes_that_do_not_divide_the_columns():
    with pytest.raises(ValueError, match="lanes must divide cols, but 3 does not divide 16"):
        replace(CORES["8x16"], lanes=3)


def test_refuses_sums_that_could_wrap():
    longest = ACC.max // (2 * 255 * 128)
    assert replace(CORES["8x16"], max_k=longest).product_sum(Mode.W8A8) <= ACC.max
    message = (f"max_k must keep w8a8 sums within 32 bits, but {longest + 1} products can reach "
               f"{(longest + 1) * 2 * 255 * 128}")
    with pytest.raises(ValueError, match=message):
        replace(CORES["8x16"], max_k=longest + 1)


@pytest.mark.parametrize(("rows", "cols", "lanes"), [
    (1, 1, 1), (2, 7, 1), (4, 4, 1), (8, 16, 8), (16, 16, 16), (16, 32, 32), (32, 32, 32),
    (8, 12, 6), (12, 12, 6), (16, 10, 10), (3, 5, 1)])
def test_for_array_takes_as_many_lanes_as_drain_a_tile_in_time(rows, cols, lanes):
    assert AcceleratorConfig.for_array(rows, cols).lanes == lanes
    assert cols % lanes == 0
    assert lanes <= max(1, rows * cols // 16)


def test_for_array_takes_other_choices_and_refuses_bad_ones():
    assert AcceleratorConfig.for_array(4, 4, lanes=4, max_k=7) == AcceleratorConfig(
        4, 4, lanes=4, max_k=7)
    with pytest.raises(ValueError, match="rows must be 1 or more, not 0"):
        AcceleratorConfig.for_array(0, 4)
    with pytest.raises(ValueError, match=r"rows must be within 1\.\.256, not 1000"):
        AcceleratorConfig.for_array(1000, 4)
    with pytest.raises(TypeError, match="cols must be an integer, not 4.0"):
        AcceleratorConfig.for_array(4, 4.0)


def test_is_immutable():
    with pytest.raises(AttributeError):
        CORES["8x16"].rows = 4
