"""Energy per operation on a chip: a table of constants, each with unit, source and status.

Dynamic energy of arithmetic, memories and external memory of an ASIC: as published, for random
operands, and with the activity that units of the RTL have on images (:mod:`sim.activity`,
``docs/energy.md``). Clock tree and leakage are ranges of what chips take, control and wires between
units are not modelled. For comparison, ITA (Islamoglu et al., ISLPED 2023) reports 16.9
TOPS/W in 22 nm, that is 0.118 pJ for a multiply-accumulate and all that belongs to it on that chip;
the bare arithmetic is 0.072 pJ here. FPGAs take many times as much.
"""

import json
import math
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from golden.common.formats import Mode

HOROWITZ = "Horowitz, ISSCC 2014, 45 nm, 0.9 V"
JOUPPI = "after Jouppi et al., ISCA 2021, 7 nm; second-hand, not checked against the paper"
STILLMAKER = "Stillmaker and Baas, Integration 58, 2017"
LPDDR4 = "LPDDR4 in Accelergy's DRAM table"
KAWAGUCHI = "Kawaguchi and Sakurai, IEEE JSSC 33(5), 1998: clock, 20 to 45 % of a chip's power"
GUESSED = "no source: from little, cool and slow, to much, hot and fast"
DRAM_RANGE = (4.0, 14.0)
"""Smallest and largest published figure for LPDDR memories, in pJ/bit."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A number with its unit, where it comes from, and how far to trust it.

    `status`: ``cited`` (printed in the source), ``derived`` (by arithmetic from cited ones) or
    ``estimate``.
    """

    value: float
    unit: str
    source: str
    status: str


CLOCK_TREE = (Constant(0.20, "of the chip's power", KAWAGUCHI, "cited"),
              Constant(0.45, "of the chip's power", KAWAGUCHI, "cited"))
LEAKAGE = (Constant(0.05, "of the chip's power", GUESSED, "estimate"),
           Constant(0.25, "of the chip's power", GUESSED, "estimate"))
"""The smallest and the largest share, external memory not counted."""

ACTIVITY = Path(__file__).with_name("activity.json")
"""What ``python -m sim.activity`` has measured: its command is in ``docs/energy.md``."""


@cache
def measured_factors() -> dict[str, float]:
    """Return how active units are on images, beside random operands, by name of the constant."""
    measured = json.loads(ACTIVITY.read_text())
    return {name: one["factor"] for name, one in measured["constants"].items()}


@dataclass(frozen=True, slots=True)
class Node:
    """What is published about a process: integer arithmetic and SRAM, and what scales it.

    Arithmetic in pJ: addition of 8 and 32 bits, multiplication of 8 and 32 bits. SRAM in pJ per 64
    bits for 8 KiB, 32 KiB and 1 MiB.
    """

    name: str
    add8: float
    add32: float
    mul8: float
    mul32: float
    sram: tuple[float, float, float]
    source: str
    status: str


_SRAM_KIB = (8, 32, 1024)
_HOROWITZ = Node("45nm", 0.03, 0.1, 0.2, 3.1, (10.0, 20.0, 100.0), HOROWITZ, "cited")
_JOUPPI = Node("7nm", 0.007, 0.03, 0.07, 1.48, (7.5, 8.5, 14.0), JOUPPI, "estimate")

# Energy of a gate at Vdd: a * Vdd**2 + b * Vdd + c, relative; coefficients of Stillmaker and Baas.
_GATE_ENERGY = {45: (1.103, -0.362, 0.2767), 32: (0.9559, -0.7823, 0.471),
                20: (0.373, -0.1582, 0.04104)}


def _gate_energy(node: float, vdd: float) -> float:
    """Relative energy of a gate, linear in the node between the published ones."""
    def published(size):
        a, b, c = _GATE_ENERGY[size]
        return a * vdd * vdd + b * vdd + c

    upper = min(size for size in _GATE_ENERGY if size >= node)
    lower = max(size for size in _GATE_ENERGY if size <= node)
    share = (node - lower) / (upper - lower) if upper > lower else 0.0
    return published(lower) + share * (published(upper) - published(lower))


def _scaled(nanometres: int, vdd: float) -> Node:
    """45 nm scaled by the energy of a gate."""
    factor = _gate_energy(nanometres, vdd) / _gate_energy(45, 0.9)
    base = _HOROWITZ
    return Node(f"{nanometres}nm", base.add8 * factor, base.add32 * factor, base.mul8 * factor,
                base.mul32 * factor, tuple(energy * factor for energy in base.sram),
                f"{HOROWITZ}; times {factor:.3f} for {nanometres} nm at {vdd} V ({STILLMAKER})",
                "estimate")


NODES = {node.name: node for node in (_HOROWITZ, _scaled(28, 0.9), _scaled(22, 0.8), _JOUPPI)}
"""Processes by name. 28 and 22 nm are scaled by a model of gates alone; at 22 nm it gives less than
the figures for 7 nm, which come from a whole design."""


@dataclass(frozen=True)
class EnergyTable:
    """Energy per operation in a process, in pJ.

    Attributes
    ----------
    measured
        Whether arithmetic takes what it does at the activity of real operands: the published energy
        times :func:`measured_factors`. Memories take what is published either way.
    """

    node: Node
    measured: bool = False

    @classmethod
    def of(cls, name: str, *, measured: bool = False) -> "EnergyTable":
        """Return the table of a process by name.

        Raises
        ------
        ValueError
            If there is no such process in the table.
        """
        if name not in NODES:
            raise ValueError(f"tech must be one of {', '.join(NODES)}, not {name!r}")
        return cls(NODES[name], measured)

    @cached_property
    def constants(self) -> dict[str, Constant]:
        """Every constant that is used, by name."""
        node = self.node

        def logic(value, status, how):
            return Constant(value, "pJ", f"{how}; {node.source}",
                            "estimate" if node.status == "estimate" else status)

        mul16 = node.mul32 / 4
        nibbles = "multiplier taken as bits x bits of the 8-bit one, and a 32-bit addition"
        table = {
            "mac w8a8": logic(node.mul8 + node.add32, "derived",
                              "8-bit multiplication and 32-bit addition"),
            "mac w4a8": logic(node.mul8 / 2 + node.add32, "estimate", nibbles),
            "mac w4a4": logic(node.mul8 / 4 + node.add32, "estimate", nibbles),
            "requantize": logic(node.mul32 / 2 + node.add32, "estimate",
                                "32 x 16 bit multiplication as half of 32 x 32, 32-bit addition"),
            "add": logic(node.add32, "derived", "residual: 32-bit addition"),
            "function": logic(mul16 + 2 * node.add32, "estimate",
                              "interpolated table: 16-bit multiplication, two 32-bit additions"),
            "vector pass": logic(mul16 + node.add32, "estimate",
                                 "16-bit multiplication and 32-bit addition per element and pass"),
            "watch": logic(2 * node.add32, "estimate",
                           "range unit: two comparisons, as 32-bit additions"),
            "scale mac": logic(mul16 + 2 * node.add32, "estimate",
                               "scale unit: 16-bit multiplication, 48-bit addition as two of 32"),
            "dram": Constant(8.0, "pJ/bit", LPDDR4, "cited"),
        }
        for kib, energy in zip(_SRAM_KIB, node.sram, strict=True):
            table[f"sram {kib} KiB"] = Constant(energy, "pJ/64 bit", node.source, node.status)
        if self.measured:
            for name, factor in measured_factors().items():
                one = table[name]
                table[name] = Constant(
                    one.value * factor, one.unit,
                    f"{one.source}; times {factor:.3f}, the activity on images beside random "
                    "operands, measured in the RTL", "estimate")
        return table

    def __getitem__(self, name: str) -> float:
        return self.constants[name].value

    def mac(self, mode: Mode) -> float:
        """Energy of a multiply-accumulate."""
        return self[f"mac {mode.value}"]

    def sram_byte(self, kib: float) -> float:
        """Energy of a byte from or to a memory of `kib` KiB.

        A power of the capacity between the published sizes, and beyond them as between the nearest.
        """
        energies = self.node.sram
        low = 0 if kib < _SRAM_KIB[1] else 1
        sizes = _SRAM_KIB[low:low + 2]
        slope = math.log(energies[low + 1] / energies[low]) / math.log(sizes[1] / sizes[0])
        return energies[low] * (kib / sizes[0]) ** slope / 8

    @property
    def dram_byte(self) -> float:
        """Energy of a byte from or to external memory."""
        return 8 * self["dram"]


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy in pJ by where it goes."""

    mac: float = 0.0
    sram: float = 0.0
    dram: float = 0.0
    vector: float = 0.0  # requantization, element and vector operations
    scale: float = 0.0  # range unit and scale unit, their memory traffic included

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(self.mac + other.mac, self.sram + other.sram, self.dram + other.dram,
                      self.vector + other.vector, self.scale + other.scale)

    @property
    def total(self) -> float:
        """Sum of the parts."""
        return self.mac + self.sram + self.dram + self.vector + self.scale


@dataclass(frozen=True, slots=True)
class Chip:
    """Energy of a chip whose operations and memories take some, in pJ: the least and the most.

    Attributes
    ----------
    clock, leakage
        Of the clock tree, and what leaks.
    total
        All of it, with that of operations and memories.
    """

    clock: tuple[float, float]
    leakage: tuple[float, float]
    total: tuple[float, float]

    @classmethod
    def around(cls, dynamic: float) -> "Chip":
        """Return that of a chip, from the energy of its operations and memories alone.

        Clock tree and leakage are shares of the whole: ``total = dynamic / (1 - clock - leakage)``.
        """
        shares = [(clock.value, leakage.value)
                  for clock, leakage in zip(CLOCK_TREE, LEAKAGE, strict=True)]
        low, high = (dynamic / (1 - clock - leakage) for clock, leakage in shares)
        return cls((low * shares[0][0], high * shares[1][0]),
                   (low * shares[0][1], high * shares[1][1]), (low, high))
