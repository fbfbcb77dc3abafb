"""The registers of an accelerator on a board: one table, and what reading and writing does.

Registers have 32 bits and addresses of their own, apart from memory. RTL, host and whatever
describes them to others read :data:`REGISTERS`.
"""

import enum
from dataclasses import dataclass, field, fields

from ..common.config import AcceleratorConfig
from ..core.counters import COUNTER_BITS, COUNTERS
from ..core.isa import ENCODING, STATUS_BITS
from .system import System

WORD_BYTES = 4
WORD_BITS = 8 * WORD_BYTES
IDENTITY = int.from_bytes(b"VRNR", "little")
VERSION = 5
"""Of this table; a host refuses another."""
PAGE_BITS = 12
"""Memory of a core begins at a multiple of 4 KiB of its bus, which no burst of AXI4 crosses."""


class Access(enum.Enum):
    """What a host may do with a register."""

    READ = "read-only"
    WRITE = "read-write"
    COMMAND = "write-only"
    """Reads as zero; bits that are written as one do something once."""
    CLEAR = "write-one-to-clear"
    """Bits that are written as one become zero."""


@dataclass(frozen=True, slots=True)
class Field:
    """Bits ``low`` to ``low + bits - 1`` of a register."""

    name: str
    low: int
    bits: int
    doc: str

    @property
    def mask(self) -> int:
        """Its bits, in their places."""
        return (1 << self.bits) - 1 << self.low

    def of(self, word: int) -> int:
        """Return the field of a register's value."""
        return (word & self.mask) >> self.low


@dataclass(frozen=True, slots=True)
class Register:
    """A register, at a byte `address`; without fields, its value is one number.

    It is zero after a reset, unless it is among :func:`constants`. One that is `settled` cannot be
    written while a run is going on.
    """

    name: str
    address: int
    access: Access
    doc: str
    fields: tuple[Field, ...] = ()
    settled: bool = False

    def field(self, name: str) -> Field:
        """Return the field of this name."""
        return next(one for one in self.fields if one.name == name)

    @property
    def mask(self) -> int:
        """Bits that mean something; the others read as zero."""
        return sum(one.mask for one in self.fields) or (1 << WORD_BITS) - 1


class ErrorSource(enum.IntEnum):
    """What the core had asked memory for, when the answer was an error."""

    NONE = 0
    STREAM = 1
    """More of the program's stream."""
    READ = 2
    """What LOAD or PATCHES reads."""
    WRITE = 3
    """What STORE writes."""


ERROR_SOURCE_BITS = 2

IMAGES_BITS = 16
"""Width of the number of images of a start."""

_IDENTITY, _CONFIG, _CONTROL, _COUNTERS = 0x000, 0x040, 0x100, 0x160
_ENDS = (Field("done", 0, 1, "a run has ended without an error"),
         Field("failed", 1, 1, "a run has ended with an error"))
_BASE = ("where memory begins on the bus, a multiple of 4 KiB, for the next run; zero where it is "
         "the core's own")
_OFFSET = "bytes added to where the program has its {}, whole beats of the bus"
_SETTLED = "STREAM", "STREAM_BYTES", "IMAGE_STRIDE", "LOGITS_STRIDE"
_STRIDE = "bytes by which the offset of the {} grows from image to image of a start, whole beats"


def _table() -> dict[str, Register]:
    """Return all registers by name, in the order of their addresses."""
    made = {}

    def block(address, *rows):
        for name, access, doc, *parts in rows:
            settled = name in _SETTLED
            made[name] = Register(name, address, access, doc + settled * "; refused during a run",
                                  tuple(parts), settled)
            address += WORD_BYTES

    block(_IDENTITY,
          ("ID", Access.READ, 'the letters "VRNR", the first in the low byte'),
          ("VERSION", Access.READ, "version of this table of registers"),
          ("CLOCK_HZ", Access.READ, "clock of the core, in hertz; 0 if not known"),
          ("MEMORY_BYTES", Access.READ, "external memory, in bytes"),
          ("ENCODING", Access.READ, "version of the instructions that the core takes"))
    block(_CONFIG, *((f"CONFIG_{one.name.upper()}", Access.READ,
                      f"{one.name} of the core's configuration")
                     for one in fields(AcceleratorConfig)))
    block(_CONTROL,
          ("CONTROL", Access.COMMAND, "what the core shall do",
           Field("start", 0, 1, "begin a run; refused while one is going on")),
          ("STATUS", Access.READ, "what the core is doing",
           Field("busy", 0, 1, "a run is going on"),
           Field("done", 1, 1, "a run has ended, until the next begins"),
           Field("error", 8, STATUS_BITS, "how it has ended, golden.core.isa.Status")),
          ("INDEX", Access.READ, "instructions that have been carried out"),
          ("RUNS", Access.READ, "runs that have ended since reset, modulo 2**32"),
          ("STREAM", Access.WRITE, "address of the program's stream in external memory"),
          ("STREAM_BYTES", Access.WRITE, "length of the stream, in bytes"),
          ("INTERRUPT_ENABLE", Access.WRITE, "what raises the interrupt line while it is pending",
           *_ENDS),
          ("INTERRUPT_PENDING", Access.CLEAR, "what has happened, until it is cleared", *_ENDS),
          ("ERROR_SOURCE", Access.READ, "what memory has first answered with an error in a run",
           Field("source", 0, ERROR_SOURCE_BITS, "golden.soc.registers.ErrorSource: " + ", ".join(
               f"{one.value} {one.name}" for one in ErrorSource))),
          ("ERROR_ADDRESS", Access.READ, "its address, with offsets, without the base"),
          ("BASE_LOW", Access.WRITE, f"{_BASE}, bits 0 to {WORD_BITS - 1}"),
          ("BASE_HIGH", Access.WRITE, f"{_BASE}, bits {WORD_BITS} to {2 * WORD_BITS - 1}"),
          ("IMAGE_OFFSET", Access.WRITE, f"{_OFFSET.format('image')}, for the next start"),
          ("LOGITS_OFFSET", Access.WRITE, f"{_OFFSET.format('logits')}, for the next start"),
          ("IMAGE_STRIDE", Access.WRITE, f"{_STRIDE.format('image')}"),
          ("LOGITS_STRIDE", Access.WRITE, f"{_STRIDE.format('logits')}"),
          ("IMAGES", Access.WRITE, "images of the next start, one after the other",
           Field("count", 0, IMAGES_BITS, "so many; 0 is 1")),
          ("IMAGES_DONE", Access.READ, "images of the present or last start whose logits are there",
           Field("count", 0, IMAGES_BITS, "so many"),
           Field("exited", 16, IMAGES_BITS, "those of them whose run has ended at an EXIT")))
    block(_COUNTERS, *(
        row for name, doc in COUNTERS.items() for row in (
            (f"{name.upper()}_LOW", Access.READ, f"{doc}, bits 0 to {WORD_BITS - 1}"),
            (f"{name.upper()}_HIGH", Access.READ,
             f"{doc}, bits {WORD_BITS} to {COUNTER_BITS - 1}"))))
    return made


REGISTERS = _table()
"""All registers by name."""

BY_ADDRESS = {register.address: register for register in REGISTERS.values()}

SPACE_BITS = max(BY_ADDRESS).bit_length()
"""Width of the addresses of a bus that all registers are on."""


def constants(system: System) -> dict[str, int]:
    """Return the registers whose values never change, and these."""
    return {"ID": IDENTITY, "VERSION": VERSION, "CLOCK_HZ": system.clock_hz,
            "MEMORY_BYTES": system.memory_bytes, "ENCODING": ENCODING,
            **{f"CONFIG_{one.name.upper()}": getattr(system.config, one.name)
               for one in fields(system.config)}}


def writable(system: System) -> dict[str, int]:
    """Return the registers that keep what is written, and which bits of it."""
    bus = (1 << system.address_bits) - (1 << min(PAGE_BITS, system.address_bits))
    masks = {name: register.mask for name, register in REGISTERS.items()
             if register.access is Access.WRITE}
    masks["BASE_HIGH"], masks["BASE_LOW"] = divmod(bus, 1 << WORD_BITS)
    for name in ("IMAGE_OFFSET", "LOGITS_OFFSET", "IMAGE_STRIDE", "LOGITS_STRIDE"):
        masks[name] -= system.config.bus_bytes - 1
    return masks


class Answer(enum.IntEnum):
    """What becomes of an access to a register."""

    DONE = 0
    UNKNOWN = 1
    """There is no register at this address."""
    REFUSED = 2
    """It cannot be written, or not now."""


@dataclass(slots=True)
class CoreState:
    """What the core shows of itself."""

    busy: int = 0
    done: int = 0
    status: int = 0
    index: int = 0
    error_source: int = ErrorSource.NONE
    error_address: int = 0
    images_done: int = 0
    images_exited: int = 0
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))


class RegisterFile:
    """The registers at work.

    Attributes
    ----------
    core
        What the core shows; changed by whoever plays the core.
    starts, runs
        Runs that were begun, and how many have ended.
    written
        Values of the registers that can be written.
    base
        Where memory begins on the bus, for the run that was begun last.
    places
        Image offset and logits offset of each image of that run.
    pending
        INTERRUPT_PENDING.
    """

    def __init__(self, system: System):
        self._constants, self._writable = constants(system), writable(system)
        self.reset()

    def reset(self):
        """Begin anew."""
        self.core = CoreState()
        self.starts = self.runs = self.base = self.pending = 0
        self.places: list[tuple[int, int]] = []
        self.written = dict.fromkeys(self._writable, 0)

    @property
    def irq(self) -> int:
        """The interrupt line."""
        return int(self.pending & self.written["INTERRUPT_ENABLE"] != 0)

    def ended(self):
        """Note that a run has ended, with the status that the core shows."""
        self.runs += 1
        self.pending |= REGISTERS["INTERRUPT_PENDING"].field(
            "failed" if self.core.status else "done").mask

    def read(self, address: int) -> tuple[int, Answer]:
        """Return the value at an address, zero where there is none."""
        if address not in BY_ADDRESS:
            return 0, Answer.UNKNOWN
        return self._values()[BY_ADDRESS[address].name], Answer.DONE

    def write(self, address: int, value: int) -> Answer:
        """Write the register at an address."""
        register = BY_ADDRESS.get(address)
        if register is None:
            return Answer.UNKNOWN
        if register.settled and self.core.busy:
            return Answer.REFUSED
        if register.access is Access.WRITE:
            self.written[register.name] = value & self._writable[register.name]
            return Answer.DONE
        if register.access is Access.READ:
            return Answer.REFUSED
        if register.access is Access.CLEAR:
            self.pending &= ~value
            return Answer.DONE
        if register.field("start").of(value):
            if self.core.busy:
                return Answer.REFUSED
            self.starts += 1
            self.base = (self.written["BASE_HIGH"] << WORD_BITS) + self.written["BASE_LOW"]
            self.places = self._places()
        return Answer.DONE

    def _places(self) -> list[tuple[int, int]]:
        now = self.written
        return [tuple((now[f"{name}_OFFSET"] + number * now[f"{name}_STRIDE"]) % (1 << WORD_BITS)
                      for name in ("IMAGE", "LOGITS"))
                for number in range(max(now["IMAGES"], 1))]

    def _values(self) -> dict[str, int]:
        core, values = self.core, dict(self._constants)
        status = {"busy": core.busy, "done": core.done, "error": core.status}
        images = {"count": core.images_done, "exited": core.images_exited}
        values |= {
            "CONTROL": 0,
            "STATUS": sum(status[one.name] << one.low for one in REGISTERS["STATUS"].fields),
            "INDEX": core.index,
            "RUNS": self.runs,
            "INTERRUPT_PENDING": self.pending,
            "ERROR_SOURCE": core.error_source,
            "ERROR_ADDRESS": core.error_address,
            "IMAGES_DONE": sum(images[one.name] << one.low
                               for one in REGISTERS["IMAGES_DONE"].fields),
            **self.written,
        }
        for name, count in core.counters.items():
            values[f"{name.upper()}_HIGH"], values[f"{name.upper()}_LOW"] = divmod(
                count, 1 << WORD_BITS)
        return values
