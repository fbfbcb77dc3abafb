"""Frames between a host and a board: what they look like as bytes.

A frame is, as in PPP over serial lines (RFC 1662), a flag, its content, and a flag; one flag may
end a frame and begin the next. Content has no flags in it: a byte that is a flag or an escape is
sent as an escape and the byte with bit 5 inverted. So a frame begins nowhere but at a flag,
whatever has been lost before. Content is a header, a payload, and the CRC-32 of both, all of it
with the low byte first:

    request    opcode (1), sequence (1), length (2), address (4), payload, check (4)
    response   status (1), sequence (1), length (2), payload, check (4)

========== ================================================================= ===============
PING       does nothing                                                      length 0
READ       answers `length` bytes of memory from `address` on                whole beats
WRITE      writes the payload, `length` bytes, to memory from `address` on   whole beats
PEEK       answers `length` bytes of registers from `address` on             whole registers
POKE       writes the register at `address`                                  one register
========== ================================================================= ===============

Every frame is answered, by one response, in order. A host numbers its requests and counts on from
one to the next; it asks again by sending the same bytes. A write that is the same as the frame
before is answered as that was, and not carried out again.
"""

import enum
import zlib
from dataclasses import dataclass

FLAG, ESCAPE, TOGGLE = 0x7E, 0x7D, 0x20

BLOCK = 1024
"""Most bytes of a payload."""

REQUEST = {"opcode": 1, "sequence": 1, "length": 2, "address": 4}
RESPONSE = {"status": 1, "sequence": 1, "length": 2}
"""Bytes of each field of a header, in order."""

REQUEST_BYTES, RESPONSE_BYTES = sum(REQUEST.values()), sum(RESPONSE.values())
CHECK_BYTES = 4
SEQUENCES = 1 << 8 * REQUEST["sequence"]


class Opcode(enum.IntEnum):
    """What a request asks for."""

    PING = 1
    READ = 2
    WRITE = 3
    PEEK = 4
    POKE = 5


class Status(enum.IntEnum):
    """What has become of a request."""

    FINE = 0
    BAD_CHECK = 1
    """The check of a frame is not that of its content."""
    BAD_FRAME = 2
    """A frame is too short, or too long."""
    TIMED_OUT = 3
    """Nothing came any more in the middle of a frame."""
    LINE_ERROR = 4
    """A byte had no stop bit, or bytes were lost."""
    UNKNOWN_OPCODE = 5
    BAD_LENGTH = 6
    """Length and payload do not go together, or not with the opcode."""
    BAD_ADDRESS = 7
    """No whole beat, beyond memory, or no register."""
    REFUSED = 8
    """A register that cannot be written, or not now."""
    MEMORY_ERROR = 9
    """Memory answered with an error; of a write, some of it may have been done."""


FAULTS = frozenset({Status.BAD_CHECK, Status.BAD_FRAME, Status.TIMED_OUT, Status.LINE_ERROR})
"""Of frames that say nothing: their responses have sequence 0. Whoever sent one sends it again."""


def check(content: bytes) -> bytes:
    """Return the check of header and payload."""
    return zlib.crc32(content).to_bytes(CHECK_BYTES, "little")


def stuffed(content: bytes) -> bytes:
    """Return content between two flags."""
    body = bytearray()
    for byte in content:
        body += bytes([ESCAPE, byte ^ TOGGLE]) if byte in (FLAG, ESCAPE) else bytes([byte])
    return bytes([FLAG, *body, FLAG])


def _packed(header: dict[str, int], values) -> bytes:
    return b"".join(getattr(values, name).to_bytes(count, "little")
                    for name, count in header.items())


def _fields(header: dict[str, int], content: bytes) -> dict[str, int]:
    values, at = {}, 0
    for name, count in header.items():
        values[name] = int.from_bytes(content[at:at + count], "little")
        at += count
    return values


@dataclass(frozen=True, slots=True)
class Request:
    """What a host asks of a board; `length` is that of the payload unless it is given."""

    opcode: int
    sequence: int
    address: int = 0
    payload: bytes = b""
    length: int | None = None

    def __post_init__(self):
        if self.length is None:
            object.__setattr__(self, "length", len(self.payload))

    def encode(self) -> bytes:
        """Return the frame."""
        content = _packed(REQUEST, self) + self.payload
        return stuffed(content + check(content))

    @classmethod
    def decode(cls, content: bytes) -> "Request":
        """Return the request of a frame's content, its check included."""
        payload = content[REQUEST_BYTES:-CHECK_BYTES]
        return cls(payload=payload, **_fields(REQUEST, content))


@dataclass(frozen=True, slots=True)
class Response:
    """What a board answers."""

    status: int
    sequence: int = 0
    payload: bytes = b""

    @property
    def length(self) -> int:
        """Bytes of the payload."""
        return len(self.payload)

    def encode(self) -> bytes:
        """Return the frame."""
        content = _packed(RESPONSE, self) + self.payload
        return stuffed(content + check(content))

    @classmethod
    def decode(cls, content: bytes) -> "Response":
        """Return the response of a frame's content, its check included.

        Raises
        ------
        ValueError
            If it is none, or damaged.
        """
        body, found = content[:-CHECK_BYTES], content[-CHECK_BYTES:]
        if len(body) < RESPONSE_BYTES:
            raise ValueError(f"a response must have {RESPONSE_BYTES + CHECK_BYTES} bytes or more, "
                             f"not {len(content)}")
        if found != check(body):
            raise ValueError(f"the check of a response must be {check(body).hex()}, "
                             f"not {found.hex()}")
        values = _fields(RESPONSE, body)
        if values.pop("length") != len(body) - RESPONSE_BYTES:
            raise ValueError(f"the length of a response must be {len(body) - RESPONSE_BYTES}, "
                             f"not {_fields(RESPONSE, body)['length']}")
        return cls(payload=body[RESPONSE_BYTES:], **values)


class Unstuffer:
    """Takes bytes, and gives contents of frames.

    Attributes
    ----------
    content
        Of the frame that has begun.
    escaped
        The last byte was an escape.
    """

    def __init__(self):
        self.clear()

    def clear(self):
        """Forget the frame that has begun."""
        self.content, self.escaped = bytearray(), False

    @property
    def inside(self) -> bool:
        """Whether a frame has begun, beyond its flag."""
        return bool(self.content) or self.escaped

    def push(self, byte: int) -> bytes | None:
        """Take a byte; return the content of the frame that it ends, if any."""
        if byte == FLAG:
            content, ended = bytes(self.content), self.inside
            self.clear()
            return content if ended else None
        if byte == ESCAPE and not self.escaped:
            self.escaped = True
            return None
        self.content.append(byte ^ TOGGLE if self.escaped else byte)
        self.escaped = False
        return None
