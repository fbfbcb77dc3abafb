"""SAIF: what is read from a file by hand, from one of Verilator, and what is none."""

import re

import pytest

from sim.activity.saif import HELD, Net, nets

HAND = r"""// by hand
(SAIFILE
(SAIFVERSION "2.0")
(DIRECTION "backward")
(DATE )
(DIVIDER / )
(TIMESCALE 1ns)
(DURATION 30)
 (INSTANCE "module" top
  (NET
   (x\[0\] (T0 20) (T1 10) (TZ 0) (TX 0) (TB 0) (TC 2))
   (x\[1\] (T0 30) (T1 0) (TZ 0) (TX 0) (TB 0) (TC 0))
  )
  (INSTANCE unit
   (PORT
    (a
      (T1 29) (T0 1) (TX 0)
      (TC 7) (IG 0))
   )
   (NET (words[3]\[1\] (T0 1) (T1 29) (TC 1)))
  )
  (NET
   (last (T0 0) (T1 30) (TC 0))
  )
 )
)
"""


def test_a_file_by_hand():
    assert list(nets(HAND)) == [
        Net(("top",), r"x\[0\]", 20, 10, 2),
        Net(("top",), r"x\[1\]", 30, 0, 0),
        Net(("top", "unit"), "a", 1, 29, 7),
        Net(("top", "unit"), r"words[3]\[1\]", 1, 29, 1),
        Net(("top",), "last", 0, 30, 0)]


def test_elements_of_arrays_are_told_from_bits():
    assert [net.name for net in nets(HAND) if net.in_array] == [r"words[3]\[1\]"]


@pytest.mark.parametrize(("high", "toggles"), [(HELD - 1, 5), (HELD, 4)])
def test_a_bit_that_begins_as_1_has_a_toggle_less(high, toggles):
    assert Net(("top",), "x", 7, high, 5).window_toggles == toggles


def line_of(text, piece):
    return text[:text.index(piece)].count("\n") + 1


@pytest.mark.parametrize(("piece", "wrong"), [
    ("(SAIFILE", "SAIFILE"), ("(T1 10)", "(T1 ten)"), ("(TC 2)", "(TG 2)"), ("(T1 29)", "29"),
    ("(INSTANCE unit", "(UNIT unit"), ("(NET\n   (last", "(NET\n(NET\n   (last")])
def test_what_is_not_saif_is_said_with_its_line(piece, wrong):
    with pytest.raises(ValueError, match=r"^line \d+: this is not SAIF$") as caught:
        list(nets(HAND.replace(piece, wrong, 1)))
    said = int(re.match(r"line (\d+)", str(caught.value))[1])
    assert abs(said - line_of(HAND, piece)) <= 1


def test_a_net_outside_of_a_group():
    with pytest.raises(ValueError, match="line 2: this is not SAIF"):
        list(nets("(SAIFILE (INSTANCE top\n(x (TC 1))))"))


@pytest.mark.parametrize("text", ["", HAND[:HAND.rindex(")")], HAND[:HAND.index("(INSTANCE unit")]])
def test_a_file_that_ends_too_early(text):
    with pytest.raises(ValueError, match="the file ends before its end"):
        list(nets(text))


def test_what_comes_behind_the_end():
    with pytest.raises(ValueError, match="this is not SAIF"):
        list(nets(HAND + "(NET)"))
