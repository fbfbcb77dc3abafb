"""Cascades: which network answers, and how sure an answer is."""

from dataclasses import replace

import numpy as np
import pytest

from golden.network.cascade import Cascade, CascadeVit, doubts_of
from golden.network.precision import Precision
from golden.network.vit import Vit
from tests.cases.networks import SHAPE, network, pixels

FIRST, SECOND = network(Precision(4, 4)), network(Precision(8, 8), seed=5)


def test_doubt_is_the_logarithm_of_255_over_the_largest_probability():
    draw = np.random.default_rng(1)
    for spread in (100, 1000, 4000):
        logits = draw.normal(0, spread, (50, 30)).astype(np.int16)
        scores = logits.astype(float) / 1024
        largest = 1 / np.exp2(scores - scores.max(axis=1, keepdims=True)).sum(axis=1)
        exact = 1024 * np.log2(255 / largest)
        # Operands are within 0.55 of 255ths of the largest.
        assert (abs(doubts_of(logits) - exact) < 1024 * np.log2(1 + 30 * 0.55 / 255) + 1).all()
        assert np.corrcoef(doubts_of(logits), exact)[0, 1] > 0.99


def test_an_answer_without_a_rival_has_the_least_doubt():
    assert doubts_of([[0] * 9 + [20000], [20000] * 10, [0] * 8 + [7, 7]]).tolist() == [
        8186, round(1024 * np.log2(2550)), round(1024 * np.log2(2 * 255 + 8 * 254))]


def test_doubtful_images_are_answered_by_the_second_network():
    images = pixels(12)
    first, second = (Vit(each).run(images).logits for each in (FIRST, SECOND))
    assert (first != second).any(axis=1).all()
    doubts = doubts_of(first)
    for threshold in (int(doubts.min()) - 1, int(doubts.min()), int(np.median(doubts)),
                      int(doubts.max()) - 1, int(doubts.max())):
        found = CascadeVit(Cascade(FIRST, SECOND, threshold)).run(images)
        sure = [bool(doubt <= threshold) for doubt in doubts]
        assert found.exited.tolist() == sure
        assert found.doubts.tolist() == doubts.tolist()
        for image, exited in enumerate(sure):
            expected = first if exited else second
            assert found.logits[image].tolist() == expected[image].tolist()
    assert sure == [True] * 12


def test_no_images_are_no_images():
    found = CascadeVit(Cascade(FIRST, SECOND, 9000)).run(pixels(0))
    assert (found.logits.shape, found.exited.shape) == ((0, SHAPE.classes), (0,))


@pytest.mark.parametrize(("changed", "message"), [
    ({"shape": replace(SHAPE, classes=6)},
     "^classes must be the same of both networks, not 5 and 6$"),
    ({"shape": replace(SHAPE, image=16)},
     "^image must be the same of both networks, not 12 and 16$"),
])
def test_networks_are_for_the_same_images_and_classes(changed, message):
    other = network(Precision(8, 8), **changed)
    with pytest.raises(ValueError, match=message):
        Cascade(FIRST, other, 9000)


def test_logits_have_the_same_point():
    with pytest.raises(ValueError, match="^logit_point must be the same .*, not 10 and 9$"):
        Cascade(FIRST, replace(SECOND, logit_point=9), 9000)


@pytest.mark.parametrize("threshold", [-1, 1 << 15])
def test_a_threshold_is_a_doubt(threshold):
    with pytest.raises(ValueError, match=r"^threshold must be within 0\.\.32767, not"):
        Cascade(FIRST, SECOND, threshold)


def test_there_are_no_more_classes_than_softmax_takes():
    made = network(Precision(4, 4), shape=replace(SHAPE, classes=4097))
    with pytest.raises(ValueError, match=r"^classes must be within 1\.\.4096, not 4097$"):
        Cascade(made, made, 9000)
