"""How a network larger than the scratchpad is gone through: what is done in blocks of tokens, and
what is kept in external memory meanwhile.

Every row of a matrix is computed as without a plan, and a word that is stored and loaded again is
the same: a plan changes cycles, and no number.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.core.isa import Opcode
from golden.core.program import Program, Region
from golden.network.network import Network
from golden.network.precision import HEAD

PHASES = ("patches", "attention", "mlp")
"""Parts of a network of which a plan says in how many blocks they are done."""

STORED = ("heads", "residual", "normed")
"""What a plan can keep in external memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Choices for a network.

    Attributes
    ----------
    patches
        Blocks of rows of patches in which the image is embedded.
    attention
        Blocks of queries of a head, for each of which scores, softmax and mixing are done.
    mlp
        Blocks of tokens that go through an MLP; with `residual` through everything that takes the
        residual stream. The weights come once for each.
    heads
        What attention gives is kept in external memory, until all heads are done.
    residual
        The residual stream is kept in external memory, and a block of it loaded at a time.
    normed
        So is what the LayerNorm before attention gives: blocks of it are loaded for each head,
        once for keys and values, once for queries.
    ahead
        What the LayerNorm before attention gives is made of each block of the residual stream that
        leaves the MLP before, so that it need not be loaded once more.
    """

    patches: int = 1
    attention: int = 1
    mlp: int = 1
    heads: bool = False
    residual: bool = False
    normed: bool = False
    ahead: bool = False

    @property
    def stored(self) -> tuple[str, ...]:
        """Names of what is kept in external memory."""
        return tuple(name for name in STORED if getattr(self, name))


def tile(network: Network, config: AcceleratorConfig) -> int:
    """Return the tokens that blocks have a multiple of: those of the tallest tile of the blocks'
    products."""
    modes = [mode for one in network.precision.each
             for mode in (one.mode, one.score_mode, one.value_mode)]
    return max(config.tile_rows(mode) for mode in (*modes, HEAD.mode))


def blocks(rows: int, count: int, unit: int) -> Iterator[tuple[int, int]]:
    """Yield first row and rows of each of `count` blocks or fewer, all but the last of as many
    whole units."""
    units = -(-rows // unit)
    each = -(-units // count) * unit
    for first in range(0, rows, each):
        yield first, min(each, rows - first)


def counts(phase: str, network: Network, config: AcceleratorConfig) -> list[int]:
    """Return the numbers of blocks that there can be in a phase, rising from 1."""
    shape = network.shape
    rows, unit = ((shape.grid, 1) if phase == "patches"
                  else (shape.tokens, tile(network, config)))
    return sorted({sum(1 for _ in blocks(rows, count, unit))
                   for count in range(1, -(-rows // unit) + 1)})


def finer(plan: Plan, phase: str, network: Network, config: AcceleratorConfig) -> Plan | None:
    """Return the plan with twice the blocks in a phase, or the next number that there can be, up to
    the most; nothing where there cannot be more.
    """
    each = counts(phase, network, config)
    present = getattr(plan, phase)
    more = next((count for count in each if count >= 2 * present), each[-1])
    return replace(plan, **{phase: more}) if more > present else None


def kinds(network: Network, config: AcceleratorConfig) -> list[Plan]:
    """Return the plans to begin with, one for each choice of what is stored."""
    # A head's part of what the projection takes must begin in the same bank wherever it lies.
    apart = network.shape.head_dim // 2 % config.rows == 0
    tiles = network.shape.dim // 2 % config.rows == 0  # and so must each tile of the whole
    choices = ({"residual": True}, {"residual": True, "ahead": True},
               {"residual": True, "normed": True})
    if network.shape.prefix:  # the product of patches begins one row before them
        choices = ({}, *choices)
    return [Plan(heads=heads, **choice) for choice in choices for heads in (False, True)
            if (apart or not heads) and (tiles or "normed" not in choice)]


def described(plan: Plan, program: Program, regions: dict[str, Region]) -> dict:
    """Return a plan, and the bytes that a program of it moves for what it stores in some of the
    regions: JSON values.
    """
    return {**asdict(plan), **moved(program, [regions[name] for name in plan.stored])}


def moved(program: Program, kept: list[Region]) -> dict[str, int]:
    """Return the bytes that a program stores to, and loads from, regions."""
    found = {Opcode.STORE: 0, Opcode.LOAD: 0}
    for _, op in program.instructions():
        if op.opcode in found and any(region.address <= op.address < region.address + region.size
                                      for region in kept):
            found[op.opcode] += op.words * program.config.word_bytes
    return {"stored_bytes": found[Opcode.STORE], "loaded_bytes": found[Opcode.LOAD]}


def plan_line(about: dict) -> str:
    """Return what :func:`described` gives as one line."""
    counts = {name: np.atleast_1d(about.get(name, 1)).tolist() for name in (*PHASES, "merge")}
    blocks = ", ".join(f"{name} in {', '.join(map(str, each))} blocks"
                       for name, each in counts.items() if max(each) > 1)
    kept = " and ".join(name for name in STORED if about.get(name))
    line = blocks or "no blocks"
    if kept:
        line += (f"; {kept} in external memory: {about['stored_bytes'] / 1e6:,.2f} MB stored, "
                 f"{about['loaded_bytes'] / 1e6:,.2f} MB loaded")
    if about.get("ahead"):
        line += "; LayerNorm of the next block with the MLP"
    return line
