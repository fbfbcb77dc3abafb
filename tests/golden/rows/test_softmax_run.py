"""Runs of the softmax unit: registers and cycles."""

from dataclasses import replace

import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.rows.softmax import HIGHEST_KEYS, STEP, reciprocal
from golden.rows.softmax_run import LATENCY, cycles, highest_keys, register_formats, registers

STEPS = [1, 2, 3, 64, 341, 512, 700, 1023, 1024, 1025, STEP.max]


def test_the_longest_row_is_within_both_limits():
    assert highest_keys(replace(CORES["8x16"], max_tokens=197)) == 197
    assert highest_keys(replace(CORES["8x16"], max_tokens=5000)) == HIGHEST_KEYS


@pytest.mark.parametrize("config", CORES.values(), ids=CORES)
def test_registers_describe_the_run_in_their_formats(config):
    for keys in (1, config.lanes, config.lanes + 1, 197, highest_keys(config)):
        for step in (0, *STEPS):
            values, limits = registers(keys, step, config), register_formats(config)
            assert values.keys() == limits.keys()
            assert all(value in limits[name] for name, value in values.items())
            assert values["last_word"] * config.lanes + values["last_lane"] == keys - 1
            assert (values["factor"], values["shift"]) == (reciprocal(step) if step else (0, 0))


def test_a_row_costs_one_cycle_per_word():
    config = AcceleratorConfig(8, 16, lanes=8)
    assert cycles(1, 1, config) == 2 + 3 + 2 + LATENCY
    for keys, words in ((1, 1), (8, 1), (9, 2), (197, 25)):
        assert cycles(8, keys, config) - cycles(7, keys, config) == words


@pytest.mark.parametrize("keys", [0, 101])
def test_refuses_rows_that_the_hardware_has_no_room_for(keys):
    config = replace(CORES["8x16"], max_tokens=100)
    for function in (lambda: registers(keys, 0, config), lambda: cycles(1, keys, config)):
        with pytest.raises(ValueError, match=rf"keys must be within 1\.\.100, not {keys}"):
            function()


def test_refuses_a_run_without_rows():
    with pytest.raises(ValueError, match="rows must be"):
        cycles(0, 1, CORES["8x16"])
