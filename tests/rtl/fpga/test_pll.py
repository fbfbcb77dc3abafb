# amaranth: UnusedElaboratable=no

import re

import pytest
from amaranth.back import rtlil

from rtl.fpga.pll import Pll, PllPlan


@pytest.mark.parametrize(("hertz", "plan"), [
    (25_000_000, (1, 1, 24, 24)), (50_000_000, (1, 2, 12, 12)), (62_500_000, (2, 5, 10, 10)),
    (75_000_000, (1, 3, 8, 8)), (87_500_000, (2, 7, 7, 7)),
    (46_875_000, (2, 1, 45, 12)), (52_500_000, (1, 1, 21, 10)), (60_000_000, (1, 1, 24, 10))])
def test_dividers(hertz, plan):
    made = PllPlan.of(25_000_000, hertz)
    assert (made.reference, made.feedback, made.loop, made.output) == plan
    assert 25_000_000 * made.feedback * made.loop == hertz * made.output * made.reference


@pytest.mark.parametrize("hertz", [62_500_001, 1_000_000, 900_000_000])
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


def test_an_output_of_its_own_is_fed_back_where_the_clock_cannot_be():
    text = rtlil.convert(Pll(25_000_000, 46_875_000, 90), emit_src=False)
    found = dict(re.findall(r"parameter (?:signed )?\\(\w+) (\S+)", text))
    wanted = {"CLKI_DIV": 2, "CLKFB_DIV": 1, "CLKOP_DIV": 45, "CLKOS_DIV": 12, "CLKOS2_DIV": 12,
              "CLKOS_CPHASE": 11, "CLKOS_FPHASE": 0, "CLKOS2_CPHASE": 14, "CLKOS2_FPHASE": 0}
    assert {name: int(found[name]) for name in wanted} == wanted
    wires = dict(re.findall(r"connect \\(CLK\w+) (\S+)", text))
    assert wires["CLKFB"] == wires["CLKOP"] not in (wires["CLKOS"], wires["CLKOS2"])


def test_instance_has_the_plan():
    text = rtlil.convert(Pll(25_000_000, 62_500_000, 90), emit_src=False)
    found = dict(re.findall(r"parameter (?:signed )?\\(\w+) (\S+)", text))
    wanted = {"CLKI_DIV": 2, "CLKFB_DIV": 5, "CLKOP_DIV": 10, "CLKOS_DIV": 10,
              "CLKOP_CPHASE": 9, "CLKOP_FPHASE": 0, "CLKOS_CPHASE": 11, "CLKOS_FPHASE": 4}
    assert {name: int(found[name]) for name in wanted} == wanted
