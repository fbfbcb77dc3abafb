"""The requantizer rounds half up and clamps, by a statement that neither divides nor shifts right.

Of ``p = acc * mantissa``, the result before clamping is the one integer `r` with
``2**shift * (2 * r - 1) <= 2 * p < 2**shift * (2 * r + 1)``. A solver cannot take apart products of
32 by 16 bits, so `p` is tried where it is a shift (all accumulators, mantissas that are powers of
two) and where both factors are few bits anywhere in their words.
"""

import pytest
from amaranth.hdl import Const, signed

from golden.common import formats
from golden.common.config import AcceleratorConfig
from rtl.results.requant import OUT, Requant
from tests.prove.proof import Setting, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=1)
DEPTH = Requant.LATENCY + 2
"""What is put in never changes, so that everything has been through it after the latency."""
FEW = 5


def setting(kind):
    """One lane, whose operands are any, of a kind, but do not change."""
    one = Setting()
    dut = one.unit(Requant(CONFIG))
    operand, out = dut.i.p[0], dut.o.p[0]
    acc = one.constant(signed(formats.ACC.bits), "acc")
    mantissa = one.constant(formats.MANTISSA.bits, "mantissa")
    shift = one.constant(formats.SHIFT.bits, "shift")
    low, high = (one.constant(signed(OUT.bits), name) for name in ("low", "high"))
    one.assume((operand.acc == acc) & (operand.multiplier.mantissa == mantissa))
    one.assume((operand.multiplier.shift == shift) & (dut.low == low) & (dut.high == high))
    one.assume(low <= high)
    if kind == "powers":
        place = one.constant(range(formats.MANTISSA.bits), "place")
        one.assume(mantissa == Const(1) << place)
        twice = acc << place + 1
    else:
        few, by = one.constant(signed(FEW), "few"), one.constant(range(28), "by")
        factor, at = one.constant(FEW, "factor"), one.constant(range(12), "at")
        one.assume((acc == few << by) & (mantissa == factor << at))
        twice = (few * factor) << (by + at + 1)

    # It is clamped to a limit or rounded: on either side, one or the other.
    halves = 2 * out
    lower, upper = twice >= (halves - 1 << shift), twice < (halves + 1 << shift)
    one.claim("not rounded up too far", ~dut.o.valid | (out == low) | lower)
    one.claim("not rounded down too far", ~dut.o.valid | (out == high) | upper)
    one.claim("within the limits", ~dut.o.valid | ((out >= low) & (out <= high)))
    one.cover("a tie", dut.o.valid & (twice == (halves - 1 << shift)) & (out > low) & (out < high))
    one.cover("below", dut.o.valid & (twice < (2 * low - 1 << shift)))
    one.cover("above", dut.o.valid & (twice > (2 * high + 1 << shift)))
    return one


@pytest.mark.parametrize("kind", ["powers", "few bits"])
def test_rounds_half_up_and_clamps(kind, tmp_path):
    assert proved(setting(kind), tmp_path, depth=DEPTH) == set()
    assert reached(setting(kind), tmp_path / "cover", depth=DEPTH) == set()


@pytest.mark.parametrize(("old", "new", "kind", "broken"), [
    ("round_shift(s_twice, 1)", "s_twice >> 1", "powers", "not rounded down too far"),
    ("round_shift(s_twice, 1)", "(s_twice >> 1) + 1", "powers", "not rounded up too far"),
    ("(p_high << _HALF) + p_low", "(p_high << _HALF) | p_low", "few bits",
     "not rounded down too far"),
    ("acc[_HALF:].as_signed()", "acc[_HALF:]", "powers", "not rounded up too far"),
    ("q_product << 1, q_shift, _TWICE.bits", "q_product << 1, q_shift, _TWICE.bits - 1", "powers",
     "not rounded down too far"),
    ("beyond & ~q_product[-1]", "beyond", "powers", "not rounded up too far"),
    ("clamped(rounded, self.low, self.high, s_above, s_below)", "rounded", "powers",
     "within the limits"),
])
def test_a_mutant_is_found(old, new, kind, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, Requant, "_lane", old, new)
    assert broken in proved(setting(kind), tmp_path, depth=DEPTH)
