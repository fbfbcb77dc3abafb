"""How the hardware cuts a matrix product into tiles: their order, and their cost."""

from collections.abc import Iterator

from ..common.checks import integer
from ..common.config import CORES, AcceleratorConfig
from ..common.formats import Mode

FILL = 10
"""Cycles from the last operand beat of a tile to its first result beat."""

SHORTEST = 5
"""Cycles of the shortest tile: its sums must have arrived before the next one may end."""

_DEFAULT = CORES["8x16"]


def tiles(m: int, n: int, mode: Mode,
          config: AcceleratorConfig = _DEFAULT) -> Iterator[tuple[int, int]]:
    """First row and column of each tile of an (m, n) result, in the order they are computed.

    Columns of tiles are outermost, so that a tile's weights serve all rows before the next ones are
    fetched. Tiles at the edges are computed whole; what lies beyond the result is dropped.
    """
    rows = range(0, integer("m", m, 1), config.tile_rows(mode))
    cols = range(0, integer("n", n, 1), config.tile_cols(mode))
    return ((row, col) for col in cols for row in rows)


def drain_cycles(mode: Mode, config: AcceleratorConfig = _DEFAULT) -> int:
    """Cycles in which the results of one tile leave the array."""
    return config.tile_rows(mode) * config.tile_cols(mode) // config.lanes


def gemm_cycles(m: int, k: int, n: int, mode: Mode,
                config: AcceleratorConfig = _DEFAULT) -> int:
    """Cycles from the first operand beat of an (m, k) x (k, n) product to its last result beat.

    Both included, with operands always there and results always taken. A tile takes `k` cycles,
    :data:`SHORTEST` at least, or as long as the tile before needs to drain; the last one drains
    alone.
    """
    for name, size in (("m", m), ("n", n)):
        integer(name, size, 1)
    integer("k", k, 1, config.max_k)
    drain = drain_cycles(mode, config)
    count = -(-m // config.tile_rows(mode)) * -(-n // config.tile_cols(mode))
    return (count - 1) * max(k, drain, SHORTEST) + k + FILL - 1 + drain


def utilisation(m: int, k: int, n: int, mode: Mode,
                config: AcceleratorConfig = _DEFAULT) -> float:
    """Multiply-accumulates of a product over those the array could do in the same cycles, 0..1."""
    peak = config.multipliers * mode.macs * gemm_cycles(m, k, n, mode, config)
    return m * k * n / peak
