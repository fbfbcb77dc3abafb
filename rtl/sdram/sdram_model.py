"""Model of an SDR SDRAM chip for simulation: it answers, and says what it must not be told.

It works in the clock domain of the controller, so that the simulator of Amaranth and Verilator can
run it. Words are kept elsewhere, behind a port: a whole chip is too much for the first.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from golden.sdram.sdram import (
    BANK_BITS,
    BANKS,
    REFRESHES,
    WORD_BITS,
    Chip,
    Command,
    Schedule,
    Violation,
    mode,
)

from .sdram_pins import pins_signature

__all__ = ["SdramModel", "WordMemory", "words_signature"]

_FLOATING = 0x5AA5


def words_signature(chip: Chip) -> wiring.Signature:
    """Where a model keeps its words, seen by it: `read` is what `address` had in the cycle before
    (before a write in that cycle).
    """
    address = data.StructLayout({"column": chip.column_bits, "bank": BANK_BITS,
                                 "row": chip.row_bits})
    return wiring.Signature({"address": Out(address), "write": Out(WORD_BITS), "enable": Out(1),
                             "read": In(WORD_BITS)})


class SdramModel(wiring.Component):
    """A chip behind its pins.

    Parameters
    ----------
    chip : :class:`golden.sdram.sdram.Chip`
    schedule : :class:`golden.sdram.sdram.Schedule`
        Of the controller: only its burst, `capture` and the timing of the chip matter.

    Members
    -------
    pins : ``In(pins_signature())``
    words : ``Out(words_signature(chip))``
    violations : ``Out(len(Violation))``
        Whether there has been each :class:`golden.sdram.sdram.Violation`, up to this cycle.
    """

    def __init__(self, chip: Chip, schedule: Schedule):
        self._chip, self._schedule = chip, schedule
        super().__init__({
            "pins": In(pins_signature()), "words": Out(words_signature(chip)),
            "violations": Out(len(Violation)),
        })

    def elaborate(self, platform):
        m = Module()
        now = Signal(len(Violation))
        was = Signal(len(Violation))
        m.d.comb += self.violations.eq(was | now)
        m.d.sync += was.eq(self.violations)
        told = self.pins.told
        is_ = {command: told.command == command for command in Command}
        banks = [_Bank(self._schedule) for _ in range(BANKS)]
        chosen = [told.bank == number for number in range(BANKS)]
        for number, bank in enumerate(banks):
            m.submodules[f"bank_{number}"] = bank
            closed = is_[Command.PRECHARGE] & (chosen[number] | told.address[10])
            m.d.comb += [
                bank.activate.eq(is_[Command.ACTIVATE] & chosen[number]),
                bank.column.eq((is_[Command.READ] | is_[Command.WRITE]) & chosen[number]),
                bank.precharge.eq(closed),
                bank.refresh.eq(is_[Command.REFRESH]),
                bank.mode.eq(is_[Command.MODE]),
                bank.other.eq(is_[Command.ACTIVATE] & ~chosen[number]),
            ]
        found = self._bursts(m, is_, banks, chosen)
        found |= self._order(m, is_, Cat(bank.opened for bank in banks).any())
        for violation in _Bank.CHECKS:
            found[violation] = Cat(bank.violations[number] for bank in banks
                                   for number in [_Bank.CHECKS.index(violation)]).any()
        m.d.comb += [now[violation].eq(value) for violation, value in found.items()]
        return m

    def _bursts(self, m, is_, banks, chosen):
        """Read and write words; return what is wrong about that."""
        times, told, words = self._schedule, self.pins.told, self.words
        column = is_[Command.READ] | is_[Command.WRITE]
        writing, left = Signal(), Signal(range(times.burst))  # words after this one
        following = Signal.like(words.address)
        row = Signal(len(words.address.row))
        rows = Array(Signal(len(row), name=f"row_{number}") for number in range(BANKS))
        with m.If(is_[Command.ACTIVATE]):
            m.d.sync += rows[told.bank].eq(told.address)
        active, write = Signal(), Signal()
        m.d.comb += [
            active.eq(column | (left != 0)),
            write.eq(active & Mux(column, is_[Command.WRITE], writing)),
            row.eq(rows[told.bank]),
            words.address.eq(following), words.enable.eq(write), words.write.eq(self.pins.write),
        ]
        with m.If(column):
            m.d.comb += [words.address.column.eq(told.address), words.address.bank.eq(told.bank),
                         words.address.row.eq(row)]
            m.d.sync += [left.eq(times.burst - 1), writing.eq(write)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.sync += [following.eq(words.address),
                     following.column.eq(words.address.column + 1)]

        # What has been read appears after the CAS latency.
        delay = times.timing.cas - 2 + times.capture
        value, drives = words.read, Signal()
        m.d.sync += drives.eq(active & ~write)
        for stage in range(delay):
            later = Signal(WORD_BITS + 1, name=f"later_{stage}")
            m.d.sync += later.eq(Cat(value, drives))
            value, drives = later[:WORD_BITS], later[WORD_BITS]
        m.d.comb += self.pins.read.eq(Mux(drives, value, _FLOATING))
        driven, drove, was_driven = self.pins.driven, Signal(), Signal()
        m.d.sync += [drove.eq(drives), was_driven.eq(driven)]
        cuts = column
        for number, bank in enumerate(banks):
            m.d.comb += bank.written.eq(write & (words.address.bank == number))
            cuts = cuts | (bank.precharge & (following.bank == number))
        return {
            Violation.CUT: (left != 0) & cuts,
            Violation.CONTENTION: (driven & (drives | drove)) | (drives & was_driven),
            Violation.UNDRIVEN: write & ~driven,
            Violation.UNKNOWN: (is_[Command.STOP] | (~self.pins.cke & ~is_[Command.NOP])
                                | (column & (self.pins.masks | told.address[10]))),
        }

    def _order(self, m, is_, opened):
        """Return what is wrong about initialisation, refreshes, and the times after them."""
        times, told = self._schedule.timing, self.pins.told
        power = _age(m, "power", 0, times.init, init=0)
        closed, refreshes, mode_set = Signal(), Signal(range(REFRESHES + 1)), Signal()
        with m.If(is_[Command.PRECHARGE] & told.address[10]):
            m.d.sync += closed.eq(1)
        with m.If(is_[Command.REFRESH] & (refreshes != REFRESHES)):
            m.d.sync += refreshes.eq(refreshes + 1)
        with m.If(is_[Command.MODE]):
            m.d.sync += mode_set.eq(1)
        refreshed = _age(m, "refreshed", is_[Command.REFRESH], times.interval + 1,
                         init=times.rfc)
        with m.If(refreshes == 0):
            m.d.sync += refreshed.eq(Mux(is_[Command.REFRESH], 1, times.rfc))
        moded = _age(m, "moded", is_[Command.MODE], times.mrd)
        access = ~(is_[Command.NOP] | is_[Command.PRECHARGE] | is_[Command.REFRESH]
                   | is_[Command.MODE])
        upkeep = is_[Command.REFRESH] | is_[Command.MODE]
        anything = ~is_[Command.NOP]
        return {
            Violation.INITIALISATION: (
                (anything & (power < times.init)) | (upkeep & ~closed)
                | (access & ~((refreshes == REFRESHES) & mode_set))),
            Violation.MODE: is_[Command.MODE] & (
                opened | (told.address != mode(times.cas, self._schedule.burst))),
            Violation.REFRESH_OPEN: is_[Command.REFRESH] & opened,
            Violation.RFC: anything & (refreshed < times.rfc),
            Violation.REFRESH_LATE: refreshed > times.interval,
            Violation.MRD: anything & (moded < times.mrd),
        }


class _Bank(wiring.Component):
    """What a bank has been told, and how long ago.

    Members
    -------
    activate, column, precharge, written
        It is told so; a word is written into it.
    refresh, mode, other
        The chip is told so; another bank is activated.
    opened
        It has a row open.
    violations
        Of :attr:`CHECKS`, in this cycle.
    """

    CHECKS = (Violation.ACTIVATE_OPEN, Violation.COLUMN_CLOSED, Violation.RCD, Violation.RP,
              Violation.RAS, Violation.RC, Violation.RRD, Violation.WR)

    def __init__(self, schedule: Schedule):
        self._times = schedule.timing
        super().__init__({
            **{name: In(1) for name in ("activate", "column", "precharge", "written", "refresh",
                                        "mode", "other")},
            "opened": Out(1), "violations": Out(len(self.CHECKS)),
        })

    def elaborate(self, platform):
        m = Module()
        times = self._times
        activated = _age(m, "activated", self.activate, max(times.rc, times.ras, times.rrd,
                                                            times.rcd))
        closed = _age(m, "closed", self.precharge & self.opened, times.rp)
        written = _age(m, "written", self.written, times.wr)
        with m.If(self.activate):
            m.d.sync += self.opened.eq(1)
        with m.Elif(self.precharge):
            m.d.sync += self.opened.eq(0)
        closing = self.precharge & self.opened
        checks = {
            Violation.ACTIVATE_OPEN: self.activate & self.opened,
            Violation.COLUMN_CLOSED: self.column & ~self.opened,
            Violation.RCD: self.column & (activated < times.rcd),
            Violation.RP: (self.activate | self.refresh | self.mode) & (closed < times.rp),
            Violation.RAS: closing & (activated < times.ras),
            Violation.RC: (self.activate | self.refresh) & (activated < times.rc),
            Violation.RRD: self.other & (activated < times.rrd),
            Violation.WR: closing & (written < times.wr),
        }
        m.d.comb += self.violations.eq(Cat(checks[check] for check in self.CHECKS))
        return m


def _age(m, name, event, limit, *, init=None):
    """Return how many cycles ago an event was, `limit` if it is longer ago."""
    age = Signal(range(limit + 1), init=limit if init is None else init, name=name)
    with m.If(event):
        m.d.sync += age.eq(1)
    with m.Elif(age != limit):
        m.d.sync += age.eq(age + 1)
    return age


class WordMemory(wiring.Component):
    """Words of a small chip.

    Parameters
    ----------
    chip : :class:`golden.sdram.sdram.Chip`

    Members
    -------
    words : ``In(words_signature(chip))``
    """

    def __init__(self, chip: Chip):
        super().__init__({"words": In(words_signature(chip))})

    def elaborate(self, platform):
        m = Module()
        words = self.words
        m.submodules.memory = kept = memory.Memory(shape=WORD_BITS,
                                                   depth=1 << len(words.address.as_value()),
                                                   init=[])
        read, write = kept.read_port(), kept.write_port()
        m.d.comb += [
            read.addr.eq(words.address), words.read.eq(read.data),
            write.addr.eq(words.address), write.data.eq(words.write), write.en.eq(words.enable),
        ]
        return m
