"""What designs cost: each as its program has it, what they have in common done once.

Designs with the same core but for the scratchpad have the same program, compiled once for the
largest; its cycles depend on the memory and not on the scratchpad either. Energy per byte depends
on the scratchpad, and is counted for each.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import groupby

from golden.common.config import AcceleratorConfig
from golden.common.config_file import core_from_table
from golden.core.program import Program
from golden.cycles.memory_model import MemoryModel, SdramMemory
from golden.cycles.timing import Timing, timing
from golden.network.precision import parse
from golden.network.shape import VitShape

from ..cli import UserError, one_line
from ..common.code_digest import digest
from ..compiler import DoesNotFit, compile_network
from ..compiler.blank import blank_network, default_tap
from ..estimation.program_costs import ProgramEstimate, estimate_program
from .area import SYNTHESES, area_of
from .clock import PLACEMENTS, clock_of
from .grid import Design, memory_of


@dataclass(frozen=True)
class Setting:
    """What all designs of an exploration have in common.

    Attributes
    ----------
    model, shape
        Name and sizes of the network; no sizes where it cannot be compiled at all.
    reason
        Why not, then.
    base
        The core that a design changes.
    clock_mhz
        Of all designs; None: of each its own, as :func:`sim.exploration.clock.clock_of` says.
    tech
        As :func:`sim.estimation.program_costs.estimate_program` takes it.
    norm_pre
        Whether the network has a LayerNorm before its blocks.
    qk_norm
        Whether it has LayerNorms of queries and keys.
    """

    model: str
    shape: VitShape | None
    reason: str
    base: AcceleratorConfig
    clock_mhz: float | None
    tech: str
    norm_pre: bool = False
    qk_norm: bool = False

    def clock(self, config: AcceleratorConfig) -> float:
        """Clock of a design with this core, in MHz."""
        return clock_of(config) if self.clock_mhz is None else self.clock_mhz


Memory = MemoryModel | SdramMemory

ESTIMATED = ("cycles", "fps", "energy_mj", "array_busy", "array_utilisation", "sram_bytes",
             "dram_bytes", "scratchpad_kib", "mac_mj", "sram_mj", "dram_mj", "vector_mj",
             "scale_mj", "stall_cycles", "drain_cycles")
AREA = ("luts", "ffs", "multipliers", "block_rams")
"""Columns with numbers, None where a design has none."""


@lru_cache
def code() -> str:
    """Return the digest of the code that results depend on, and of what its models are fitted to.
    """
    whole = b"".join([digest("sim.exploration.evaluate").encode(), SYNTHESES.read_bytes(),
                      PLACEMENTS.read_bytes()])
    return hashlib.sha256(whole).hexdigest()


def tasks(wanted: Iterable[Design]) -> list[list[Design]]:
    """Return designs in groups that have work in common."""
    return [list(group) for _, group in groupby(wanted, lambda one: one.compiled_alike)]


def evaluate(setting: Setting, designs: list[Design], expected: str | None = None) -> list[dict]:
    """Return a row for each design of a group that is compiled alike.

    Parameters
    ----------
    expected
        Digest that :func:`code` must give, where this may be another machine.

    Returns
    -------
    list of dict
        The fields of the design; ``fits``, and in ``reason`` why it does not; then
        :data:`ESTIMATED` and :data:`AREA`. The area is that of the core, whatever runs on it.

    Raises
    ------
    UserError
        If this is other code than expected.
    """
    if expected not in (None, code()):
        raise UserError("a worker has another version of this program, or the program was changed "
                        "meanwhile; start again")
    largest = max(designs, key=lambda design: design.sram_kib)
    made, reason, need = None, setting.reason, 0
    if setting.shape is not None:
        try:
            made = _compiled(setting, largest)
            need = -(-made.scratchpad_bytes // 1024)
        except DoesNotFit as error:
            reason, need = one_line(error), error.sram_kib or 0
        except ValueError as error:
            reason = one_line(error)
    times: dict[Memory, Timing] = {}
    return [_row(setting, design, made, need, reason, times) for design in designs]


def _compiled(setting: Setting, design: Design) -> Program:
    config = core_from_table(design.core, setting.base)
    tap = default_tap(setting.shape, config) if design.scales == "predicted" else None
    network = blank_network(setting.shape, parse(design.bits), tap,
                            norm_pre=setting.norm_pre, qk_norm=setting.qk_norm)
    return compile_network(network, config, {"model": setting.model}, jit=design.scales == "jit",
                           whole=True)


def _row(setting: Setting, design: Design, made: Program | None, need: int, reason: str,
         times: dict[Memory, Timing]) -> dict:
    area, estimated, clock = dict.fromkeys(AREA), dict.fromkeys(ESTIMATED), setting.clock_mhz
    try:
        config = core_from_table(design.core, setting.base)
        area, clock = asdict(area_of(config)), setting.clock(config)
        if need > config.sram_kib:
            reason = (f"the scratchpad must have {need} KiB for this network, and has "
                      f"{config.sram_kib}")
        elif made is not None:
            estimated = _estimated(_timed(setting, replace(made, config=config), design, times))
    except ValueError as error:
        reason = one_line(error)
    fits = estimated["cycles"] is not None
    return {"model": setting.model, **asdict(design), "clock_mhz": clock,
            "tech": setting.tech, "fits": fits, "reason": "" if fits else reason, **estimated,
            **area}


def _timed(setting: Setting, program: Program, design: Design,
           times: dict[Memory, Timing]) -> ProgramEstimate:
    clock = setting.clock(program.config)
    memory = memory_of(design.memory, clock)
    if memory not in times:
        times[memory] = timing(program, memory)
    return estimate_program(program, memory, clock, setting.tech, times[memory])


def _estimated(found: ProgramEstimate) -> dict:
    energy = {f"{name}_mj": value / 1e9 for name, value in asdict(found.energy).items()}
    return {"cycles": found.cycles, "fps": found.fps, "energy_mj": found.energy.total / 1e9,
            "array_busy": found.busy, "array_utilisation": found.utilisation,
            "sram_bytes": found.traffic.sram, "dram_bytes": found.traffic.dram,
            "scratchpad_kib": -(-found.program.scratchpad_bytes // 1024), **energy,
            "stall_cycles": found.sum("weights"), "drain_cycles": found.sum("drain")}
