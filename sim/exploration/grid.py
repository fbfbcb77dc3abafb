"""The designs of a grid: every combination of what is to be tried."""

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from golden.cycles.memory_model import MemoryModel, SdramMemory
from golden.soc.boards import BOARDS

from ..cli import one_line


@dataclass(frozen=True, slots=True)
class Design:
    """A core, its memory, and how a network is run on it.

    Attributes
    ----------
    rows, cols, sram_kib, bus_bytes, stream_words
        As in :class:`golden.common.config.AcceleratorConfig`.
    memory
        Name of a board, or ``LATENCY:BYTES`` in cycles and bytes per cycle, as
        :func:`memory_of` takes it.
    bits, scales
        Precision, like ``w4a4``; ``static``, ``predicted`` or ``jit``.
    """

    rows: int
    cols: int
    sram_kib: int
    bus_bytes: int
    stream_words: int
    memory: str
    bits: str
    scales: str

    @property
    def core(self) -> dict:
        """What it changes of a core, as :func:`golden.common.config_file.core_from_table` takes it.
        """
        return {"rows": self.rows, "cols": self.cols, "sram_kib": self.sram_kib,
                "bus_bytes": self.bus_bytes, "stream_words": self.stream_words}

    @property
    def compiled_alike(self) -> tuple:
        """Equal for designs whose programs are the same: all but scratchpad and memory."""
        return self.rows, self.cols, self.bus_bytes, self.stream_words, self.bits, self.scales


def designs(**choices: list) -> list[Design]:
    """Return every combination of the choices of each field, those compiled alike together."""
    order = ("rows", "cols", "bus_bytes", "stream_words", "bits", "scales", "memory", "sram_kib")
    return [Design(**dict(zip(order, values, strict=True)))
            for values in itertools.product(*(choices[name] for name in order))]


def memory_of(name: str, clock_mhz: float) -> MemoryModel | SdramMemory:
    """Return the external memory of a name, at a clock.

    Raises
    ------
    ValueError
        If it is neither a board nor ``LATENCY:BYTES``, or does not take the clock.
    """
    if name in BOARDS:
        board = BOARDS[name]
        return SdramMemory(board.chip, round(clock_mhz * 1e6), board.capture)
    latency, colon, speed = name.partition(":")
    try:
        return MemoryModel(int(latency), float(speed) if colon else None)
    except ValueError as error:
        raise ValueError(f"memory must be {', '.join(BOARDS)}, or LATENCY:BYTES in cycles and "
                         f"bytes per cycle, not {name!r} ({one_line(error)})") from None


def memory(text: str) -> str:
    """Argument type: a memory's name, as :func:`memory_of` takes it."""
    try:
        memory_of(text, 100.0)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def several(one: Callable) -> Callable[[str], list]:
    """Argument type: values of another type with commas between, each once."""
    def parse(text: str) -> list:
        return list(dict.fromkeys(one(part.strip()) for part in text.split(",")))
    return parse
