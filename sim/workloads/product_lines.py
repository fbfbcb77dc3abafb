"""The matrix products of an estimate, a line each: as SCALE-Sim takes them, and their costs here.

Lines are numbered from 0, as SCALE-Sim numbers them (``LayerID`` of its reports), so that both can
be joined by number, and those of others, like ZigZag, by name.
"""

import re
from collections import Counter
from dataclasses import dataclass, replace

from golden.core.isa import Opcode

from ..estimation.costs import Estimate
from ..estimation.program_costs import ProgramEstimate
from ..estimation.workload import Workload

HEADER = "Layer, M, N, K,"
"""First line of a topology of matrix products."""


@dataclass(frozen=True, slots=True)
class ProductLine:
    """An (m, k) x (k, n) product.

    Attributes
    ----------
    name
        Of its layer, and what tells it apart from others: no two are the same.
    bits
        Mode of the array, like ``w4a8``; empty where it is not known.
    cycles, sram_bytes, dram_bytes, energy_pj
        Its cost; None where there is none. Costs of products that are estimated together are
        shared out evenly, and add up.
    """

    name: str
    m: int
    n: int
    k: int
    bits: str = ""
    cycles: int | None = None
    sram_bytes: int | None = None
    dram_bytes: int | None = None
    energy_pj: float | None = None

    def as_dict(self, number: int) -> dict:
        """Return the line with its number, multiply-accumulates among its columns."""
        return {"LayerID": number, "name": self.name, "M": self.m, "N": self.n, "K": self.k,
                "macs": self.m * self.n * self.k, "bits": self.bits, "cycles": self.cycles,
                "sram_bytes": self.sram_bytes, "dram_bytes": self.dram_bytes,
                "energy_pj": self.energy_pj}


def product_lines(found: ProgramEstimate | Estimate | Workload) -> list[ProductLine]:
    """Return the products of an estimate in order, every head by itself."""
    if isinstance(found, ProgramEstimate):
        lines = _of_program(found)
    elif isinstance(found, Estimate):
        lines = _of_layers(found)
    else:
        lines = [ProductLine(_named(op.name, op.role), op.m, op.n, op.k)
                 for op in found.products for _ in range(op.count)]
    return _told_apart(lines)


def topology(lines: list[ProductLine]) -> str:
    """Return products as a topology of SCALE-Sim, to be read with ``-i gemm``."""
    return "".join(f"{line}\n" for line in (
        HEADER, *(f"{one.name}, {one.m}, {one.n}, {one.k}," for one in lines)))


def _of_program(found: ProgramEstimate) -> list[ProductLine]:
    return [ProductLine(row.name, op.m, op.n, op.k, op.mode_of.value, row.cycles, row.traffic.sram,
                        row.traffic.dram, row.energy.total)
            for row, step in zip(found.costs, found.timing.steps, strict=True)
            if (op := step.instruction).opcode is Opcode.GEMM]


def _of_layers(found: Estimate) -> list[ProductLine]:
    lines = []
    for layer in found.layers:
        if layer.kind != "product":
            continue
        m, k, n = layer.shape
        shares = [_shared(total, layer.count) for total in (
            layer.cycles, layer.traffic.sram, layer.traffic.dram)]
        lines += [ProductLine(_named(layer.name, layer.role), m, n, k, layer.mode.value, *costs,
                              layer.energy.total / layer.count)
                  for costs in zip(*shares, strict=True)]
    return lines


def _shared(total: int, count: int) -> list[int]:
    """Return whole parts of a total, as equal as can be."""
    return [total // count + (number < total % count) for number in range(count)]


def _named(name: str, role: str) -> str:
    """Return the name of a product: those of attention have that of their module, and a role."""
    return name if name.endswith(role) or "." in role else f"{name}.{role}"


def _told_apart(lines: list[ProductLine]) -> list[ProductLine]:
    """Return lines with names that a topology can have, numbered where they are the same."""
    names = [re.sub(r"[\s,\"]+", "_", line.name) for line in lines]
    count, seen = Counter(names), Counter()
    made, taken = [], set(names)
    for line, name in zip(lines, names, strict=True):
        own = name
        while count[name] > 1 and own in taken:
            own = f"{name}.{seen[name]}"
            seen[name] += 1
        taken.add(own)
        made.append(replace(line, name=own))
    return made
