"""What is built on a board, as its parts and its host know it."""

from dataclasses import dataclass

from ..common.checks import integer
from ..common.config import AcceleratorConfig
from ..cycles.memory_model import SdramMemory

MOST_MEMORY = 1 << 31
MOST_HERTZ = (1 << 32) - 1
ADDRESS_BITS = 32, 64
"""Least and most of a bus."""


@dataclass(frozen=True, slots=True)
class System:
    """A core, its clock and its memory.

    Attributes
    ----------
    config
        Of the core.
    clock_hz
        Its clock; 0 if that is not known.
    memory_bytes
        External memory, from address 0 on; a multiple of ``bus_bytes``.
    address_bits
        Width of addresses of the bus that memory is on, where a host says where it begins; 0 if
        it is the core's own.
    """

    config: AcceleratorConfig
    clock_hz: int
    memory_bytes: int
    address_bits: int = 0

    @classmethod
    def of(cls, config: AcceleratorConfig, memory: SdramMemory) -> "System":
        """Return that of a core with the memory of a board, whose clock it has."""
        return cls(config, memory.clock_hz, 1 << memory.chip.size_bits)

    def __post_init__(self):
        if not isinstance(self.config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {self.config!r}")
        self.config.check_core()
        integer("clock_hz", self.clock_hz, 0, MOST_HERTZ)
        integer("memory_bytes", self.memory_bytes, 1, MOST_MEMORY)
        if self.memory_bytes % self.config.bus_bytes:
            raise ValueError(f"memory_bytes must be a multiple of {self.config.bus_bytes}, "
                             f"not {self.memory_bytes}")
        if self.address_bits != 0:
            integer("address_bits", self.address_bits, *ADDRESS_BITS)
