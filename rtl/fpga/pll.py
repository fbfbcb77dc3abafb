"""PLL of the ECP5: the clock of a design, and one of the same rate behind it."""

from dataclasses import dataclass

from amaranth.hdl import Instance, Module, Signal
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
    """Dividers: the reference over `reference` times `feedback` times `loop` is the oscillator, and
    that over `output` the clock, all within the limits of Lattice FPGA-DS-02012, "sysCLOCK PLL
    Timing".

    What goes back to the phase detector is the oscillator over `loop`: the clock itself, or, where
    that can make no multiple of the reference, an output that has no other use.
    """

    reference: int
    feedback: int
    loop: int
    output: int

    @classmethod
    def of(cls, reference_hz: int, hertz: int) -> "PllPlan":
        """Return the plan with the clock fed back and the oscillator next to the middle of its
        range, if there is one; else that with the oscillator there.

        Raises
        ------
        ValueError
            If no dividers make exactly `hertz`.
        """
        integer("reference_hz", reference_hz, 1)
        integer("hertz", hertz, 1)
        plans = [plan for output in range(1, _MOST_DIVIDER + 1) if hertz * output in _OSCILLATOR
                 for reference in range(1, _MOST_DIVIDER + 1)
                 if reference_hz // reference in _PHASE_DETECTOR
                 and (plan := cls._between(reference_hz, reference, hertz, output))]
        if not plans:
            raise ValueError(f"no PLL makes {hertz} Hz of {reference_hz} Hz")
        return min(plans, key=lambda plan: (
            plan.loop != plan.output, abs(hertz * plan.output - _BEST), plan.reference))

    @classmethod
    def _between(cls, reference_hz: int, reference: int, hertz: int,
                 output: int) -> "PllPlan | None":
        """Return the plan with two of the dividers, if there is one."""
        times, left = divmod(hertz * output * reference, reference_hz)
        loops = [output, *reversed(range(1, _MOST_DIVIDER + 1))]
        loop = next((loop for loop in loops if not left and times % loop == 0
                     and times // loop <= _MOST_DIVIDER), None)
        return None if loop is None else cls(reference, times // loop, loop, output)

    def phase(self, degrees: int) -> tuple[int, int]:
        """Return CPHASE and FPHASE of an output `degrees` behind one of 0 degrees, in periods of
        the oscillator and eighths of one, rounded down.
        """
        integer("degrees", degrees, 0, _CIRCLE - 1)
        eighths = _EIGHTHS * (self.output - 1) + _EIGHTHS * self.output * degrees // _CIRCLE
        return eighths // _EIGHTHS % _MOST_DIVIDER, eighths % _EIGHTHS


class Pll(wiring.Component):
    """EHXPLLL with two outputs, and perhaps one for its own loop.

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
        own = plan.loop == plan.output  # the clock is what is fed back
        looped = self.clock if own else Signal()
        clock, behind = ("CLKOP", "CLKOS") if own else ("CLKOS", "CLKOS2")
        outputs = {"CLKOP": (plan.loop, (plan.loop - 1, 0)), clock: (plan.output, plan.phase(0)),
                   behind: (plan.output, plan.phase(self._degrees))}
        parameters = {}
        for name, (divider, (whole, eighths)) in outputs.items():
            parameters |= {f"p_{name}_ENABLE": "ENABLED", f"p_{name}_DIV": divider,
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
            i_CLKI=self.reference, i_CLKFB=looped, i_RST=0, i_STDBY=0,
            i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1,
            i_PLLWAKESYNC=0, i_ENCLKOP=0, o_LOCK=self.locked,
            **{"o_CLKOP": looped, f"o_{clock}": self.clock, f"o_{behind}": self.behind})
        return m
