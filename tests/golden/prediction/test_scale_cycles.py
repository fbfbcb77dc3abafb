"""Cycles and multiplications of predictions."""

from dataclasses import replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.prediction.scale_cycles import multiply_accumulates, scale_cycles
from golden.prediction.scale_predictor import PredictorShape
from golden.prediction.scale_unit import pack
from tests.cases.predictors import random_predictor


def test_counts_multiplications():
    # 97 sites, two variables, degree 2: three products for the monomials, five for each site
    assert multiply_accumulates(PredictorShape(2, 2, 97, 2, False)) == 3 + 97 * 5
    assert multiply_accumulates(PredictorShape(384, 8, 97, 2, True)) == 384 * 8 + 36 + 97 * 44


def test_cycles_follow_the_formula():
    shape = PredictorShape(384, 8, 97, 2, True)
    beats = 2 * 385 + 25 * 45
    assert 0 < scale_cycles(shape, CORES["8x16"]) - (384 + beats + 36) < 40
    predictor = random_predictor(np.random.default_rng(8), variables=8, degree=2, sites=97,
                                 statistics=384)
    assert predictor.shape == shape
    assert len(pack(predictor, CORES["8x16"])) == beats
    assert scale_cycles(predictor, CORES["8x16"]) == scale_cycles(shape, CORES["8x16"])


@pytest.mark.parametrize(("change", "message"), [
    ({"max_statistics": 6}, "statistics must be 6 or less in this configuration, not 7"),
    ({"max_projected": 3}, "variables must be 3 or less in this configuration, not 4"),
    ({"max_monomials": 13}, "monomials must be 13 or less in this configuration, not 14"),
    ({"max_sites": 9}, "sites must be 9 or less in this configuration, not 10"),
])
def test_refuses_predictors_too_large_for_the_hardware(change, message):
    shape = PredictorShape(7, 4, 10, 2, True)
    with pytest.raises(ValueError, match=message):
        scale_cycles(shape, replace(CORES["8x16"], **change))


@pytest.mark.parametrize("call", [lambda: scale_cycles(3, CORES["4x4"]),
                                  lambda: multiply_accumulates(3)])
def test_refuses_what_is_no_predictor(call):
    with pytest.raises(TypeError, match="predictor must be a ScalePredictor, not 3"):
        call()
