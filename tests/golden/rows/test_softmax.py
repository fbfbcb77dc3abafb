"""Softmax against float64, exponentials and codes against their definitions."""

from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest

from golden.common import formats
from golden.common.log2 import log2
from golden.product.mac_array import Activation, gemm
from golden.rows import softmax as module
from golden.rows.softmax import (
    HIGHEST_KEYS,
    OPERAND,
    SCORE,
    STEP,
    TOP,
    codebook,
    reciprocal,
    softmax,
    softmax_codes,
)
from tests.cases.recorded import recorded

DISTANCES = np.arange(SCORE.max - SCORE.min + 1)
KEYS = [1, 2, 3, 50, 197, 1024, HIGHEST_KEYS]
SPREADS = [0, 10, 300, 1000, 3000, 10000]
STEPS = [1, 2, 3, 64, 341, 512, 700, 1023, 1024, 1025, STEP.max]
OPERAND_ERROR = 0.55  # stated, in units of an operand
SUM_ERROR = 5.1e-4  # stated, of the sum of a row


def random_scores(keys, spread, rows=60):
    rng = np.random.default_rng(keys + spread)
    return np.clip(np.rint(rng.normal(0, spread, (rows, keys))), SCORE.min, SCORE.max).astype(int)


def recorded_scores(block, head):
    """Scores of recorded queries and keys, 64 channels a head."""
    data = recorded()
    q, k = (data.site(name, block, 8) for name in "qk")
    log_scale = (q.lam + k.lam) / formats.LAMBDA.one + np.log2(np.log2(np.e) / 8)
    product = q.values[head].astype(np.int64) @ k.values[head].T.astype(np.int64)
    return np.rint(product * np.exp2(log_scale) * SCORE.one).astype(int)


def exact(scores):
    """Probabilities in float64."""
    power = np.exp2((scores - scores.max(1, keepdims=True)) / SCORE.one)
    return power / power.sum(1, keepdims=True)


def probabilities(operands, exponent):
    return operands / np.exp2(exponent / formats.LAMBDA.one)[:, None]


def check(scores):
    """Hold exponentials and exponents against the stated errors."""
    operands, exponent = softmax(scores)
    assert (operands.dtype, exponent.dtype) == (np.uint8, np.int32)
    assert (operands.max(1) == OPERAND.max).all()
    got, want = probabilities(operands, exponent), exact(scores)
    assert np.abs(got.sum(1) - 1).max() <= SUM_ERROR
    total = operands.sum(1, keepdims=True, dtype=np.int64) / OPERAND.max
    bound = 0.0022 * (1 + (scores.shape[1] - 1) * want) / total + SUM_ERROR
    assert (np.abs(got - want) <= bound).all()
    return np.abs(got - want).max()


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("keys", KEYS)
def test_random_rows_are_within_the_stated_error(keys, spread):
    check(random_scores(keys, spread, 10 if keys > 1024 else 60))


def test_many_keys_just_below_the_first_step_are_within_the_stated_error():
    for distance in (9000, 9209, 9210, 9211, 9500):
        scores = np.full((1, HIGHEST_KEYS), SCORE.max - distance)
        scores[0, 77] = SCORE.max
        check(scores)


@pytest.mark.parametrize("block", [0, 11])
def test_recorded_scores_are_within_the_stated_error(block):
    for head in range(3):
        check(recorded_scores(block, head))


def test_every_exponential_is_within_the_stated_error():
    operands, _ = softmax(pairs())
    want = OPERAND.max * np.exp2(-DISTANCES / SCORE.one)
    error = np.abs(operands[:, 1] - want)
    assert 0.9 * OPERAND_ERROR < error.max() <= OPERAND_ERROR
    assert (np.diff(operands[:, 1].astype(int)) <= 0).all()


def pairs():
    """Rows of two keys, one for every distance there is."""
    scores = np.full((DISTANCES.size, 2), SCORE.max)
    scores[:, 1] -= DISTANCES
    return scores


def test_the_table_read_for_speed_is_the_exponential_unit():
    operands, _ = softmax(pairs())
    want = [module.exponential_kernel(-distance) for distance in DISTANCES.tolist()]
    assert operands[:, 1].tolist() == want


def test_the_constant_is_the_logarithm_of_the_largest_operand():
    assert round(np.log2(OPERAND.max) * SCORE.one) == TOP


def test_the_exponent_is_the_logarithm_of_the_sum():
    scores = random_scores(197, 1000)
    operands, exponent = softmax(scores)
    assert exponent.tolist() == log2(operands.sum(1, dtype=np.int64)).tolist()
    codes, exponent = softmax_codes(scores, 512)
    assert exponent.tolist() == log2(codebook(512)[codes].sum(1, dtype=np.int64)).tolist()


def test_only_distances_matter():
    scores = random_scores(197, 1000)
    for function in (softmax, lambda s: softmax_codes(s, 341)):
        for got, want in zip(function(scores + 9000), function(scores), strict=True):
            np.testing.assert_array_equal(got, want)


def test_equal_scores_share_evenly():
    operands, exponent = softmax(np.zeros((1, HIGHEST_KEYS), int))
    assert (operands == OPERAND.max).all()
    assert exponent[0] == TOP + 12 * SCORE.one


def code_exact(distance, step):
    """Definition (3): ``min(15, floor(distance / step + 1/2))``."""
    return min((2 * distance + step) // (2 * step), 15)


@numba.njit
def count_wrong(step, factor, shift, distances):
    wrong = 0
    for distance in range(distances):
        got = ((min(distance, 15 * step) + (step >> 1)) * factor) >> shift
        wrong += got != min((2 * distance + step) // (2 * step), 15)
    return wrong


def test_the_reciprocal_divides_exactly_for_every_step_and_distance():
    for step in range(1, STEP.max + 1):
        factor, shift = reciprocal(step)
        assert count_wrong(step, factor, shift, DISTANCES.size) == 0, f"step {step}"


def test_the_reciprocal_keeps_its_widths():
    for step in range(1, STEP.max + 1):
        factor, shift = reciprocal(step)
        assert 1 << 15 <= factor <= module.RECIPROCAL.max
        assert 15 <= shift <= 26
        assert (15 * step + step // 2) * factor < 1 << 31


@pytest.mark.parametrize("step", STEPS)
def test_every_code_is_the_rounded_distance(step):
    codes, _ = softmax_codes(pairs(), step)
    assert codes.dtype == np.uint8
    assert codes[:, 1].tolist() == [code_exact(d, step) for d in DISTANCES.tolist()]


@pytest.mark.parametrize("step", STEPS)
def test_the_codebook_is_rounded_exactly(step):
    got = codebook(step)
    assert got.dtype == np.uint8
    with localcontext(prec=60):
        want = [int(255 * Decimal(2) ** (Decimal(-code * step) / 1024) + Decimal("0.5"))
                for code in range(15)]
    assert got.tolist() == [*want, 0]


def test_the_codebook_of_half_octaves_is_that_of_the_recorded_codes_within_one():
    # the recorded one has powers of 256, clamped to 255
    assert np.abs(codebook(512).astype(int) - recorded().codebook)[:-1].max() == 1


@pytest.mark.parametrize("step", [256, 341, 512, 1024])
def test_codes_stand_for_powers_within_half_a_step(step):
    scores = random_scores(197, 1500)
    codes, exponent = softmax_codes(scores, step)
    operands = codebook(step)[codes]
    assert np.abs(probabilities(operands, exponent).sum(1) - 1).max() <= SUM_ERROR
    want = OPERAND.max * np.exp2((scores - scores.max(1, keepdims=True)) / SCORE.one)
    near = codes < 15
    ratio = np.exp2(step / 2 / SCORE.one)
    assert (operands[near] <= want[near] * ratio + 0.5).all()
    assert (operands[near] >= want[near] / ratio - 0.5).all()


def test_codes_multiply_values_as_their_operands_do():
    rng = np.random.default_rng(2)
    codes, _ = softmax_codes(random_scores(50, 1000, 9), 512)
    values = rng.integers(-127, 128, (50, 16))
    operands = codebook(512)
    got = gemm(codes, values, formats.Mode.W8A8, Activation.CODE, operands)
    np.testing.assert_array_equal(got, operands[codes].astype(int) @ values)


def test_compiled_equals_interpreted():
    step = 700
    for keys in (1, 2, 50):
        for row in random_scores(keys, 3000, 5).astype(np.int16):
            compiled, interpreted = np.empty((2, keys), np.uint8)
            for kernel, arguments in (
                    (module.softmax_kernel, ()),
                    (module.softmax_codes_kernel, (step, *reciprocal(step), codebook(step)))):
                exponent = kernel(row, *arguments, compiled)
                assert kernel.py_func(row, *arguments, interpreted) == exponent
                assert np.array_equal(compiled, interpreted)


def test_no_rows_give_no_rows():
    operands, exponent = softmax(np.zeros((0, 4), int))
    assert (operands.shape, exponent.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(("error", "message", "scores"), [
    (TypeError, "scores must be an integer array, not float64", [[1.0]]),
    (ValueError, r"scores must have shape \(any, any\), not \(1,\)", [1]),
    (ValueError, r"scores\[0, 1\] = 32768 is outside", [[0, 1 << 15]]),
    (ValueError, "scores must have 1 to 4096 keys, not 0", np.zeros((2, 0), int)),
    (ValueError, "scores must have 1 to 4096 keys, not 4097", np.zeros((1, 4097), int)),
])
def test_refuses_scores(error, message, scores):
    with pytest.raises(error, match=message):
        softmax(scores)
    with pytest.raises(error, match=message):
        softmax_codes(scores, 512)


@pytest.mark.parametrize("step", [0, -512, STEP.max + 1])
def test_refuses_a_step_out_of_range(step):
    for function in (codebook, reciprocal, lambda step: softmax_codes([[0]], step)):
        with pytest.raises(ValueError, match=f"step must be within 1..2047, not {step}"):
            function(step)
