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
    unit
        Words of which its address is a multiple.
    phase
        Part of a plan that it belongs to, a field of :class:`sim.compiler.plan.Plan`; may be empty.
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
    unit: int = 1
    phase: str = ""

    def row(self, row: int, config: AcceleratorConfig) -> tuple["Matrix", int]:
        """Return the place from a row on, of operands the first one of a tile."""
        if self.layout is Layout.WIDE:
            return self, row * self.stride
        tile, rest = divmod(row, config.rows * (8 // self.layout.bits))
        assert not rest
        return self, tile * self.stride


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
        self.phase = ""
        self.needed: dict[int, int] = {}

    def matrix(self, name: str, layout: Layout, rows: int, cols: int, *, signed=True,
               unit: int = 1) -> Matrix:
        """Return a new matrix of the phase that it is now, which has no address yet."""
        stride = stride_of(layout, rows, cols, self.config)
        made = Matrix(name, layout, rows, cols, signed, stride,
                      words_of(layout, rows, cols, stride, self.config), unit=unit,
                      phase=self.phase)
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

    def need(self, rows: int, count: int = 1) -> None:
        """Note that of each of the last instructions no more rows than these are needed."""
        last = len(self.steps)
        self.needed |= dict.fromkeys(range(last - count, last), rows)

    def version(self, x: Matrix, name: str) -> None:
        """Give what the residual stream is now a name; once more, where its rows are changed by
        one instruction after the other.
        """
        now = len(self.steps) - 1
        if x.versions and x.versions[-1].name == name:
            x.versions[-1].written = x.versions[-1].last = now
            return
        if x.versions:
            x.versions[-1].last = now
        x.versions.append(Matrix(name, x.layout, x.rows, x.cols, True, x.stride, x.words,
                                 now, now, now))

    def load(self, matrix: Matrix, address: int, first: int = 0, rows: int | None = None) -> None:
        """Load a matrix, or rows of a wide one, from external memory."""
        place, offset = matrix.row(first, self.config)
        words = matrix.words if rows is None else rows * matrix.stride
        self.emit(Opcode.LOAD, writes={"dest": (place, offset)}, address=address, words=words)

    def store(self, matrix: Matrix, address: int, offset: int = 0,
              words: int | None = None) -> None:
        """Store a matrix, or some words of it, to external memory."""
        words = matrix.words - offset if words is None else words
        self.emit(Opcode.STORE, reads={"source": (matrix, offset)}, address=address, words=words)
        if matrix.versions:
            matrix.versions[-1].last = matrix.last
