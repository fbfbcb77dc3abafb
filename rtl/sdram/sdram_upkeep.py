"""What an SDRAM chip needs besides accesses: initialisation and refreshes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from golden.sdram.sdram import ALL_BANKS, REFRESHES, ROW_BITS, Command, Schedule, mode

__all__ = ["Upkeep"]


class Phase(enum.Enum, shape=2):
    """What is done: first START, then the others in turn."""

    START = 0
    IDLE = 1
    CLOSE = 2
    REFRESH = 3


class Upkeep(wiring.Component):
    """Initialise the chip, then refresh it in time: close all banks, and REFRESH.

    Parameters
    ----------
    schedule : :class:`Schedule`

    Members
    -------
    restart : ``In(1)``
        A run begins: a refresh is due, and the next ones a period after each other; nothing before
        the chip is initialised.
    closable, idle : ``In(1)``
        All banks may be closed; all may be refreshed.
    hold : ``Out(1)``
        The chip gets commands from here.
    command, address : ``Out(3)``, ``Out(13)``
        What it is told while `hold`.
    close, refresh : ``Out(1)``
        All banks are closed, or refreshed, in this cycle.
    begin : ``Out(1)``
        A run begins, or the chip has been initialised.
    ready : ``Out(1)``
        It has been.
    """

    def __init__(self, schedule: Schedule):
        self._schedule = schedule
        super().__init__({
            "restart": In(1), "closable": In(1), "idle": In(1),
            "hold": Out(1, init=1), "command": Out(3), "address": Out(ROW_BITS),
            "close": Out(1), "refresh": Out(1), "begin": Out(1), "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        phase = Signal(Phase)
        due = Signal(range(self._schedule.period))
        started = Signal()
        m.d.comb += [
            self.hold.eq(phase != Phase.IDLE),
            self.ready.eq(phase != Phase.START),
            self.begin.eq(Mux(phase == Phase.START, started, self.restart)),
            self.command.eq(Command.NOP),
            self.address.eq(ALL_BANKS),
        ]
        m.d.sync += due.eq(Mux(due == 0, self._schedule.period - 1, due - 1))
        with m.Switch(phase):
            with m.Case(Phase.START):
                self._start(m, started)
            with m.Case(Phase.IDLE), m.If(due == 0):
                m.d.sync += phase.eq(Phase.CLOSE)
            with m.Case(Phase.CLOSE), m.If(self.closable):
                m.d.comb += [self.command.eq(Command.PRECHARGE), self.close.eq(1)]
                m.d.sync += phase.eq(Phase.REFRESH)
            with m.Case(Phase.REFRESH), m.If(self.idle):
                m.d.comb += [self.command.eq(Command.REFRESH), self.refresh.eq(1)]
                m.d.sync += phase.eq(Phase.IDLE)
        with m.If(self.begin):
            m.d.sync += [phase.eq(Phase.CLOSE), due.eq(self._schedule.period - 1)]
        return m

    def _start(self, m, started):
        """Wait for the power, close all banks, refresh, and set the mode."""
        times = self._schedule.timing
        steps = [(Command.PRECHARGE, ALL_BANKS, times.rp),
                 *[(Command.REFRESH, 0, times.rfc)] * REFRESHES,
                 (Command.MODE, mode(times.cas, self._schedule.burst), times.mrd)]
        longest = max(times.init, *(cycles for *_, cycles in steps))
        left = Signal(range(longest + 1), init=times.init)
        step = Signal(range(len(steps) + 1))
        m.d.sync += left.eq(left - 1)
        with m.If(left == 0):
            m.d.sync += step.eq(step + 1)
            with m.Switch(step):
                for number, (command, address, cycles) in enumerate(steps):
                    with m.Case(number):
                        m.d.comb += [self.command.eq(command), self.address.eq(address)]
                        m.d.sync += left.eq(cycles - 1)
                with m.Default():
                    m.d.sync += started.eq(1)
