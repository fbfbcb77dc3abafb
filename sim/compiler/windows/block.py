"""A block whose attention is within windows, as instructions: a group of windows after the other.

A group is loaded, attends, goes through the MLP and is stored. In all matrices its windows lie one
behind the other, so that no tile of the array has rows that nobody needs, but for keys: of each
window they begin with a tile, as what attends to them is told by where they lie in it. The queries
of a window are taken from the beginning of the tile where they begin, and scores of rows before
them left alone; what attention gives is written from any row on.
"""

from collections.abc import Callable

from golden.common.config import AcceleratorConfig
from golden.core.rules import operand_layout
from golden.network.network import Block

from ..attention import head_part, load_places, mix, part_layouts, probabilities
from ..builder import Matrix
from ..lowering import mlp
from ..plan import blocks, tile
from ..residual import Part
from .constants import places_name
from .groups import Group, groups_of, windows_of
from .stream import Stream

Tables = dict[tuple[int, int, int], Matrix]
"""What is added to scores, by head, height and width of a window."""


def lower_block(stream: Stream, block: Block, count: int, parts: int, kept: bool,
                fetch: Callable[[Stream, Group], Matrix] = Stream.fetch) -> None:
    """Emit a block.

    Parameters
    ----------
    stream
        The residual stream, which it changes.
    block
        Its weights.
    count
        Groups of windows that are done one after the other, or more than there can be.
    parts
        Blocks of rows in which the MLP takes each.
    kept
        What is added to scores stays in the scratchpad from a group to the next.
    fetch
        Returns the tokens of a group.
    """
    tables: Tables = {}
    for group in groups_of(stream.build, stream.index, count):
        x = fetch(stream, group)
        if not kept:
            tables = {}
        attend(stream, block, group, x, tables)
        transform(stream, block, group, x, parts)
        stream.keep(x, group)


def attend(stream: Stream, block: Block, group: Group, x: Matrix, tables: Tables) -> None:
    """Attention of a group, and what it adds."""
    build, sizes, index, site = stream.build, stream.sizes, stream.index, stream.site
    at, mode = group.at, build.widths(index, "proj").mode
    a, spaced = _normalized(stream, block, group, x)
    layout = operand_layout(mode)
    proj = build.matrix(f"{index}.proj{at}", layout, group.rows, sizes.dim)
    for head in range(sizes.heads):
        begun = len(build.steps)
        q, k, v = (head_part(build, index, head, part, name, block, spaced if name == "k" else a,
                             site, at) for part, name in enumerate(part_layouts(build, index)))
        build.need(group.tokens(), len(build.steps) - begun)
        # Rows for queries that come before a window's own in their tile.
        above = 0 if len(windows_of(sizes)) == 1 else _tile_of(q, build.config) - 1
        for (number, window), start, apart in zip(group.windows, group.starts, group.apart,
                                                  strict=True):
            tokens, name = window.tokens, f"{index}.{{}}.{head}@{number}"
            before = start % _tile_of(q, build.config)
            queries = q.row(start - before, build.config)
            places = None
            if block.places is not None:
                key = head, window.height, window.width
                if key not in tables:
                    region = stream.regions[places_name(index, window)]
                    tables[key] = load_places(build, name.format("places"), region, head, tokens,
                                              before=above)
                table = tables[key]
                places = table, (table.rows - tokens - before) * table.stride
            probs = probabilities(build, index, name, block, k.row(apart, build.config), queries,
                                  site, (tokens, tokens), places, before)
            packed, height = 8 // layout.bits, _tile_of(proj, build.config)
            row, within = start // height, start % height // packed
            mix(build, index, name.format("mixing"), block, probs,
                (v, start * build.config.cols // build.config.word_bytes),
                (proj, row * proj.stride + head * sizes.head_dim // 2), site, [slice(0, tokens)],
                within)
    build.onto(x, f"{index}.attended{at}", proj, block.proj, site["proj"], mode, [])
    build.need(group.tokens())


def transform(stream: Stream, block: Block, group: Group, x: Matrix, parts: int) -> None:
    """The MLP of a group, some rows of it after the other."""
    build, index = stream.build, stream.index
    mode = build.widths(index, "fc1").mode
    for first, rows in blocks(group.rows, parts, tile(build.network, build.config)):
        at = group.at if rows == group.rows else f"{group.at or '@0'}.{first}"
        a = build.norm(f"{index}.fc1{at}", x, block.norm2, stream.site["fc1"], rows, mode,
                       first=first)
        begun = len(build.steps)
        mlp(build, index, block, a, Part(x, first, 0, rows, at), group.at, stream.site, [])
        build.need(group.tokens(first, rows), len(build.steps) - begun)


def _normalized(stream: Stream, block: Block, group: Group,
                x: Matrix) -> tuple[Matrix, Matrix]:
    """LayerNorm of a group, and once more with windows apart, where they are not anyway."""
    build, index, site = stream.build, stream.index, stream.site["qkv"]
    mode = build.widths(index, "qkv").mode
    a = build.norm(f"{index}.qkv{group.at}", x, block.norm1, site, group.rows, mode)
    if group.apart == group.starts:
        return a, a
    spaced = build.matrix(f"{index}.keys{group.at}", a.layout, group.rows_apart, a.cols)
    for (_, window), start, apart in zip(group.windows, group.starts, group.apart, strict=True):
        build.norm(spaced.name, x, block.norm1, site, window.tokens, mode, first=start,
                   out=spaced.row(apart, build.config))
    return a, spaced


def _tile_of(matrix: Matrix, config: AcceleratorConfig) -> int:
    """Return the rows of an operand matrix that are in a tile."""
    return config.rows * (8 // matrix.layout.bits)
