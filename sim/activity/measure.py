"""Runs programs on the RTL and counts what toggles in which unit, instruction by instruction.

Counted are the signals that the source names, registers and wires, once a cycle: what glitches
within it is not seen, nor are clock and contents of memories. A signal that passes the ports of a
module counts in each module that names it.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.core.isa import Instruction, Opcode
from golden.core.program import Program

from ..cli import UserError
from ..harness.verilator import Windows, run
from .random_operands import random_program, shape_of
from .saif import nets
from .units import CONSTANTS, UNITS, kind_of, unit_of


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What toggled during an instruction.

    Attributes
    ----------
    op, cycles
        The instruction, and how long it took.
    weight
        How many instructions of the program it stands for.
    toggles : dict of int
        By unit.
    """

    op: Instruction
    cycles: int
    weight: float
    toggles: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What toggled in a run: samples, bits by unit, cycles of the whole run."""

    samples: tuple[Sample, ...]
    bits: dict[str, int]
    cycles: int


def count(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return bits and toggles by unit of the SAIF file of a window.

    Raises
    ------
    ValueError
        If it is not SAIF; says the line.
    """
    bits, toggles = dict.fromkeys(UNITS, 0), dict.fromkeys(UNITS, 0)
    scope, unit = None, ""
    for net in nets(path.read_text("ascii")):
        if net.scope is not scope:
            scope = net.scope
            unit = unit_of(".".join(scope[2:]))  # below TOP and the core
        if len(scope) > 1 and not net.in_array:
            bits[unit] += 1
            toggles[unit] += net.window_toggles
    return bits, toggles


def chosen(ops: list[Instruction], most: int, cycles: list[int] | None = None,
           longest: int | None = None) -> dict[int, float]:
    """Return the instructions that are looked at by index, and how many each stands for: of those
    alike, up to `most`, evenly from first to last.

    END is left out, and those that take more than `longest` of `cycles`.
    """
    alike = defaultdict(list)
    for index, op in enumerate(ops):
        if op.opcode is not Opcode.END and (longest is None or cycles[index] <= longest):
            alike[shape_of(op)].append(index)
    found = {}
    for indexes in alike.values():
        taken = min(most, len(indexes))
        for number in range(taken):
            found[indexes[(2 * number + 1) * len(indexes) // (2 * taken)]] = len(indexes) / taken
    return found


def measure(program: Program, pixels: np.ndarray | None, weights: dict[int, float],
            progress=None) -> Run:
    """Run a program on the RTL, and count during the instructions in `weights`, by index.

    Raises
    ------
    UserError
        If the core cannot be simulated, or does not come to its end.
    """
    ops = [op for _, op in program.instructions()]
    toggles: dict[int, dict[str, int]] = {}
    bits: dict[str, int] = {}

    def take(index: int, path: Path) -> None:
        try:
            found, toggles[index] = count(path)
        except ValueError as error:
            raise UserError(f"the activity of instruction {index} cannot be read: {error}"
                            ) from None
        bits.update(found)

    groups = [index if index in weights else -1 for index in range(len(ops))]
    result = run(program, pixels, windows=Windows(groups, take), progress=progress)
    if not result.ok:
        raise UserError(f"the core did not come to its end: {result.message}")
    samples = tuple(Sample(ops[index], result.instruction_cycles[index], weights[index], found)
                    for index, found in sorted(toggles.items()))
    return Run(samples, bits, result.cycles)


def measure_random(program: Program, weights: dict[int, float], seed: int = 0,
                   progress=None) -> Run:
    """Run what is like the instructions in `weights` on random operands, see
    :mod:`.random_operands`.
    """
    made, like = random_program(program, seed, weights)
    weights = {index: 1.0 for index, op in enumerate(like) if op is not None}
    found = measure(made, None, weights, progress)
    return Run(tuple(Sample(like[index], sample.cycles, 1.0, sample.toggles)
                     for index, sample in zip(weights, found.samples, strict=True)),
               found.bits, found.cycles)


def kinds(runs: list[Run]) -> list[dict]:
    """Return a row for each kind of instruction and unit: toggles per cycle, and per bit."""
    cycles: dict[str, float] = defaultdict(float)
    toggles: dict[tuple[str, str], float] = defaultdict(float)
    for one in runs:
        for sample in one.samples:
            kind = kind_of(sample.op)
            cycles[kind] += sample.weight * sample.cycles
            for unit, number in sample.toggles.items():
                toggles[kind, unit] += sample.weight * number
    return [{"kind": kind, "unit": unit, "bits": runs[0].bits[unit],
             "toggles_per_cycle": toggles[kind, unit] / cycles[kind],
             "activity": toggles[kind, unit] / cycles[kind] / max(runs[0].bits[unit], 1)}
            for kind in cycles for unit in UNITS]


def factors(pairs: list[tuple[list[Run], Run]]) -> dict[str, dict]:
    """Return of each constant of the table of energies that was measured how often its units
    toggled on real operands, how often the same instructions did on random ones, and the ratio.

    Parameters
    ----------
    pairs
        Of programs: runs on images, and the run on random operands.
    """
    found = {}
    for name, measured in CONSTANTS.items():
        real = random = 0.0
        instructions = 0
        for runs, reference in pairs:
            rates = {shape_of(sample.op): sum(sample.toggles[unit] for unit in measured.units)
                     for sample in reference.samples if measured.during(sample.op)}
            for sample in (sample for one in runs for sample in one.samples):
                if measured.during(sample.op) and shape_of(sample.op) in rates:
                    real += sample.weight * sum(sample.toggles[unit] for unit in measured.units)
                    random += sample.weight * rates[shape_of(sample.op)]
                    instructions += 1
        if random:
            found[name] = {"factor": real / random, "real_toggles": round(real),
                           "random_toggles": round(random), "samples": instructions}
    return found
