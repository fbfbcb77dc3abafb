"""Sizes of a Vision Transformer, and the order of its quantization sites."""

from dataclasses import dataclass, fields

from ..common.checks import integer
from ..rows import layernorm, softmax

BLOCK_SITES = ("qkv", "q", "k", "v", "proj", "fc1", "fc2")
"""Sites of a block that have a scale, in the order of their indexes."""

LONGEST = 1024
"""Longest dot product with weights. Longer ones, all of them onto the residual stream or to the
logits, are taken in parts, each of which is requantized and added: of weights for so many, a core's
buffer has room for two tile columns, the one it multiplies by and the next."""

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
class VitShape:
    """Sizes of a Vision Transformer with a class token, for square images of three colours.

    Its tokens are the prefix, which begins with the class token and is the same for all images, and
    the patches.

    Attributes
    ----------
    image, patch
        Side of the image and of a patch, in pixels.
    dim, depth, heads, hidden
        Channels, blocks, heads of a block, and channels inside its MLP.
    classes
        Length of the logits.
    prefix
        Tokens before the patches: the class token, and those of distillation or registers.
    classified
        First tokens that the head takes, side by side: 1, or 2 of a distilled network.
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

    def __post_init__(self):
        for field in fields(self):
            integer(field.name, getattr(self, field.name), 1)
        integer("dim", self.dim, 1, layernorm.HIGHEST_CHANNELS)
        for whole, part in (("image", "patch"), ("dim", "heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{whole} must be a multiple of {part}, not "
                                 f"{getattr(self, whole)} of {getattr(self, part)}")
        integer("classified", self.classified, 1, self.prefix)
        integer("tokens", self.tokens, 1, softmax.HIGHEST_KEYS)

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
        return 3 * self.patch**2

    @property
    def patch_parts(self) -> list[slice]:
        """Values of a patch that are multiplied together: whole rows of it."""
        return _parts(self.patch_values, LONGEST, 3 * self.patch)

    @property
    def hidden_parts(self) -> list[slice]:
        """Channels inside the MLP that its second layer multiplies together."""
        return _parts(self.hidden, LONGEST, _UNIT)

    @property
    def classified_parts(self) -> list[slice]:
        """Values that the classifier multiplies together."""
        return _parts(self.classified_dim, LONGEST, _UNIT)

    @property
    def key_parts(self) -> list[slice]:
        """Tokens whose values are mixed at once."""
        return _parts(self.tokens, LONGEST_KEYS, _KEYS)

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.dim // self.heads

    @property
    def classified_dim(self) -> int:
        """Values that the classifier takes."""
        return self.classified * self.dim

    @property
    def sites(self) -> int:
        """Length of a row of scales."""
        return len(BLOCK_SITES) * self.depth + 1

    def site(self, block: int, name: str) -> int:
        """Index of a block's site in a row of scales."""
        return len(BLOCK_SITES) * block + BLOCK_SITES.index(name)

    def kind(self, site: int) -> str:
        """Name of a site without its block, by its index in a row of scales."""
        last = site == self.sites - 1
        return "head" if last else BLOCK_SITES[site % len(BLOCK_SITES)]

    def site_names(self) -> list[str]:
        """Names of the sites in the order of a row of scales, like ``3.fc1``; last ``head``."""
        names = [f"{block}.{name}" for block in range(self.depth) for name in BLOCK_SITES]
        return [*names, "head"]
