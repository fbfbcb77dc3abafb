"""What AXI4 and AXI4-Lite have in common, and the signals of AXI4."""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from golden.common.config import AcceleratorConfig

from ..common.operands import BYTE

__all__ = ["CACHE", "ID_BITS", "INCR", "LENGTH_BITS", "Resp", "axi_read_signature", "axi_signature",
           "axi_write_signature", "data_bytes_of"]

INCR = 1
"""Of a burst's beats, one lies behind the other."""
CACHE = 0b0011
"""Normal memory, not cacheable, may be buffered."""
BEAT_BYTES = 4, 8, 16
ID_BITS, LENGTH_BITS, SIZE_BITS, BURST_BITS = 1, 8, 3, 2


class Resp(enum.Enum, shape=2):
    """How an access has ended; bit 1 tells an error."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def data_bytes_of(config: AcceleratorConfig) -> int:
    """Return the bytes of a beat.

    Raises
    ------
    ValueError
        If AXI4 has no such beats.
    """
    if config.bus_bytes not in BEAT_BYTES:
        raise ValueError(f"bus_bytes must be 4, 8 or 16 at AXI4, not {config.bus_bytes}")
    return config.bus_bytes


def _address(channel: str, address_bits: int) -> dict:
    return {channel + name: Out(bits) for name, bits in {
        "id": ID_BITS, "addr": address_bits, "len": LENGTH_BITS, "size": SIZE_BITS,
        "burst": BURST_BITS, "lock": 1, "cache": 4, "prot": 3, "qos": 4, "valid": 1,
    }.items()} | {f"{channel}ready": In(1)}


def axi_write_signature(address_bits: int, data_bytes: int) -> wiring.Signature:
    """What AXI4 writes with, seen by who asks; names as in the specification."""
    return wiring.Signature({
        **_address("aw", address_bits),
        "wdata": Out(BYTE * data_bytes), "wstrb": Out(data_bytes), "wlast": Out(1),
        "wvalid": Out(1), "wready": In(1),
        "bid": In(ID_BITS), "bresp": In(Resp), "bvalid": In(1), "bready": Out(1),
    })


def axi_read_signature(address_bits: int, data_bytes: int) -> wiring.Signature:
    """What AXI4 reads with, seen by who asks; names as in the specification."""
    return wiring.Signature({
        **_address("ar", address_bits),
        "rid": In(ID_BITS), "rdata": In(BYTE * data_bytes), "rresp": In(Resp), "rlast": In(1),
        "rvalid": In(1), "rready": Out(1),
    })


def axi_signature(address_bits: int, data_bytes: int) -> wiring.Signature:
    """AXI4 seen by who asks: its two halves, `write` and `read`."""
    return wiring.Signature({"write": Out(axi_write_signature(address_bits, data_bytes)),
                             "read": Out(axi_read_signature(address_bits, data_bytes))})
