"""The residual stream and what attention gives, in the scratchpad or in external memory.

Stored operands keep their layout. A word of them begins in a bank that its address says
(:mod:`golden.memory.scratchpad`), so that they are loaded to, and stored from, places that are
multiples of the banks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from golden.common.formats import ACT16, Mode
from golden.core.isa import Layout, Opcode
from golden.core.program import Region
from golden.core.rules import operand_layout
from golden.memory.scratchpad import stride_of
from golden.network.network import Linear, Network, Norm, Tap, parts_of
from golden.network.precision import HEAD
from golden.network.shape import Window
from golden.product.mac_array import Activation

from .builder import Matrix
from .layers import LayerBuilder
from .limits import DoesNotFit, pixel_bytes
from .plan import blocks, tile


@dataclass(frozen=True, slots=True)
class Part:
    """A block of rows of the residual stream: the matrix that has them, from row `row` on.

    `first` is the first of these `rows` in the whole, and `at` that as a part of names.
    """

    matrix: Matrix
    row: int
    first: int
    rows: int
    at: str


class Residual:
    """The residual stream of a network, where its plan keeps it.

    Attributes
    ----------
    build
        Takes the instructions.
    matrix
        All of it, if that stays in the scratchpad.
    whole
        It is changed by one instruction at a time, all of it.
    now
        Name of what it is now.
    """

    def __init__(self, build: LayerBuilder, regions: dict[str, Region]):
        shape, plan = build.network.shape, build.plan
        self.build, self.now = build, "embedding"
        self._stride = stride_of(Layout.WIDE, shape.tokens, shape.dim, build.config)
        self._address, self._normed = (regions[name].address if name in regions else 0
                                       for name in ("residual", "normed"))
        self._blocks = list(blocks(shape.tokens, plan.mlp, tile(build.network, build.config)))
        self.matrix = None if plan.residual else self.rows("x", shape.tokens)
        self.whole = self.matrix is not None and len(self._blocks) == 1
        self._ahead: Matrix | None = None  # the next one that is normalized

    def rows(self, name: str, rows: int) -> Matrix:
        """Return a matrix for some rows of it."""
        return self.build.matrix(name, Layout.WIDE, rows, self.build.network.shape.dim)

    def bytes_before(self, row: int) -> int:
        """Return the bytes of external memory that rows before this one take."""
        return row * self._stride * self.build.config.word_bytes

    def _fetched(self, first: int, rows: int, at: str) -> Matrix:
        made = self.rows(f"x{at}", rows)
        self.build.load(made, self._address + self.bytes_before(first))
        self.build.version(made, f"{self.now}{at}")
        return made

    def parts(self) -> Iterator[Part]:
        """Yield its blocks of rows, from external memory if need be."""
        for first, rows in self._blocks:
            at = f"@{first}" if len(self._blocks) > 1 else ""
            if self.matrix is not None:
                yield Part(self.matrix, first, first, rows, at)
            else:
                yield Part(self._fetched(first, rows, at), 0, first, rows, at)

    def keep(self, part: Part, before: int = 0) -> None:
        """Store a block of rows that has changed, but for those `before` it, where it belongs."""
        if self.matrix is None:
            self.build.store(part.matrix, self._address + self.bytes_before(part.first + before),
                             before * self._stride)

    def normalized(self, name: str, norm: Norm, site: int,
                   mode: Mode) -> "Matrix | Stored":
        """LayerNorm of all of it, quantized to a site."""
        if self._ahead is not None:
            made, self._ahead = self._ahead, None
            return made
        build, shape, layout = self.build, self.build.network.shape, operand_layout(mode)
        if self.matrix is not None:
            return build.norm(name, self.matrix, norm, site, shape.tokens, mode)
        kept = build.plan.normed
        out = (Stored(name, layout, shape.tokens, shape.dim, self._normed) if kept else
               build.matrix(name, layout, shape.tokens, shape.dim))
        phase, build.phase = build.phase, "mlp"
        for part in self.parts():
            made = build.norm(
                f"{name}{part.at if kept else ''}", part.matrix, norm, site, part.rows, mode,
                out=None if kept else out.row(part.first, build.config))
            part.matrix.versions[-1].last = part.matrix.last
            if kept:
                made.unit = build.config.rows
                out.keep(build, made, part.first)
        build.phase = phase
        return out

    def begin_ahead(self, name: str, mode: Mode) -> None:
        """Let :meth:`normalize_ahead` make what :meth:`normalized` gives next."""
        shape = self.build.network.shape
        self._ahead = self.build.matrix(name, operand_layout(mode), shape.tokens, shape.dim)

    def normalize_ahead(self, part: Part, norm: Norm, site: int, mode: Mode) -> None:
        """LayerNorm of a block of rows that will not change before."""
        made, build = self._ahead, self.build
        build.norm(made.name, part.matrix, norm, site, part.rows, mode,
                   out=made.row(part.first, build.config))
        part.matrix.versions[-1].last = part.matrix.last

    def patches(self) -> Iterator[tuple[Matrix, int, int, int]]:
        """Yield the rows behind the prefix, in blocks if need be: a matrix, the row there, the
        first patch, and how many.
        """
        shape, plan = self.build.network.shape, self.build.plan
        if self.matrix is not None:
            yield self.matrix, shape.prefix, 0, shape.patches
            return
        for first, rows in blocks(shape.patches, plan.mlp,
                                  tile(self.build.network, self.build.config)):
            before = shape.prefix + first
            yield self._fetched(before, rows, f"@{before}"), 0, first, rows

    def beginning(self, rows: int) -> Matrix:
        """Return a matrix that begins with its first rows."""
        return self.matrix or self._fetched(0, rows, "@0")

    def watch(self, tap: Tap) -> None:
        """Predict scales of all of it, which has come about in blocks."""
        phase, self.build.phase = self.build.phase, ""
        x = self.matrix or self._fetched(0, self.build.network.shape.tokens, "")
        self.build.watch(x, self.now, tap)
        self.build.phase = phase


@dataclass(frozen=True, slots=True)
class Stored:
    """An operand matrix in external memory, which is written by columns and read by rows."""

    name: str
    layout: Layout
    rows: int
    cols: int
    address: int

    def _place(self, build: LayerBuilder, row: int, col: int = 0) -> int:
        whole = Matrix(self.name, self.layout, self.rows, self.cols, True,
                       stride_of(self.layout, self.rows, self.cols, build.config), 0)
        return self.address + (whole.row(row, build.config)[1] + col // 2) * build.config.word_bytes

    def keep(self, build: LayerBuilder, part: Matrix, first: int, col: int = 0) -> None:
        """Store a matrix as the rows from `first` on and the columns from `col` on."""
        if part.cols == self.cols:
            build.store(part, self._place(build, first))
            return
        height = build.config.rows * (8 // self.layout.bits)
        for row in range(0, part.rows, height):
            build.store(part, self._place(build, first + row, col), part.row(row, build.config)[1],
                        part.stride)

    def load(self, build: LayerBuilder, first: int, rows: int) -> Matrix:
        """Return a matrix of `rows` rows from `first` on."""
        at = f"@{first}" if rows < self.rows else ""
        made = build.matrix(f"{self.name}{at}", self.layout, rows, self.cols,
                            unit=build.config.rows)
        build.load(made, self._place(build, first))
        return made


def embed(x: Residual, regions: dict[str, Region], taps: list[Tap]) -> None:
    """Embed the patches: make the residual stream."""
    build = x.build
    shape, plan = build.network.shape, build.plan
    if taps and shape.prefix > 1:
        raise DoesNotFit("scales can be predicted from the embedding where the class token is the "
                         f"only one before the patches, but there are {shape.prefix}")
    apart = x.matrix is None or build.network.norm_pre is not None
    if not apart:
        build.load(x.matrix, regions["embedding"].address)
    build.phase = "patches"
    parts = list(blocks(shape.grid, plan.patches, 1))
    whole = not apart and len(parts) == 1
    # The last first: each leaves its row of zeros, with a bias, where the one before it ends.
    layers = patch_layers(build)
    for first, rows in reversed(parts):
        _patches(x, layers, first, rows, regions, taps if whole else [])
    if taps and not whole:
        x.watch(taps[0])


def patch_layers(build: LayerBuilder) -> list[Linear]:
    """Return the patch embedding, a layer for each part of the values of patches."""
    network, shape = build.network, build.network.shape
    pixel, patch = pixel_bytes(shape, build.config), network.patch
    if same_for_all(network):
        patch = replace(patch, bias=patch.bias + network.embedding[0])
    return build.once("patch", lambda: [
        _with_room(layer, shape.colours, pixel) for layer in parts_of(patch, shape.patch_parts)])


def same_for_all(network: Network) -> bool:
    """Return whether what is added to embedded patches is the same for all, and there are no other
    tokens: it is a bias of their product then.
    """
    first = network.embedding[0]
    bias = network.patch.bias.astype(int) + first
    return (not network.shape.prefix and bool((network.embedding == first).all())
            and ACT16.min <= bias.min() and bias.max() <= ACT16.max)


def _patches(x: Residual, layers: list[Linear], top: int, rows: int, regions: dict[str, Region],
             taps: list[Tap]) -> None:
    """Embed some rows of patches from row `top` on, onto what is added to them."""
    build = x.build
    shape = build.network.shape
    at = "" if rows == shape.grid and shape.prefix else f"@{top * shape.grid}"
    first = shape.prefix - 1 + top * shape.grid  # of the tokens that they are added to
    embedding = regions["embedding"].address
    norm = build.network.norm_pre
    apart = x.matrix is None or norm is not None
    alone = same_for_all(build.network)
    begin, made, name = 0, x.matrix, "" if top else "embedding"
    before = int(top > 0 or not shape.prefix)  # rows that are not kept
    if apart:
        begin, name = first if before else 0, f"embedding{at}"
        made = x.rows(f"{'embedded' if norm else 'x'}{at}", first - begin + rows * shape.grid + 1)
        missing = int(begin < 0)  # nothing is before the first patch
        if not alone:
            build.load(made, embedding + x.bytes_before(begin + missing), missing,
                       made.rows - missing)
    for number, layer in enumerate(layers):
        last = number == len(layers) - 1
        patches = patches_of(build, f"patches{'' if last else f'.part{number}'}{at}",
                             Window(top, 0, rows, shape.grid), number, regions["image"].address)
        build.onto(made, name if last else "", patches, layer, None, HEAD.mode,
                   taps if last else [], Activation.UNSIGNED, first=first - begin,
                   alone=alone and not number)
    if norm is not None:
        _begin(x, made, begin, before, at)
    elif apart:
        x.keep(Part(made, 0, begin, made.rows, at), before)
    elif top:
        build.load(made, embedding + x.bytes_before(first), first, 1)


def _begin(x: Residual, embedded: Matrix, begin: int, before: int, at: str) -> None:
    """Make the residual stream of embedded tokens from row `begin` on, but for those `before`."""
    rows, first = embedded.rows - before, begin + before
    made = x.matrix or x.rows(f"x{at}", rows)
    row = first if x.matrix else 0
    x.build.begun(embedded, before, rows, (made, row * made.stride))
    x.build.version(made, "begun" if x.matrix else f"begun{at}")
    if embedded.versions:
        embedded.versions[-1].last = embedded.last
    x.keep(Part(made, 0, first, rows, at))


def patches_of(build: LayerBuilder, name: str, window: Window, part: int, image: int) -> Matrix:
    """Return a part of the values of the patches in a window of the grid, behind a row of zeros for
    the token before them.
    """
    shape = build.network.shape
    pixel = pixel_bytes(shape, build.config)
    values, row = shape.patch_parts[part], shape.colours * shape.patch
    above, below = values.start // row, values.stop // row  # rows of a patch
    across = pixel * shape.image
    made = build.matrix(name, Layout.OPERAND8, window.tokens + 1,
                        (below - above) * pixel * shape.patch, signed=False)
    build.emit(Opcode.PATCHES, writes={"dest": (made, 0)}, m=made.rows, k=made.cols,
               address=(image + (window.top * shape.patch + above) * across
                        + window.left * pixel * shape.patch),
               run_bytes=pixel * shape.patch, grid=window.width, image_row_bytes=across,
               patch_row_bytes=across * shape.patch)
    return made


def _with_room(patch: Linear, colours: int, pixel: int) -> Linear:
    """Return the patch embedding with weights of zero for what pixels have beside colours."""
    weight = patch.weight.reshape(-1, colours, patch.bias.size)
    weight = np.pad(weight, ((0, 0), (0, pixel - colours), (0, 0)))
    return replace(patch, weight=weight.reshape(-1, patch.bias.size))
