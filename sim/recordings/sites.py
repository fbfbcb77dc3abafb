"""Names and formats of the activations that are quantized: the operands of the matrix products."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from golden.common import formats
from golden.common.formats import IntFormat
from golden.network.precision import ON_WEIGHT_PORT
from golden.network.shape import BLOCK_SITES

_PROBS = "probs"

_WHAT = {
    "qkv": "input of the QKV projection: output of the first LayerNorm",
    "q": "queries, not yet scaled",
    "k": "keys",
    "v": "values",
    _PROBS: "attention probabilities: output of softmax",
    "proj": "input of the output projection: probabilities times values",
    "fc1": "input of the first MLP layer: output of the second LayerNorm",
    "fc2": "input of the second MLP layer: output of GELU, without golden's offset",
}


@dataclass(frozen=True, slots=True)
class Site:
    """One operand of a matrix product, in every block of a ViT.

    Attributes
    ----------
    name
        One of :data:`golden.network.network.BLOCK_SITES`, or ``probs``.
    what
        What it is, in words.
    """

    name: str
    what: str

    @property
    def signed(self) -> bool:
        """Whether it has negative values.

        GELU's output has some here: golden stores it unsigned (``UNSIGNED``) as it adds an offset.
        """
        return self.name != _PROBS

    @property
    def weight_port(self) -> bool:
        """Whether it enters the MAC array where weights do, which makes 4 bits symmetric."""
        return self.name in ON_WEIGHT_PORT

    @property
    def heads(self) -> bool:
        """Whether its shape is ``(heads, tokens, channels)``, and not ``(tokens, channels)``.

        Attention within windows counts every window of every head.
        """
        return self.name in ("q", *ON_WEIGHT_PORT, _PROBS)

    def format(self, bits: int) -> IntFormat:
        """Format of the stored operands, for 4 or 8 bits."""
        if bits not in {4, 8}:
            raise ValueError(f"bits must be 4 or 8, not {bits!r}")
        if self.weight_port:
            return formats.WEIGHT4 if bits == 4 else formats.WEIGHT8
        return IntFormat(bits, self.signed)


def _in_order() -> Iterator[str]:
    """Yield golden's sites, and the probabilities, which need no scale, before what they make."""
    for name in BLOCK_SITES:
        if name == "proj":
            yield _PROBS
        yield name


SITES = {name: Site(name, _WHAT[name]) for name in _in_order()}

CODED = SITES[_PROBS]
"""The site that is also recorded as 4-bit codes of :data:`CODEBOOK`."""

CODEBOOK = tuple(min((math.isqrt(4 << (16 - code)) + 1) // 2, formats.OPERAND.max)
                 for code in range(formats.CODE.max + 1))
"""Operands of a log-sqrt2 quantizer: code `c` stands for ``2**(8 - c / 2)``, at most 255."""
