"""The residual stream of a block in external memory, or in the scratchpad from block to block."""

from golden.core.isa import Layout
from golden.core.program import Region
from golden.memory.scratchpad import stride_of
from golden.network.network import Tap
from golden.network.shape import BLOCK_SITES

from ..builder import Matrix
from ..layers import LayerBuilder
from .groups import Group, windows_of


class Stream:
    """The residual stream of a block, row by row of patches; its formats are those of `build` now.

    Attributes
    ----------
    build
        Takes the instructions.
    index, sizes, site
        Of the block: its number, its sizes, its sites by name.
    regions
        Of external memory, by name.
    row_words
        Words from a token to the next.
    held
        All of it, as the scratchpad has it.
    """

    def __init__(self, build: LayerBuilder, regions: dict[str, Region], index: int,
                 held: Matrix | None = None):
        shape = build.network.shape
        self.build, self.index, self.regions, self.held = build, index, regions, held
        self.sizes, stage = shape.blocks[index], shape.stage(index)
        build.stream = build.network.streams[stage]
        self.row_words = stride_of(Layout.WIDE, self.sizes.tokens, self.sizes.dim, build.config)
        self._address = regions["residual" if not stage else f"residual.{stage}"].address
        self.site = {name: shape.site(index, name) for name in BLOCK_SITES}

    def address(self, token: int) -> int:
        """Return where a token is."""
        return self._address + token * self.row_words * self.build.config.word_bytes

    def rows(self, name: str, rows: int) -> Matrix:
        """Return a matrix for some tokens."""
        return self.build.matrix(name, Layout.WIDE, rows, self.sizes.dim)

    def fetch(self, group: Group) -> Matrix:
        """Return the tokens of a group, one window behind the other."""
        if self.held is not None:
            return self.held
        x = self.rows(f"x{group.at}", group.rows)
        for token, row, count in group.runs(self.sizes):
            self.build.load(x, self.address(token), row, count)
        self.build.version(x, f"{self.index}.windows{group.at}")
        return x

    def keep(self, x: Matrix, group: Group) -> None:
        """Store the tokens of a group where they belong, or hold them for the next block."""
        if self._stays(len(group.windows)):
            self.held = x
            return
        self.held = None
        for token, row, count in group.runs(self.sizes):
            self.build.store(x, self.address(token), row * x.stride, count * x.stride)

    def whole(self) -> Matrix:
        """Return all of it."""
        if self.held is not None:
            return self.held
        x = self.rows("x", self.sizes.tokens)
        self.build.load(x, self.address(0))
        return x

    def watch(self, taps: list[Tap], name: str) -> None:
        """Predict scales of all of it."""
        if not taps:
            return
        whole = self.whole()
        if whole is not self.held:
            self.build.version(whole, name)
        self.build.watch(whole, name, taps[0])

    def _stays(self, windows: int) -> bool:
        """Whether who comes next takes all of it as it lies in the only window that there is."""
        shape, after = self.build.network.shape, self.index + 1
        if windows < len(windows_of(self.sizes)) or windows > 1 or after in shape.merges:
            return False
        return after == shape.depth or len(windows_of(shape.blocks[after])) == 1
