"""The requantizer rounds half up and clamps, by a statement that neither divides nor shifts right.

Of ``p = acc * mantissa``, the result before clamping is the one integer `r` with
``2**shift * (2 * r - 1) <= 2 * p < 2**shift * (2 * r + 1)``. A solver cannot take apart products of
32 by 16 bits, so all accumulators and shifts are tried with mantissas of few bits.
"""

import pytest
from amaranth.hdl import Cat, signed

from golden.common import formats
from golden.common.config import AcceleratorConfig
from rtl.results.requant import OUT, Requant
from tests.prove.proof import Setting, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=1)
DEPTH = Requant.LATENCY + 2
"""What is put in never changes, so that everything has been through it after the latency."""
MANTISSAS = 1, 0x8000, 0x8003


def setting(mantissa):
    """One lane with this mantissa; the other operands are any, but do not change."""
    one = Setting()
    dut = one.unit(Requant(CONFIG))
    operand, out = dut.i.p[0], dut.o.p[0]
    acc = one.constant(signed(formats.ACC.bits), "acc")
    shift = one.constant(formats.SHIFT.bits, "shift")
    low, high = (one.constant(signed(OUT.bits), name) for name in ("low", "high"))
    one.assume((operand.acc == acc) & (operand.multiplier.shift == shift))
    one.assume((dut.low == low) & (dut.high == high) & (low <= high))
    one.assume(operand.multiplier.mantissa == mantissa)
    twice = (acc * mantissa) << 1

    # It is clamped to a limit or rounded: on either side, one or the other. Each shift is a case of
    # its own, which is much easier to solve.
    halves = 2 * out
    lower, upper = (Cat(each).bit_select(shift, 1) for each in (
        [twice >= (halves - 1 << by) for by in range(1 << len(shift))],
        [twice < (halves + 1 << by) for by in range(1 << len(shift))]))
    one.claim("not rounded up too far", ~dut.o.valid | (out == low) | lower)
    one.claim("not rounded down too far", ~dut.o.valid | (out == high) | upper)
    one.claim("within the limits", ~dut.o.valid | ((out >= low) & (out <= high)))
    one.cover("a tie", dut.o.valid & (twice == (halves - 1 << shift)) & (out > low) & (out < high))
    one.cover("below", dut.o.valid & (twice < (2 * low - 1 << shift)))
    one.cover("above", dut.o.valid & (twice > (2 * high + 1 << shift)))
    return one


@pytest.mark.parametrize("mantissa", MANTISSAS)
def test_rounds_half_up_and_clamps(mantissa, tmp_path):
    assert proved(setting(mantissa), tmp_path, depth=DEPTH) == set()
    assert reached(setting(mantissa), tmp_path / "cover", depth=DEPTH) == set()


@pytest.mark.parametrize(("old", "new", "mantissa", "broken"), [
    ("round_shift(s_twice, 1)", "s_twice >> 1", 0x8000, "not rounded down too far"),
    ("round_shift(s_twice, 1)", "(s_twice >> 1) + 1", 0x8000, "not rounded up too far"),
    ("(p_high << _HALF) + p_low", "(p_high << _HALF) | p_low", 0x8003,
     "not rounded down too far"),
    ("acc[_HALF:].as_signed()", "acc[_HALF:]", 0x8000, "not rounded up too far"),
    ("q_product << 1, q_shift, _TWICE.bits", "q_product << 1, q_shift, _TWICE.bits - 1", 0x8000,
     "not rounded down too far"),
    ("beyond & ~q_product[-1]", "beyond", 0x8000, "not rounded up too far"),
    ("clamped(rounded, self.low, self.high, s_above, s_below)", "rounded", 0x8000,
     "within the limits"),
])
def test_a_mutant_is_found(old, new, mantissa, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, Requant, "_lane", old, new)
    assert broken in proved(setting(mantissa), tmp_path, depth=DEPTH)
