from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sim.evaluation import comparison, preparation
from sim.evaluation.evaluation import Answers


def test_r_squared_leaves_offsets_aside():
    wanted = np.array([[0, 1, 5], [2, 2, 5], [4, 6, 5], [6, 7, 5]])
    predicted = np.array([[10, 4, 1], [12, 4, 2], [14, 4, 3], [16, 4, 4]])
    np.testing.assert_allclose(comparison.r_squared(predicted, wanted), [1, 0, np.nan])
    # errors 1, -1, 1, -1 of variance 1; 0, 2, 4, 6 have variance 5
    assert comparison.r_squared([[1], [1], [5], [5]], wanted[:, :1]) == pytest.approx(1 - 1 / 5)
    assert comparison.r_squared(-2 * wanted[:, :1], wanted[:, :1]) == pytest.approx(1 - 9)


def test_r_squared_of_a_regression_is_the_squared_correlation():
    x, y = np.random.default_rng(1).normal(size=(2, 50))
    y += x
    line = stats.linregress(x, y)
    found = comparison.r_squared((line.slope * x + line.intercept)[:, None], y[:, None])
    assert found == pytest.approx(line.rvalue**2)


def test_spearman_and_ranks_are_those_of_scipy():
    draw = np.random.default_rng(2)
    a, b = draw.integers(0, 12, (2, 60, 5))  # many ties
    b[:, :3] += a[:, :3]
    np.testing.assert_array_equal(comparison.ranks(a[:, 0]), stats.rankdata(a[:, 0]))
    np.testing.assert_allclose(comparison.spearman(a, b),
                               [stats.spearmanr(*pair).statistic for pair in zip(a.T, b.T,
                                                                                 strict=True)])
    same = np.full((60, 1), 3)
    assert comparison.spearman(same, b[:, :1]) == 0
    assert np.isnan(comparison.spearman(a[:, :1], same))


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 5), (3, 11), (40, 17),
                                               (700, 600)])
def test_mcnemar_is_the_test_of_a_fair_coin(better, worse):
    wanted = stats.binomtest(better, better + worse).pvalue if better + worse else 1
    assert comparison.mcnemar(better, worse) == pytest.approx(wanted, rel=1e-9)
    assert comparison.mcnemar(worse, better) == comparison.mcnemar(better, worse)


def test_difference_counts_pairs():
    mine = np.array([1, 1, 1, 0, 0, 1, 0, 1], bool)
    other = np.array([0, 1, 0, 1, 0, 0, 0, 1], bool)
    found = comparison.difference(mine, other)
    assert (found.better, found.worse, found.points) == (3, 1, 25.0)
    assert found.p == 10 / 16  # 0, 1, 3 or 4 heads of 4 tosses
    assert found.low < found.points < found.high
    nothing = comparison.difference(mine, mine)
    assert (nothing.points, nothing.low, nothing.high, nothing.p) == (0, 0, 0, 1)


def test_bootstrap_is_that_over_images():
    draw = np.random.default_rng(3)
    mine, other = draw.random((2, 400)) < [[0.7], [0.6]]
    found = comparison.difference(mine, other)
    wanted = stats.bootstrap((mine.astype(int), other.astype(int)),
                             lambda a, b, axis: 100 * (a.mean(axis) - b.mean(axis)), paired=True,
                             n_resamples=10_000, method="percentile", rng=draw)
    assert (found.low, found.high) == pytest.approx(wanted.confidence_interval, abs=0.5)
    assert comparison.difference(mine, other) == found
    assert comparison.bootstrap(60, 30, 400, 2) != comparison.bootstrap(60, 30, 400, 1)


def _answers(method, top, scales=None, bits="w4a4", predicted=()):
    one = preparation.Prepared(method, bits, True, predicted, None, (), Path(method), "")
    return Answers(one, np.array(top), None if scales is None else np.array(scales))


def test_rows_hold_methods_against_their_baseline_and_the_oracle():
    known = preparation.candidates()
    answers = [
        _answers("fp32", [[1, 2], [2, 3], [3, 1], [0, 1]], bits="fp32"),
        _answers("lsq", [[1, 2], [3, 2], [3, 1], [1, 0]], [[5, 5, 5]] * 4),
        _answers("oracle", [[1, 2]] * 4, [[0, 0, 4], [0, 2, 4], [0, 4, 4], [0, 6, 4]]),
        _answers("predictor", [[1, 2], [2, 3], [1, 3], [1, 0]],
                 [[9, 1, 1], [9, 1, 2], [9, 5, 3], [9, 5, 4]], predicted=(1, 2)),
        _answers("lsq", [[0, 1]] * 4, [[5, 5, 5]] * 4, bits="w8a8"),
    ]
    floating, lsq, oracle, mine, other = comparison.rows(
        answers, np.array([1, 2, 1, 3]), known, ["a", "b", "head"])
    assert (floating.top1, floating.top5, floating.agreement) == (50, 75, 100)
    assert (lsq.top1, lsq.top5, lsq.agreement) == (25, 75, 50)
    assert (mine.top1, mine.top5, mine.agreement) == (75, 75, 50)
    assert (mine.baseline, mine.against.points, mine.against.better) == ("lsq", 50, 2)
    assert lsq.against is None  # without mse
    assert other.top1 == 0
    assert lsq.sites == oracle.sites == floating.sites == ()
    b, head = mine.sites
    assert (b.name, b.r_squared) == ("b", pytest.approx(0.8))
    assert b.spearman == pytest.approx(stats.spearmanr([1, 1, 5, 5], [0, 2, 4, 6]).statistic)
    assert (head.name, head.r_squared, head.spearman) == ("head", None, None)
    assert mine.r_squared == b.r_squared  # the mean of those that there are

    against = comparison.Baseline("lsq", "w8a8")
    others = comparison.rows(answers, np.array([1, 2, 1, 3]), known, ["a", "b", "head"],
                             against=against)
    assert [row.baseline for row in others] == [None, *["lsq:w8a8"] * 3, None]
    assert [row.against and row.against.points for row in others] == [None, 25, 50, 75, None]
    same = comparison.rows(answers, np.array([1, 2, 1, 3]), known, ["a", "b", "head"],
                           against=comparison.Baseline("lsq"))
    assert [row.against and row.against.points for row in same] == [None, None, 25, 50, None]

    unlabelled = comparison.rows(answers, None, known, ["a", "b", "head"])[3]
    assert (unlabelled.top1, unlabelled.top5, unlabelled.against.points) == (None, None, 0)
