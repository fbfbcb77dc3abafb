"""PLL of the ECP5: the clock of a design, and one of the same rate behind it."""

from dataclasses import dataclass

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.common.checks import integer

__all__ = ["Pll", "PllPlan"]

_PHASE_DETECTOR = range(10_000_000, 400_000_001)
_OSCILLATOR = range(400_000_000, 800_000_001)
_BEST = 600_000_000
_MOST_DIVIDER = 128
_EIGHTHS = 8
_CIRCLE = 360


@dataclass(frozen=True, slots=True)
class PllPlan:
    """Dividers: the reference over `reference` times `feedback` is the clock, and that times
    `output` the oscillator, all within the limits of Lattice FPGA-DS-02012, "sysCLOCK PLL Timing".
    """

    reference: int
    feedback: int
    output: int

    @classmethod
    def of(cls, reference_hz: int, hertz: int) -> "PllPlan":
        """Return the plan with the oscillator next to the middle of its range.

        Raises
        ------
        ValueError
            If no dividers make exactly `hertz`.
        """
        integer("reference_hz", reference_hz, 1)
        integer("hertz", hertz, 1)
        plans = [cls(reference, hertz * reference // reference_hz, output)
                 for reference in range(1, _MOST_DIVIDER + 1)
                 if reference_hz // reference in _PHASE_DETECTOR
                 and hertz * reference % reference_hz == 0
                 and 1 <= hertz * reference // reference_hz <= _MOST_DIVIDER
                 for output in range(1, _MOST_DIVIDER + 1) if hertz * output in _OSCILLATOR]
        if not plans:
            raise ValueError(f"no PLL makes {hertz} Hz of {reference_hz} Hz")
        return min(plans, key=lambda plan: (abs(hertz * plan.output - _BEST), plan.reference))

    def phase(self, degrees: int) -> tuple[int, int]:
        """Return CPHASE and FPHASE of an output `degrees` behind one of 0 degrees, in periods of
        the oscillator and eighths of one, rounded down.
        """
        integer("degrees", degrees, 0, _CIRCLE - 1)
        eighths = _EIGHTHS * (self.output - 1) + _EIGHTHS * self.output * degrees // _CIRCLE
        return eighths // _EIGHTHS % _MOST_DIVIDER, eighths % _EIGHTHS


class Pll(wiring.Component):
    """EHXPLLL with two outputs.

    Parameters
    ----------
    reference_hz, hertz : int
        Rates of `reference` and of both outputs.
    degrees : int
        By which `behind` is later than `clock`.

    Members
    -------
    reference : ``In(1)``
    clock, behind : ``Out(1)``
    locked : ``Out(1)``
    """

    def __init__(self, reference_hz: int, hertz: int, degrees: int):
        self._plan, self._degrees = PllPlan.of(reference_hz, hertz), degrees
        self._plan.phase(degrees)
        super().__init__({"reference": In(1), "clock": Out(1), "behind": Out(1),
                          "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        plan = self._plan
        outputs = {"CLKOP": 0, "CLKOS": self._degrees}
        parameters = {}
        for name, degrees in outputs.items():
            whole, eighths = plan.phase(degrees)
            parameters |= {f"p_{name}_ENABLE": "ENABLED", f"p_{name}_DIV": plan.output,
                           f"p_{name}_CPHASE": whole, f"p_{name}_FPHASE": eighths}
        m.submodules.pll = Instance(
            "EHXPLLL", **parameters,
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_FEEDBK_PATH="CLKOP",
            p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=plan.reference, p_CLKFB_DIV=plan.feedback,
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=self.reference, i_CLKFB=self.clock, i_RST=0, i_STDBY=0,
            i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_PLLWAKESYNC=0, i_ENCLKOP=0,
            o_CLKOP=self.clock, o_CLKOS=self.behind, o_LOCK=self.locked)
        return m
