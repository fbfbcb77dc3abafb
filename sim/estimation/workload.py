"""What a Vision Transformer computes: its matrix products and everything between them.

:func:`sim.estimation.tracing.trace` finds this out by running a model on tensors without storage.
Operations are numbered in the order in which they run; a value has the number of the operation that
made it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

IMAGE = -1
"""Number of the value that no operation made: the image."""

PATCH = "patch embedding"
HEAD = "head"
SCORES = "scores"
AV = "attention x V"
PROJECTION = "projection"
SOFTMAX = "softmax"


@dataclass(slots=True, kw_only=True)
class Operation:
    """What products and vector operations have in common.

    Attributes
    ----------
    name
        Where it happens: a weight without its ``.weight``, or the path of a module.
    role
        What it is called in tables; operations of equal role and shape are alike.
    reads
        Values it needs.
    extra
        Those among them that only its element operations need: the other operands of sums.
    elements
        Size of the value it makes.
    wide
        Whether that value is kept in 16 bits: residual stream, inputs of vector operations.
    parts
        Independent parts (heads, windows) of that value which never need to exist together.
    pointwise
        Element operations on its result, done on the way to memory: ``(kind, elements)`` each.
    """

    name: str
    role: str
    reads: tuple[int, ...]
    elements: int
    extra: tuple[int, ...] = ()
    wide: bool = False
    parts: int = 1
    pointwise: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Product(Operation):
    """`count` independent matrix products, (m, k) x (k, n) each.

    Attributes
    ----------
    left, right
        Values on the activation port and on the weight port; `right` is empty for weights.
    left_elements
        Size of the value on the activation port (a convolution reads elements several times).
    """

    m: int
    k: int
    n: int
    count: int = 1
    left: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    left_elements: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.m * self.k * self.n * self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(m, k, n)``."""
        return self.m, self.k, self.n


@dataclass(slots=True, kw_only=True)
class Vector(Operation):
    """An operation that needs `rows` whole rows of `length` elements before it gives results."""

    rows: int
    length: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, length)``."""
        return self.rows, self.length


@dataclass(frozen=True, slots=True)
class Site:
    """An activation tensor that is quantized with a scale of its own.

    `operation` consumes it, as part of `value`. A site of `fixed` range (attention probabilities)
    needs no prediction.
    """

    operation: int
    value: int
    elements: int
    fixed: bool


@dataclass(frozen=True)
class Workload:
    """Operations of one inference of one image, in order.

    `left_out` counts, by kind, what a file has that no operation stands for.
    """

    model: str
    input_shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @cached_property
    def products(self) -> tuple[Product, ...]:
        """Matrix products alone."""
        return tuple(op for op in self.operations if isinstance(op, Product))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all products."""
        return sum(op.macs for op in self.products)

    @property
    def weights(self) -> int:
        """Weights of all products."""
        return sum(op.k * op.n * op.count for op in self.products if not op.right)

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Quantized activations in the order of first use; the image has its own fixed scale."""
        return tuple(self._sites())

    def _sites(self) -> Iterator[Site]:
        seen = set()
        for number, op in enumerate(self.operations):
            if not isinstance(op, Product) or IMAGE in op.left:
                continue
            if op.right:
                probabilities = any(self.operations[i].role == SOFTMAX for i in op.left)
                yield Site(number, max(op.left), op.m * op.k * op.count, probabilities)
                yield Site(number, max(op.right), op.k * op.n * op.count, fixed=False)
            elif op.left not in seen:
                seen.add(op.left)
                yield Site(number, max(op.left), op.left_elements, fixed=False)

    @cached_property
    def first_block(self) -> str:
        """Path of the first block: up to the last number in the name of its attention.

        Without attention, that of the first numbered layer after the first product.
        """
        attention = [op.name for op in self.products if op.right]
        others = [op.name for op in self.products[1:] if re.search(r"\.\d+\.", op.name)]
        name = (attention or others or [self.operations[0].name])[0]
        block = re.match(r".*\.\d+(?=\.|$)", name)
        return block[0] if block else name

    @cached_property
    def tap(self) -> int:
        """Last operation of the first block; its result is the residual stream after block 0."""
        return max(number for number, op in enumerate(self.operations)
                   if f"{op.name}.".startswith(f"{self.first_block}."))


_ROLES = {"attn.proj": PROJECTION, "attn.qkv": "qkv"}
_GENERIC = {"conv", "proj", "linear", "c", "fn", "norm", "weight", "l"}


def role_of(name: str) -> str:
    """Return a short readable role for the name of a weight or module."""
    parts = [part for part in name.split(".") if not part.isdecimal()] or [name]
    tail = ".".join(parts[-2:])
    if tail in _ROLES:
        return _ROLES[tail]
    return tail if parts[-1] in _GENERIC else parts[-1]


def name_attention(operations: list[Operation]):
    """Name the products of two activations: scores before a softmax of their module, then AV."""
    softmax = [op.name for op in operations if op.role == SOFTMAX]
    passed = set()
    for op in operations:
        if op.role == SOFTMAX:
            passed.add(op.name)
        elif isinstance(op, Product) and op.right:
            own = {name for name in softmax if f"{name}.".startswith(f"{op.name}.")}
            if own:
                op.role = AV if own & passed else SCORES


def split_into_parts(operations: list[Operation]):
    """Find values that products of two activations make and consume part by part."""
    consumers: dict[int, list[Operation]] = {}
    for op in operations:
        for value in op.reads:
            consumers.setdefault(value, []).append(op)
    for number, op in enumerate(operations):
        if isinstance(op, Product):
            parts = op.count if op.right else 1
        else:
            parts = max((operations[i].parts for i in op.reads if i != IMAGE), default=1)
        users = consumers.get(number, [])
        if users and all(isinstance(user, Vector) or (user.right and user.count == parts)
                         for user in users):
            op.parts = parts
