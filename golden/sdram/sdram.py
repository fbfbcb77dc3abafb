"""SDR SDRAM: the chips, their timing in clock cycles, where a byte lies, and what is forbidden.

All chips have four banks and words of :data:`WORD_BITS`; a word is an even byte and the byte after
it, the even one in its low half.
"""

from dataclasses import dataclass
from enum import IntEnum

from ..common.checks import integer

WORD_BITS = 16
BANK_BITS = 2
BANKS = 1 << BANK_BITS
ROW_BITS = 13
"""Address pins, as many as a row has."""
ALL_BANKS = 1 << 10
"""Address pin that tells PRECHARGE to close all banks, and READ and WRITE to do it afterwards."""
REFRESHES = 8
"""Refreshes of an initialisation: no chip of :data:`CHIPS` wants more."""
AHEAD = 16
"""Words before the end of a row: an access there has the next bank opened."""


class Command(IntEnum):
    """What the pins RAS#, CAS# and WE# say, RAS# in the highest bit."""

    MODE = 0b000
    REFRESH = 0b001
    PRECHARGE = 0b010
    ACTIVATE = 0b011
    WRITE = 0b100
    READ = 0b101
    STOP = 0b110
    NOP = 0b111


class Violation(IntEnum):
    """What a chip must not be told, by its bit among the violations of a model.

    The names from RCD to MRD are those of the time that was too short, without the t.
    """

    INITIALISATION = 0  # a command too early, or before what comes before it
    MODE = 1  # another burst or CAS latency than the model knows, or a bank is open
    ACTIVATE_OPEN = 2
    COLUMN_CLOSED = 3  # READ or WRITE, the bank has no row open
    REFRESH_OPEN = 4
    RCD = 5
    RP = 6
    RAS = 7
    RC = 8
    RRD = 9
    RFC = 10
    WR = 11
    MRD = 12
    REFRESH_LATE = 13
    CUT = 14  # a burst is cut short, which the model does not know
    CONTENTION = 15  # both ends drive the data pins, or one does right after the other
    UNDRIVEN = 16  # words to be written are not driven
    UNKNOWN = 17  # what the model does not know: masks, STOP, CKE low, a bank closed by READ


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of a chip in cycles of a clock, from one command to the earliest other one.

    Attributes
    ----------
    rcd, rp, ras, rc, rrd, rfc, mrd
        ACTIVATE to READ; PRECHARGE to ACTIVATE; ACTIVATE to PRECHARGE; ACTIVATE to ACTIVATE of the
        same bank, and of another; REFRESH to anything; MODE to anything.
    wr
        Last word written to PRECHARGE.
    cas
        CAS latency.
    interval
        From one REFRESH to the latest next one.
    init
        Power to the first command.
    """

    rcd: int
    rp: int
    ras: int
    rc: int
    rrd: int
    rfc: int
    wr: int
    mrd: int
    cas: int
    interval: int
    init: int


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip, in the slowest of its usual speed grades.

    Attributes
    ----------
    name
        With the speed grade.
    column_bits
        Of a row of ``2**column_bits`` words.
    rcd_ns, rp_ns, ras_ns, rc_ns, rrd_ns, rfc_ns, wr_ns
        As in :class:`Timing`.
    wr_cycles, mrd_cycles
        As in :class:`Timing`; at least so many cycles.
    cas2_hz, cas3_hz
        The fastest clock at CAS latency 2 and at 3.
    init_us
        Power to the first command.
    row_bits
        Of a bank of ``2**row_bits`` rows; fewer than the chip has for a small model of it.
    refresh_ms
        In which 8192 refreshes must take place.
    """

    name: str
    column_bits: int
    rcd_ns: int
    rp_ns: int
    ras_ns: int
    rc_ns: int
    rrd_ns: int
    rfc_ns: int
    wr_ns: int
    cas2_hz: int
    cas3_hz: int
    init_us: int
    wr_cycles: int = 1
    mrd_cycles: int = 2
    row_bits: int = ROW_BITS
    refresh_ms: int = 64

    def __post_init__(self):
        integer("column bits", self.column_bits, 5, 10)
        integer("row bits", self.row_bits, 1, ROW_BITS)

    @property
    def size_bits(self) -> int:
        """Bits of a byte address."""
        return self.row_bits + BANK_BITS + self.column_bits + 1

    def timing(self, hertz: int) -> Timing:
        """Return the times in cycles of a clock, with the lowest CAS latency that it allows.

        Raises
        ------
        ValueError
            If the chip is too slow for it, or it too slow for the chip.
        """
        integer("clock", hertz, 1_000_000, self.cas3_hz)

        def cycles(ns):
            return -(-ns * hertz // 1_000_000_000)

        return Timing(
            rcd=cycles(self.rcd_ns), rp=cycles(self.rp_ns), ras=cycles(self.ras_ns),
            rc=cycles(self.rc_ns), rrd=cycles(self.rrd_ns), rfc=cycles(self.rfc_ns),
            wr=max(cycles(self.wr_ns), self.wr_cycles), mrd=self.mrd_cycles,
            cas=2 if hertz <= self.cas2_hz else 3,
            interval=self.refresh_ms * hertz // (8192 * 1000), init=cycles(1000 * self.init_us))

    def place(self, address):
        """Return bank, row and column of the word at a byte address: row | bank | column | byte.

        One row follows the other in the next bank, so that it can be opened ahead. Works on Python
        integers and on Amaranth values.
        """
        return place(address, self.column_bits, self.row_bits)


def place(address, column_bits, row_bits):
    """Return bank, row and column of a byte address, as :meth:`Chip.place` does."""
    word = address >> 1
    column = word & (1 << column_bits) - 1
    bank = (word >> column_bits) & BANKS - 1
    row = (word >> column_bits + BANK_BITS) & (1 << row_bits) - 1
    return bank, row, column


CHIPS = {chip.name.partition("-")[0]: chip for chip in (
    Chip("MT48LC16M16A2-75", 9, 20, 20, 44, 66, 15, 66, 15, 100_000_000, 133_333_333, 100),
    Chip("IS42S16160G-7", 9, 15, 15, 37, 60, 14, 60, 14, 100_000_000, 142_857_142, 100),
    Chip("M12L2561616A-7", 9, 20, 20, 45, 70, 14, 70, 14, 100_000_000, 142_857_142, 200,
         wr_cycles=2),
    Chip("AS4C32M16SB-7", 10, 21, 21, 42, 63, 14, 63, 14, 100_000_000, 142_857_142, 200),
)}
"""Chips of the ULX3S, by name.

AS4C32M16SB's are those of table 16 of Alliance Memory's data sheet. The others' are the usual ones
of their speed grades and were not read against Micron's (256Mb SDR SDRAM), ISSI's (IS42S16160G) and
ESMT's (M12L2561616A) data sheets yet: read them before a board depends on it.
"""


def mode(cas: int, burst: int) -> int:
    """Return the mode register: sequential bursts of so many words, read and written."""
    return cas << 4 | burst.bit_length() - 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the controller keeps to: times from one decision of it to another.

    Attributes
    ----------
    timing
        Of the chip.
    burst
        Words of a beat: 2, 4 or 8.
    capture
        Cycles by which words come later than the CAS latency says: 1 with the clock of the chip in
        phase with that of the controller, 0 with the inverted one.
    """

    timing: Timing
    burst: int = 2
    capture: int = 1

    def __post_init__(self):
        if self.burst not in (2, 4, 8):
            raise ValueError(f"burst must be 2, 4 or 8 words, not {self.burst!r}")
        integer("capture", self.capture, 0, 1)
        if self.period <= 4 * self.settle:
            raise ValueError(f"clock must leave more than {4 * self.settle} cycles between "
                             f"refreshes, not {self.period}")

    @classmethod
    def of(cls, chip: Chip, hertz: int, bus_bytes: int, capture: int = 1) -> "Schedule":
        """Return that of a chip at a clock, whose beats have so many bytes."""
        return cls(chip.timing(hertz), bus_bytes * 8 // WORD_BITS, capture)

    @property
    def latency(self) -> int:
        """READ or WRITE to the response."""
        return self.timing.cas + self.burst + self.capture

    @property
    def read_to_write(self) -> int:
        """READ to WRITE, which leaves the pins undriven for a cycle."""
        return self.latency

    @property
    def rcd(self) -> int:
        """ACTIVATE to READ or WRITE; the controller needs 2 cycles to see its row."""
        return max(self.timing.rcd, 2)

    @property
    def rp(self) -> int:
        """PRECHARGE to ACTIVATE; as for :attr:`rcd`."""
        return max(self.timing.rp, 2)

    @property
    def rc(self) -> int:
        """ACTIVATE to ACTIVATE of the same bank; as for :attr:`rcd`."""
        return max(self.timing.rc, 2)

    @property
    def ras(self) -> int:
        """ACTIVATE to PRECHARGE; as for :attr:`rcd`."""
        return max(self.timing.ras, 2)

    @property
    def write_to_precharge(self) -> int:
        """WRITE to PRECHARGE of its bank; after a READ it is its burst."""
        return self.burst - 1 + self.timing.wr

    @property
    def settle(self) -> int:
        """Start of a run to the PRECHARGE of its first refresh: all that went before is over."""
        return max(self.rc, self.rp, self.ras, self.rcd, self.timing.rfc, self.timing.rrd,
                   self.write_to_precharge, self.read_to_write)

    @property
    def period(self) -> int:
        """From one refresh being due to the next; each can be late, and a start can be, too."""
        return self.timing.interval - 2 * (self.settle + self.rp)
