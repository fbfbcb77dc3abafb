"""The board's side of the link, byte by byte: what it answers, and what it does to memory."""

from collections.abc import Container

from .link import (
    BLOCK,
    CHECK_BYTES,
    FLAG,
    REQUEST_BYTES,
    Opcode,
    Request,
    Response,
    Status,
    Unstuffer,
    check,
)
from .registers import WORD_BYTES, Answer, RegisterFile
from .system import System

MOST_CONTENT = REQUEST_BYTES + BLOCK + CHECK_BYTES
"""Bytes of the longest frame's content."""

ANSWERS = {Answer.DONE: Status.FINE, Answer.UNKNOWN: Status.BAD_ADDRESS,
           Answer.REFUSED: Status.REFUSED}
"""Status of each answer of a register."""


class Device:
    """A board on a serial line.

    A frame that is cut, too long, late or damaged is answered with its fault, and all up to the
    next flag is ignored. Nothing comes to memory or registers but from a frame whose check is
    right.

    Parameters
    ----------
    system
        What the board has.
    memory
        What is in external memory, ``memory_bytes`` of it.
    broken
        Addresses of beats that memory answers with an error; it does nothing at these.

    Attributes
    ----------
    registers
        :class:`RegisterFile`; whoever plays the core changes them.
    """

    def __init__(self, system: System, memory: bytearray, *, broken: Container[int] = ()):
        if len(memory) != system.memory_bytes:
            raise ValueError(f"memory must have {system.memory_bytes} bytes, not {len(memory)}")
        self._system, self._memory, self._broken = system, memory, broken
        self.registers = RegisterFile(system)
        self.reset()

    def reset(self):
        """Begin anew; memory keeps what it holds."""
        self._line, self._skipping, self._last = Unstuffer(), False, None
        self.registers.reset()

    def receive(self, data: bytes) -> bytes:
        """Return the answers to bytes that have come without a pause."""
        return b"".join(map(self._byte, data))

    def pause(self) -> bytes:
        """Return the answer to a pause that is too long for a frame."""
        return self._fault(Status.TIMED_OUT) if self._line.inside else b""

    def line_error(self) -> bytes:
        """Return the answer to a byte without a stop bit."""
        return b"" if self._skipping else self._fault(Status.LINE_ERROR)

    def _fault(self, status: Status) -> bytes:
        self._line.clear()
        self._skipping = True
        return Response(status).encode()

    def _byte(self, byte: int) -> bytes:
        if self._skipping:
            self._skipping = byte != FLAG
            return b""
        content = self._line.push(byte)
        if len(self._line.content) > MOST_CONTENT:
            return self._fault(Status.BAD_FRAME)
        return b"" if content is None else self._frame(content).encode()

    def _frame(self, content: bytes) -> Response:
        if len(content) < REQUEST_BYTES + CHECK_BYTES:
            return Response(Status.BAD_FRAME)
        if check(content[:-CHECK_BYTES]) != content[-CHECK_BYTES:]:
            return Response(Status.BAD_CHECK)
        request = Request.decode(content)
        found = content[-CHECK_BYTES:]
        writes = request.opcode in (Opcode.WRITE, Opcode.POKE)
        if writes and self._last is not None and self._last[0] == found:
            return Response(self._last[1], request.sequence)
        status = self._refusal(request)
        payload = b""
        if status == Status.FINE:
            status, payload = self._carried_out(request)
        self._last = found, status
        return Response(status, request.sequence, payload)

    def _refusal(self, request: Request) -> Status:
        """Return what is wrong with a request as such."""
        unit = self._system.config.bus_bytes
        lengths = {
            Opcode.PING: range(1), Opcode.READ: range(unit, BLOCK + 1, unit),
            Opcode.WRITE: range(unit, BLOCK + 1, unit),
            Opcode.PEEK: range(WORD_BYTES, BLOCK + 1, WORD_BYTES),
            Opcode.POKE: range(WORD_BYTES, WORD_BYTES + 1),
        }
        if request.opcode not in lengths:
            return Status.UNKNOWN_OPCODE
        writes = request.opcode in (Opcode.WRITE, Opcode.POKE)
        if (request.length not in lengths[request.opcode]
                or len(request.payload) != (request.length if writes else 0)):
            return Status.BAD_LENGTH
        if request.opcode in (Opcode.READ, Opcode.WRITE) and (
                request.address % unit
                or request.address + request.length > self._system.memory_bytes):
            return Status.BAD_ADDRESS
        return Status.FINE

    def _carried_out(self, request: Request) -> tuple[Status, bytes]:
        """Return how a request has ended, and the payload of its response."""
        if request.opcode == Opcode.PEEK:
            return self._peek(request)
        if request.opcode == Opcode.POKE:
            value = int.from_bytes(request.payload, "little")
            return ANSWERS[self.registers.write(request.address, value)], b""
        if request.opcode == Opcode.PING:
            return Status.FINE, b""
        payload, unit = bytearray(), self._system.config.bus_bytes
        for at in range(request.address, request.address + request.length, unit):
            if at in self._broken:
                return Status.MEMORY_ERROR, b""
            if request.opcode == Opcode.READ:
                payload += self._memory[at:at + unit]
            else:
                offset = at - request.address
                self._memory[at:at + unit] = request.payload[offset:offset + unit]
        return Status.FINE, bytes(payload)

    def _peek(self, request: Request) -> tuple[Status, bytes]:
        payload = bytearray()
        for at in range(request.address, request.address + request.length, WORD_BYTES):
            value, answer = self.registers.read(at)
            if answer != Answer.DONE:
                return ANSWERS[answer], b""
            payload += value.to_bytes(WORD_BYTES, "little")
        return Status.FINE, bytes(payload)
