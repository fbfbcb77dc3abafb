"""Controller of an SDR SDRAM chip, behind the memory port of the core."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.sdram.sdram import BANKS, ROW_BITS, Chip, Command, Schedule

from ..common.checks import check_config
from ..memory.memory_port import memory_signature
from .sdram_bank import Bank, elapse
from .sdram_pins import command_layout, pins_signature
from .sdram_requests import Ahead, Requests, access_layout, place_layout
from .sdram_upkeep import Upkeep
from .sdram_words import Words

__all__ = ["Sdram"]


class Sdram(wiring.Component):
    """Serve requests in order, a beat in as many cycles as it has words.

    A beat is a burst. Rows stay open until another one of their bank is wanted, or a refresh comes;
    16 words before the end of a row, the one that follows it in the next bank is opened. After
    `restart` the cycles of a run are those of :mod:`golden.sdram.sdram_cycles`. A response comes
    :attr:`latency` cycles after READ or WRITE has been decided on; a request beyond the chip reads,
    and its response is an error.

    `pins` belong in front of flip-flops, those of the pads on a chip, see
    :class:`.sdram_pins.PinRegisters`; all latencies have these in them.

    Parameters
    ----------
    config : :class:`AcceleratorConfig`
        Whose beats have 4, 8 or 16 bytes.
    chip : :class:`golden.sdram.sdram.Chip`
    hertz : int
        Of the clock, the chip's, too.
    capture : int
        As in :class:`golden.sdram.sdram.Schedule`.

    Members
    -------
    memory : ``In(memory_signature(config))``
    restart : ``In(1)``
        A run begins with a refresh; only once between two refreshes, and while all requests have
        been answered.
    ready : ``Out(1)``
        The chip has been initialised. Requests wait for it; `restart` does nothing before.
    pins : ``Out(pins_signature())``
        In the cycle before they are seen by the chip, and `read` in the cycle after it gave it.
    """

    def __init__(self, config: AcceleratorConfig, chip: Chip, hertz: int, capture: int = 1):
        check_config(config)
        if not isinstance(chip, Chip):
            raise TypeError(f"chip must be a Chip, not {chip!r}")
        self._config, self._chip = config, chip
        self._schedule = Schedule.of(chip, hertz, config.bus_bytes, capture)
        super().__init__({
            "memory": In(memory_signature(config)),
            "restart": In(1), "ready": Out(1),
            "pins": Out(pins_signature()),
        })

    @property
    def schedule(self) -> Schedule:
        """Times between commands."""
        return self._schedule

    @property
    def latency(self) -> int:
        """Cycles from the decision to READ or WRITE to the response."""
        return self._schedule.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.upkeep = upkeep = Upkeep(self._schedule)
        m.submodules.requests = requests = Requests(self._config, self._chip)
        m.submodules.commands = commands = _Commands(self._config, self._chip, self._schedule)
        m.submodules.words = words = Words(self._config, self._schedule)
        connect(m, flipped(self.memory.request), requests.request)
        connect(m, words.response, flipped(self.memory.response))
        m.d.comb += [
            upkeep.restart.eq(self.restart),
            upkeep.closable.eq(commands.closable), upkeep.idle.eq(commands.idle),
            self.ready.eq(upkeep.ready),
            commands.now.eq(requests.now), commands.valid.eq(requests.valid),
            commands.seen.eq(requests.seen),
            commands.hold.eq(upkeep.hold), commands.command.eq(upkeep.command),
            commands.address.eq(upkeep.address),
            commands.close.eq(upkeep.close), commands.refresh.eq(upkeep.refresh),
            commands.begin.eq(upkeep.begin),
            requests.served.eq(commands.served),
            words.served.eq(commands.served), words.write.eq(requests.now.write),
            words.outside.eq(requests.now.outside), words.data.eq(requests.now.data),
            words.read.eq(self.pins.read),
            self.pins.write.eq(words.word), self.pins.driven.eq(words.driven),
            self.pins.told.eq(commands.told), self.pins.cke.eq(1),
            self.pins.masks.eq(~upkeep.ready),
        ]
        return m


class _Commands(wiring.Component):
    """Decide what the chip is told.

    Members
    -------
    now, valid, seen, served
        As in :class:`Requests`.
    hold, command, address, close, refresh, begin
        As in :class:`Upkeep`.
    closable, idle : ``Out(1)``
        All banks may be closed; all may be refreshed.
    told : ``Out(command_layout)``
    """

    def __init__(self, config: AcceleratorConfig, chip: Chip, schedule: Schedule):
        self._chip, self._schedule = chip, schedule
        super().__init__({
            "now": In(access_layout(config, chip)), "valid": In(1), "seen": In(1),
            "served": Out(1),
            "hold": In(1), "command": In(3), "address": In(ROW_BITS), "close": In(1),
            "refresh": In(1), "begin": In(1), "closable": Out(1), "idle": Out(1),
            "told": Out(command_layout),
        })

    def elaborate(self, platform):
        m = Module()
        times, now = self._schedule, self.now
        banks = [Bank(times, self._chip.row_bits) for _ in range(BANKS)]
        m.submodules.ahead = ahead = Ahead(self._chip)
        m.d.comb += [
            ahead.now.eq(now.place), ahead.valid.eq(self.valid), ahead.served.eq(self.served),
            ahead.begin.eq(self.begin),
        ]
        any_activate = Signal()
        activate_now = elapse(m, "activate", (any_activate, times.timing.rrd))
        read_now = elapse(m, "read", (self.served, times.burst))
        write_now = elapse(m, "write", (self.served & now.write, times.burst),
                           (self.served & ~now.write, times.read_to_write))

        hit, close, open_ = _wanted(m, "now", now.place, banks, activate_now)
        _, ahead_close, ahead_open = _wanted(m, "ahead", ahead.row, banks, activate_now)
        column_now = Array(bank.column_now for bank in banks)[now.place.bank]
        # PRECHARGE or ACTIVATE for the request, or ahead while none is looked at: so one does not
        # have to wait for what becomes of the other.
        mine, free = self.seen, ~self.hold
        place = Signal(place_layout(self._chip))
        looks, closing, opening = Signal(), Signal(), Signal()
        m.d.comb += [
            self.served.eq(free & mine & hit & column_now & Mux(now.write, write_now, read_now)),
            looks.eq(free & (mine | ahead.seen)),
            place.eq(Mux(mine, now.place, ahead.row)),
            closing.eq(looks & Mux(mine, close, ahead_close)),
            opening.eq(looks & Mux(mine, open_, ahead_open)),
            any_activate.eq(opening),
        ]
        for number, bank in enumerate(banks):
            m.submodules[f"bank_{number}"] = bank
            here = place.bank == number
            column_command = self.served & (now.place.bank == number)
            m.d.comb += [
                bank.activate.eq(opening & here), bank.row.eq(place.row),
                bank.precharge.eq((closing & here) | self.close),
                bank.read.eq(column_command & ~now.write),
                bank.write.eq(column_command & now.write),
                bank.refresh.eq(self.refresh), bank.begin.eq(self.begin),
            ]
        m.d.comb += [
            self.closable.eq(Cat(bank.precharge_now for bank in banks).all()),
            self.idle.eq(Cat(bank.activate_now for bank in banks).all()),
        ]
        self._tell(m, place, opening, closing)
        return m

    def _tell(self, m, place, opening, closing):
        """Put a command together; without `hold`, at most one of the others is there."""
        now, told = self.now, self.told
        m.d.comb += [told.command.eq(Command.NOP), told.bank.eq(place.bank),
                     told.address.eq(Mux(closing, 0, place.row))]
        with m.If(self.hold):
            m.d.comb += [told.command.eq(self.command), told.address.eq(self.address)]
        with m.Elif(self.served):
            m.d.comb += [told.command.eq(Mux(now.write, Command.WRITE, Command.READ)),
                         told.bank.eq(now.place.bank), told.address.eq(now.place.column)]
        with m.Elif(closing):
            m.d.comb += told.command.eq(Command.PRECHARGE)
        with m.Elif(opening):
            m.d.comb += told.command.eq(Command.ACTIVATE)


def _wanted(m, name, place, banks, activate_now):
    """Return whether a place is in an open row, and whether its bank is to be closed or opened.

    It looks at how things stood in the cycle before: the place must have been there, and what was
    decided then does not allow to close or open the bank yet.
    """
    opened, same = Signal(name=f"{name}_opened"), Signal(name=f"{name}_same")
    m.d.sync += [
        opened.eq(Array(bank.opened for bank in banks)[place.bank]),
        same.eq(Array(bank.open_row for bank in banks)[place.bank] == place.row),
    ]
    close = opened & ~same & Array(bank.precharge_now for bank in banks)[place.bank]
    open_ = ~opened & Array(bank.activate_now for bank in banks)[place.bank] & activate_now
    return opened & same, close, open_
