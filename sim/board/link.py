"""The host's side of the link: memory and registers of a board over a line."""

import random
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Protocol

from golden.common.config import AcceleratorConfig
from golden.core.counters import COUNTERS
from golden.core.isa import ENCODING
from golden.soc.link import BLOCK, FAULTS, SEQUENCES, Opcode, Request, Response, Status, Unstuffer
from golden.soc.registers import IDENTITY, REGISTERS, VERSION, WORD_BITS, WORD_BYTES
from golden.soc.system import System

from .errors import (
    REASONS,
    CrcError,
    LinkError,
    NoAnswer,
    PortGone,
    Refused,
    WrongMemory,
    WrongVersion,
)

TRIES = 5
WINDOW = 8
"""Requests of memory on the way at once: more than a USB port delays."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are done, and all."""


def compare(address: int, found: bytes, wanted: bytes) -> None:
    """Return if what memory holds from `address` on is what it must.

    Raises
    ------
    WrongMemory
        If it is not.
    """
    for at, (got, right) in enumerate(zip(found, wanted, strict=True)):
        if got != right:
            raise WrongMemory(address + at, got, right)


class Port(Protocol):
    """What a link needs of a line; pyserial's ports have it."""

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, those that come within the port's time."""

    def write(self, data: bytes) -> object:
        """Send bytes."""


class Link:
    """A board at the other end of a line.

    What is damaged or lost is asked for again, up to `tries` times in a row. A register is written
    once, whatever happens on the line.

    Parameters
    ----------
    port
        Line.
    tries
        How often a request is sent before it fails.

    Raises
    ------
    NoAnswer, CrcError, PortGone
        By all methods, if the line does not work.
    Refused
        By all methods, if the board does not do what it is asked.
    """

    def __init__(self, port: Port, *, tries: int = TRIES):
        self._port, self._tries = port, tries
        self._line, self._received = Unstuffer(), bytearray()
        self._sequence = random.randrange(SEQUENCES)
        self._system = None

    @property
    def system(self) -> System:
        """What the board says of itself, asked once.

        Raises
        ------
        WrongVersion
            If it is none that this program knows.
        """
        if self._system is None:
            self.ping()
            identity, version = self._words("ID", 2)
            if identity != IDENTITY:
                raise WrongVersion(f"what answers must be a Vernier board ({IDENTITY:#010x}), "
                                   f"not {identity:#010x}")
            if version != VERSION:
                raise WrongVersion(f"the board's registers must have version {VERSION}, "
                                   f"not {version}")
            clock_hz, memory_bytes, encoding = self._words("CLOCK_HZ", 3)
            if encoding != ENCODING:
                raise WrongVersion(f"the board's core must take instructions of version {ENCODING},"
                                   f" not {encoding}: build its bitstream again")
            names = [one.name for one in fields(AcceleratorConfig)]
            words = self._words(f"CONFIG_{names[0].upper()}", len(names))
            try:
                config = AcceleratorConfig(**dict(zip(names, words, strict=True)))
                self._system = System(config, clock_hz, memory_bytes)
            except ValueError as error:
                raise WrongVersion(f"the board says what cannot be: {error}") from None
        return self._system

    def ping(self):
        """Return if the board answers."""
        self._exchange([self._request(Opcode.PING)])

    def read(self, address: int, count: int, *, progress: Progress | None = None) -> bytes:
        """Return `count` bytes of memory."""
        unit = self.system.config.bus_bytes
        first, last = address - address % unit, -(-(address + count) // unit) * unit
        requests = [self._request(Opcode.READ, at, length=min(BLOCK, last - at))
                    for at in range(first, last, BLOCK)]
        data = b"".join(self._exchange(requests, window=WINDOW, progress=progress))
        return data[address - first:address - first + count]

    def write(self, address: int, data: bytes, *, verify: bool = False,
              progress: Progress | None = None):
        """Write bytes to memory, whole beats.

        Raises
        ------
        ValueError
            If they are none.
        WrongMemory
            With `verify`, if memory does not hold them then.
        """
        unit = self.system.config.bus_bytes
        if address % unit or len(data) % unit:
            raise ValueError(f"address and length must be multiples of {unit}, "
                             f"not {address} and {len(data)}")
        self._exchange([self._request(Opcode.WRITE, address + at, data[at:at + BLOCK])
                        for at in range(0, len(data), BLOCK)], window=WINDOW, progress=progress)
        if verify:
            compare(address, self.read(address, len(data)), data)

    def peek(self, name: str) -> int:
        """Return the value of a register."""
        return self._words(name, 1)[0]

    def poke(self, name: str, value: int):
        """Write a register."""
        self._exchange([self._request(Opcode.POKE, REGISTERS[name].address,
                                      value.to_bytes(WORD_BYTES, "little"))])

    def counters(self) -> dict[str, int]:
        """Return the performance counters of the last run."""
        words = self._words(f"{next(iter(COUNTERS)).upper()}_LOW", 2 * len(COUNTERS))
        return {name: low + (high << WORD_BITS) for name, low, high in zip(
            COUNTERS, words[::2], words[1::2], strict=True)}

    def _words(self, first: str, count: int) -> list[int]:
        """Return registers from the one of a name on."""
        (data,) = self._exchange([self._request(Opcode.PEEK, REGISTERS[first].address,
                                                length=count * WORD_BYTES)])
        return [int.from_bytes(data[at:at + WORD_BYTES], "little")
                for at in range(0, len(data), WORD_BYTES)]

    def _request(self, opcode: Opcode, address: int = 0, payload: bytes = b"",
                 length: int | None = None) -> Request:
        self._sequence = (self._sequence + 1) % SEQUENCES
        return Request(opcode, self._sequence, address, payload, length)

    def _exchange(self, requests: Sequence[Request], *, window: int = 1,
                  progress: Progress | None = None) -> list[bytes]:
        """Return the payloads of the answers to requests, of which `window` are sent ahead.

        If one fails, it and those behind it are sent again: what they do to memory, they may do
        twice.
        """
        payloads, sent, failed = [], 0, 0
        total = sum(request.length for request in requests)
        done = 0
        while len(payloads) < len(requests):
            first = len(payloads)
            while sent < min(first + window, len(requests)):
                self._send(requests[sent].encode())
                sent += 1
            try:
                answer = self._answer(requests[first], sent - first)
            except (NoAnswer, CrcError):
                failed += 1
                if failed == self._tries:
                    raise
                self._drain()
                sent = first
                continue
            payloads.append(answer)
            failed = 0
            done += requests[first].length
            if progress is not None:
                progress(done, total)
        return payloads

    def _answer(self, request: Request, ahead: int) -> bytes:
        """Return the payload of the answer to a request, answers to older ones left out."""
        while True:
            try:
                response = Response.decode(self._frame())
            except ValueError as error:
                raise CrcError(str(error), self._tries) from None
            if response.status in FAULTS:
                raise CrcError(f"the board says {Status(response.status).name}", self._tries)
            behind = (response.sequence - request.sequence) % SEQUENCES
            if behind == 0:
                break
            if behind < ahead:
                raise CrcError("an answer is lost", self._tries)
        if response.status != Status.FINE:
            self._drain()
            if response.status not in REASONS:
                raise LinkError(f"the board answers status {response.status}, which is none")
            raise Refused(request.opcode, request.address, response.status)
        wanted = request.length if request.opcode in (Opcode.READ, Opcode.PEEK) else 0
        if response.length != wanted:
            raise LinkError(f"the board must answer {wanted} bytes, not {response.length}")
        return response.payload

    def _frame(self) -> bytes:
        """Return the content of the next frame that comes."""
        while True:
            while self._received:
                content = self._line.push(self._received.pop(0))
                if content is not None:
                    return content
            self._received += self._take()
            if not self._received:
                raise NoAnswer(self._tries)

    def _take(self) -> bytes:
        """Return what has come, or comes within the port's time."""
        try:
            return self._port.read(max(1, getattr(self._port, "in_waiting", 0)))
        except OSError as error:
            raise PortGone("cannot read from the port", error) from None

    def _send(self, data: bytes):
        try:
            self._port.write(data)
        except OSError as error:
            raise PortGone("cannot write to the port", error) from None

    def _drain(self):
        """Forget what has come, until nothing comes any more."""
        while self._take():
            pass
        self._received.clear()
        self._line.clear()
