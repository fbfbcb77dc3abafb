"""What a compiled program costs a core: cycles to the cycle, bytes moved, energy.

Cycles are those of :mod:`golden.cycles.timing`, which the RTL takes. Bytes on chip follow from what
the parts of the core read and write; energies are those of :mod:`sim.estimation.energy`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from golden.core.isa import Instruction, Layout, Opcode, Path, Source
from golden.core.program import Program
from golden.core.rules import shape_of_predictor, spans
from golden.cycles.feed import header_words, load_words
from golden.cycles.memory_model import USUAL, MemoryModel, SdramMemory
from golden.cycles.timing import Step, Timing, timing
from golden.prediction.scale_cycles import multiply_accumulates

from ..compiler.cascade import SECOND
from .energy import Energy, EnergyTable
from .layer_names import layer_of, whole_of
from .traffic import Traffic

_OF_SCALES = frozenset({Opcode.PREDICT.name, Opcode.MEASURE.name, Opcode.QUANTIZE.name})


@dataclass(frozen=True, slots=True)
class InstructionCost:
    """Cost of an instruction, or of several.

    Attributes
    ----------
    kind
        Of the instruction, like ``GEMM``.
    name
        What it makes: a tensor of the program, like ``3.q.0``.
    count
        Instructions.
    cycles, array, weights, drain
        As in :class:`golden.cycles.timing.Step`: all cycles; those in which the array takes
        operands; and those of products in which it waits for them, or for room for results.
    macs
        Multiply-accumulates that the result needs: those of the row of zeros before an image's
        patches, and of what its pixels have beside colours, are computed, and cost energy, but are
        not counted.
    ideal
        Cycles in which the array could have done these.
    stages
        First blocks of stages, where there are any.
    """

    kind: str
    name: str
    count: int
    cycles: int
    array: int
    weights: int
    drain: int
    macs: int
    ideal: float
    traffic: Traffic
    energy: Energy
    stages: tuple[int, ...] = ()

    @property
    def layer(self) -> str:
        """Layer that it is a part of, as timm names it, like ``blocks.3.norm1``; may be empty."""
        return layer_of(self.kind, self.name, self.stages)

    def __add__(self, other: "InstructionCost") -> "InstructionCost":
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in (
            "count", "cycles", "array", "weights", "drain", "macs", "ideal", "traffic", "energy")})


@dataclass(frozen=True)
class ProgramEstimate:
    """Cost of one frame of a program."""

    program: Program
    memory: MemoryModel | SdramMemory
    clock_mhz: float
    tech: str
    costs: tuple[InstructionCost, ...]
    timing: Timing

    def sum(self, field: str) -> int:
        """Total of a field of the costs."""
        return sum(getattr(row, field) for row in self.costs)

    def grouped(self, key: Callable[[InstructionCost], tuple[str, str]]) -> list[InstructionCost]:
        """Rows of the same kind and name, as `key` says them, added up."""
        groups: dict[tuple[str, str], InstructionCost] = {}
        for row in self.costs:
            kind, name = key(row)
            row = replace(row, kind=kind, name=name)
            groups[kind, name] = groups[kind, name] + row if (kind, name) in groups else row
        return list(groups.values())

    @property
    def kinds(self) -> list[InstructionCost]:
        """By kind of instruction."""
        return self.grouped(lambda row: (row.kind, ""))

    @property
    def layers(self) -> list[InstructionCost]:
        """By tensor, heads and blocks of rows added up."""
        return self.grouped(lambda row: (row.kind, re.sub(r"(?<=[a-z])\.\d+$", "",
                                                          whole_of(row.name))))

    @property
    def roles(self) -> list[InstructionCost]:
        """By tensor, blocks and heads added up."""
        return self.grouped(lambda row: (row.kind, role_of(row.name)))

    @cached_property
    def cycles(self) -> int:
        """Cycles from the start of a frame to its end."""
        return self.sum("cycles")

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.clock_mhz * 1e6 / self.cycles

    @property
    def busy(self) -> float:
        """Share of the cycles in which the array takes operands, 0..1."""
        return self.sum("array") / self.cycles

    @property
    def utilisation(self) -> float:
        """Share of the multipliers' work that the results need, 0..1."""
        return self.sum("ideal") / self.cycles

    @property
    def scale_share(self) -> float:
        """Share of what scales cost in the cycles, 0..1: those of PREDICT, or of measuring and
        quantizing in passes of their own.
        """
        return sum(row.cycles for row in self.costs if row.kind in _OF_SCALES) / self.cycles

    @cached_property
    def energy(self) -> Energy:
        """Energy of a frame, in pJ."""
        return sum((row.energy for row in self.costs), Energy())

    @cached_property
    def measured_energy(self) -> Energy:
        """Energy of a frame at the activity of images, in pJ."""
        counter = _Counter(self.program, EnergyTable.of(self.tech, measured=True))
        return sum((counter.cost(index, step).energy
                    for index, step in enumerate(self.timing.steps)), Energy())

    @cached_property
    def traffic(self) -> Traffic:
        """Bytes moved for a frame."""
        return sum((row.traffic for row in self.costs), Traffic())


def role_of(name: str) -> str:
    """Return the name of a tensor without block, head and rows: ``q`` of ``3.q.0@64``, and
    ``second.q`` of ``second.3.q.0``.
    """
    second, rest = SECOND * name.startswith(SECOND), name.removeprefix(SECOND)
    return second + re.sub(r"^\d+\.|\.\d+$", "", whole_of(rest))


def estimate_program(program: Program, memory: MemoryModel | SdramMemory | None = None,
                     clock_mhz: float = 100.0, tech: str = "28nm",
                     timed: Timing | None = None) -> ProgramEstimate:
    """Return what a program costs.

    Parameters
    ----------
    program
        Compiled and verified.
    memory
        External memory; by default 20 cycles of latency, and as fast as the port.
    clock_mhz, tech
        Clock, and process of the energies, of :data:`sim.estimation.energy.NODES`.
    timed
        What the program takes with this memory, if that is known already.

    Raises
    ------
    ProgramError
        If the program would never end.
    ValueError
        If there is no such process.
    """
    memory = memory or MemoryModel(USUAL.latency)
    counter = _Counter(program, EnergyTable.of(tech))
    timed = timing(program, memory) if timed is None else timed
    costs = tuple(counter.cost(index, step) for index, step in enumerate(timed.steps))
    return ProgramEstimate(program, memory, clock_mhz, tech, costs, timed)


class _Counter:
    """Counts what instructions move and what that costs."""

    def __init__(self, program: Program, energies: EnergyTable):
        self._program, self._config, self._energies = program, program.config, energies
        self._name = ""
        self._stages = tuple(program.about.get("stages", ()))
        self._ends = [tensor.address + tensor.words(program.config) for tensor in program.tensors]
        self._patches: int | None = None  # where those of an image lie, while they do

    def cost(self, index: int, step: Step) -> InstructionCost:
        """Return the cost of an instruction, by its index."""
        op = step.instruction
        writes = spans(op, self._config)[1]
        if writes:
            self._name = self._tensor(index, op)
        name = {Opcode.SCALES: "scales", Opcode.TABLE: "table", Opcode.EXIT: "exit",
                Opcode.END: "end"}.get(op.opcode, self._name)
        macs, ideal, mac_pj = self._macs(index, op)
        for span in writes:
            if self._patches in range(span.address, span.address + span.words(self._config)):
                self._patches = None
        if op.opcode is Opcode.PATCHES:
            self._patches = op.dest
        traffic = self._traffic(op) + Traffic(dram=step.reads + step.writes)
        pj = {"dram": traffic.dram * self._energies.dram_byte, "sram": self._sram_pj(traffic)}
        if op.opcode is Opcode.PREDICT:
            pj = {"scale": sum(pj.values()) + self._predict_pj(op)}
        watched = op.tap or op.opcode is Opcode.MEASURE
        pj["scale"] = pj.get("scale", 0.0) + watched * op.m * op.n * self._energies["watch"]
        vector = self._vector_pj(op)
        if op.opcode in (Opcode.MEASURE, Opcode.QUANTIZE):  # a pass of its own
            pj, vector = {"scale": sum(pj.values()) + vector}, 0.0
        energy = Energy(mac=mac_pj, vector=vector, **pj)
        return InstructionCost(op.opcode.name, name, 1, step.cycles, step.array, step.weights,
                               step.drain, macs, ideal, traffic, energy, self._stages)

    def _tensor(self, index: int, op: Instruction) -> str:
        """Return the name of what an instruction makes."""
        for tensor, end in zip(self._program.tensors, self._ends, strict=True):
            if tensor.first <= index <= tensor.written and tensor.address <= op.dest < end:
                return tensor.name
        return op.opcode.name.lower()

    def _macs(self, index: int, op: Instruction) -> tuple[int, float, float]:
        """Return the multiply-accumulates of a product, their cycles and their energy."""
        if op.opcode is not Opcode.GEMM:
            return 0, 0.0, 0.0
        mode, computed = op.mode_of, op.m * op.k * op.n
        rows = self._program.about.get("needed", {}).get(str(index), op.m)
        macs = 0 if op.tap and op.k == 1 else rows * op.k * op.n  # that is for a tap to watch
        if op.source == self._patches:
            program = self._program
            macs = (op.m - 1) * (op.k // program.pixel_bytes * program.colours) * op.n
        return (macs, macs / mode.macs / self._config.multipliers,
                computed * self._energies.mac(mode))

    def _traffic(self, op: Instruction) -> Traffic:
        """Return the bytes moved on chip: scratchpad; ring and buffer of keys."""
        config = self._config
        written = sum((op.m or span.rows) * span.cols * Layout(span.layout).bits // 8
                      for span in spans(op, config)[1])
        if op.opcode is Opcode.GEMM:
            return self._product_traffic(op) + Traffic(written)
        read = sum(span.rows * -(-span.cols // config.lanes) * config.word_bytes
                   for span in spans(op, config)[0])
        return Traffic(written + read)

    def _product_traffic(self, op: Instruction) -> Traffic:
        config, mode, weights = self._config, op.mode_of, Source(op.weights)
        tiles = -(-op.m // config.tile_rows(mode))
        columns = -(-op.n // config.tile_cols(mode))
        words = tiles * columns * -(-op.k // 2)
        if op.residual:
            words += op.m * -(-op.n // config.lanes)
        held = op.k + (header_words(mode) if weights is Source.STREAM else 0)
        if weights is not Source.STREAM:
            words += columns * load_words(op.k, weights, config)[0]
        buffer = columns * config.cols * (2 * held + (tiles - 1) * op.k)  # written, then read
        return Traffic(words * config.word_bytes, buffer)

    def _sram_pj(self, traffic: Traffic) -> float:
        config = self._config
        buffer_kib = (config.stream_words + 2 * config.key_words) * config.cols / 1024
        return (traffic.scratchpad * self._energies.sram_byte(config.sram_kib)
                + traffic.buffer * self._energies.sram_byte(buffer_kib))

    def _vector_pj(self, op: Instruction) -> float:
        """Return the energy of requantization and of what rows pass."""
        pj, elements = self._energies, op.m * op.n
        if op.opcode is Opcode.NORM:
            return elements * (2 * pj["vector pass"] + pj["requantize"])
        if op.opcode is Opcode.SOFTMAX:
            return elements * (2 * pj["vector pass"] + pj["function"])
        if op.opcode is Opcode.QUANTIZE:
            return elements * (pj["requantize"] + (pj["function"] if op.gelu else 0.0))
        if op.opcode is not Opcode.GEMM:
            return 0.0
        site = op.path == Path.SITE
        each = (1 + site) * pj["requantize"] + op.residual * pj["add"] + (
            pj["function"] if op.gelu else 0.0)
        return elements * each

    def _predict_pj(self, op: Instruction) -> float:
        return (multiply_accumulates(shape_of_predictor(op))
                * self._energies["scale mac"])
