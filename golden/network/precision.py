"""Widths of a quantized network: of its weights, and of what enters its matrix products.

All blocks have the same (:class:`Precision`), or blocks and layers have their own (:class:`Mixed`);
:func:`parse` reads either. What both know of a layer is ``precision.of(block, layer)``.
"""

import re
from dataclasses import dataclass
from itertools import groupby

from ..common import formats
from ..common.formats import IntFormat, Mode
from .shape import HEAD_SITE, MERGE_SITE, POOL_SITE, VitShape

ON_WEIGHT_PORT = ("k", "v", POOL_SITE)
"""Sites that enter the array where weights do, which makes their formats symmetric."""

UNSIGNED = ("fc2",)
"""Sites without negative values: GELU's output plus its offset."""

ATTENTION = "attention"
"""The products of queries and keys, and of probabilities and values."""

LAYERS = (MERGE_SITE, "qkv", ATTENTION, "proj", "fc1", "fc2")
"""What can have widths of its own in a block; of attention, those of activations count."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Widths of a quantized network, as in ``w4a4``: weights of 4 bits, activations of 4 bits.

    Weights have 4, 6 or 8 bits and activations 3, 4, 6 or 8. 3 and 6 bits are stored as 4 and 8.
    The patch embedding and the head have 8 bits in any case; values are multiplied by 8-bit
    probabilities, or 4-bit codes for 8-bit operands.
    """

    weights: int
    activations: int

    def __post_init__(self):
        for name, allowed in (("weights", (4, 6, 8)), ("activations", (3, 4, 6, 8))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must have {', '.join(map(str, allowed[:-1]))} or "
                                 f"{allowed[-1]} bits, not {getattr(self, name)!r}")

    @classmethod
    def parse(cls, text: str) -> "Precision":
        """Read ``w4a4`` and the like.

        Raises
        ------
        ValueError
            If it is written otherwise, or has a width that there is not.
        """
        match = re.fullmatch(r"w([0-9]+)a([0-9]+)", text.lower())
        if match is None:
            raise ValueError(f"a precision is written like w4a4, not {text!r}")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"w{self.weights}a{self.activations}"

    def of(self, block: int, layer: str) -> "Precision":
        """Return the widths of a layer of a block: these."""
        return self

    def check(self, shape: VitShape) -> None:
        """Raise a ValueError if a network has not what this is for: it has."""

    @property
    def each(self) -> tuple["Precision", ...]:
        """The widths that there are, once each."""
        return (self,)

    @property
    def mode(self) -> Mode:
        """How the array multiplies activations by weights."""
        if self.weights > Mode.W4A4.weight.bits:
            return Mode.W8A8
        return Mode.W4A8 if self.activations > Mode.W4A4.activation_bits else Mode.W4A4

    @property
    def score_mode(self) -> Mode:
        """How the array multiplies queries by keys."""
        return Mode.W8A8 if self.activations > Mode.W4A4.weight.bits else Mode.W4A4

    @property
    def value_mode(self) -> Mode:
        """How the array multiplies probabilities by values."""
        return Mode.W8A8 if self.activations > Mode.W4A8.weight.bits else Mode.W4A8

    @property
    def weight(self) -> IntFormat:
        """Format of a weight, symmetric."""
        return IntFormat(self.weights, symmetric=True)

    def site(self, name: str) -> IntFormat:
        """Format of a site, by its name without a block; those behind the blocks have 8 bits."""
        if name == HEAD_SITE:
            return formats.INT8
        if name == POOL_SITE:
            return IntFormat(8, symmetric=True)
        return IntFormat(self.activations, name not in UNSIGNED, name in ON_WEIGHT_PORT)


HEAD = Precision(8, 8)
"""Widths of the patch embedding and the head."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """Widths of blocks and layers, as in ``w4a4,0=w8a8,10-11=w8a8,3.fc1=w4a8,fc2=w4a8``.

    What is said of a layer of a block counts before what is said of the block, and that before
    what is said of a layer of all blocks.

    Attributes
    ----------
    usual
        Of all that nothing else is said of.
    others
        Block, layer, and their widths: the block is None for all blocks, the layer empty for all
        of :data:`LAYERS`.
    """

    usual: Precision
    others: tuple[tuple[int | None, str, Precision], ...]

    def __post_init__(self):
        places = [(block, layer) for block, layer, _ in self.others]
        for number, (block, layer) in enumerate(places):
            if layer not in ("", *LAYERS):
                raise ValueError(f"a layer must be one of {', '.join(LAYERS)}, not {layer!r}")
            if (block, layer) in places[:number]:
                raise ValueError(f"{_place(block, layer)} has widths twice in a precision")
        object.__setattr__(self, "others", tuple(sorted(self.others, key=_order)))

    def of(self, block: int, layer: str) -> Precision:
        """Return the widths of a layer of a block."""
        found = {(place, name): one for place, name, one in self.others}
        places = ((block, layer), (block, ""), (None, layer))
        return next((found[place] for place in places if place in found), self.usual)

    def check(self, shape: VitShape) -> None:
        """Raise a ValueError if a network has not the blocks that widths are given for."""
        for block, layer, _ in self.others:
            if block is not None and not 0 <= block < shape.depth:
                raise ValueError(f"blocks of a precision must be 0 to {shape.depth - 1}, not "
                                 f"{block}")
            if layer == MERGE_SITE and not (
                    shape.merges if block is None else block in shape.merges):
                raise ValueError(f"{_place(block, layer)} of a precision must be before a block "
                                 "that patches are merged for")

    @property
    def each(self) -> tuple[Precision, ...]:
        """The widths that there are, once each."""
        return tuple(dict.fromkeys((self.usual, *(one for _, _, one in self.others))))

    def __str__(self) -> str:
        said = [str(self.usual)]
        for _, alike in groupby(enumerate(self.others), _run):
            run = [other for _, other in alike]
            (first, layer, precision), last = run[0], run[-1][0]
            block = first if first == last else f"{first}-{last}"
            said.append(f"{_place(block, layer)}={precision}")
        return ",".join(said)


def _place(block: int | str | None, layer: str) -> str:
    """Return how a layer of a block is written, where either may be all."""
    return ".".join(str(part) for part in (block, layer) if part not in (None, ""))


def _order(other: tuple[int | None, str, Precision]) -> tuple:
    block, layer, _ = other
    return layer != "" and block is not None, layer, -1 if block is None else block


def _run(numbered: tuple[int, tuple[int | None, str, Precision]]) -> tuple:
    """Return what neighbouring blocks have in common, for those that are written together."""
    number, (block, layer, precision) = numbered
    return layer, precision, None if block is None else block - number


AnyPrecision = Precision | Mixed


def parse(text: str) -> AnyPrecision:
    """Read ``w4a4``, or what differs from it behind: ``w4a4,0=w8a8,10-11=w8a8,3.fc1=w4a8``.

    Raises
    ------
    ValueError
        If it is written otherwise, or has a width or a layer that there is not.
    """
    usual, *rest = text.split(",")
    if not rest:
        return Precision.parse(usual)
    return Mixed(Precision.parse(usual), tuple(other for part in rest for other in _others(part)))


def _others(text: str) -> list[tuple[int | None, str, Precision]]:
    match = re.fullmatch(r"(?:([0-9]+)(?:-([0-9]+))?)?(\.?)([a-z][a-z0-9]*)?=(\w+)", text.lower())
    places = match and [place for place in (match[1], match[4]) if place is not None]
    if not places or bool(match[3]) != (len(places) == 2):
        raise ValueError("widths of blocks and layers are written like 0=w8a8, 10-11=w8a8, "
                         f"3.fc1=w8a8 or fc2=w4a8, not {text!r}")
    precision, layer = Precision.parse(match[5]), match[4] or ""
    if match[1] is None:
        return [(None, layer, precision)]
    first, last = int(match[1]), int(match[2] or match[1])
    if not first <= last < _MOST_BLOCKS:
        raise ValueError(f"blocks must rise, and be less than {_MOST_BLOCKS}, not {text!r}")
    return [(block, layer, precision) for block in range(first, last + 1)]


_MOST_BLOCKS = 1000  # that a network is written down for


def layer_of(site: str) -> str:
    """Return the layer that a site belongs to, by its name without a block."""
    return ATTENTION if site in ("q", "k", "v") else site


def site_format(shape: VitShape, precision: AnyPrecision, site: int) -> IntFormat:
    """Return the format of a site, by its index in a row of scales."""
    block, _, kind = shape.site_names()[site].rpartition(".")
    return (precision.of(int(block), layer_of(kind)) if block else HEAD).site(kind)
