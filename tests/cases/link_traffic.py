"""What a host sends to a board, right and wrong, and what happens to it on the way."""

import random
from dataclasses import dataclass, replace

from golden.common.config import CORES
from golden.soc.device import Device
from golden.soc.link import BLOCK, ESCAPE, FLAG, Opcode, Request
from golden.soc.registers import REGISTERS
from golden.soc.system import System

SYSTEMS = {f"{bus}-byte beats": System(replace(CORES["8x16"], bus_bytes=bus), 25_000_000, 4096)
           for bus in (2, 4, 8)}
BROKEN = range(0x800, 0x820)
"""Addresses whose beats memory answers with an error."""


@dataclass(frozen=True)
class Event:
    """Something that happens at a line: ``bytes``, ``pause``, ``error``, ``reset`` or ``busy``."""

    kind: str
    data: bytes = b""
    value: int = 0


def device(system: System) -> Device:
    """Return a board whose memory has something in it."""
    return Device(system, bytearray(random.Random(1).randbytes(system.memory_bytes)),
                  broken=BROKEN)


def happens(board: Device, event: Event) -> bytes:
    """Return what a board answers to an event."""
    core = board.registers.core
    if event.kind == "bytes":
        return board.receive(event.data)
    if event.kind == "pause":
        return board.pause()
    if event.kind == "error":
        return board.line_error()
    if event.kind == "reset":
        busy = core.busy
        board.reset()
        board.registers.core = core
        core.busy = busy
    else:
        if core.busy > event.value:
            board.registers.ended()
        core.busy = event.value
    return b""


class Traffic:
    """Random requests, some of them wrong, and random faults.

    Attributes
    ----------
    writes
        Address and payload of each request that writes memory.
    """

    def __init__(self, system: System, seed: int, *, faults: float = 0.5):
        self._rng, self._system, self._faults = random.Random(seed), system, faults
        self._sequence, self.writes = 0, []

    def episode(self) -> list[Event]:
        """Return events of which the last is a pause, or leaves no frame that has begun."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.02:
            return [Event("busy", value=rng.randrange(2))]
        frames = [self.request().encode() for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if rng.random() < 0.1:
            frames.append(frames[-1])  # once more
        if rng.random() >= self._faults:
            return [Event("bytes", b"".join(frames))]
        data = b"".join(frames)
        events = [Event("bytes", data)]
        for _ in range(rng.choice([1, 1, 2])):
            at = rng.randrange(len(events))
            if events[at].kind == "bytes" and events[at].data:
                events[at:at + 1] = self._damaged(events[at].data)
        return [*events, Event("pause")]

    def request(self) -> Request:
        """Return a request; seven of eight are right."""
        rng = self._rng
        self._sequence = (self._sequence + 1) % 256
        unit = self._system.config.bus_bytes
        units = rng.randint(1, 8) if rng.random() < 0.97 else rng.randint(1, BLOCK // unit)
        address = unit * rng.randrange(self._system.memory_bytes // unit - units + 1)
        register = rng.choice(list(REGISTERS.values())).address
        opcode = rng.choice(list(Opcode))
        request = {
            Opcode.PING: lambda: Request(opcode, self._sequence),
            Opcode.READ: lambda: Request(opcode, self._sequence, address, length=unit * units),
            Opcode.WRITE: lambda: Request(opcode, self._sequence, address, self._payload(
                unit * units)),
            Opcode.PEEK: lambda: Request(opcode, self._sequence, register,
                                         length=4 * rng.choice([1, 1, 2, 5])),
            Opcode.POKE: lambda: Request(opcode, self._sequence, register, self._payload(4)),
        }[opcode]()
        if rng.random() < 0.12:
            request = self._wrong(request)
        if request.opcode == Opcode.WRITE:
            self.writes.append((request.address, request.payload))
        return request

    def _payload(self, count: int) -> bytes:
        """Return random bytes, often with flags, escapes or a whole frame among them."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.3:
            return bytes(rng.choices([FLAG, ESCAPE, FLAG ^ 0x20, ESCAPE ^ 0x20, 0, 1], k=count))
        data = rng.randbytes(count)
        if kind < 0.4:
            inner = Request(Opcode.WRITE, 1, 0, bytes(self._system.config.bus_bytes)).encode()
            data = (inner + data)[:count]
        return data

    def _wrong(self, request: Request) -> Request:
        rng = self._rng
        change = rng.choice(["opcode", "length", "address", "payload"])
        value = {"opcode": rng.randrange(256), "length": rng.choice([0, 1, 3, 1028, 65535]),
                 "address": rng.choice([1, 2, 3, self._system.memory_bytes, 2**32 - 4]),
                 "payload": rng.randbytes(rng.choice([1, 4, 5, BLOCK, BLOCK + 1, BLOCK + 40]))}
        return replace(request, **{change: value[change]})

    def _damaged(self, data: bytes) -> list[Event]:
        """Return bytes with a fault in them."""
        rng = self._rng
        at = rng.randrange(len(data))
        if rng.random() < 0.2:  # at a flag
            at = rng.choice([place for place, byte in enumerate(data) if byte == FLAG] or [at])
        before, byte, after = data[:at], data[at:at + 1], data[at + 1:]
        kind = rng.choice(["drop", "flip", "twice", "insert", "cut", "pause", "error", "reset",
                           "garbage", "flag"])
        changed = {
            "drop": b"", "flip": bytes([byte[0] ^ 1 << rng.randrange(8)]), "twice": byte + byte,
            "insert": byte + rng.randbytes(1), "flag": bytes([rng.choice([FLAG, ESCAPE])]),
            "garbage": rng.randbytes(rng.randint(1, 20)),
        }
        if kind in changed:
            return [Event("bytes", before + changed[kind] + after)]
        if kind == "cut":
            return [Event("bytes", before)]
        return [Event("bytes", before), Event(kind), Event("bytes", after)]
