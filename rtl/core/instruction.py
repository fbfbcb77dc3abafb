"""Instructions as signals: their fields, what is being done with one, and which one it is."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, enum

from golden.core.isa import FIELDS, Opcode

from ..common.shapes import shape_of

__all__ = ["Phase", "decoded", "instruction_layout"]

instruction_layout = data.StructLayout({name: shape_of(fmt) for name, fmt in FIELDS.items()})
"""An instruction, as :mod:`golden.core.isa` encodes it."""


class Phase(enum.Enum, shape=3):
    """What the core is doing."""

    IDLE = 0
    FETCH = 1
    """Taking an instruction, and adding up its exponents."""
    CONSTANTS = 2
    """Taking the constants of SCALES, TABLE, NORM, SOFTMAX, before anything else."""
    RUN = 3
    """All the rest of an instruction."""
    DRAIN = 4
    """Waiting for responses that are still to come, at the end."""


def decoded(m: Module, instruction: data.View, *opcodes: Opcode) -> Signal:
    """Whether an instruction is one of some, out of a register: a cycle after the instruction is
    there, which is earlier than its first cycle of CONSTANTS or RUN.
    """
    # Tools keep a register of its own for each unit that asks.
    found = Signal(name="is_" + "_or_".join(opcode.name.lower() for opcode in opcodes),
                   attrs={"keep": 1})
    m.d.sync += found.eq(instruction.opcode.matches(*opcodes))
    return found
