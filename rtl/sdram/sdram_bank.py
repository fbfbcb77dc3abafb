"""What the controller knows of a bank: its open row, and what it may be told."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from golden.sdram.sdram import Schedule

__all__ = ["Bank", "elapse"]


def elapse(m: Module, name: str, *spans) -> Signal:
    """Return a signal that is low for times.

    Each of `spans` is an event and a number of cycles: after the event it is low until so many
    cycles have passed. It is a register of a shift register of ones, so that nothing is counted.
    """
    left = Signal(max(max(cycles for _, cycles in spans) - 1, 1), name=f"{name}_left")
    following = left >> 1
    for event, cycles in spans:
        following = following | Mux(event, (1 << cycles - 1) - 1, 0)
    m.d.sync += left.eq(following)
    return ~left[0]


class Bank(wiring.Component):
    """Open row of a bank, and times since its last commands.

    What a command changes is seen in the cycle after it.

    Parameters
    ----------
    schedule : :class:`Schedule`
    row_bits : int

    Members
    -------
    activate, precharge, read, write : ``In(1)``
        The bank is told so in this cycle; READ and WRITE tell it only its time.
    refresh : ``In(1)``
        The chip is.
    begin : ``In(1)``
        A run begins: no PRECHARGE until all that went before is over.
    row : ``In(row_bits)``
        To be opened by ACTIVATE.
    opened, open_row : ``Out(1)``, ``Out(row_bits)``
    column_now, precharge_now, activate_now : ``Out(1)``
        The bank may be told so.
    """

    def __init__(self, schedule: Schedule, row_bits: int):
        self._schedule = schedule
        super().__init__({
            **{name: In(1) for name in ("activate", "precharge", "read", "write", "refresh",
                                        "begin")},
            "row": In(row_bits),
            "opened": Out(1), "open_row": Out(row_bits),
            **{name: Out(1) for name in ("column_now", "precharge_now", "activate_now")},
        })

    def elaborate(self, platform):
        m = Module()
        times = self._schedule
        with m.If(self.activate):
            m.d.sync += [self.opened.eq(1), self.open_row.eq(self.row)]
        with m.Elif(self.precharge):
            m.d.sync += self.opened.eq(0)
        m.d.comb += [
            self.column_now.eq(elapse(m, "column", (self.activate, times.rcd))),
            # Not twice: what has been told is seen with a delay.
            self.precharge_now.eq(elapse(
                m, "precharge", (self.activate, times.ras), (self.read, times.burst),
                (self.write, times.write_to_precharge), (self.precharge, 2),
                (self.begin, times.settle))),
            self.activate_now.eq(elapse(
                m, "activate", (self.activate, times.rc), (self.precharge, times.rp),
                (self.refresh, times.timing.rfc))),
        ]
        return m
