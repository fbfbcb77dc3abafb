"""External memory as the core sees it: when a request is taken, and when it is answered."""

from dataclasses import dataclass
from fractions import Fraction

from ..common.checks import integer
from ..common.config import AcceleratorConfig
from ..sdram.sdram import Chip, Schedule

_PRECISION = 1000  # of a bandwidth, the largest denominator
_HIGHEST_LATENCY = 10_000


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """External memory behind its port.

    Attributes
    ----------
    latency
        Cycles from a request to its response, 1 to 10,000.
    bytes_per_cycle
        What it gives or takes on average, 1/1000 or more, rounded to a fraction whose denominator
        is 1000 or less; None: as much as the port carries, a request a cycle.
    """

    latency: int = 1
    bytes_per_cycle: float | None = None

    def __post_init__(self):
        integer("latency", self.latency, 1, _HIGHEST_LATENCY)
        given = self.bytes_per_cycle
        if given is not None and not 1 / _PRECISION <= given < float("inf"):
            raise ValueError(f"bytes per cycle must be 1/{_PRECISION} or more, not {given!r}")

    def pace(self, config: AcceleratorConfig) -> Fraction:
        """Return the cycles from one request to the next, on average; 1 at least."""
        if self.bytes_per_cycle is None:
            return Fraction(1)
        given = Fraction(self.bytes_per_cycle).limit_denominator(_PRECISION)
        return max(Fraction(1), config.bus_bytes / given)

    def port(self, config: AcceleratorConfig) -> tuple[int, Fraction, None]:
        """Return what :func:`golden.cycles.stream.stream_of` takes."""
        return self.latency, self.pace(config), None

    def said(self, config: AcceleratorConfig) -> str:
        """Return what it is, in words."""
        per_cycle = config.bus_bytes / float(self.pace(config))
        return f"{per_cycle:g} bytes/cycle, {self.latency} cycles of latency"

    def about(self) -> dict:
        """Return what it is, by name."""
        return {"latency": self.latency, "bytes_per_cycle": self.bytes_per_cycle}


@dataclass(frozen=True, slots=True)
class SdramMemory:
    """External memory of a board: a chip behind its controller and an arbiter, all else idle
    (:class:`rtl.soc.soc.Soc`).

    Attributes
    ----------
    chip
        The chip.
    clock_hz
        Of core, controller and chip.
    capture
        As in :class:`golden.sdram.sdram.Schedule`.
    """

    chip: Chip
    clock_hz: int
    capture: int = 1

    def schedule(self, config: AcceleratorConfig) -> Schedule:
        """Return the times that the controller of a core keeps to.

        Raises
        ------
        ValueError
            If the chip does not take the clock, or the beats of the core.
        """
        return Schedule.of(self.chip, self.clock_hz, config.bus_bytes, self.capture)

    def port(self, config: AcceleratorConfig) -> tuple[int, Fraction, tuple[Chip, Schedule]]:
        """Return what :func:`golden.cycles.stream.stream_of` takes: only the chip counts."""
        return 1, Fraction(1), (self.chip, self.schedule(config))

    def said(self, config: AcceleratorConfig) -> str:
        """Return what it is, in words."""
        return f"{self.chip.name} at {self.clock_hz / 1e6:g} MHz"

    def about(self) -> dict:
        """Return what it is, by name."""
        return {"sdram": self.chip.name, "sdram_hz": self.clock_hz}


IDEAL = MemoryModel()
"""A request in every cycle, and its response in the next one."""

USUAL = MemoryModel(latency=20, bytes_per_cycle=4)
"""What is taken for external memory unless told otherwise."""
