import numpy as np
import pytest

from golden.common.formats import OPERAND, STATISTIC, Mode
from golden.prediction.range_shape import beats
from golden.prediction.scale_unit import pack
from golden.product.mac_array import Activation
from golden.product.operand_bytes import pack_activations, pack_weights
from golden.selftest import stations
from golden.selftest.pattern import stimulus
from rtl.boards import BOARDS
from rtl.boards.board import SelfTestBoard
from tests.cases.configs import TEST_CONFIGS

CONFIGS = TEST_CONFIGS | {name: board.config for name, board in BOARDS.items()
                          if isinstance(board, SelfTestBoard)}


def inside(results, low, high):
    """Share of results between two limits."""
    return np.mean([low < result < high for result in results])


@pytest.mark.parametrize("name", CONFIGS)
def test_few_results_saturate(name):
    checks = {check.name: check for check in stations.checks(CONFIGS[name])}
    assert inside(checks["requant"].results, stations.REQUANT_LOW, stations.REQUANT_HIGH) > 0.4
    assert inside(checks["range"].results, STATISTIC.min, STATISTIC.max) > 0.6
    assert len(set(checks["scale"].results)) == len(checks["scale"].results)
    assert len(set(checks["array"].results)) > 0.9 * len(checks["array"].results)


@pytest.mark.parametrize("name", CONFIGS)
def test_runs_fit_the_configuration(name):
    config = CONFIGS[name]
    for shape in stations.range_shapes(config):
        shape.check(config)
    for predictor in stations.scale_predictors():
        pack(predictor, config)


@pytest.mark.parametrize("name", CONFIGS)
def test_tensor_is_what_its_beats_were_made_of(name):
    config = CONFIGS[name]
    for shape in stations.range_shapes(config):
        x = np.arange(shape.tokens * shape.channels).reshape(shape.tokens, shape.channels)
        np.testing.assert_array_equal(
            stations._tensor(beats(x, shape, config), shape, config), x)


@pytest.mark.parametrize(("mode", "activation"), stations.ARRAY_TILES)
def test_operands_pack_to_the_bytes_they_came_from(mode, activation):
    config = TEST_CONFIGS["uneven"]
    rows, cols = stations.array_fields(config)
    pattern = stimulus(2, 40)
    activations = np.array([[field(beat) for field in rows] for beat in pattern])
    weights = np.array([[stations.weight_byte(field(beat)) for field in cols]
                        for beat in pattern])
    a, w = stations._operands(activations, weights, mode, activation)
    if activation is Activation.CODE:
        activations &= 15  # the array ignores the rest
    np.testing.assert_array_equal(pack_activations(a, mode, activation, config), activations)
    np.testing.assert_array_equal(pack_weights(w, mode, config), weights)


def test_weight_bytes_change_only_nibbles_of_minus_8():
    def fixed(nibble):
        return 9 if nibble == 8 else nibble

    for byte in range(256):
        assert stations.weight_byte(byte) == fixed(byte % 16) + 16 * fixed(byte // 16)


def test_constants_are_within_their_formats():
    assert all(operand in OPERAND for operand in stations.CODEBOOK)
    assert min(stations.CODEBOOK) < 0 < max(stations.CODEBOOK)
    assert {mode for mode, _ in stations.ARRAY_TILES} == set(Mode)
