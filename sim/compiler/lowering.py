"""A network as instructions, whose matrices have no addresses yet.

Per block: LayerNorm; of each head queries, keys and values, scores, softmax and mixing; projection
onto the residual stream in place; LayerNorm, and the two layers of the MLP, the second one in
place. A plan (:mod:`.plan`) has rows done in blocks; what it stores is in :mod:`.residual`. Tensors
of a block of rows are named by the first of them, like ``3.fc2@64``.
"""

from golden.common.formats import Mode
from golden.core.program import Region
from golden.core.rules import operand_layout
from golden.network.network import GELU_POINT, Block, Tap
from golden.network.precision import HEAD
from golden.network.shape import BLOCK_SITES
from golden.product.mac_array import Activation

from .attention import attention
from .builder import Matrix
from .layers import LayerBuilder
from .limits import DoesNotFit
from .pooling import classify_mean
from .residual import Part, Residual, Stored, embed


def lower(build: LayerBuilder, regions: dict[str, Region]) -> Matrix:
    """Emit the whole network but for the end, as the plan of `build` says; return its logits.

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
    shape, taps = build.network.shape, taps_of(build)
    build.begin()
    x = Residual(build, regions)
    embed(x, regions, taps[0])
    for index in range(shape.depth):
        _block(x, index, taps[index + 1], regions)
    logits = _classified(x, regions)
    build.check_slots()
    return logits


def taps_of(build: LayerBuilder) -> list[list[Tap]]:
    """Return the taps after so many blocks, one at most; none where scales are measured."""
    network = build.network
    taps = [[tap for tap in network.taps if tap.after == after and not build.jit]
            for after in range(network.shape.depth + 1)]
    for after, there in enumerate(taps):
        if len(there) > 1:
            raise DoesNotFit(f"one tap can follow block {after}, but the network has "
                             f"{len(there)} there")
    return taps


def _block(x: Residual, index: int, taps: list[Tap], regions: dict[str, Region]) -> None:
    """Attention and MLP of a block, each onto the residual stream."""
    build = x.build
    shape, block = build.network.shape, build.network.blocks[index]
    qkv, proj_mode, fc1 = (build.widths(index, layer).mode for layer in ("qkv", "proj", "fc1"))
    site = {name: shape.site(index, name) for name in BLOCK_SITES}
    build.phase = "attention"
    a = x.normalized(f"{index}.qkv", block.norm1, site["qkv"], qkv)
    proj = attention(build, index, block, a, site, regions)
    if x.matrix is not None:
        build.phase = ""
        a, _ = _loaded(build, proj, 0, shape.tokens)
        build.onto(x.matrix, f"{index}.attended", a, block.proj, site["proj"], proj_mode, [])
    build.phase = "mlp"
    watched = taps if x.whole else []
    # Scales that are predicted behind a block are not known before all of it is there.
    following = index + 1 if build.plan.ahead and index + 1 < shape.depth and not taps else None
    if following is not None:
        x.begin_ahead(f"{following}.qkv", build.widths(following, "qkv").mode)
    for part in x.parts():
        rows, at = part.rows, part.at
        if x.matrix is None:
            a, source = _loaded(build, proj, part.first, rows)
            build.onto(part.matrix, f"{index}.attended{at}", a, block.proj, site["proj"],
                       proj_mode, [], source=source, rows=rows)
        a = build.norm(f"{index}.fc1{at}", part.matrix, block.norm2, site["fc1"], rows, fc1,
                       first=part.row)
        mlp(build, index, block, a, part, "" if x.matrix else at, site, watched)
        x.keep(part)
        if following is not None:
            x.normalize_ahead(part, build.network.blocks[following].norm1,
                              shape.site(following, "qkv"), build.widths(following, "qkv").mode)
    x.now = f"{index}.x"
    if taps and not x.whole:
        x.watch(taps[0])


def mlp(build: LayerBuilder, index: int, block: Block, a: Matrix, part: Part, at: str, site: dict,
         taps: list[Tap]) -> None:
    """Both layers of an MLP, for each part of the channels inside after the other, onto rows of the
    residual stream.
    """
    mode, behind = (build.widths(index, layer).mode for layer in ("fc1", "fc2"))
    parts = build.network.shape.blocks[index].hidden_parts
    last = len(parts) - 1
    for number, (cols, layer) in enumerate(zip(parts, build.parts(block.fc2, parts), strict=True)):
        of = f".part{number}" if last else ""
        fc2 = build.linear(f"{index}.fc2{of}{part.at}", a, block.fc1, (site["fc1"], site["fc2"]),
                           mode, GELU_POINT, operand_layout(behind), cols if last else slice(None),
                           gelu=1, offset=int(behind is Mode.W4A4), coarse=block.coarse)
        # Of some rows of a matrix it is nothing whole, and no name of its own.
        name = f"{index}.x{of if number < last and part.at == at else ''}{at}"
        build.onto(part.matrix, name, fc2, layer, site["fc2"], behind,
                   taps if number == last else [], Activation.UNSIGNED, first=part.row)


def _loaded(build: LayerBuilder, proj: Matrix | Stored, first: int,
            rows: int) -> tuple[Matrix, tuple[Matrix, int]]:
    """Return rows of what the projection takes: the matrix that has them, and where in it."""
    if isinstance(proj, Matrix):
        return proj, proj.row(first, build.config)
    made = proj.load(build, first, rows)
    return made, (made, 0)


def _classified(x: Residual, regions: dict[str, Region]) -> Matrix:
    """Logits of the classified tokens, or of the mean of the patches, into external memory."""
    build = x.build
    network, shape = build.network, build.network.shape
    last = shape.sites - 1
    build.phase = "" if shape.classified else "mlp"
    if not shape.classified:
        return classify_mean(build, x.patches(), regions)
    rows = x.beginning(shape.classified)
    a = build.norm("head", rows, network.norm, last, 1, HEAD.mode, shape.classified)
    rows.versions[-1].last = rows.last
    return build.classify(a, regions["logits"].address)
