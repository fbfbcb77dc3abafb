"""Networks of patches alone as instructions: attention within windows, merges, the mean at the end.

The residual stream is in external memory, row by row of patches, a region for each stage between
merges. It is loaded, changed and stored again in blocks:

* a group of windows at a time goes through a block (:mod:`.block`). Their rows are brought together
  as they are loaded, and go back to where they came from as they are stored: nothing is moved
  around in between, and windows that a shift makes smaller are what they are;
* a merge some of its results at a time: as rows are loaded, four patches come to lie in line.

Each takes the fewest blocks that fit (:mod:`.cuts`), as weights come once for each. Where a window
is all there is, it stays in the scratchpad from one block to the next.
"""

from dataclasses import asdict, dataclass

from golden.core.isa import Layout, Opcode, Path
from golden.core.program import Region
from golden.network.shape import MERGE_SITE, MERGED

from ..builder import Matrix
from ..layers import LayerBuilder
from ..lowering import taps_of
from ..plan import blocks
from ..pooling import classify_mean
from ..residual import Residual, embed
from .block import lower_block
from .embedding import fetch_first
from .groups import windows_of
from .stream import Stream


@dataclass(frozen=True, slots=True)
class Cuts:
    """In how many blocks each stage does what it does.

    Attributes
    ----------
    patches
        Blocks of rows of patches that are embedded.
    attention
        Groups of windows that go through a block of each stage.
    mlp
        Blocks of rows in which the MLP takes each of them.
    merge
        Blocks of patches that are merged, to what each stage begins with.
    places
        Of each stage, whether what is added to scores is kept from group to group.
    """

    patches: int
    attention: tuple[int, ...]
    mlp: tuple[int, ...]
    merge: tuple[int, ...]
    places: tuple[bool, ...]

    @classmethod
    def of(cls, about: dict) -> "Cuts":
        """Return what :meth:`described` gave."""
        return cls(about["patches"], *(tuple(about[name]) for name in (
            "attention", "mlp", "merge", "places")))

    def described(self) -> dict:
        """Return JSON values, as :func:`sim.compiler.plan.described` has them."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()} | {"residual": True}


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
    taps, held = taps_of(build), None
    build.begin()
    fetch = fetch_first(build)
    if fetch is Stream.fetch:
        embed(Residual(build, regions), regions, [])
    for index, block in enumerate(network.blocks):
        stage = shape.stage(index)
        if index in shape.merges:
            held = lower_merge(build, index, regions, cuts.merge[stage])
        stream = Stream(build, regions, index, held)
        if not index:
            stream.watch(taps[0], "begun" if network.norm_pre is not None else "embedding")
        lower_block(stream, block, cuts.attention[stage], cuts.mlp[stage], cuts.places[stage],
                    Stream.fetch if index else fetch)
        stream.watch(taps[index + 1], f"{index}.x")
        held = stream.held
    logits = _mean(stream, regions)
    build.check_slots()
    return logits


def lower_merge(build: LayerBuilder, index: int, regions: dict[str, Region],
                count: int) -> Matrix | None:
    """Merge patches before a block, in so many blocks; return all of them if the block takes them
    from the scratchpad.
    """
    network, mode = build.network, build.widths(index, MERGE_SITE).mode
    merge = network.merges[network.shape.stage(index) - 1]
    merged = Stream(build, regions, index)
    before = Stream(build, regions, index - 1)
    after, site = merged.sizes, network.shape.site(index, MERGE_SITE)
    parts, grid, pair = after.merge_parts, before.sizes.grid, 2 * before.row_words
    for first, rows in blocks(after.tokens, count, 1):
        at = f"@{first}" if count > 1 else ""
        line = build.matrix(f"{index}.line{at}", Layout.WIDE, rows, MERGED * before.sizes.dim)
        for row in range(rows):
            y, x = divmod(first + row, after.grid)
            for below in range(2):
                address = before.address((2 * y + below) * grid + 2 * x)
                build.emit(Opcode.LOAD,
                           writes={"dest": (line, row * line.stride + below * pair)},
                           address=address, words=pair)
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
        if rows == after.tokens and len(windows_of(after)) == 1:
            return made
        build.store(made, merged.address(first))
    return None


def _mean(stream: Stream, regions: dict[str, Region]) -> Matrix:
    """Logits of the mean of all patches, into external memory."""
    x = stream.whole()
    if x is not stream.held:
        stream.build.version(x, f"{stream.index}.x")
    return classify_mean(stream.build, [(x, 0, 0, stream.sizes.tokens)], regions)
