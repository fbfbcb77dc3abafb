# amaranth: UnusedElaboratable=no

import re

import pytest
from amaranth.back import rtlil

from rtl.fpga.pll import Pll, PllPlan


@pytest.mark.parametrize(("hertz", "plan"), [
    (25_000_000, (1, 1, 24)), (50_000_000, (1, 2, 12)), (62_500_000, (2, 5, 10)),
    (75_000_000, (1, 3, 8)), (87_500_000, (2, 7, 7))])
def test_dividers(hertz, plan):
    made = PllPlan.of(25_000_000, hertz)
    assert (made.reference, made.feedback, made.output) == plan


@pytest.mark.parametrize("hertz", [60_000_000, 62_500_001, 1_000_000, 900_000_000])
def test_refuses_what_no_pll_makes(hertz):
    with pytest.raises(ValueError, match=f"no PLL makes {hertz} Hz of 25000000 Hz"):
        PllPlan.of(25_000_000, hertz)


@pytest.mark.parametrize(("hertz", "degrees", "phase"), [
    (62_500_000, 0, (9, 0)), (62_500_000, 90, (11, 4)), (62_500_000, 180, (14, 0)),
    (75_000_000, 90, (9, 0)), (75_000_000, 45, (8, 0)), (75_000_000, 315, (14, 0))])
def test_phases_count_periods_of_the_oscillator(hertz, degrees, phase):
    assert PllPlan.of(25_000_000, hertz).phase(degrees) == phase


@pytest.mark.parametrize("degrees", [-1, 360, 1.5])
def test_refuses_other_phases(degrees):
    with pytest.raises((ValueError, TypeError), match="degrees must be"):
        Pll(25_000_000, 50_000_000, degrees)


def test_instance_has_the_plan():
    text = rtlil.convert(Pll(25_000_000, 62_500_000, 90), emit_src=False)
    found = dict(re.findall(r"parameter (?:signed )?\\(\w+) (\S+)", text))
    wanted = {"CLKI_DIV": 2, "CLKFB_DIV": 5, "CLKOP_DIV": 10, "CLKOS_DIV": 10,
              "CLKOP_CPHASE": 9, "CLKOP_FPHASE": 0, "CLKOS_CPHASE": 11, "CLKOS_FPHASE": 4}
    assert {name: int(found[name]) for name in wanted} == wanted
