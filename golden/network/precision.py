"""Widths of a quantized network: of its weights, and of what enters its matrix products."""

import re
from dataclasses import dataclass

from ..common import formats
from ..common.formats import IntFormat, Mode
from .shape import HEAD_SITE, POOL_SITE

ON_WEIGHT_PORT = ("k", "v", POOL_SITE)
"""Sites that enter the array where weights do, which makes their formats symmetric."""

UNSIGNED = ("fc2",)
"""Sites without negative values: GELU's output plus its offset."""


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
