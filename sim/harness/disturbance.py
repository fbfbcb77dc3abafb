"""What disturbs external memory: random stalls, and pauses like those of DRAM's refresh."""

from dataclasses import dataclass

from golden.common.checks import integer


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Irregularities on top of latency and bandwidth; results never depend on them.

    Attributes
    ----------
    seed
        Of random ones, up to 2**64 - 1; None for none. Of every 64 cycles, those in which no
        request is taken and those in which no response is given are drawn with a chance of 0, 1/4,
        1/2 or 15/16, and latencies rise by up to 0, 3, 30 or 150 cycles. Responses stay in order.
    interval, pause
        Refresh: in the last `pause` of every `interval` cycles nothing passes; 0 and 0 for none.

    Raises
    ------
    ValueError
        If nothing would ever pass, or a value is out of range.
    """

    seed: int | None = None
    interval: int = 0
    pause: int = 0

    def __post_init__(self):
        if self.seed is not None:
            integer("seed", self.seed, 0, (1 << 64) - 1)
        integer("interval", self.interval, 0, (1 << 32) - 1)
        integer("pause", self.pause, 1 if self.interval else 0, max(self.interval - 1, 0))

    def options(self) -> dict[str, int | None]:
        """Return the options of the compiled core."""
        return {"memory-seed": self.seed, "refresh-interval": self.interval,
                "refresh-pause": self.pause}

    def longest(self, cycles: int) -> int:
        """Return more cycles than what takes `cycles` at most without it should take."""
        if self.seed is not None:
            cycles *= 16
        return -(-cycles * self.interval // (self.interval - self.pause)) if self.pause else cycles


REGULAR = Disturbance()
"""None."""
