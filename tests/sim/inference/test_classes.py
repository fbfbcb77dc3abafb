import numpy as np

from sim.inference.classes import class_names, guesses


def test_class_names():
    assert class_names(5) == [f"class {index}" for index in range(5)]
    assert class_names(5, list("abcde")) == list("abcde")
    assert class_names(2, list("abcde")) == ["class 0", "class 1"]
    names = class_names(1000)
    assert len(names) == 1000
    assert names[281] == "tabby, tabby cat"


def test_guesses_are_in_order_and_sum_to_one():
    found = guesses(np.array([1.0, 900.0, 900.0, -5.0]), list("abcd"), 9)
    assert [guess.name for guess in found] == list("bcad")
    assert [guess.probability for guess in found] == [0.5, 0.5, 0.0, 0.0]
