"""Which files go with a core, besides its Verilog and its registers.

All of them take addresses from what :mod:`golden.soc.register_files` writes beside them.
"""

from pathlib import Path

_HERE = Path(__file__).parent

DRIVERS = {
    "axi4": ("vernier.h", "vernier.c", "vernier_ip.tcl", "vernier_pynq.py", "vernier_litex.py"),
    "wishbone": ("vernier.h", "vernier.c"),
    "neutral": (),
}
"""Names of the files, by the bus."""


def drivers(bus: str) -> dict[str, str]:
    """Return the files that go with a core at a bus in :data:`DRIVERS`, by their names."""
    return {name: (_HERE / name).read_text() for name in DRIVERS[bus]}
