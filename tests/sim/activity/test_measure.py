"""What is looked at, what it stands for, and the ratio to random operands: by exact numbers."""

import pytest

from golden.common.formats import Mode
from golden.core.isa import Opcode, make
from sim.activity.measure import Run, Sample, chosen, count, factors, kinds
from sim.activity.units import UNITS

SMALL, LARGE = (make(Opcode.GEMM, mode=Mode.W4A4, m=4, k=4, n=n) for n in (4, 8))
NORM = make(Opcode.NORM, m=4, n=4)
BITS = dict.fromkeys(UNITS, 10)


def sample(op, cycles=10, weight=1.0, **toggles):
    return Sample(op, cycles, weight, dict.fromkeys(UNITS, 0) | toggles)


def test_all_are_chosen_where_there_are_few():
    assert chosen([SMALL, NORM, SMALL], 2) == {0: 1.0, 1: 1.0, 2: 1.0}


def test_the_chosen_stand_for_the_others():
    found = chosen([SMALL] * 9 + [LARGE], 2)
    assert found == {2: 4.5, 6: 4.5, 9: 1.0}
    assert sum(found.values()) == 10


def test_addresses_make_no_other_instruction():
    assert len(chosen([make(Opcode.NORM, m=4, n=4, source=at) for at in range(9)], 1)) == 1


def test_factors_by_hand():
    real = Run((sample(SMALL, weight=3.0, multipliers=10, GELU=99),
                sample(LARGE, multipliers=50), sample(NORM, multipliers=7, softmax=1)), BITS, 100)
    random = Run((sample(SMALL, multipliers=40), sample(LARGE, multipliers=80),
                  sample(NORM, LayerNorm=16)), BITS, 100)
    found = factors([([real], random)])
    assert found["mac w4a4"] == {"factor": 80 / 200, "real_toggles": 80, "random_toggles": 200,
                                 "samples": 2}
    assert found["vector pass"]["factor"] == 8 / 16
    assert "mac w8a8" not in found  # no such instruction
    assert "function" not in found  # it has no GELU


def test_what_has_no_counterpart_on_random_operands_does_not_count():
    real = Run((sample(SMALL, multipliers=10), sample(LARGE, multipliers=50)), BITS, 100)
    random = Run((sample(SMALL, multipliers=40),), BITS, 100)
    assert factors([([real], random)])["mac w4a4"]["factor"] == 10 / 40


def test_images_and_programs_add_up():
    one, other = (Run((sample(SMALL, multipliers=number),), BITS, 100) for number in (10, 20))
    random = Run((sample(SMALL, multipliers=40),), BITS, 100)
    assert factors([([one, other], random), ([one], random)])["mac w4a4"]["factor"] == 40 / 120


def test_activity_is_toggles_per_bit_and_cycle():
    run = Run((sample(SMALL, cycles=10, weight=3.0, multipliers=20),
               sample(LARGE, cycles=70, multipliers=40)), BITS, 100)
    row = next(row for row in kinds([run]) if row["unit"] == "multipliers")
    assert row == {"kind": "GEMM w4a4", "unit": "multipliers", "bits": 10,
                   "toggles_per_cycle": 1.0, "activity": 0.1}


def test_a_file_is_counted_by_unit(tmp_path):
    path = tmp_path / "window"
    path.write_text(f"""(SAIFILE (SAIFVERSION "2.0") (DURATION 9)
  (INSTANCE TOP (NET (clk (T0 1) (T1 1) (TC 9)))
    (INSTANCE vernier_core (NET (a (T0 1) (T1 1) (TC 5)))
      (INSTANCE row_path
        (INSTANCE softmax (NET (b (T0 0) (T1 {1 << 40}) (TC 3)) (c[1] (T0 1) (T1 1) (TC 8))))))))
""")
    bits, toggles = count(path)
    assert {unit: number for unit, number in bits.items() if number} == {"rest": 1, "softmax": 1}
    assert {unit: number for unit, number in toggles.items() if number} == {"rest": 5,
                                                                            "softmax": 2}


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "window"
    path.write_text("(SAIFILE\n)\n)")
    with pytest.raises(ValueError, match="line 3: this is not SAIF"):
        count(path)


def test_what_takes_long_and_the_end_are_left_out():
    ops = [SMALL, LARGE, NORM, make(Opcode.END)]
    assert chosen(ops, 1) == {0: 1.0, 1: 1.0, 2: 1.0}
    assert chosen(ops, 1, [10, 11, 10, 1], 10) == {0: 1.0, 2: 1.0}
