"""Boards that the whole accelerator is for: their memory, and the clock that is met there."""

from ..cycles.memory_model import SdramMemory
from ..sdram.sdram import CHIPS

BOARDS = {"ulx3s": SdramMemory(CHIPS["AS4C32M16SB"], 20_000_000)}
"""External memory by board, at the clock of the board. No clock was routed yet: 20.6 MHz is what
place and route estimates for the 8x16 core on an LFE5U-85F after placement.
"""

BAUD = 3_000_000
"""Of their serial lines."""
