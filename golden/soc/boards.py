"""Boards that the whole accelerator is for: their memory, and the clock that is met there."""

from ..cycles.memory_model import SdramMemory
from ..sdram.sdram import CHIPS

BAUD = 3_000_000
"""Of their serial lines."""

CLOCK_HZ = 50_000_000
"""Of core, controller and chip: what was placed and routed does 52.9 MHz (docs/board.md)."""

PHASE = 90
"""Degrees by which the clock of the memory chip is later than the core's.

Commands and words leave the flip-flops of the pads with the clock of the core, and the chip takes
them a quarter of a period later (at 62.5 MHz 4 ns; it asks for 1.5). Of a CAS latency of 2, its
words are there an access time (5.4 ns) after a period more, and have what is left of the second
period (6.6 ns then) for the way through both pads. So they come as soon as the CAS latency says.
"""

BOARDS = {"ulx3s": SdramMemory(CHIPS["AS4C32M16SB"], CLOCK_HZ, capture=0)}
"""External memory by board, at the clock of the board."""
