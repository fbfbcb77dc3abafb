"""A network as instructions, whose matrices have no addresses yet.

Per block: LayerNorm; of each head queries, keys and values, scores, softmax and mixing; projection
onto the residual stream in place; LayerNorm, and the two layers of the MLP, the second one in
place. A plan (:mod:`.plan`) has rows done in blocks; what it stores is in :mod:`.residual`. Tensors
of a block of rows are named by the first of them, like ``3.fc2@64``.
"""

from golden.common.formats import LAMBDA, Mode
from golden.core import isa
from golden.core.isa import Layout, Opcode, Path, Source
from golden.core.program import Region
from golden.core.rules import operand_layout, weight_layout
from golden.network.network import BLOCK_SITES, GELU_POINT, HEAD, Block, Tap
from golden.product.mac_array import Activation
from golden.rows import softmax

from .builder import Matrix
from .layers import LayerBuilder
from .limits import DoesNotFit
from .payloads import numbers_of
from .plan import blocks, tile
from .residual import Residual, Stored, embed

_SCORE = softmax.SCORE.frac * LAMBDA.one


def lower(build: LayerBuilder, regions: dict[str, Region]) -> None:
    """Emit the whole network, as the plan of `build` says.

    Parameters
    ----------
    build
        Takes the instructions.
    regions
        Of external memory, by name, as :func:`sim.compiler.linker.reserve` has them.

    Raises
    ------
    DoesNotFit
        If the scale file is too small, or two taps follow one block.
    """
    network, config = build.network, build.config
    taps = _taps(build)
    scales = [0, *network.scales.tolist()]  # whatever a program before has left in slot 0
    build.emit(Opcode.SCALES, numbers_of(scales, isa.SCALES, config), n=len(scales))
    x = Residual(build, regions)
    embed(x, regions, taps[0])
    for index, block in enumerate(network.blocks):
        _block(x, index, block, taps[index + 1], regions)
    _classified(x, regions["logits"].address)
    if build.free_slot > config.max_sites:
        raise DoesNotFit(f"the scale file must have {build.free_slot} slots or more for this "
                         f"network, but max_sites is {config.max_sites}")


def _taps(build: LayerBuilder) -> list[list[Tap]]:
    """Return the taps after so many blocks, one at most; none where scales are measured."""
    network = build.network
    taps = [[tap for tap in network.taps if tap.after == after and not build.jit]
            for after in range(network.shape.depth + 1)]
    for after, there in enumerate(taps):
        if len(there) > 1:
            raise DoesNotFit(f"one tap can follow block {after}, but the network has "
                             f"{len(there)} there")
    return taps


def _block(x: Residual, index: int, block: Block, taps: list[Tap],
           regions: dict[str, Region]) -> None:
    """Attention and MLP of a block, each onto the residual stream."""
    build = x.build
    shape, mode = build.network.shape, build.network.precision.mode
    site = {name: shape.site(index, name) for name in BLOCK_SITES}
    build.phase = "attention"
    a = x.normalized(f"{index}.qkv", block.norm1, site["qkv"], mode)
    proj = _attention(build, index, block, a, site, regions)
    if x.matrix is not None:
        build.phase = ""
        a, _ = _loaded(build, proj, 0, shape.tokens)
        build.onto(x.matrix, f"{index}.attended", a, block.proj, site["proj"], mode, [])
    build.phase = "mlp"
    watched = taps if x.whole else []
    for part in x.parts():
        rows, at = part.rows, part.at
        if x.matrix is None:
            a, source = _loaded(build, proj, part.first, rows)
            build.onto(part.matrix, f"{index}.attended{at}", a, block.proj, site["proj"], mode, [],
                       source=source, rows=rows)
        a = build.norm(f"{index}.fc1{at}", part.matrix, block.norm2, site["fc1"], rows, mode,
                       first=part.row)
        fc2 = build.linear(f"{index}.fc2{at}", a, block.fc1, (site["fc1"], site["fc2"]), mode,
                           GELU_POINT, operand_layout(mode), gelu=1,
                           offset=int(mode is Mode.W4A4), coarse=block.coarse)
        build.onto(part.matrix, f"{index}.x{'' if x.matrix else at}", fc2, block.fc2, site["fc2"],
                   mode, watched, Activation.UNSIGNED, first=part.row)
        x.keep(part)
    x.now = f"{index}.x"
    if taps and not x.whole:
        x.watch(taps[0])


def _attention(build: LayerBuilder, index: int, block: Block, a: Matrix, sites: dict,
               regions: dict[str, Region]) -> Matrix | Stored:
    """Attention of a block, head after head, of each a block of queries after the other; return
    what the projection takes.
    """
    shape, mode, plan = build.network.shape, build.network.precision.mode, build.plan
    name, layout = f"{index}.proj", operand_layout(mode)
    if plan.heads:
        proj = Stored(name, layout, shape.tokens, shape.dim, regions["heads"].address)
    else:
        proj = (build.wide(name, shape.tokens, shape.dim) if build.jit else
                build.matrix(name, layout, shape.tokens, shape.dim))
    bands = list(blocks(shape.tokens, plan.attention, tile(build.network, build.config)))
    for head in range(shape.heads):
        parts = _projected(build, index, head, block, a, sites)
        for first, rows in bands:
            at = f"@{first}" if len(bands) > 1 else ""
            probs = _probabilities(build, f"{index}.{{}}.{head}{at}", block, parts, sites, first,
                                   rows)
            if plan.heads:
                part = build.matrix(f"{name}.{head}{at}", layout, rows, shape.head_dim,
                                    unit=build.config.rows)
                _mixed(build, block, probs, parts["v"], (part, 0), sites)
                proj.keep(build, part, first, head * shape.head_dim)
            else:
                column = head * shape.head_dim // (build.config.lanes if build.jit else 2)
                offset = proj.row(first, build.config)[1] + column
                _mixed(build, block, probs, parts["v"], (proj, offset), sites)
    if build.jit:
        return build.measured(name, proj, sites["proj"], build.wide_point(sites["proj"]), layout)
    return proj


def _loaded(build: LayerBuilder, proj: Matrix | Stored, first: int,
            rows: int) -> tuple[Matrix, tuple[Matrix, int]]:
    """Return rows of what the projection takes: the matrix that has them, and where in it."""
    if isinstance(proj, Matrix):
        return proj, proj.row(first, build.config)
    made = proj.load(build, first, rows)
    return made, (made, 0)


def _projected(build: LayerBuilder, index: int, head: int, block: Block, a: Matrix,
               sites: dict) -> dict[str, Matrix]:
    """Queries, keys and values of a head."""
    network, precision, shape = build.network, build.network.precision, build.network.shape
    layouts = {"q": operand_layout(precision.score_mode), "k": operand_layout(precision.score_mode),
               "v": weight_layout(precision.value_mode)}
    parts = {}
    for part, (name, layout) in enumerate(layouts.items()):
        first = part * shape.dim + head * shape.head_dim
        parts[name] = build.linear(
            f"{index}.{name}.{head}", a, block.qkv, (sites["qkv"], sites[name]),
            precision.mode, network.qkv_point, layout, slice(first, first + shape.head_dim))
    return parts


def _probabilities(build: LayerBuilder, name: str, block: Block, parts: dict[str, Matrix],
                   sites: dict, first: int, rows: int) -> Matrix:
    """Scores of queries of a head and their softmax, as 8-bit exponentials or 4-bit codes."""
    network, shape, slots = build.network, build.network.shape, build.slots
    scores = build.matrix(name.format("scores"), Layout.WIDE, rows, shape.tokens)
    build.emit(Opcode.GEMM, b"", {"source": parts["q"].row(first, build.config),
                                  "weights_address": (parts["k"], 0)},
               {"dest": (scores, 0)}, mode=network.precision.score_mode,
               activation=Activation.SIGNED, weights=Source.KEYS, path=Path.WIDE, m=rows,
               k=shape.head_dim, n=shape.tokens, exponent=network.score_exponent + _SCORE,
               scale_a=slots[sites["q"]], scale_b=slots[sites["k"]])
    probs = build.matrix(name.format("probs"), Layout.OPERAND8, rows, shape.tokens, signed=False)
    step, payload = {}, b""
    if block.step:
        factor, shift = softmax.reciprocal(block.step)
        step = {"step": block.step, "factor": factor, "shift": shift}
        payload = numbers_of(softmax.codebook(block.step), isa.CODEBOOK, build.config)
    build.emit(Opcode.SOFTMAX, payload, {"source": (scores, 0)}, {"dest": (probs, 0)},
               m=rows, n=shape.tokens, **step)
    return probs


def _mixed(build: LayerBuilder, block: Block, probs: Matrix, values: Matrix,
           place: tuple[Matrix, int], sites: dict) -> None:
    """Probabilities times values of a head, to a place of what the projection takes."""
    precision, shape, slots = build.network.precision, build.network.shape, build.slots
    fmt = precision.site("proj")
    to_proj = ({"path": Path.WIDE, "exponent": build.wide_point(sites["proj"]) * LAMBDA.one}
               if build.jit else
               {"path": Path.DIRECT, "scale_b": slots[sites["proj"]], "subtract_b": 1,
                "low": fmt.min, "high": fmt.max})
    build.emit(Opcode.GEMM, b"", {"source": (probs, 0), "weights_address": (values, 0)},
               {"dest": place}, mode=precision.value_mode, weights=Source.VALUES, rows=1,
               m=probs.rows, activation=Activation.CODE if block.step else Activation.UNSIGNED,
               k=shape.tokens, n=shape.head_dim, scale_a=slots[sites["v"]], **to_proj)


def _classified(x: Residual, logits: int) -> None:
    """Logits of the classified tokens, into external memory; the end."""
    build = x.build
    network, shape = build.network, build.network.shape
    last = shape.sites - 1
    build.phase = ""
    rows = x.beginning(shape.classified)
    a = build.norm("head", rows, network.norm, last, 1, HEAD.mode, shape.classified)
    rows.versions[-1].last = rows.last
    out = build.matrix("logits", Layout.WIDE, 1, shape.classes)
    build.product(a, network.head, last, HEAD.mode, writes={"dest": (out, 0)}, path=Path.WIDE)
    build.emit(Opcode.STORE, reads={"source": (out, 0)}, address=logits, words=out.words)
    build.emit(Opcode.END)
