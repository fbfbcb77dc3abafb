import random

import pytest

from golden.common.config import CORES, AcceleratorConfig
from golden.common.formats import Mode
from golden.core.isa import UNIT_BYTES, Source
from golden.cycles import feed
from golden.cycles.feed import cycles, first_beat, header_words, hidden
from golden.product.tiling import gemm_cycles

CONFIGS = [AcceleratorConfig(rows, cols, lanes=rows)
           for rows, cols in ((4, 4), (4, 8), (8, 8), (8, 16), (16, 32))]


@pytest.mark.parametrize("weights", Source, ids=lambda source: source.name)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.rows}x{config.cols}")
def test_hidden_weights_cost_what_going_through_the_cycles_gives(config, weights):
    rng = random.Random(1)
    late = 0
    for _ in range(150):
        mode = rng.choice(list(Mode))
        shape = (rng.randint(1, config.rows * rng.choice([1, 6])),
                 rng.randint(1, rng.choice([4, 12, 40])),
                 rng.randint(1, 3 * config.tile_cols(mode)), mode)
        closed = first_beat(shape[1], mode, weights, config) + gemm_cycles(*shape, config)
        stepped = feed._stepped(*shape, weights, config)
        assert stepped >= closed, shape
        if hidden(*shape, weights, config):
            assert stepped == closed, shape
        assert cycles(*shape, weights, config) == stepped, shape
        late += stepped > closed
    assert late


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.rows}x{config.cols}")
def test_column_units_fill_whole_words(config, mode):
    assert header_words(mode) * config.cols == config.tile_cols(mode) * UNIT_BYTES


@pytest.mark.parametrize("weights", Source, ids=lambda source: source.name)
def test_weights_of_a_transformer_are_there_in_time(weights):
    config = CORES["8x16"]
    assert all(hidden(197, 64, 197, mode, weights, config) for mode in Mode)
