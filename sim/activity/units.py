"""Units of a core by the instances of its RTL, kinds of instructions, and which of both say how
active the operations of the table of energies are.
"""

from collections.abc import Callable
from dataclasses import dataclass

from golden.core.isa import Instruction, Opcode

UNITS = {
    "multipliers": ("product_path.array.pe_",),
    "array edge, drain": ("product_path.array",),
    "operand feed": ("product_path",),
    "requantizer": ("result_path.epilogue.requant", "result_path.epilogue.rescale"),
    "bias, residual": ("result_path.epilogue.sums",),
    "GELU": ("result_path.epilogue.gelu",),
    "LayerNorm": ("row_path.layernorm",),
    "softmax": ("row_path.softmax",),
    "row store, reader": ("row_path",),
    "range unit": ("prediction.range_unit",),
    "scale unit": ("prediction.scale_unit",),
    "scratchpad ports": ("scratchpad", "memory_side.ports"),
    "DMA": ("memory_side",),
    "rest": ("",),
}
"""Beginnings of the paths of instances below the top module; the first unit with one that fits has
the instance, with all that is in it. `rest` is control, constants and the stream of the program."""


def unit_of(path: str) -> str:
    """Return the unit that an instance belongs to, by its path below the top module."""
    return next(unit for unit, starts in UNITS.items() if any(map(path.startswith, starts)))


def kind_of(op: Instruction) -> str:
    """Return the kind of an instruction: opcode, of products the mode, and GELU."""
    if op.opcode is not Opcode.GEMM:
        return op.opcode.name
    return f"GEMM {op.mode_of.value}" + (" gelu" if op.gelu else "")


@dataclass(frozen=True, slots=True)
class Measured:
    """What says how active an operation of the table of energies is.

    Attributes
    ----------
    units
        Whose toggles are counted.
    during
        In which instructions.
    """

    units: tuple[str, ...]
    during: Callable[[Instruction], bool]


def _gemm(op: Instruction) -> bool:
    return op.opcode is Opcode.GEMM


CONSTANTS = {
    **{f"mac {mode}": Measured(("multipliers",), lambda op, mode=mode: (
        _gemm(op) and op.mode_of.value == mode)) for mode in ("w8a8", "w4a8", "w4a4")},
    "requantize": Measured(("requantizer",), _gemm),
    "add": Measured(("bias, residual",), lambda op: bool(_gemm(op) and op.residual)),
    "function": Measured(("GELU",), lambda op: bool(_gemm(op) and op.gelu)),
    "vector pass": Measured(("LayerNorm", "softmax", "multipliers"), lambda op: op.opcode in (
        Opcode.NORM, Opcode.SOFTMAX)),
    "watch": Measured(("range unit",), lambda op: bool(_gemm(op) and op.tap)),
    "scale mac": Measured(("scale unit",), lambda op: op.opcode is Opcode.PREDICT),
}
"""By name of the constant. Energies of memories are not among them: what is published is an access,
whatever it carries."""
