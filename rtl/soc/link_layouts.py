"""Layouts between the parts of the link, from the fields of :mod:`golden.soc.link`."""

from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.soc import link

from ..common.operands import BYTE

__all__ = ["ANSWER_BITS", "buffer_read_signature", "buffer_write_signature",
           "frame_layout", "request_layout", "response_layout"]

ANSWER_BITS = max(link.Status).bit_length()
"""Bits of a :class:`golden.soc.link.Status`."""

_SIZE = Shape.cast(range(link.BLOCK + 1))


def _header(fields: dict[str, int]) -> data.StructLayout:
    return data.StructLayout({name: BYTE * count for name, count in fields.items()})


request_layout = _header(link.REQUEST)
response_layout = _header(link.RESPONSE)

frame_layout = data.StructLayout({
    "status": ANSWER_BITS, "request": request_layout, "check": BYTE * link.CHECK_BYTES,
    "size": _SIZE})
"""What has been received: a request and bytes of its payload, if `status` is fine."""

buffer_read_signature = wiring.Signature({
    "address": Out(range(link.BLOCK)), "data": In(BYTE)})
"""Payload, seen by who reads it: `data` is that of the cycle before's `address`."""

buffer_write_signature = wiring.Signature({
    "enable": Out(1), "address": Out(range(link.BLOCK)), "data": Out(BYTE)})
"""Payload, seen by who writes it."""
