"""Controllers with their chips, by name."""

from functools import partial

from golden.sdram.sdram import CHIPS
from tests.benches.sdram_system import SdramSystem, small

CLOCKS = {"slow": (25_000_000, 0), "usual": (60_000_000, 0), "fast": (100_000_000, 1),
          "fastest": (133_000_000, 1)}
"""Hertz, and the cycles by which words come later."""

SYSTEMS = {f"{name} {clock}": partial(SdramSystem, small(name), hertz, capture=capture)
           for name in CHIPS for clock, (hertz, capture) in CLOCKS.items()}
"""Each chip at each clock."""
