"""Sizes of a Vision Transformer, and the order of its quantization sites."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..common.checks import integer
from ..common.formats import MOST_COLOURS
from ..results.curves import CURVES
from ..rows import softmax

BLOCK_SITES = ("qkv", "q", "k", "v", "proj", "fc1", "fc2")
"""Sites of a block that have a scale, in the order of their indexes."""

MERGE_SITE = "merge"
"""Site of the product that merges tokens; it is before those of the block that follows."""

POOL_SITE, HEAD_SITE = "pool", "head"
"""Sites behind the blocks: of patches whose mean is classified, where it is; of the classifier."""

MERGED = 4
"""Tokens that become one, of two rows and two columns: row by row, their channels in line."""

WIDEST = 1024
"""Most channels of a block, those that a dot product with weights has without parts."""

LONGEST = 1008
"""Longest dot product with weights onto the residual stream or to the logits. Longer ones are taken
in parts, each of which is requantized and added: of weights for so many, with the units of their
columns, a core's buffer of 2,048 words has room for two tile columns, the one it multiplies by and
the next."""

_UNIT = 64  # inputs that parts have a multiple of: whole tiles of columns where they are made

LONGEST_KEYS = 256
"""Keys that the values are mixed with at once. More are taken in parts, which are added with the
fractional bits of the values before they are quantized."""

_KEYS = 16  # which parts have a multiple of: whole words of values in the scratchpad of any core


def _parts(inputs: int, longest: int, unit: int) -> list[slice]:
    """Cut inputs into as few parts as there can be, all but the last of as many whole units."""
    units = -(-inputs // unit)
    count = -(-units // (longest // unit or 1))
    each = -(-units // count) * unit
    return [slice(first, min(first + each, inputs)) for first in range(0, inputs, each)]


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens that attend to each other: `height` rows of `width` of the grid, from a row and a
    column on."""

    top: int
    left: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        """Tokens in it."""
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Sizes of one block.

    Attributes
    ----------
    dim, heads, hidden
        Channels, heads, and channels inside the MLP.
    grid
        Patches, or what they have been merged to, along a side.
    prefix
        Tokens before them.
    window, shift
        Side of the windows in which tokens attend to each other, 0 if all attend to all; rows and
        columns that the first ones have, 0 if as many as others.
    """

    dim: int
    heads: int
    hidden: int
    grid: int
    prefix: int
    window: int
    shift: int

    @property
    def tokens(self) -> int:
        """The prefix and the patches."""
        return self.prefix + self.grid**2

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.dim // self.heads

    @property
    def hidden_parts(self) -> list[slice]:
        """Channels inside the MLP that its second layer multiplies together."""
        return _parts(self.hidden, LONGEST, _UNIT)

    @property
    def merge_parts(self) -> list[slice]:
        """Values of :data:`MERGED` tokens that are multiplied together where they become one."""
        return _parts(MERGED * self.dim // 2, LONGEST, _UNIT)

    @property
    def keys(self) -> int:
        """Most tokens that attend to each other."""
        return self.window**2 if self.window else self.tokens

    @property
    def key_parts(self) -> list[slice]:
        """Tokens of those whose values are mixed at once."""
        return _parts(self.keys, LONGEST_KEYS, _KEYS)

    @property
    def windows(self) -> list[Window]:
        """The windows, row by row: with a shift, those along the sides are smaller.

        Liu et al. (Swin Transformer, arXiv 2103.14030) move the tokens around instead, and mask
        those that meet in a window though they are not neighbours: the same windows, in one.
        """
        if not self.window:
            raise ValueError("there are no windows: all tokens attend to all")
        first = self.shift or self.window
        starts = [0, *range(first, self.grid, self.window)]
        spans = list(zip(starts, [*starts[1:], self.grid], strict=True))
        return [Window(top, left, bottom - top, right - left)
                for top, bottom in spans for left, right in spans]

    def tokens_of(self, window: Window) -> np.ndarray:
        """Return the indexes of a window's tokens, row by row, int64 (window.tokens,)."""
        rows = self.grid * np.arange(window.top, window.top + window.height)
        columns = np.arange(window.left, window.left + window.width)
        return self.prefix + (rows[:, None] + columns).reshape(-1)

    def places_in(self, window: Window) -> np.ndarray:
        """Return where its tokens would be in a whole window, int64 (window.tokens,): their
        positions to each other are the same there."""
        rows = self.window * np.arange(window.height)
        return (rows[:, None] + np.arange(window.width)).reshape(-1)


@dataclass(frozen=True, slots=True)
class VitShape:
    """Sizes of a Vision Transformer, for square images.

    Its tokens are the prefix, which is the same for all images, and the patches. Before some blocks
    four neighbouring patches may become one with twice the channels; heads and channels inside the
    MLP double with them.

    Attributes
    ----------
    image, patch
        Side of the image and of a patch, in pixels.
    dim, depth, heads, hidden
        Channels, heads and channels inside the MLP of the first block; blocks in all.
    classes
        Length of the logits.
    prefix
        Tokens before the patches: the class token, and those of distillation or registers.
    classified
        First tokens that the head takes, side by side: 1, or 2 of a distilled network; 0 if it
        takes the mean of the patches, without the prefix.
    window
        Side of the windows in which tokens attend to each other; 0 if all attend to all. Every
        second block between merges has them shifted by half of it; a grid no larger than a window
        is one.
    merges
        Blocks before which patches are merged.
    colours
        Bytes of a pixel, 1 to
        :data:`~golden.common.formats.MOST_COLOURS`: red, green and blue; or gray, with or without
        another channel; or those and a fourth.
    fc_norm
        The last LayerNorm is of the mean of the patches, and not of each patch before it.
    rel_pos_bias
        Blocks without windows add to scores what is between two tokens, too (`Block.places`).
    activation
        What is between the two layers of an MLP, one of :data:`golden.results.curves.CURVES`.
    """

    image: int
    patch: int
    dim: int
    depth: int
    heads: int
    hidden: int
    classes: int
    prefix: int = 1
    classified: int = 1
    window: int = 0
    merges: tuple[int, ...] = ()
    colours: int = 3
    fc_norm: bool = False
    rel_pos_bias: bool = False
    activation: str = "gelu"

    def __post_init__(self):
        for name in ("image", "patch", "dim", "depth", "heads", "hidden", "classes"):
            integer(name, getattr(self, name), 1)
        for name in ("prefix", "window"):
            integer(name, getattr(self, name), 0)
        for whole, part in (("image", "patch"), ("dim", "heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{whole} must be a multiple of {part}, not "
                                 f"{getattr(self, whole)} of {getattr(self, part)}")
        integer("classified", self.classified, 0, self.prefix)
        integer("colours", self.colours, 1, MOST_COLOURS)
        for name in ("fc_norm", "rel_pos_bias"):
            if type(getattr(self, name)) is not bool:
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        if self.activation not in CURVES:
            raise ValueError(f"activation must be one of {', '.join(CURVES)}, not "
                             f"{self.activation!r}")
        if self.fc_norm and (self.classified or self.in_windows):
            raise ValueError("fc_norm is for the mean of patches that have no windows and are not "
                             "merged")
        if self.prefix and self.in_windows:
            raise ValueError("there must be no tokens before patches that have windows or are "
                             f"merged, not {self.prefix}")
        for index, block in enumerate(self.merges):
            integer(f"merges[{index}]", block, self.merges[index - 1] + 1 if index else 1,
                    self.depth - 1)
        self._check_blocks()

    def _check_blocks(self):
        for index, block in enumerate(self.blocks):
            rest = self.grid % 2**self.stage(index)
            if rest or (block.window and block.grid % block.window):
                raise ValueError("the grid must be a multiple of what is merged and of windows, "
                                 f"but has {self.grid} patches along a side")
            integer("dim", block.dim, 1, WIDEST)  # merged, twice as many
            integer("tokens of a window" if block.window else "tokens", block.keys, 1,
                    LONGEST_KEYS if block.window else softmax.HIGHEST_KEYS)

    @property
    def in_windows(self) -> bool:
        """Whether there are windows, or merges between blocks."""
        return bool(self.window or self.merges)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image // self.patch

    @property
    def tokens(self) -> int:
        """The prefix and the patches."""
        return self.prefix + self.patches

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return self.grid**2

    @property
    def patch_values(self) -> int:
        """Values of a patch: row, column, colour."""
        return self.colours * self.patch**2

    @property
    def patch_parts(self) -> list[slice]:
        """Values of a patch that are multiplied together: whole rows of it."""
        return _parts(self.patch_values, LONGEST, self.colours * self.patch)

    @property
    def classified_parts(self) -> list[slice]:
        """Values that the classifier multiplies together."""
        return _parts(self.classified_dim, LONGEST, _UNIT)

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.dim // self.heads

    @property
    def last_dim(self) -> int:
        """Channels behind the last block."""
        return self.blocks[-1].dim

    @property
    def classified_dim(self) -> int:
        """Values that the classifier takes."""
        return max(self.classified, 1) * self.last_dim

    @property
    def blocks(self) -> tuple[BlockShape, ...]:
        """Sizes of every block."""
        return _blocks(self)

    def stage(self, block: int) -> int:
        """Return how often patches have been merged before a block."""
        return sum(merge <= block for merge in self.merges)

    @property
    def sites(self) -> int:
        """Length of a row of scales."""
        return len(_site_names(self))

    def site(self, block: int, name: str) -> int:
        """Index of a block's site in a row of scales, or of :data:`MERGE_SITE` before it."""
        first = len(BLOCK_SITES) * block + self.stage(block)
        return first - 1 if name == MERGE_SITE else first + BLOCK_SITES.index(name)

    def first_site(self, block: int) -> int:
        """Index of the first site behind so many blocks."""
        before = len(BLOCK_SITES) * block
        return before + sum(merge < block for merge in self.merges)

    def behind(self, block: int) -> BlockShape:
        """Return the sizes of the residual stream behind so many blocks, before a merge there."""
        return self.blocks[max(block - 1, 0)]

    def kind(self, site: int) -> str:
        """Name of a site without its block, by its index in a row of scales."""
        return _site_names(self)[site].rpartition(".")[2]

    def site_names(self) -> list[str]:
        """Names of the sites in the order of a row of scales, like ``3.fc1``; last ``head``."""
        return list(_site_names(self))


@lru_cache
def _blocks(shape: VitShape) -> tuple[BlockShape, ...]:
    made, before = [], -1
    for index in range(shape.depth):
        stage = shape.stage(index)
        odd = made and stage == before and not made[-1].shift
        before = stage
        grid = shape.grid >> stage
        window = shape.window if shape.window < grid else 0
        made.append(BlockShape(shape.dim << stage, shape.heads << stage, shape.hidden << stage,
                               grid, shape.prefix, window, window // 2 if odd else 0))
    return tuple(made)


@lru_cache
def _site_names(shape: VitShape) -> tuple[str, ...]:
    names = []
    for block in range(shape.depth):
        merge = [MERGE_SITE] if block in shape.merges else []
        names += [f"{block}.{name}" for name in (*merge, *BLOCK_SITES)]
    return (*names, *([] if shape.classified else [POOL_SITE]), HEAD_SITE)
