"""Attention as instructions: of each head queries, keys and values, scores, softmax and mixing.

A plan (:mod:`.plan`) has queries done in blocks; tensors of a block are named by the first of them.
"""

from golden.common.formats import LAMBDA
from golden.core import isa
from golden.core.isa import Layout, Opcode, Path, Source
from golden.core.program import Region
from golden.core.rules import operand_layout, weight_layout
from golden.network.network import Block
from golden.network.precision import ATTENTION
from golden.product.mac_array import Activation
from golden.rows import softmax

from .builder import Matrix
from .layers import LayerBuilder
from .payloads import numbers_of
from .plan import blocks, tile
from .residual import Stored
from .windows.constants import places_name
from .windows.groups import windows_of

_SCORE = softmax.SCORE.frac * LAMBDA.one


def attention(build: LayerBuilder, index: int, block: Block, a: Matrix | Stored, sites: dict,
              regions: dict[str, Region]) -> Matrix | Stored:
    """Attention of a block, head after head, of each a block of queries after the other; return
    what the projection takes.
    """
    shape, plan = build.network.shape, build.plan
    sizes = shape.blocks[index]
    name, layout = f"{index}.proj", operand_layout(build.widths(index, "proj").mode)
    if plan.heads:
        proj = Stored(name, layout, shape.tokens, shape.dim, regions["heads"].address)
    else:
        proj = (build.wide(name, shape.tokens, shape.dim) if build.jit else
                build.matrix(name, layout, shape.tokens, shape.dim))
    bands = list(blocks(shape.tokens, plan.attention, tile(build.network, build.config)))
    for head in range(shape.heads):
        parts = _projected(build, index, head, block, a, sites, bands)
        for first, rows in bands:
            at = f"@{first}" if len(bands) > 1 else ""
            queries = _queries(build, index, head, block, a, sites, first, rows, parts)
            places = None
            if block.places is not None:
                [window] = windows_of(sizes)
                places = load_places(build, f"{index}.places.{head}{at}",
                                     regions[places_name(index, window)], head, shape.tokens,
                                     first, rows), 0
            probs = probabilities(build, index, f"{index}.{{}}.{head}{at}", block, (parts["k"], 0),
                                  queries, sites, (rows, shape.tokens), places)
            mixed = f"{index}.mixing.{head}{at}"
            if plan.heads:
                part = build.matrix(f"{name}.{head}{at}", layout, rows, shape.head_dim,
                                    unit=build.config.rows)
                mix(build, index, mixed, block, probs, (parts["v"], 0), (part, 0), sites,
                    sizes.key_parts)
                proj.keep(build, part, first, head * shape.head_dim)
            else:
                column = head * shape.head_dim // (build.config.lanes if build.jit else 2)
                offset = proj.row(first, build.config)[1] + column
                mix(build, index, mixed, block, probs, (parts["v"], 0), (proj, offset), sites,
                    sizes.key_parts)
    if build.jit:
        return build.measured(name, proj, sites["proj"], build.wide_point(sites["proj"]), layout)
    return proj


def head_part(build: LayerBuilder, index: int, head: int, part: int, name: str, block: Block,
              a: Matrix, sites: dict, at: str = "",
              out: tuple[Matrix, int] | None = None) -> Matrix:
    """Queries, keys or values of a head: `part` 0, 1 or 2 of the product, behind their LayerNorm if
    they have one.
    """
    network = build.network
    sizes, norm = network.shape.blocks[index], block.head_norm(name)
    mode = build.widths(index, "qkv").mode
    first = part * sizes.dim + head * sizes.head_dim
    cols, made = slice(first, first + sizes.head_dim), f"{index}.{name}.{head}{at}"
    if norm is None:
        return build.linear(made, a, block.qkv, (sites["qkv"], sites[name]), mode,
                            network.qkv_point, part_layouts(build, index)[name], cols, out=out)
    y = build.matrix(f"{index}.y.{name}.{head}{at}", Layout.WIDE, a.rows, sizes.head_dim)
    build.product(a, block.qkv, sites["qkv"], mode, writes={"dest": (y, 0)}, cols=cols,
                  path=Path.WIDE)
    return build.norm(made, y, norm.norm, sites[name], a.rows,
                      build.widths(index, ATTENTION).score_mode, out=out, epsilon=norm.epsilon,
                      of_stream=False)


def part_layouts(build: LayerBuilder, index: int) -> dict[str, Layout]:
    """Return the layouts of queries, keys and values of a block."""
    precision = build.widths(index, ATTENTION)
    operands = operand_layout(precision.score_mode)
    return {"q": operands, "k": operands, "v": weight_layout(precision.value_mode)}


def _projected(build: LayerBuilder, index: int, head: int, block: Block, a: Matrix | Stored,
               sites: dict, bands: list[tuple[int, int]]) -> dict[str, Matrix]:
    """Queries, keys and values of a head; without queries, if what they are made of is stored."""
    shape, config = build.network.shape, build.config
    layouts = part_layouts(build, index)
    if isinstance(a, Matrix):
        return {name: head_part(build, index, head, part, name, block, a, sites)
                for part, name in enumerate(layouts)}
    parts = {name: build.matrix(f"{index}.{name}.{head}", layouts[name], shape.tokens,
                                shape.head_dim) for name in "kv"}
    keys, values = parts["k"], parts["v"]
    for first, rows in bands:
        loaded = a.load(build, first, rows)
        head_part(build, index, head, 1, "k", block, loaded, sites, out=keys.row(first, config))
        head_part(build, index, head, 2, "v", block, loaded, sites,
              out=(values, first * config.cols // config.word_bytes))
    return parts


def _queries(build: LayerBuilder, index: int, head: int, block: Block, a: Matrix | Stored,
             sites: dict, first: int, rows: int, parts: dict) -> tuple[Matrix, int]:
    """Return where some queries of a head are."""
    if isinstance(a, Matrix):
        return parts["q"].row(first, build.config)
    return head_part(build, index, head, 0, "q", block, a.load(build, first, rows), sites,
                 f"@{first}" if rows < a.rows else ""), 0


def load_places(build: LayerBuilder, name: str, region: Region, head: int, keys: int,
                first: int = 0, rows: int | None = None, before: int = 0) -> Matrix:
    """Load what is added to the scores of a head: of as many queries as `keys`, or of `rows` from
    `first` on, behind rows for those that come `before` them.
    """
    rows = keys if rows is None else rows
    made = build.matrix(name, Layout.WIDE, before + rows, keys)
    row = (head * keys + first) * made.stride * build.config.word_bytes
    build.load(made, region.address + row, before, rows)
    return made


def probabilities(build: LayerBuilder, index: int, name: str, block: Block,
                  keys: tuple[Matrix, int], queries: tuple[Matrix, int], sites: dict,
                  size: tuple[int, int], places: tuple[Matrix, int] | None = None,
                  before: int = 0) -> Matrix:
    """Scores of queries and keys of a head, as many as `size` says, and their softmax, as 8-bit
    exponentials or 4-bit codes; `places` are added to the scores. There may be queries `before`
    those, whose scores nobody needs.
    """
    network, slots, (rows, tokens) = build.network, build.slots, size
    scores = build.matrix(name.format("scores"), Layout.WIDE, before + rows, tokens)
    added = {} if places is None else {"residual_address": places}
    build.emit(Opcode.GEMM, b"", {"source": queries, "weights_address": keys, **added},
               {"dest": (scores, 0)}, mode=build.widths(index, ATTENTION).score_mode,
               activation=Activation.SIGNED, weights=Source.KEYS, path=Path.WIDE,
               m=before + rows, k=network.shape.head_dim, n=tokens, residual=len(added),
               exponent=network.score_exponent + _SCORE, scale_a=slots[sites["q"]],
               scale_b=slots[sites["k"]])
    if before:
        build.need(rows)
    probs = build.matrix(name.format("probs"), Layout.OPERAND8, rows, tokens, signed=False)
    step, payload = {}, b""
    if block.step:
        factor, shift = softmax.reciprocal(block.step)
        step = {"step": block.step, "factor": factor, "shift": shift}
        payload = numbers_of(softmax.codebook(block.step), isa.CODEBOOK, build.config)
    build.emit(Opcode.SOFTMAX, payload, {"source": (scores, before * scores.stride)},
               {"dest": (probs, 0)}, m=rows, n=tokens, **step)
    return probs


def mix(build: LayerBuilder, index: int, name: str, block: Block, probs: Matrix,
        values: tuple[Matrix, int], place: tuple[Matrix, int], sites: dict,
        parts: list[slice], first_row: int = 0) -> None:
    """Probabilities times values of a head, to a place of what the projection takes, from a PE row
    of its tile on: of several parts of the keys, all but the last to a matrix of that name.
    """
    network, shape, config = build.network, build.network.shape, build.config
    fmt, slot = build.site_format(sites["proj"]), build.slots[sites["proj"]]
    limits = {"low": fmt.min, "high": fmt.max, "first_row": first_row}
    point = (build.wide_point(sites["proj"]) if build.jit else network.qkv_point) * LAMBDA.one
    wide = {"path": Path.WIDE, "exponent": point}
    if build.jit:
        sums, to_proj = place, wide
    elif len(parts) == 1:
        to_proj = {"path": Path.DIRECT, "scale_b": slot, "subtract_b": 1, **limits}
    else:
        sums = build.matrix(name, Layout.WIDE, probs.rows, shape.head_dim), 0
        to_proj = {"path": Path.SITE, "exponent": point, "exponent_out": -point, "scale_out": slot,
                   **limits}
    matrix, offset = values
    for part in parts:
        last, residual = part is parts[-1], {"residual_address": sums} if part.start else {}
        first = offset + part.start * config.cols // config.word_bytes
        build.emit(
            Opcode.GEMM, b"",
            {"source": (probs, part.start // 2), **residual, "weights_address": (matrix, first)},
            {"dest": place if last else sums}, mode=build.widths(index, ATTENTION).value_mode,
            weights=Source.VALUES, rows=1, m=probs.rows, residual=int(part.start > 0),
            activation=Activation.CODE if block.step else Activation.UNSIGNED,
            k=part.stop - part.start, n=shape.head_dim, scale_a=build.slots[sites["v"]],
            **(to_proj if last else wide))
