"""Windows that are done together, and where their rows lie in matrices that have all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from golden.core.rules import operand_layout
from golden.network.shape import BlockShape, Window

from ..layers import LayerBuilder
from ..plan import tile


@dataclass(frozen=True, slots=True)
class Group:
    """Some windows of a block.

    Attributes
    ----------
    windows
        Number in the block, and window.
    starts
        First row of each in a matrix that has them one behind the other.
    apart
        First row of each in a matrix where they begin with whole tiles of the array.
    at
        What tensors of it have behind their names; nothing if there is no other group.
    """

    windows: tuple[tuple[int, Window], ...]
    starts: tuple[int, ...]
    apart: tuple[int, ...]
    at: str

    @property
    def rows(self) -> int:
        """Rows of a matrix that has them one behind the other."""
        return self.starts[-1] + self.windows[-1][1].tokens

    @property
    def rows_apart(self) -> int:
        """Rows of a matrix where they begin with whole tiles."""
        return self.apart[-1] + self.windows[-1][1].tokens

    def tokens(self, first: int = 0, rows: int | None = None) -> int:
        """Return how many of some rows are tokens: the others are between two windows."""
        last = self.rows if rows is None else first + rows
        return sum(max(0, min(last, start + window.tokens) - max(first, start))
                   for (_, window), start in zip(self.windows, self.starts, strict=True))

    def runs(self, sizes: BlockShape) -> Iterator[tuple[int, int, int]]:
        """Yield its tokens as they lie beside each other in the grid as well: the first one, its
        row, and how many.
        """
        token, row, count = 0, 0, 0
        for (_, window), start in zip(self.windows, self.starts, strict=True):
            for line in range(window.height):
                first = (window.top + line) * sizes.grid + window.left
                at = start + line * window.width
                if count and (first, at) == (token + count, row + count):
                    count += window.width
                    continue
                if count:
                    yield token, row, count
                token, row, count = first, at, window.width
        yield token, row, count


def windows_of(sizes: BlockShape) -> list[Window]:
    """Return the windows of a block; one, if all tokens attend to all."""
    return sizes.windows if sizes.window else [Window(0, 0, sizes.grid, sizes.grid)]


def groups_of(build: LayerBuilder, index: int, count: int) -> list[Group]:
    """Return the windows of a block in `count` groups or fewer, one after the other, so that the
    largest has as few rows as can be.
    """
    # None begins within a word of values, or with the second row of a byte of what is projected.
    config, projected = build.config, operand_layout(build.widths(index, "proj").mode)
    near = max(8 // projected.bits, config.word_bytes // config.cols)
    unit = tile(build.network, config)
    windows = list(enumerate(windows_of(build.network.shape.blocks[index])))
    tokens = [-(-window.tokens // near) * near for _, window in windows]
    low, high = max(tokens), sum(tokens)
    while low < high:
        middle = (low + high) // 2
        if len(_cut(tokens, middle)) <= count:
            high = middle
        else:
            low = middle + 1
    found, first = [], 0
    for length in _cut(tokens, low):
        some = windows[first:first + length]
        starts = accumulate(tokens[first:first + length - 1], initial=0)
        apart = accumulate((-(-window.tokens // unit) * unit for _, window in some[:-1]), initial=0)
        at = f"@{first}" if length < len(windows) else ""
        found.append(Group(tuple(some), tuple(starts), tuple(apart), at))
        first += length
    return found


def _cut(tokens: list[int], most: int) -> list[int]:
    """Return how many follow one another, again and again, that have so many tokens at most."""
    lengths, total = [0], 0
    for each in tokens:
        if lengths[-1] and total + each > most:
            lengths.append(0)
            total = 0
        lengths[-1] += 1
        total += each
    return lengths
