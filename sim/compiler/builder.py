"""A program in the making: instructions one after the other, and the matrices they work on."""

from dataclasses import dataclass, field

from golden.common.config import AcceleratorConfig
from golden.core import isa
from golden.core.isa import Layout, Opcode
from golden.memory.scratchpad import stride_of, words_of


@dataclass(eq=False)
class Matrix:
    """A matrix of the scratchpad.

    Attributes
    ----------
    name
        Of the tensor, like ``3.q.0``.
    layout, rows, cols, signed, stride
        How it lies, as :mod:`golden.memory.scratchpad` takes it.
    words
        From its address to its end.
    first, written, last
        Indexes of the first and the last instruction that write it, and of the last that needs it;
        -1 before there is one.
    address
        Its first word, once :func:`sim.compiler.allocation.allocate` has given it one.
    versions
        What lies there from instruction to instruction, where it is changed in place.
    """

    name: str
    layout: Layout
    rows: int
    cols: int
    signed: bool
    stride: int
    words: int
    first: int = -1
    written: int = -1
    last: int = -1
    address: int = 0
    versions: list["Matrix"] = field(default_factory=list)


@dataclass(eq=False)
class Step:
    """An instruction whose addresses are still matrices: (matrix, words behind its beginning)."""

    opcode: Opcode
    fields: dict
    places: dict[str, tuple[Matrix, int]]
    payload: bytes


class Builder:
    """Takes instructions in order, and notes from when to when each matrix is needed."""

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        self.steps: list[Step] = []
        self.matrices: list[Matrix] = []

    def matrix(self, name: str, layout: Layout, rows: int, cols: int, *, signed=True) -> Matrix:
        """Return a new matrix, which has no address yet."""
        stride = stride_of(layout, rows, cols, self.config)
        made = Matrix(name, layout, rows, cols, signed, stride,
                      words_of(layout, rows, cols, stride, self.config))
        self.matrices.append(made)
        return made

    def emit(self, opcode: Opcode, payload: bytes = b"", reads=None, writes=None, **fields) -> None:
        """Add an instruction; `reads` and `writes` have (matrix, offset) by name of the field."""
        index = len(self.steps)
        for name, (matrix, _) in (reads or {}).items():
            matrix.last = index
            if name != "weights_address" and name != "residual_address":
                fields["source_stride"] = matrix.stride
            else:
                fields[name.replace("address", "stride")] = matrix.stride
        for matrix, _ in (writes or {}).values():
            matrix.first = index if matrix.first < 0 else matrix.first
            matrix.written = matrix.last = index
            fields |= {"dest_stride": matrix.stride, "layout": matrix.layout}
        allowed = isa.fields_of(opcode)
        fields = {name: value for name, value in fields.items()
                  if name in allowed or not name.endswith(("_stride", "layout"))}
        self.steps.append(Step(opcode, fields, {**(reads or {}), **(writes or {})}, payload))

    def version(self, x: Matrix, name: str) -> None:
        """Give what the residual stream is now a name."""
        now = len(self.steps) - 1
        if x.versions:
            x.versions[-1].last = now
        x.versions.append(Matrix(name, x.layout, x.rows, x.cols, True, x.stride, x.words,
                                 now, now, now))
