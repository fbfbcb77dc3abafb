"""LayerNorm against its definition, with sums on unbounded integers and one float64 root."""

from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest

from golden.common import formats
from golden.common.config import CORES
from golden.rows import layernorm as module
from golden.rows.layernorm import (
    COARSE,
    DEVIATION,
    EPSILON,
    GAMMA,
    HIGHEST_CHANNELS,
    INTERVAL,
    LATENCY,
    LONG,
    NORMALIZED,
    ROOT,
    ROOT_ERROR,
    SCALED,
    SQUARES,
    SUM,
    TABLES,
    VARIANCE,
    cycles,
    epsilon_units,
    fraction_of,
    layer_norm,
    normalize,
)
from tests.cases.recorded import recorded

LOW, HIGH = formats.ACT16.min, formats.ACT16.max
CHANNELS = [1, 2, 3, 64, 192, 768, LONG, LONG + 8, 1536, HIGHEST_CHANNELS]


def exact(row, epsilon):
    """Definition (3), in its units: exact but for one float64 root and division."""
    channels, total = len(row), sum(row)
    variance = channels * sum(x * x for x in row) - total * total + epsilon
    root = sqrt(variance) if variance else 1.0
    return np.array([(channels * x - total) / root for x in row]) * 2**fraction_of(channels)


def check(x, epsilon, coarse=None):
    """Hold every row against the stated error: 0.75 units and 1.4e-4 of the value."""
    got = normalize(x, epsilon, coarse)
    assert got.dtype == np.int16
    real = np.asarray(x) << (0 if coarse is None else COARSE * coarse)
    for number, (row, results) in enumerate(zip(real.tolist(), got, strict=True)):
        want = exact(row, epsilon)
        beyond = np.abs(results - want) - (0.75 + 0.14 / NORMALIZED.one * np.abs(want))
        at = int(beyond.argmax())
        assert beyond[at] <= 0, f"row {number}, channel {at}: {results[at]} for {want[at]}"


def adversarial(channels):
    """One outlier, two values, ramps, full range, least variance; each way round."""
    rows = []
    for a, b in ((LOW, HIGH), (0, 1), (-1, 0), (HIGH - 1, HIGH), (LOW, LOW + 1), (0, HIGH)):
        for count in {1, channels // 2, channels - 1}:
            row = np.full(channels, a)
            row[:count] = b
            rows += [row, a + b - row]
    rows.append(np.linspace(LOW, HIGH, channels).astype(int))
    return np.array(rows)


def random_rows(rng, channels, count=20):
    spread = np.exp2(rng.uniform(0, 14.5, (count, 1)))
    mean = rng.uniform(-1, 1, (count, 1)) * (HIGH - 2 * spread).clip(0)
    return np.clip(np.rint(rng.normal(mean, spread, (count, channels))), LOW, HIGH).astype(int)


@pytest.mark.parametrize("epsilon", [0, 1, 1_000_003, EPSILON.max])
@pytest.mark.parametrize("channels", CHANNELS)
def test_random_rows_are_within_the_stated_error(channels, epsilon):
    check(random_rows(np.random.default_rng(channels), channels), epsilon)


@pytest.mark.parametrize("epsilon", [0, 1, 1_000_003, EPSILON.max])
@pytest.mark.parametrize("channels", CHANNELS)
def test_adversarial_rows_are_within_the_stated_error(channels, epsilon):
    check(adversarial(channels), epsilon)


def coarse_channels(rng, channels):
    return (rng.random(channels) < rng.choice([0.02, 0.5, 1])).astype(int)


@pytest.mark.parametrize("epsilon", [0, 1_000_003, EPSILON.max])
@pytest.mark.parametrize("channels", CHANNELS)
def test_coarse_channels_are_within_the_stated_error(channels, epsilon):
    rng = np.random.default_rng(channels + 1)
    for rows in (random_rows(rng, channels), adversarial(channels)):
        coarse = coarse_channels(rng, channels)
        check(rows, epsilon, coarse)
        coarse[0] = 1
        check(rows, epsilon, coarse)


def test_channels_that_are_all_coarse_are_like_none():
    x = random_rows(np.random.default_rng(2), 96)
    want = normalize(x, 5)
    np.testing.assert_array_equal(normalize(x, 5, np.zeros(96, int)), want)
    np.testing.assert_array_equal(normalize(x, 5 << 2 * COARSE, np.ones(96, int)), want)


def test_a_massive_activation_leaves_the_others_their_resolution():
    rng = np.random.default_rng(3)
    real = rng.normal(0, 0.6, (50, 192))
    real[:, 41] = 583
    x = np.rint(real * 2**9).astype(int)
    x[:, 41] >>= COARSE
    coarse = np.zeros(192, int)
    coarse[41] = 1
    want = real - real.mean(1, keepdims=True)
    want /= np.sqrt((want**2).mean(1, keepdims=True))
    got = normalize(x, 0, coarse) / NORMALIZED.one
    assert np.abs(got - want).max() < 1.5e-3


def test_recorded_residuals_are_within_the_stated_error():
    data = recorded()
    x = data.residual()[::5]
    check(x, epsilon_units("1e-6", x.shape[1], data.frac))


def test_the_stated_error_is_not_generous():
    rng = np.random.default_rng(3)
    x = random_rows(rng, 768, 60)
    want = np.array([exact(row, 0) for row in x.tolist()])
    assert np.abs(normalize(x, 0) - want).max() > 0.9


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("value", [LOW, -1, 0, 7, HIGH])
def test_equal_channels_give_zero(channels, value):
    for epsilon in (0, 5):
        assert not normalize(np.full((2, channels), value), epsilon).any()


def test_the_largest_outlier_neither_saturates_nor_wraps():
    for sign in (-1, 1):
        for channels in (LONG, HIGHEST_CHANNELS):
            x = np.full((1, channels), sign * -HIGH)
            x[0, 5] = sign * HIGH
            result = int(normalize(x, 0)[0, 5])
            assert result == pytest.approx(sign * sqrt(channels - 1) * 2**fraction_of(channels),
                                           rel=2e-4)
            assert abs(result) < NORMALIZED.max


def test_long_rows_have_a_fractional_bit_less():
    assert [fraction_of(channels) for channels in (1, LONG, LONG + 1, HIGHEST_CHANNELS)] == [
        NORMALIZED.frac, NORMALIZED.frac, NORMALIZED.frac - 1, NORMALIZED.frac - 1]


def test_widths_hold_the_largest_intermediates():
    c = HIGHEST_CHANNELS
    assert c * c * ((HIGH - LOW) << COARSE) ** 2 // 4 + EPSILON.max in VARIANCE
    assert VARIANCE.bits < 63, "a kernel's int64"
    for c in (LONG, HIGHEST_CHANNELS):
        unit = 2**(fraction_of(c) - NORMALIZED.frac)
        largest = unit * sqrt(c - 1) * (1 + float(ROOT_ERROR))  # of n
        assert largest < NORMALIZED.max / NORMALIZED.one
        assert 2 * unit * sqrt(c - 1) * SCALED.one + 1 < SCALED.max
        product = largest * SCALED.one * ROOT.one + ROOT.one / 2
        assert product + (1 << 15) < formats.ACC.max


def test_binary_point_and_mean_do_not_matter():
    rng = np.random.default_rng(4)
    x = rng.integers(-4000, 4000, (10, 192))
    want = normalize(x, 0)
    np.testing.assert_array_equal(normalize(4 * x, 0), want)
    np.testing.assert_array_equal(normalize(x + 12345, 0), want)


def test_opposite_rows_give_opposite_results_but_for_ties():
    x = random_rows(np.random.default_rng(8), 192)[:, ::-1].clip(-HIGH)
    assert np.abs(normalize(-x, 0).astype(int) + normalize(x, 0)).max() <= 1


def roots(values):
    return np.array([module.root_kernel(int(value)) for value in values]).T


def root_errors(values):
    root, exponent = roots(values)
    return root / ROOT.one * np.sqrt(values.astype(np.float64)) / np.exp2(exponent) - 1


def variances():
    rng = np.random.default_rng(6)
    mantissas = np.arange(1 << 15, 1 << 17)  # every fraction of both octaves
    spread = np.exp2(rng.uniform(0, VARIANCE.bits, 50_000)).astype(np.int64)
    return np.concatenate([np.arange(1, 1 << 10), mantissas, spread, [VARIANCE.max]])


def test_the_root_is_within_the_stated_error():
    error = np.abs(root_errors(variances()))
    assert 0.95 * float(ROOT_ERROR) < error.max() <= float(ROOT_ERROR)


def test_the_root_is_normalised():
    root, exponent = roots(variances())
    assert root.min() >= ROOT.one // 2
    assert root.max() == ROOT.one
    assert exponent.max() == (VARIANCE.bits - 1) // 2


def test_the_root_is_exact_at_powers_of_four():
    values = 1 << np.arange(0, VARIANCE.bits, 2)
    root, exponent = roots(values)
    assert (root == ROOT.one).all()
    assert exponent.tolist() == list(range(values.size))


def test_the_root_never_rises_within_an_even_shift():
    root, _ = roots(np.arange(1 << 14, 1 << 16))
    assert (np.diff(root) <= 0).all()


def test_table_samples_are_rounded_exactly():
    for octave, table in enumerate(TABLES):
        for index, sample in enumerate(table.samples):
            square = Fraction(1 << 2 * ROOT.frac, (1 << octave)) / (1 + Fraction(index, 32))
            assert (sample - Fraction(1, 2)) ** 2 <= square < (sample + Fraction(1, 2)) ** 2
    assert TABLES[0].samples[-1] == TABLES[1].samples[0]
    assert TABLES[1].samples[-1] == ROOT.one // 2


def test_a_flipped_table_bit_is_noticed(monkeypatch):
    slopes = module._SLOPES.copy()
    slopes[40] ^= 16
    monkeypatch.setattr(module, "_SLOPES", slopes)
    monkeypatch.setattr(module, "root_kernel", module.root_kernel.py_func)
    values = np.arange(1 << 15, 1 << 17, 7)
    assert np.abs(root_errors(values)).max() > float(ROOT_ERROR)


def test_compiled_equals_interpreted(monkeypatch):
    rng = np.random.default_rng(7)
    rows = np.concatenate([random_rows(rng, 64), adversarial(64)]).astype(np.int16)
    gamma = rng.integers(GAMMA.min, GAMMA.max + 1, 64).astype(np.int16)
    beta = rng.integers(formats.ACC.min, formats.ACC.max + 1, 64).astype(np.int32)
    for row in rows:
        compiled, interpreted = np.empty((2, 64), np.int16)
        module.normalize_kernel(row, 9, compiled)
        module.normalize_kernel.py_func(row, 9, interpreted)
        assert np.array_equal(compiled, interpreted)
        for flags in np.eye(64, dtype=int)[::9]:
            shifts = module.shifts_of(flags, 64)
            module.normalize_coarse_kernel(row, shifts, 9, compiled)
            module.normalize_coarse_kernel.py_func(row, shifts, 9, interpreted)
            assert np.array_equal(compiled, interpreted)
        affine, affine_interpreted = np.empty((2, 64), np.int32)
        module.affine_kernel(compiled, gamma, beta, affine)
        module.affine_kernel.py_func(compiled, gamma, beta, affine_interpreted)
        assert np.array_equal(affine, affine_interpreted)


def test_the_affine_is_exact_and_saturates():
    rng = np.random.default_rng(5)
    x = random_rows(rng, 192)
    gamma = rng.integers(GAMMA.min, GAMMA.max + 1, 192)
    beta = rng.integers(formats.ACC.min, formats.ACC.max + 1, 192)
    gamma[:2], beta[:2] = GAMMA.min, (formats.ACC.min, formats.ACC.max)
    got = layer_norm(x, gamma, beta, 11)
    want = [[min(max(int(n) * int(g) + int(b), formats.ACC.min), formats.ACC.max)
             for n, g, b in zip(row, gamma, beta, strict=True)] for row in normalize(x, 11)]
    assert got.dtype == np.int32
    assert got.tolist() == want
    assert 0 < np.isin(got, (formats.ACC.min, formats.ACC.max)).mean() < 0.2


@pytest.mark.parametrize(("epsilon", "channels", "fraction", "units"), [
    ("1e-6", 192, 8, 2416),  # 2415.92
    ("1e-6", 192, 7, 604),  # 603.98
    ("0.5", 1, 0, 1),  # half up
    (Fraction(1, 8), 1, 1, 1),
    (Fraction(1, 8), 1, 0, 0),
    (0, 192, 9, 0),
    (2, 3, -1, 5),  # 4.5
])
def test_epsilon_is_rounded_half_up(epsilon, channels, fraction, units):
    assert epsilon_units(epsilon, channels, fraction) == units


def test_epsilon_is_that_of_the_real_layer():
    x = np.random.default_rng(9).integers(-40, 40, (5, 192))
    real = x / 2**8
    deviation = real - real.mean(1, keepdims=True)
    want = deviation / np.sqrt((deviation**2).mean(1, keepdims=True) + 1e-2)
    got = normalize(x, epsilon_units(1e-2, 192, 8)) / NORMALIZED.one
    assert np.abs(got - want).max() < 1.5e-3


def test_refuses_an_epsilon_that_is_too_large():
    with pytest.raises(ValueError, match=r"epsilon must be within 0\.\.281474976710655"):
        epsilon_units(1, 1024, 15)
    with pytest.raises(ValueError, match=r"epsilon must be within 0\.\."):
        epsilon_units(-1, 192, 8)


def test_no_rows_give_no_rows():
    assert normalize(np.zeros((0, 4), int), 0).shape == (0, 4)


@pytest.mark.parametrize(("error", "message", "arguments"), [
    (TypeError, "x must be an integer array, not float64", {"x": [[1.0, 2.0]]}),
    (ValueError, r"x must have shape \(any, any\), not \(2,\)", {"x": [1, 2]}),
    (ValueError, r"x\[0, 1\] = 32768 is outside", {"x": [[1, 1 << 15]]}),
    (ValueError, "x must have 1 to 2048 channels, not 0", {"x": np.zeros((1, 0), int)}),
    (ValueError, "x must have 1 to 2048 channels, not 2049", {"x": np.zeros((1, 2049), int)}),
    (ValueError, r"gamma must have shape \(2\), not \(3,\)", {"gamma": [1, 2, 3]}),
    (ValueError, r"gamma\[0\] = 32768 is outside", {"gamma": [1 << 15, 0]}),
    (ValueError, r"beta\[1\] = 2147483648 is outside", {"beta": [0, 1 << 31]}),
    (ValueError, "epsilon must be within 0..281474976710655, not -1", {"epsilon": -1}),
    (TypeError, "epsilon must be an integer, not 1e-06", {"epsilon": 1e-6}),
    (ValueError, r"coarse must have shape \(2\), not \(3,\)", {"coarse": [0, 1, 0]}),
    (ValueError, r"coarse\[1\] = 2 is outside 0\.\.1", {"coarse": [0, 2]}),
])
def test_refuses(error, message, arguments):
    given = {"x": [[1, 2]], "gamma": [1, 1], "beta": [0, 0], "epsilon": 0} | arguments
    with pytest.raises(error, match=message):
        layer_norm(**given)


def test_sums_and_deviations_fill_their_formats():
    channels, least = HIGHEST_CHANNELS, -LOW << COARSE
    assert least == -module.VALUE.min
    assert -channels * least == SUM.min
    assert (channels * least**2).bit_length() == SQUARES.bits
    assert ((channels - 1) * (HIGH - LOW << COARSE)).bit_length() + 1 == DEVIATION.bits
    assert channels in module.CHANNELS
    assert 2 * channels - 1 == module.CHANNELS.max


def test_cycles_are_words_or_the_interval_and_the_last_row_twice():
    config = CORES["8x16"]  # 8 lanes: three levels
    assert cycles(1, 192, config) == 2 * 24 + LATENCY + 3
    assert cycles(197, 192, config) == 198 * 24 + LATENCY + 3
    assert cycles(10, 8, config) == 9 * INTERVAL + 2 + LATENCY + 3
    assert cycles(10, 8 * INTERVAL, config) == 11 * INTERVAL + LATENCY + 3
    assert cycles(2, 192, replace(CORES["16x32"], lanes=32)) == 3 * 6 + LATENCY + 5


@pytest.mark.parametrize(("arguments", "message"), [
    ((0, 8), "rows must be 1 or more, not 0"),
    ((1, 2056), "channels must be within 1..2048, not 2056"),
    ((1, 12), "channels must be a multiple of 8 lanes, not 12"),
])
def test_cycles_refuse(arguments, message):
    with pytest.raises(ValueError, match=message):
        cycles(*arguments, CORES["8x16"])
