"""A place in the scratchpad for each matrix: those that are needed together, beside each other."""

from golden.common.config import AcceleratorConfig

from .builder import Matrix
from .limits import too_small


def allocate(matrices: list[Matrix], config: AcceleratorConfig) -> None:
    """Give each matrix the lowest place that is free while it is needed and a multiple of its unit.

    Raises
    ------
    DoesNotFit
        If the scratchpad is too small.
    """
    alive: list[Matrix] = []  # of those that have places
    ordered = sorted(matrices, key=lambda matrix: (matrix.first, -matrix.last))
    for matrix in ordered:
        alive = [other for other in alive if matrix.first <= other.last]
        taken = sorted((other.address, other.address + other.words) for other in alive)
        matrix.address = 0
        for start, end in taken:
            if matrix.address + matrix.words <= start:
                break
            matrix.address = max(matrix.address, -(-end // matrix.unit) * matrix.unit)
        alive.append(matrix)
    highest = max(ordered, key=lambda matrix: matrix.address + matrix.words)
    need = -(-(highest.address + highest.words) * config.word_bytes // 1024)
    if need > config.sram_kib:
        raise too_small(config, need, highest.name, highest.phase)
