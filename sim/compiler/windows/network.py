"""Networks of patches alone as instructions: attention within windows, merges, the mean at the end.

The residual stream is in external memory, row by row of patches, a region for each stage between
merges. It is loaded, changed and stored again in blocks:

* attention some windows at a time, each from a whole tile of the array on. Their rows are brought
  together as they are loaded, and go back to where they came from as they are stored: nothing is
  moved around in between, and windows that a shift makes smaller are what they are;
* the MLP some patches at a time, one behind the other;
* a merge some of its results at a time: as rows are loaded, four patches come to lie in line.

Each takes the fewest blocks that fit (:func:`cuts_of`), as weights come once for each. What is
between two windows in a matrix belongs to neither, and is never stored.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.core.isa import Layout, Opcode, Path, Source
from golden.core.program import Region
from golden.core.rules import operand_layout, weight_layout
from golden.memory.scratchpad import stride_of, words_of, write_operand, write_wide
from golden.network.network import Block, Merge, Network
from golden.network.precision import HEAD, LAYERS
from golden.network.shape import BLOCK_SITES, HEAD_SITE, MERGE_SITE, MERGED, BlockShape, Window
from golden.network.vit_blocks import mean_exponent
from golden.product.mac_array import Activation

from .allocation import allocate
from .attention import head_part, mix, part_layouts, probabilities
from .builder import Matrix
from .layers import LayerBuilder
from .limits import DoesNotFit
from .lowering import mlp, taps_of
from .plan import blocks, tile
from .residual import Part, Residual, embed


@dataclass(frozen=True, slots=True)
class Cuts:
    """In how many blocks each stage does what it does: patches are embedded, windows attend, the
    MLP takes patches, patches are merged (to what the stage begins with).
    """

    patches: int
    attention: tuple[int, ...]
    mlp: tuple[int, ...]
    merge: tuple[int, ...]

    @classmethod
    def of(cls, about: dict) -> "Cuts":
        """Return what :meth:`described` gave."""
        return cls(about["patches"], *(tuple(about[name]) for name in ("attention", "mlp",
                                                                        "merge")))

    def described(self) -> dict:
        """Return JSON values, as :func:`.plan.described` has them."""
        return {"patches": self.patches, "attention": list(self.attention), "mlp": list(self.mlp),
                "merge": list(self.merge), "residual": True}


def windows_of(sizes: BlockShape) -> list[Window]:
    """Return the windows of a block; one, if all tokens attend to all."""
    return sizes.windows if sizes.window else [Window(0, 0, sizes.grid, sizes.grid)]


def region_sizes(network: Network, config: AcceleratorConfig) -> dict[str, int]:
    """Return the bytes of the parts of external memory that such a network has, by name."""
    shape = network.shape
    sizes = {}
    for stage in range(len(shape.merges) + 1):
        block = shape.blocks[shape.merges[stage - 1] if stage else 0]
        stride = stride_of(Layout.WIDE, block.tokens, block.dim, config)
        sizes["residual" if not stage else f"residual.{stage}"] = (
            block.tokens * stride * config.word_bytes)
    return sizes | {name: len(data) for name, data in constants(network, config).items()}


def constants(network: Network, config: AcceleratorConfig) -> dict[str, bytes]:
    """Return what lies in external memory beside the embedding: for each block and size of its
    windows what is added to scores, of each head; and the factors that make a sum.
    """
    found = {}
    for index, (block, sizes) in enumerate(zip(network.blocks, network.shape.blocks, strict=True)):
        if block.places is None:
            continue
        for window in windows_of(sizes):
            name = _places_name(index, window)
            if name not in found:
                within = sizes.places_in(window) if sizes.window else np.arange(sizes.tokens)
                found[name] = b"".join(_wide_bytes(one[within[:, None], within], config)
                                       for one in block.places)
    tokens = network.shape.blocks[-1].tokens
    stride = stride_of(Layout.OPERAND8, 1, tokens, config)
    words = np.zeros((words_of(Layout.OPERAND8, 1, tokens, stride, config), config.rows), np.uint16)
    write_operand(words, 0, stride, np.ones((1, tokens), np.uint8), Layout.OPERAND8)
    return {**found, "ones": words.astype("<u2").tobytes()}


def _places_name(index: int, window: Window) -> str:
    return f"{index}.places.{window.height}x{window.width}"


def _wide_bytes(values: np.ndarray, config: AcceleratorConfig) -> bytes:
    rows, cols = values.shape
    stride = stride_of(Layout.WIDE, rows, cols, config)
    words = np.zeros((rows * stride, config.rows), np.uint16)
    write_wide(words, 0, stride, values)
    return words.astype("<u2").tobytes()


def lower_windows(build: LayerBuilder, regions: dict[str, Region], cuts: Cuts) -> Matrix:
    """Emit the whole network, but for the end; return its logits.

    Parameters
    ----------
    build
        Takes the instructions; its plan has the residual stream in external memory.
    regions
        Of external memory, by name.
    cuts
        Blocks of each stage.
    """
    network, shape = build.network, build.network.shape
    taps = taps_of(build)
    build.begin()
    embed(Residual(build, regions), regions, [])
    for index, (block, sizes) in enumerate(zip(network.blocks, shape.blocks, strict=True)):
        stage = shape.stage(index)
        if index in shape.merges:
            _merge(build, index, network.merges[stage - 1], sizes, regions, cuts.merge[stage])
        stream = _Stream(build, sizes, regions, stage, index)
        if not index:
            stream.watch(taps[0], "begun" if network.norm_pre is not None else "embedding")
        _attend(stream, block, cuts.attention[stage])
        _mlp(stream, block, cuts.mlp[stage])
        stream.watch(taps[index + 1], f"{index}.x")
    last = _Stream(build, shape.blocks[-1], regions, len(shape.merges), shape.depth - 1)
    logits = _mean(last, regions)
    build.check_slots()
    return logits


class _Stream:
    """The residual stream of a block, in external memory; its formats are those of `build` now."""

    def __init__(self, build: LayerBuilder, sizes: BlockShape, regions: dict[str, Region],
                 stage: int, index: int):
        self.build, self.sizes, self.index, self.regions = build, sizes, index, regions
        build.stream = build.network.streams[stage]
        self.stride = stride_of(Layout.WIDE, sizes.tokens, sizes.dim, build.config)
        self._address = regions["residual" if not stage else f"residual.{stage}"].address
        self.site = {name: build.network.shape.site(index, name) for name in BLOCK_SITES}

    def address(self, token: int) -> int:
        """Return where a token is."""
        return self._address + token * self.stride * self.build.config.word_bytes

    def rows(self, name: str, rows: int) -> Matrix:
        """Return a matrix for some tokens."""
        return self.build.matrix(name, Layout.WIDE, rows, self.sizes.dim)

    def watch(self, taps: list, name: str) -> None:
        """Predict scales of all of it."""
        if taps:
            whole = self.rows("x", self.sizes.tokens)
            self.build.load(whole, self.address(0))
            self.build.version(whole, name)
            self.build.watch(whole, name, taps[0])


def _runs(sizes: BlockShape, window: Window) -> Iterator[tuple[int, int, int]]:
    """Yield the rows of a window: its first token, where that is in the window, and how many."""
    for row in range(window.height):
        yield (window.top + row) * sizes.grid + window.left, row * window.width, window.width


def _attend(stream: _Stream, block: Block, count: int) -> None:
    """Attention of a block and what it adds, for some of the windows after the other."""
    windows = list(enumerate(windows_of(stream.sizes)))
    each = -(-len(windows) // count)
    for first in range(0, len(windows), each):
        _attend_some(stream, block, windows[first:first + each],
                     f"@{first}" if count > 1 else "")


def _attend_some(stream: _Stream, block: Block, windows: list[tuple[int, Window]], at: str) -> None:
    build, sizes, index, site = stream.build, stream.sizes, stream.index, stream.site
    config = build.config
    unit = tile(build.network, config)
    starts = np.cumsum([0, *(-(-window.tokens // unit) * unit for _, window in windows)]).tolist()
    rows = starts[-2] + windows[-1][1].tokens
    x = stream.rows(f"x{at}", rows)
    for (_, window), start in zip(windows, starts, strict=False):
        for token, row, count in _runs(sizes, window):
            build.load(x, stream.address(token), start + row, count)
    build.version(x, f"{index}.windows{at}")
    own = sum(window.tokens for _, window in windows)
    a = build.norm(f"{index}.qkv{at}", x, block.norm1, site["qkv"], rows,
                   build.widths(index, "qkv").mode)
    mode = build.widths(index, "proj").mode
    proj = build.matrix(f"{index}.proj{at}", operand_layout(mode), rows, sizes.dim)
    for head in range(sizes.heads):
        q, k, v = (head_part(build, index, head, part, name, block, a, site, at)
                   for part, name in enumerate(part_layouts(build, index)))
        build.need(own, 3)
        tables = {}
        for (number, window), start in zip(windows, starts, strict=False):
            tokens, name = window.tokens, f"{index}.{{}}.{head}@{number}"
            places = tables.get((window.height, window.width))
            if places is None and block.places is not None:
                places = tables[window.height, window.width] = _places(stream, window, head, name)
            probs = probabilities(build, index, name, block, k.row(start, config),
                                  q.row(start, config), site, (tokens, tokens), places)
            place, offset = proj.row(start, config)
            mix(build, index, name.format("mixing"), block, probs,
                (v, start * config.cols // config.word_bytes),
                (place, offset + head * sizes.head_dim // 2), site, [slice(0, tokens)])
    build.onto(x, f"{index}.attended{at}", proj, block.proj, site["proj"], mode, [])
    build.need(own)
    for (_, window), start in zip(windows, starts, strict=False):
        for token, row, count in _runs(sizes, window):
            build.store(x, stream.address(token), (start + row) * stream.stride,
                        count * stream.stride)


def _places(stream: _Stream, window: Window, head: int, name: str) -> Matrix:
    """Load what is added to the scores of a head in windows like this one."""
    build, tokens = stream.build, window.tokens
    made = build.matrix(name.format("places"), Layout.WIDE, tokens, tokens)
    region = stream.regions[_places_name(stream.index, window)]
    build.load(made, region.address + head * made.words * build.config.word_bytes)
    return made


def _mlp(stream: _Stream, block: Block, count: int) -> None:
    """The MLP of a block, for some of the patches after the other."""
    build, sizes, index = stream.build, stream.sizes, stream.index
    mode = build.widths(index, "fc1").mode
    for first, rows in blocks(sizes.tokens, count, tile(build.network, build.config)):
        at = f"@{first}" if count > 1 else ""
        x = stream.rows(f"x{at}", rows)
        build.load(x, stream.address(first))
        build.version(x, f"{index}.attended{at}")
        a = build.norm(f"{index}.fc1{at}", x, block.norm2, stream.site["fc1"], rows, mode)
        mlp(build, index, block, a, Part(x, 0, first, rows, at), at, stream.site, [])
        build.store(x, stream.address(first))


def _merge(build: LayerBuilder, index: int, merge: Merge, after: BlockShape,
           regions: dict[str, Region], count: int) -> None:
    """Merge patches before a block."""
    network, mode = build.network, build.widths(index, MERGE_SITE).mode
    stage = network.shape.stage(index)
    merged = _Stream(build, after, regions, stage, index)
    before = _Stream(build, network.shape.blocks[index - 1], regions, stage - 1, index - 1)
    site = network.shape.site(index, MERGE_SITE)
    parts, grid = after.merge_parts, before.sizes.grid
    for first, rows in blocks(after.tokens, count, 1):
        at = f"@{first}" if count > 1 else ""
        line = build.matrix(f"{index}.line{at}", Layout.WIDE, rows, MERGED * before.sizes.dim)
        for row in range(rows):
            y, x = divmod(first + row, after.grid)
            for below in range(2):
                address = before.address((2 * y + below) * grid + 2 * x)
                build.emit(Opcode.LOAD,
                           writes={"dest": (line, row * line.stride + 2 * below * before.stride)},
                           address=address, words=2 * before.stride)
        build.version(line, f"{index}.line{at}")
        a = build.norm(f"{index}.merge{at}", line, merge.norm, site, rows, mode,
                       epsilon=merge.epsilon)
        made = merged.rows(f"x{at}", rows)
        for number, (part, layer) in enumerate(zip(parts, build.parts(merge.layer, parts),
                                                   strict=True)):
            sums = {"residual_address": (made, 0)} if number else {}
            build.product(a, layer, site, mode, {"source": (a, part.start // 2), **sums},
                          {"dest": (made, 0)}, path=Path.WIDE, residual=len(sums))
            of = f".part{number}" if number < len(parts) - 1 else ""
            build.version(made, f"{index}.merged{of}{at}")
        build.store(made, merged.address(first))


def _mean(stream: _Stream, regions: dict[str, Region]) -> Matrix:
    """Logits of the mean of all patches, into external memory."""
    build, sizes = stream.build, stream.sizes
    network, tokens = build.network, stream.sizes.tokens
    head = network.shape.sites - 1
    x = stream.rows("x", tokens)
    build.load(x, stream.address(0))
    build.version(x, f"{stream.index}.x")
    values = weight_layout(HEAD.value_mode)
    p = build.norm("pool", x, network.norm, head - 1, tokens, HEAD.mode, layout=values)
    ones = build.matrix("ones", Layout.OPERAND8, 1, tokens, signed=False, unit=build.config.rows)
    build.load(ones, regions["ones"].address)
    a = build.matrix("head", Layout.OPERAND8, 1, sizes.dim)
    fmt = HEAD.site(HEAD_SITE)
    build.emit(Opcode.GEMM, b"", {"source": (ones, 0), "weights_address": (p, 0)},
               {"dest": (a, 0)}, mode=HEAD.mode, weights=Source.VALUES, path=Path.DIRECT, m=1,
               activation=Activation.UNSIGNED, k=tokens, n=sizes.dim,
               exponent=mean_exponent(tokens), scale_a=build.slots[head - 1],
               scale_b=build.slots[head], subtract_b=1, low=fmt.min, high=fmt.max)
    build.need(0)  # a mean, no product
    return build.classify(a, regions["logits"].address)


def cuts_of(network: Network, config: AcceleratorConfig, regions: dict[str, Region],
            begin: Callable[[], LayerBuilder]) -> Cuts:
    """Return the fewest blocks in which each part of each stage fits the scratchpad, which holds
    nothing between them.

    Parameters
    ----------
    regions
        Of external memory.
    begin
        Returns a builder that has nothing yet.

    Raises
    ------
    DoesNotFit
        If something does not fit in as many blocks as there can be: what is missing.
    """
    shape = network.shape
    attention, mlps, merges = [], [], []
    for stage in range(len(shape.merges) + 1):
        own = [index for index in range(shape.depth) if shape.stage(index) == stage]
        widths = {index: tuple(network.precision.of(index, layer) for layer in LAYERS)
                  for index in own}
        kinds = {(shape.blocks[index], network.blocks[index].places is None, widths[index]): index
                 for index in reversed(own)}

        def attend(count, stage=stage, kinds=kinds):
            for index in kinds.values():
                build = begin()
                stream = _Stream(build, shape.blocks[index], regions, stage, index)
                _attend(stream, network.blocks[index], count)
                allocate(build.matrices, config)

        def transform(count, stage=stage, kinds=kinds):
            for index in kinds.values():
                build = begin()
                _mlp(_Stream(build, shape.blocks[index], regions, stage, index),
                     network.blocks[index], count)
                allocate(build.matrices, config)

        def merge(count, stage=stage, index=own[0]):
            build = begin()
            _merge(build, index, network.merges[stage - 1], shape.blocks[index], regions, count)
            allocate(build.matrices, config)

        sizes = shape.blocks[own[0]]
        most = min(len(windows_of(shape.blocks[index])) for index in own)
        attention.append(_fewest(attend, most))
        mlps.append(_fewest(transform, -(-sizes.tokens // tile(network, config))))
        merges.append(_fewest(merge, sizes.tokens) if stage else 0)

    def embedded(count):
        build = begin()
        build.plan = replace(build.plan, patches=count)
        embed(Residual(build, regions), regions, [])
        allocate(build.matrices, config)

    return Cuts(_fewest(embedded, shape.grid), tuple(attention), tuple(mlps), tuple(merges))


def _fewest(attempt: Callable[[int], None], most: int) -> int:
    """Return the lowest count up to `most` that an attempt fits with: none below does."""
    low, high = 0, 1
    while True:
        try:
            attempt(high)
            break
        except DoesNotFit as error:
            if error.sram_kib is None or high == most:
                raise
            low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            attempt(middle)
            high = middle
        except DoesNotFit:
            low = middle
    return high
