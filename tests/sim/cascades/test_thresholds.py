"""Thresholds of cascades, and what they cost on images."""

import numpy as np
import pytest

from golden.common.config import CORES
from golden.cycles.memory_model import IDEAL
from golden.cycles.timing import cycles
from golden.network.cascade import Cascade, CascadeVit, doubts_of
from golden.network.precision import Precision
from golden.network.vit import Vit
from sim.cascades.thresholds import (
    Answers,
    Cycles,
    Point,
    cheapest,
    cycles_of,
    points,
)
from sim.compiler import compile_cascade
from tests.cases.networks import network, pixels
from tests.sim.compiler.test_compiler import SHAPE

FIRST, SECOND = network(Precision(4, 4), shape=SHAPE), network(Precision(8, 8), seed=5, shape=SHAPE)
YES, NO = True, False
SOME = Answers(np.array([9000, 8186, 9500, 8186, 10000]), np.array([YES, YES, NO, NO, YES]),
               np.array([NO, YES, YES, YES, NO]))


def test_points_are_what_each_threshold_makes_of_the_images():
    assert points(SOME, Cycles(100, 400)) == [
        Point(0, 0.0, 0.6, 400.0), Point(8186, 0.4, 0.4, 280.0), Point(9000, 0.6, 0.6, 220.0),
        Point(9500, 0.8, 0.4, 160.0), Point(10000, 1.0, 0.6, 100.0)]


@pytest.mark.parametrize(("least", "threshold"), [(0, 10000), (0.5, 10000), (0.6, 10000)])
def test_the_cheapest_has_the_fewest_cycles_of_those_that_are_right_often_enough(least, threshold):
    assert cheapest(points(SOME, Cycles(100, 400)), least).threshold == threshold


def test_the_cheapest_is_right_often_enough():
    made = [Point(0, 0, 0.9, 400), Point(8186, 0.2, 0.91, 300), Point(8300, 0.5, 0.9, 250),
            Point(8400, 0.6, 0.89, 240), Point(8500, 0.7, 0.9, 250)]
    assert cheapest(made, 0.9) == made[2]
    assert cheapest(made, 0.905) == made[1]
    assert cheapest(made, 0.5) == made[3]
    with pytest.raises(ValueError, match=r"^no threshold has a share of right answers of 0\.92"):
        cheapest(made, 0.92)


def test_there_must_be_images():
    with pytest.raises(ValueError, match="^there must be an image or more$"):
        points(Answers(*(np.zeros(0, int) for _ in range(3))), Cycles(1, 2))


def test_a_point_is_what_the_cascade_does():
    images = pixels(9, SHAPE)
    labels = Vit(SECOND).run(images).logits.argmax(axis=1)
    first, second = (Vit(each).run(images).logits for each in (FIRST, SECOND))
    found = Answers(doubts_of(first), first.argmax(axis=1) == labels,
                    second.argmax(axis=1) == labels)
    program = compile_cascade(Cascade(FIRST, SECOND, 0), CORES["4x4"])
    each = cycles_of(program, IDEAL)
    assert each.early == sum(cycles(program, IDEAL, program.about["cascade"]["exit"]))
    assert each.late == sum(cycles(program, IDEAL)) > each.early
    made = points(found, each)
    assert len(made) > 3
    for point in made:
        ran = CascadeVit(Cascade(FIRST, SECOND, point.threshold)).run(images)
        assert point.exited == ran.exited.mean()
        assert point.right == (ran.logits.argmax(axis=1) == labels).mean()
        taken = np.where(ran.exited, each.early, each.late)
        assert point.cycles == pytest.approx(taken.mean())
