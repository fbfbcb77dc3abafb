"""Workloads out of files of other tools: SCALE-Sim's topologies, and networks in ONNX.

A topology is CSV with a header. Where columns 2 to 4 are called ``M, N, K``, a line is a matrix
product; otherwise a convolution: ``Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter
Width, Channels, Num Filter, Strides`` (one stride, or one down and one across), as SCALE-Sim 3.0.0
reads them: no padding, ``ceil((input - filter + stride) / stride)`` results, and a layer with
``DP`` in its name is depthwise, one product for each channel. A column ``Sparsity`` may say that a
layer is dense (``1:1``). Layers follow each other: each reads what the one before it has made.

Of ONNX, nodes that are convolutions and matrix products count, their quantized kinds too, with
shapes as ONNX infers them. A first dimension without a size is a batch of 1. What lies between
products is left out; :attr:`~.workload.Workload.left_out` counts it.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..cli import UserError, one_line
from ..estimation.workload import IMAGE, Product, Workload

_CONVOLUTION = "a name, six sizes and one or two strides"
_OPERANDS = {"Conv": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1), "ConvInteger": (0, 1),
             "MatMulInteger": (0, 1), "QLinearConv": (0, 3), "QLinearMatMul": (0, 3)}
"""Which inputs of a node are activations and weights."""

_WITH_GRAPHS = ("If", "Loop", "Scan", "SequenceMap")


def read_workload(path: Path) -> Workload:
    """Return the workload of a file, ``.csv`` or ``.onnx``.

    Raises
    ------
    UserError
        If it cannot be read, or is not what its name says: where, and why.
    """
    readers = {".csv": _topology, ".onnx": _network}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path} must be a topology (.csv) or a network (.onnx)")
    try:
        return reader(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


# SCALE-Sim's topologies.

def _topology(path: Path) -> Workload:
    try:
        lines = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not CSV: {one_line(error)}") from None
    rows = [(number, _cells(line)) for number, line in enumerate(lines, 1) if any(
        cell.strip() for cell in line)]
    if len(rows) < 2:
        raise UserError(f"{path} must have a header and at least one layer")
    header = [cell.lower() for cell in rows[0][1]]
    layer = _product_of if header[1:4] == ["m", "n", "k"] else _convolution_of
    products: list[Product] = []
    size = 0
    for number, cells in rows[1:]:
        cells, sparsity = _without_sparsity(cells, header)
        try:
            _check_dense(sparsity)
            product = layer(cells, len(products) - 1)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        size = size or product.left_elements * product.count
        products.append(product)
    return Workload(path.stem, (size,), tuple(products))


def _cells(line: list[str]) -> list[str]:
    """Return the cells of a line; one that is empty behind the last comma is none."""
    cells = [cell.strip() for cell in line]
    return cells[:-1] if cells[-1] == "" else cells


def _without_sparsity(cells: list[str], header: list[str]) -> tuple[list[str], str]:
    place = next((index for index, name in enumerate(header) if name.startswith("sparsity")), None)
    if place is None or place >= len(cells):
        return cells, "1:1"
    return cells[:place] + cells[place + 1:], cells[place]


def _check_dense(sparsity: str) -> None:
    kept, _, of = sparsity.partition(":")
    if kept != of:
        raise ValueError(f"layers must be dense, not {sparsity}")


def _sizes(cells: Sequence[str], what: str) -> list[int]:
    for cell in cells:
        if not re.fullmatch(r"0*[1-9][0-9]{0,8}", cell, re.ASCII):
            raise ValueError(f"{what} must be integers of 1 or more, not {cell!r}")
    return [int(cell) for cell in cells]


def _product_of(cells: list[str], before: int) -> Product:
    if len(cells) != 4:
        raise ValueError(f"a product must have a name, M, N and K, not {len(cells)} columns")
    m, n, k = _sizes(cells[1:], "M, N and K")
    return _layer(cells[0], before, m=m, k=k, n=n, left_elements=m * k)


def _convolution_of(cells: list[str], before: int) -> Product:
    if len(cells) not in (8, 9):
        raise ValueError(f"a convolution must have {_CONVOLUTION}, not {len(cells)} columns")
    height, width, down, across, channels, filters, *strides = _sizes(cells[1:], "sizes")
    if down > height or across > width:
        raise ValueError(f"a filter of {down} x {across} must fit its input, {height} x {width}")
    rows, cols = (-(-(size - own + stride) // stride) for size, own, stride in (
        (height, down, strides[0]), (width, across, strides[-1])))
    alone = "DP" in cells[0]  # as SCALE-Sim finds out
    return _layer(cells[0], before, m=rows * cols, k=down * across * (1 if alone else channels),
                  n=filters, count=channels if alone else 1,
                  left_elements=height * width * channels)


def _layer(name: str, before: int, *, m: int, k: int, n: int, left_elements: int,
           count: int = 1) -> Product:
    return Product(name=name, role=name, reads=(before,), left=(before,), elements=m * n * count,
                   parts=1, m=m, k=k, n=n, count=count, left_elements=left_elements)


# ONNX.

def _network(path: Path) -> Workload:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise UserError("ONNX needs its package: pip install onnx") from None
    try:
        # Weights may lie in other files: their shapes are here.
        model = onnx.load(path, load_external_data=False)
        for value in model.graph.input:
            sizes = value.type.tensor_type.shape.dim
            if sizes and not sizes[0].HasField("dim_value"):
                sizes[0].dim_value = 1
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (DecodeError, ValueError, onnx.checker.ValidationError,
            onnx.shape_inference.InferenceError) as error:
        raise UserError(f"{path} is not ONNX that can be read: {one_line(error)}") from None
    return _Graph(path, inferred.graph).workload()


class _Graph:
    """Finds the products of a graph, and which of them have made what others read."""

    def __init__(self, path: Path, graph):
        self._path, self._graph = path, graph
        self._shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        for value in (*graph.input, *graph.value_info, *graph.output):
            sizes = [size.dim_value if size.HasField("dim_value") else None
                     for size in value.type.tensor_type.shape.dim]
            if value.name not in self._shapes and None not in sizes:
                self._shapes[value.name] = tuple(sizes)
        weights = {tensor.name for tensor in graph.initializer}
        self._image = [value.name for value in graph.input if value.name not in weights]
        # The last product that a value comes from; constants are not in it.
        self._made = dict.fromkeys(self._image, IMAGE)
        self._products: list[Product] = []

    def workload(self) -> Workload:
        """Return all products."""
        left_out = Counter()
        for node in self._graph.node:
            if node.op_type in _WITH_GRAPHS:
                raise UserError(f"{self._path}: {node.op_type} has a graph of its own, which "
                                "there is no estimate of")
            sources = [self._made[name] for name in node.input if name in self._made]
            if not sources:
                continue  # of constants alone
            if node.op_type in _OPERANDS:
                self._products.append(self._product(node))
                made = len(self._products) - 1
            else:
                left_out[node.op_type] += 1
                made = max(sources)
            self._made.update(dict.fromkeys(node.output, made))
        if not self._products:
            raise UserError(f"{self._path} has no matrix product and no convolution")
        size = sum(math.prod(self._shapes.get(name, (0,))) for name in self._image)
        return Workload(self._path.stem, (size,), tuple(self._products), dict(left_out))

    def _product(self, node) -> Product:
        left, right = (node.input[place] for place in _OPERANDS[node.op_type])
        shapes = [self._shape(name, node) for name in (left, right, node.output[0])]
        name = (node.name or node.output[0]).strip("/").replace("/", ".")
        sizes = _convolved if "Conv" in node.op_type else _multiplied
        m, k, n, count = sizes(node, *shapes)
        if left not in self._made:  # weights x activations: the same, turned over
            left, right, m, n = right, left, n, m
            shapes[0] = shapes[1]
        own = (self._made[left],)
        other = (self._made[right],) if right in self._made else ()
        role = re.sub(r"\b\d+\b", "*", name) if other == () else "activations"
        return Product(name=name, role=role, reads=tuple(dict.fromkeys(own + other)), left=own,
                       right=other, elements=math.prod(shapes[2]), parts=1, m=m, k=k, n=n,
                       count=count, left_elements=math.prod(shapes[0]))

    def _shape(self, name: str, node) -> tuple[int, ...]:
        if name not in self._shapes or 0 in self._shapes[name]:
            raise UserError(f"{self._path}: {name!r} of {node.op_type} {node.name!r} has no known "
                            "size; export it with fixed sizes")
        return self._shapes[name]


def _convolved(node, left, right, result) -> tuple[int, int, int, int]:
    """Return m, k, n and count: one product for each group."""
    groups = next((one.i for one in node.attribute if one.name == "group"), 1)
    return (result[0] * math.prod(result[2:]), math.prod(right[1:]), right[0] // groups, groups)


def _multiplied(node, left, right, result) -> tuple[int, int, int, int]:
    """Return m, k, n and count of a matrix product; weights that are the same for all matrices of
    a stack make one product of it."""
    turned = {one.name: one.i for one in node.attribute if one.name in ("transA", "transB")}
    left, right = (shape[::-1] if turned.get(name) else shape
                   for shape, name in ((left, "transA"), (right, "transB")))
    k = left[-1]
    n = right[-1] if len(right) > 1 else 1
    count = math.prod(right[:-2])
    rows = math.prod(result) // n
    if count == 1:
        return rows, k, n, 1
    # A stack of right operands: as many products as there are in the result.
    m = left[-2] if len(left) > 1 else 1
    return m, k, n, rows // m
