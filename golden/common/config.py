"""What a user chooses of an accelerator, and what follows from it."""

from dataclasses import dataclass, fields

from .checks import integer
from .formats import ACC, IntFormat, Mode

LIMITS = {
    "rows": (1, 256), "cols": (1, 256), "lanes": (1, 256), "scale_lanes": (1, 64),
    "sram_kib": (1, 1 << 20), "bus_bytes": (1, 1024), "max_k": (1, 1 << 16),
    "max_tokens": (1, 1 << 16), "max_channels": (1, 1 << 14), "range_entries": (1, 1 << 16),
    "max_statistics": (1, 1 << 14), "max_projected": (1, 64), "max_monomials": (1, 1 << 12),
    "max_sites": (1, 1 << 12), "stream_words": (1, 1 << 16), "key_words": (1, 1 << 13),
}
"""Smallest and largest value of each choice."""


@dataclass(frozen=True, slots=True)
class AcceleratorConfig:
    """Shape of an accelerator: the same object parameterises golden model, RTL and estimator.

    Attributes
    ----------
    rows, cols
        Multipliers of the MAC array.
    lanes
        Elements per cycle behind the array: epilogue, range unit, requantizer.
        Divides `cols`, so that an output beat never straddles a PE row.
    scale_lanes
        Multiply-accumulates per cycle of the scale unit.
    sram_kib
        On-chip scratchpad for activations, in KiB.
    bus_bytes
        Width of the external memory port, bytes per cycle.
    max_k
        Longest dot product. Accumulator widths follow from it.
    max_tokens, max_channels
        Largest activation tensor the range unit can watch.
    range_entries
        Running extremes the range unit can hold: chunks x (groups, or words of single channels).
    max_statistics, max_projected, max_monomials, max_sites
        Largest scale predictor: statistics in, projected variables, monomials, predicted sites.
        The scale file of a core has `max_sites` slots, too.
    stream_words
        Weight buffer of a core, in words of `cols` bytes; a power of two.
    key_words
        Longest dot product whose weights are activations: the buffer for keys and values has two
        tile columns of that many words of `cols` bytes.
    """

    rows: int
    cols: int
    lanes: int = 8
    scale_lanes: int = 4
    sram_kib: int = 384
    bus_bytes: int = 4
    max_k: int = 4096
    max_tokens: int = 4096
    max_channels: int = 2048
    range_entries: int = 512
    max_statistics: int = 1024
    max_projected: int = 32
    max_monomials: int = 512
    max_sites: int = 256
    stream_words: int = 2048
    key_words: int = 256

    def __post_init__(self):
        for field in fields(self):
            integer(field.name, getattr(self, field.name), *LIMITS[field.name])
        if self.cols % self.lanes:
            raise ValueError(f"lanes must divide cols, but {self.lanes} does not divide "
                             f"{self.cols}")
        for mode in Mode:
            if self.product_sum(mode) > ACC.max:
                raise ValueError(f"max_k must keep {mode.value} sums within {ACC.bits} bits, "
                                 f"but {self.max_k} products can reach {self.product_sum(mode)}")

    @classmethod
    def for_array(cls, rows: int, cols: int, **choices) -> "AcceleratorConfig":
        """Configuration of a `rows` x `cols` array with as many lanes as it needs.

        ``rows * cols / 16`` lanes drain a W4A4 tile (four results per multiplier) in 64 cycles,
        the shortest dot product of a ViT; the largest divisor of `cols` up to that is taken.
        """
        wanted = max(1, integer("rows", rows, 1) * integer("cols", cols, 1) // 16)
        lanes = max(n for n in range(1, cols + 1) if cols % n == 0 and n <= wanted)
        return cls(**{"rows": rows, "cols": cols, "lanes": lanes, **choices})

    def check_core(self):
        """Raise :exc:`ValueError` unless a whole core can be built of this configuration.

        Its scratchpad has a bank of 16 bits for each PE row, which a beat of `lanes` wide elements
        fills, and one word or half a word of which are the weights of a cycle.
        """
        rows, cols = self.rows, self.cols
        for what, allowed in (
                (f"lanes must be rows ({rows}) in a core, not {self.lanes}", self.lanes == rows),
                (f"rows must be a power of two of 4 or more in a core, not {rows}",
                 rows >= 4 and _power_of_two(rows)),
                (f"cols must be rows or twice as many in a core, not {cols}",
                 cols in (rows, 2 * rows)),
                (f"bus_bytes must be a power of two within 2..{cols}, not {self.bus_bytes}",
                 2 <= self.bus_bytes <= cols and _power_of_two(self.bus_bytes)),
                (f"scale_lanes must be 1, 2 or 4 in a core, not {self.scale_lanes}",
                 self.scale_lanes in (1, 2, 4)),
                (f"stream_words must be a power of two, not {self.stream_words}",
                 _power_of_two(self.stream_words))):
            if not allowed:
                raise ValueError(what)

    @property
    def word_bytes(self) -> int:
        """Bytes of a word of a core's scratchpad."""
        return 2 * self.rows

    @property
    def scratchpad_words(self) -> int:
        """Words of a core's scratchpad."""
        return self.sram_kib * 1024 // self.word_bytes

    @property
    def multipliers(self) -> int:
        """Multipliers of the MAC array."""
        return self.rows * self.cols

    def tile_rows(self, mode: Mode) -> int:
        """Logical rows (tokens) of one output tile."""
        return self.rows * mode.row_slots

    def tile_cols(self, mode: Mode) -> int:
        """Logical columns (output channels) of one output tile."""
        return self.cols * mode.col_slots

    def product_sum(self, mode: Mode) -> int:
        """Largest magnitude of a sum of ``max_k`` products, start value included.

        The start value may be as large as the sum itself: it cancels the offset of unsigned
        4-bit activations, ``8 * sum(weights)``.
        """
        return 2 * self.max_k * mode.operand.magnitude * mode.weight.magnitude

    def accumulator(self, slot: int) -> IntFormat:
        """Register behind the `slot`-th result of a multiplier (see :class:`~.formats.Mode`).

        Slot 0 is used by every mode, slot 1 by W4A8 and W4A4, slots 2 and 3 by W4A4 alone, so
        the later ones can be narrower without ever wrapping.
        """
        if slot == 0:
            return ACC
        limit = max(self.product_sum(mode) for mode in Mode if mode.macs > slot)
        return IntFormat(limit.bit_length() + 1)

    def partial_sum(self, slot: int) -> IntFormat:
        """Register of a multiplier behind its `slot`-th result: :meth:`accumulator`, start value
        not included."""
        limit = max(self.product_sum(mode) for mode in Mode if mode.macs > slot) // 2
        return IntFormat(limit.bit_length() + 1)


def _power_of_two(value: int) -> bool:
    return value & (value - 1) == 0


CORES = {
    "4x4": AcceleratorConfig(4, 4, lanes=4, scale_lanes=1, sram_kib=128, max_k=1024,
                             max_tokens=1024, max_channels=256, range_entries=256,
                             max_statistics=256, max_projected=16, max_monomials=64,
                             max_sites=128, key_words=128),
    "8x8": AcceleratorConfig(8, 8, sram_kib=304, max_k=1024, max_tokens=2048, max_channels=2048),
    "8x16": AcceleratorConfig(8, 16, sram_kib=304, max_k=1024, max_tokens=2048,
                              max_channels=2048),
    "16x16": AcceleratorConfig.for_array(16, 16),
    "16x32": AcceleratorConfig.for_array(16, 32, lanes=16),
}
"""Named configurations, all of them of whole cores; ``8x16`` is the default: it fits an LFE5U-85F,
and its scratchpad DeiT-Tiny. ``8x8`` has as much room, and is routed there with all that a board
has besides the core."""
