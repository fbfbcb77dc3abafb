"""A place in the scratchpad for each matrix: those that are needed together, beside each other."""

from golden.common.config import AcceleratorConfig

from .builder import Matrix
from .limits import DoesNotFit


def allocate(matrices: list[Matrix], config: AcceleratorConfig) -> None:
    """Give each matrix the lowest place that is free while it is needed and a multiple of its unit.

    Raises
    ------
    DoesNotFit
        If the scratchpad is too small.
    """
    placed: list[Matrix] = []
    for matrix in sorted(matrices, key=lambda matrix: (matrix.first, -matrix.last)):
        taken = sorted((other.address, other.address + other.words) for other in placed
                       if other.first <= matrix.last and matrix.first <= other.last)
        matrix.address = 0
        for start, end in taken:
            if matrix.address + matrix.words <= start:
                break
            matrix.address = max(matrix.address, -(-end // matrix.unit) * matrix.unit)
        placed.append(matrix)
    highest = max(placed, key=lambda matrix: matrix.address + matrix.words)
    need = -(-(highest.address + highest.words) * config.word_bytes // 1024)
    if need > config.sram_kib:
        raise DoesNotFit(f"the scratchpad must have {need} KiB for this network, and has "
                         f"{config.sram_kib}: {need - config.sram_kib} KiB are missing for "
                         f"{highest.name} beside what else is needed then", need, highest.phase)
