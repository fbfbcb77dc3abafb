"""Bytes moved."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes moved: activation memory, weight buffer (both on chip), external memory."""

    scratchpad: int = 0
    buffer: int = 0
    dram: int = 0

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.scratchpad + other.scratchpad, self.buffer + other.buffer,
                       self.dram + other.dram)

    @property
    def sram(self) -> int:
        """Bytes moved on chip."""
        return self.scratchpad + self.buffer
