"""One-line mutants of Python sources: what a slip of the hand would have left there.

Kinds: another operator, a constant off by one, operands swapped, a term dropped, a
statement dropped. Text, annotations, decorators, imports, assertions and what is raised stay as
they are.
"""

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_OPERATORS = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.FloorDiv: "*", ast.Mod: "//",
    ast.LShift: ">>", ast.RShift: "<<", ast.BitAnd: "|", ast.BitOr: "&", ast.BitXor: "|",
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.And: "or", ast.Or: "and",
}
_SIGNS = {ast.Sub: "-", ast.FloorDiv: "//", ast.Mod: "%", ast.LShift: "<<", ast.RShift: ">>"}
"""Operators whose operands cannot change places."""

_KEPT = (ast.Raise, ast.Assert, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Global)
_SHAPES = ("Signal", "unsigned", "signed", "range", "In", "Out")
"""Calls whose constants are widths: one bit more changes nothing."""


@dataclass(frozen=True)
class Mutant:
    """A change of one line of a file.

    Attributes
    ----------
    path
        Of the file, from the root of the sources.
    line
        Counted from 1.
    start, end
        Columns of what is replaced, in bytes of UTF-8.
    kind
        ``operator``, ``constant``, ``swap``, ``term`` or ``statement``.
    before, after
        What stands there, and what does then.
    """

    path: str
    line: int
    start: int
    end: int
    kind: str
    before: str
    after: str

    def apply(self, source: str) -> str:
        """Return the source with the change.

        Raises
        ------
        ValueError
            If what is replaced does not stand there.
        """
        lines = source.encode().split(b"\n")
        line = lines[self.line - 1]
        if line[self.start:self.end].decode() != self.before:
            raise ValueError(f"{self.path}:{self.line} does not have {self.before!r}")
        lines[self.line - 1] = line[:self.start] + self.after.encode() + line[self.end:]
        return b"\n".join(lines).decode()

    def __str__(self):
        return f"{self.path}:{self.line} {self.kind}: {self.before} -> {self.after}"


def mutants(path: str, source: str) -> list[Mutant]:
    """Return all mutants of a file, in the order of its lines."""
    lines = source.encode().split(b"\n")

    def text(node) -> str:
        return lines[node.lineno - 1][node.col_offset:node.end_col_offset].decode()

    def change(node, kind: str, after: str) -> Mutant:
        return Mutant(path, node.lineno, node.col_offset, node.end_col_offset, kind, text(node),
                      after)

    def operand(node) -> str:
        atom = isinstance(node, (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript))
        return text(node) if atom else f"({text(node)})"

    found = [change(node, kind, after)
             for node, shape in _nodes(ast.parse(source), False)
             if node.lineno == node.end_lineno
             for kind, after in _changes(node, operand, shape)]
    return sorted(found, key=lambda one: (one.line, one.start, one.kind, one.after))


def _nodes(node: ast.AST, shape: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield what may change, and whether it stands in the width of a signal."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, _KEPT):
                continue
            within = shape or (isinstance(child, ast.Call) and isinstance(child.func, ast.Name)
                               and child.func.id in _SHAPES)
            if hasattr(child, "lineno"):
                yield child, within
            yield from _nodes(child, within)


def _changes(node: ast.AST, operand, shape: bool) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Constant(value=bool() as value):
            yield "constant", str(not value)
        case ast.Constant(value=int() as value):
            if not shape:
                yield "constant", str(value + 1)
            if value > 0:
                yield "constant", str(value - 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            yield "operator", f"{operand(left)} {_OPERATORS[type(op)]} {operand(right)}"
            if type(op) in _SIGNS:
                yield "swap", f"{operand(right)} {_SIGNS[type(op)]} {operand(left)}"
            if not isinstance(op, (ast.LShift, ast.RShift)):
                yield "term", operand(left)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            yield "operator", f"{operand(left)} {_OPERATORS[type(op)]} {operand(right)}"
        case ast.BoolOp(values=[*values], op=op):
            yield "operator", f" {_OPERATORS[type(op)]} ".join(map(operand, values))
            yield "term", operand(values[0])
        case ast.Call(func=ast.Name(id="Mux"), args=[choice, one, other]):
            yield "swap", f"Mux({operand(choice)}, {operand(other)}, {operand(one)})"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self" | "m"))):
            pass
        case ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield "statement", "pass"


def choose(root: Path, files: Sequence[Path], seed: int, count: int) -> list[Mutant]:
    """Return `count` mutants, evenly over the files and over the kinds; fewer if there are fewer.

    The same ones for the same sources, seed and count.
    """
    draw = random.Random(seed)
    left = {}
    for file in sorted(files):
        path = file.relative_to(root).as_posix()
        found = mutants(path, file.read_text())
        if found:
            left[path] = found
    chosen = []
    while len(chosen) < count and left:
        for path in draw.sample(sorted(left), len(left)):
            kind = draw.choice(sorted({one.kind for one in left[path]}))
            one = draw.choice([one for one in left[path] if one.kind == kind])
            chosen.append(one)
            left[path] = [other for other in left[path] if other.line != one.line]
            if not left[path]:
                del left[path]
            if len(chosen) == count:
                break
    return chosen
