"""The requantizer rounds half up and clamps: for all accumulators, multipliers and limits.

A solver cannot take apart products of 32 by 16 bits, so the pipeline is: in a setting, the
registers that it begins at have any value. With ``acc = 2**16 * high + low``, the product is
``2**16 * (high * mantissa) + low * mantissa``; that much is not left to the solver. Of the whole
product ``p``, the rounded result is the one integer `r` with
``2**shift * (2 * r - 1) <= 2 * p < 2**shift * (2 * r + 1)``.
"""

import pytest
from amaranth.hdl import Cat, Const, Signal, signed

from golden.common import formats
from golden.common.config import AcceleratorConfig
from golden.results.requant import OUT
from rtl.results.requant import Requant
from tests.prove.proof import Setting, breaks, mutate, proved, reached

pytestmark = pytest.mark.prove
CONFIG = AcceleratorConfig(rows=4, cols=4, lanes=1)
HALF = 16
MOVES = 12
"""Cycles in which stages wait or move."""
REGISTERS = ("p_low_0", "p_high_0", "p_shift_0", "q_product_0", "q_shift_0", "s_twice_0",
             "s_above_0", "s_below_0")


def moving():
    """When anything moves; the other settings look at what never waits."""
    one = Setting()
    dut = Requant(CONFIG)
    registers = [*one.apart(dut, *REGISTERS), dut.o.valid, dut.o.p.as_value()]
    ready = dut.i.ready
    one.claim("a step wherever there is room", ready == (~dut.o.valid | dut.o.ready))
    waited = one.before(~ready)
    for register in registers:
        one.claim("all waits", ~waited | (register == one.before(register)))
    valid = dut.i.valid
    for step in range(Requant.LATENCY):
        kept = Signal(name=f"valid_{step}")
        with one.m.If(ready):
            one.m.d.sync += kept.eq(valid)
        valid = kept
    one.claim("valid after all steps", dut.o.valid == valid)
    one.cover("waits, and goes on", dut.o.valid & one.before(waited & ~ready) & ready)
    return one


def products():
    """From the operands to the products of the halves, and the shifts that go beside them."""
    one = Setting()
    dut = Requant(CONFIG)
    low, high, shift, last = one.apart(dut, "p_low_0", "p_high_0", "p_shift_0", "q_shift_0")
    one.assume(dut.i.ready)
    operand = dut.i.p[0]
    acc, mantissa = operand.acc, operand.multiplier.mantissa
    one.claim("the product of the low half", low == one.before(acc[:HALF] * mantissa))
    one.claim("the product of the high half",
              high == one.before(acc[HALF:].as_signed() * mantissa).as_signed())
    one.claim("the shift goes along", (shift == one.before(operand.multiplier.shift))
              & (last == one.before(shift)))
    one.cover("less than zero", high < 0)
    return one


def whole():
    """From the products of the halves, which are any that there can be, to the whole one."""
    one = Setting()
    dut = Requant(CONFIG)
    product, low, high = one.apart(dut, "q_product_0", cut=("p_low_0", "p_high_0"))
    one.assume(dut.i.ready)
    most = formats.MANTISSA.max
    one.assume(low <= ((1 << HALF) - 1) * most)
    one.assume((high >= -(1 << HALF - 1) * most) & (high <= ((1 << HALF - 1) - 1) * most))
    one.claim("the sum of both", product == one.before((high << HALF) + low).as_signed())
    one.cover("the least", product == formats.ACC.min * most)
    return one


def rounded():
    """From any product and any shift to the result."""
    one = Setting()
    dut = Requant(CONFIG)
    product, shift = one.apart(dut, cut=("q_product_0", "q_shift_0"))
    one.assume(dut.i.ready)
    low, high = (one.constant(signed(OUT.bits), name) for name in ("low", "high"))
    one.assume((dut.low == low) & (dut.high == high) & (low <= high))
    known, out = one.before(one.before(Const(1))), dut.o.p[0]
    twice = one.before(one.before(product)).as_signed() << 1
    by = one.before(one.before(shift))

    def at_least(bound):
        """Whether twice the product is at least `bound`, shifted: each shift is easy, all at once
        are not.
        """
        return Cat(twice >= (bound << step) for step in range(1 << formats.SHIFT.bits)
                   ).bit_select(by, 1)

    one.claim("not rounded up too far", ~known | (out == low) | at_least(2 * out - 1))
    one.claim("not rounded down too far", ~known | (out == high) | ~at_least(2 * out + 1))
    one.claim("within the limits", ~known | ((out >= low) & (out <= high)))
    one.cover("a tie", known & (twice == (2 * out - 1 << by)) & (out > low) & (out < high))
    one.cover("below", known & ~at_least(2 * low - 1))
    one.cover("above", known & at_least(2 * high + 1))
    return one


def test_all_stages_move_at_once(tmp_path):
    assert proved(moving(), tmp_path, depth=MOVES) == set()
    assert reached(moving(), tmp_path / "cover", depth=MOVES) == set()


@pytest.mark.parametrize("setting", [products, whole, rounded])
def test_a_step_is_right_for_ever(setting, tmp_path):
    assert proved(setting(), tmp_path, depth=3, induction=True) == set()
    assert reached(setting(), tmp_path / "cover", depth=6) == set()


@pytest.mark.parametrize(("function", "old", "new", "setting", "broken"), [
    ("elaborate", "~self.o.valid | self.o.ready", "self.o.ready", moving,
     "a step wherever there is room"),
    ("elaborate", "with m.If(self.i.ready)", "with m.If(self.i.ready | s_valid)", moving,
     "all waits"),
    ("elaborate", "s_valid.eq(q_valid)", "s_valid.eq(p_valid)", moving, "valid after all steps"),
    ("_lane", "acc[:_HALF] * multiplier.mantissa", "acc[:_HALF - 1] * multiplier.mantissa",
     products, "the product of the low half"),
    ("_lane", "acc[_HALF:].as_signed()", "acc[_HALF:]", products,
     "the product of the high half"),
    ("_lane", "q_shift.eq(p_shift)", "q_shift.eq(multiplier.shift)", products,
     "the shift goes along"),
    ("_lane", "(p_high << _HALF) + p_low", "(p_high << _HALF) | p_low[:_HALF]", whole,
     "the sum of both"),
    ("_lane", "round_shift(s_twice, 1)", "s_twice >> 1", rounded, "not rounded down too far"),
    ("_lane", "round_shift(s_twice, 1)", "(s_twice >> 1) + 1", rounded,
     "not rounded up too far"),
    ("_lane", "q_product << 1, q_shift, _TWICE.bits", "q_product << 1, q_shift, _TWICE.bits - 1",
     rounded, "not rounded down too far"),
    ("_lane", "beyond & ~q_product[-1]", "beyond", rounded, "not rounded up too far"),
    ("_lane", "clamped(rounded, self.low, self.high, s_above, s_below)", "rounded", rounded,
     "within the limits"),
])
def test_a_mutant_is_found(function, old, new, setting, broken, tmp_path, monkeypatch):
    mutate(monkeypatch, Requant, function, old, new)
    assert breaks(broken, setting(), tmp_path, depth=7)
