"""The neutral memory port of the core: requests out, responses back, one for each, in order."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig

from ..common.operands import BYTE

__all__ = ["ADDRESS", "AHEAD_BITS", "memory_signature", "request_layout", "response_layout"]

ADDRESS = 32
AHEAD_BITS = 8


def request_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A beat of ``bus_bytes`` bytes to be read or written; `address` in bytes, a multiple of it.

    `beats` tells of bursts: as far as is known, that many requests, this one among them, are for
    beats one behind the other; 0 says nothing. Those to write come, with no others between them.
    Those to read may stop early, and others may come first. `stream` says that a beat is of a
    program's stream.
    """
    return data.StructLayout({"address": ADDRESS, "write": 1, "data": BYTE * config.bus_bytes,
                              "beats": AHEAD_BITS, "stream": 1})


def response_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Answer to a request: what has been read, or that it went wrong."""
    return data.StructLayout({"data": BYTE * config.bus_bytes, "error": 1})


def memory_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Memory port, seen by who uses the memory. Each request is answered, reads and writes, in
    order; a response is always ready to be taken.
    """
    return wiring.Signature({
        "request": Out(stream.Signature(request_layout(config))),
        "response": In(stream.Signature(response_layout(config))),
    })
