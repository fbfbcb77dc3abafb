"""The neutral memory port of the core: requests out, responses back, one for each, in order."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig

from ..common.operands import BYTE

__all__ = ["memory_signature", "request_layout", "response_layout"]

ADDRESS = 32


def request_layout(config: AcceleratorConfig) -> data.StructLayout:
    """A beat of ``bus_bytes`` bytes to be read or written; `address` in bytes, a multiple of it."""
    return data.StructLayout({"address": ADDRESS, "write": 1, "data": BYTE * config.bus_bytes})


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
