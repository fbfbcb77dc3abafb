"""In how many parts a network of windows is done: the fastest of those that fit, about."""

from collections.abc import Callable
from dataclasses import replace

from golden.common.config import AcceleratorConfig
from golden.core.program import Region
from golden.network.network import Network
from golden.network.precision import LAYERS

from ..allocation import allocate
from ..layers import LayerBuilder
from ..limits import DoesNotFit
from ..plan import blocks, tile
from ..residual import Residual, embed
from .block import lower_block
from .embedding import fetch_first
from .groups import groups_of, windows_of
from .network import Cuts, lower_merge
from .stream import Stream

_MORE = 3
"""So many groups more than fit are tried."""


def cuts_of(network: Network, config: AcceleratorConfig, regions: dict[str, Region],
            begin: Callable[[], LayerBuilder]) -> Cuts:
    """Return in how many groups of windows each stage needs the fewest cycles of those that fit the
    scratchpad, or about so; patches and merges are done in the fewest blocks that fit.

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
    lacks = [(block.places is None, block.q_norm is None, block.k_norm is None)
             for block in network.blocks]
    attention, mlps, places, merges = [], [], [], []
    for stage in range(len(shape.merges) + 1):
        own = [index for index in range(shape.depth) if shape.stage(index) == stage]
        widths = {index: tuple(network.precision.of(index, layer) for layer in LAYERS)
                  for index in own}
        kinds = {(shape.blocks[index], lacks[index], widths[index]): index
                 for index in reversed(own)}

        def lowered(groups, parts, kept, kinds=kinds):
            for index in kinds.values():
                build = begin()
                fetch = Stream.fetch if index else fetch_first(build)
                lower_block(Stream(build, regions, index), network.blocks[index], groups, parts,
                            kept, fetch)
                allocate(build.matrices, config)

        def merged(count, index=own[0]):
            build = begin()
            lower_merge(build, index, regions, count)
            allocate(build.matrices, config)

        chosen = _groups(lowered, begin(), own)
        attention.append(chosen[0])
        mlps.append(chosen[1])
        places.append(chosen[2])
        merges.append(_fewest(merged, shape.blocks[own[0]].tokens) if stage else 0)

    def patches(count):
        build = begin()
        build.plan = replace(build.plan, patches=count)
        embed(Residual(build, regions), regions, [])
        allocate(build.matrices, config)

    stored = fetch_first(begin()) is Stream.fetch
    return Cuts(_fewest(patches, shape.grid) if stored else 1, tuple(attention), tuple(mlps),
                tuple(merges), tuple(places))


def _groups(lowered: Callable[[int, int, bool], None], build: LayerBuilder,
            own: list[int]) -> tuple[int, int, bool]:
    """Return in how many groups windows of a stage, its blocks `own`, are done, in how many blocks
    the MLP takes each, and whether what is added to scores is kept: what about needs the fewest
    cycles of what fits, `lowered`.
    """
    shape = build.network.shape
    most = max(len(windows_of(shape.blocks[index])) for index in own)
    finest = -(-shape.blocks[own[0]].tokens // tile(build.network, build.config))
    fewest = _fewest(lambda count: lowered(count, finest, False), most)
    found = []
    for kept in (False, True):
        for groups in range(fewest, min(fewest + _MORE, most) + 1):
            try:
                parts = _fewest(lambda count, groups=groups, kept=kept:
                                lowered(groups, count, kept), finest)
            except DoesNotFit:
                continue
            cycles = sum(_about(build, index, groups, parts, kept) for index in own)
            found.append((cycles, groups, parts, kept))
    return min(found)[1:]


def _about(build: LayerBuilder, index: int, count: int, parts: int, kept: bool) -> float:
    """Return about how many cycles a block needs for what depends on how it is divided: products
    of whole tiles, and what is loaded to be added to scores.
    """
    network, config, sizes = build.network, build.config, build.network.shape.blocks[index]
    unit, groups = tile(network, config), groups_of(build, index, count)
    per_row = {layer: weights / config.multipliers / build.widths(index, layer).mode.macs
               for layer, weights in (("qkv", 3 * sizes.dim**2), ("proj", sizes.dim**2),
                                      ("fc1", sizes.dim * sizes.hidden),
                                      ("fc2", sizes.dim * sizes.hidden))}
    cycles, before = 0.0, set()
    for group in groups:
        rows = -(-group.rows // unit) * unit
        cycles += rows * (per_row["qkv"] + per_row["proj"])
        cycles += sum(-(-some // unit) * unit * (per_row["fc1"] + per_row["fc2"])
                      for _, some in blocks(group.rows, parts, unit))
        before = before if kept else set()
        alike = {(window.height, window.width) for _, window in group.windows}
        cycles += sum((height * width)**2 for height, width in alike - before) * (
            sizes.heads * 2 / config.bus_bytes)
        before |= alike
    return cycles


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
