"""Memory ports at buses of several widths."""

from dataclasses import dataclass, replace

from golden.common.config import CORES, AcceleratorConfig


@dataclass(frozen=True)
class Bus:
    """A width of data, one of addresses, most beats on the way and of a burst, and where memory
    begins.
    """

    bus_bytes: int
    address_bits: int
    flight: int
    burst: int
    base: int

    @property
    def config(self) -> AcceleratorConfig:
        """A configuration with this width."""
        return replace(CORES["8x16"], bus_bytes=self.bus_bytes)


BUSES = {
    "32 of 32 bits": Bus(4, 32, 32, 16, 0),
    "64 of 40 bits": Bus(8, 40, 64, 16, 0xab_cdef_0000),
    "128 of 64 bits": Bus(16, 64, 20, 8, 0xfedc_ba98_7654_0000),
    "no bursts": Bus(4, 33, 2, 1, 0x1_0001_0000),
    "long bursts": Bus(8, 64, 256, 128, 0x1000_0000_0000),
}
