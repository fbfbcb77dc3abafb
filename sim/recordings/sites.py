"""Names and formats of the activations that are quantized: the operands of the matrix products."""

import math
from dataclasses import dataclass

from golden.common import formats
from golden.common.formats import IntFormat


@dataclass(frozen=True, slots=True)
class Site:
    """One operand of a matrix product, in every block of a ViT.

    Attributes
    ----------
    signed
        False if it has no negative values.
    weight_port
        Whether it enters the MAC array where weights do, which makes its 4-bit form symmetric.
    heads
        Shape: ``(heads, tokens, channels)`` if true, else ``(tokens, channels)``. Attention
        within windows counts every window of every head.
    """

    name: str
    what: str
    signed: bool = True
    weight_port: bool = False
    heads: bool = False

    def format(self, bits: int) -> IntFormat:
        """Format of the stored operands, for 4 or 8 bits."""
        if bits not in {4, 8}:
            raise ValueError(f"bits must be 4 or 8, not {bits!r}")
        if self.weight_port:
            return formats.WEIGHT4 if bits == 4 else formats.WEIGHT8
        return IntFormat(bits, self.signed)


SITES = {site.name: site for site in (
    Site("qkv", "input of the QKV projection: output of the first LayerNorm"),
    Site("q", "queries, not yet scaled", heads=True),
    Site("k", "keys", weight_port=True, heads=True),
    Site("v", "values", weight_port=True, heads=True),
    Site("probs", "attention probabilities: output of softmax", signed=False, heads=True),
    Site("proj", "input of the output projection: probabilities times values"),
    Site("fc1", "input of the first MLP layer: output of the second LayerNorm"),
    Site("fc2", "input of the second MLP layer: output of GELU"),
)}

CODED = SITES["probs"]
"""The site that is also recorded as 4-bit codes of :data:`CODEBOOK`."""

CODEBOOK = tuple(min((math.isqrt(4 << (16 - code)) + 1) // 2, formats.OPERAND.max)
                 for code in range(formats.CODE.max + 1))
"""Operands of a log-sqrt2 quantizer: code `c` stands for ``2**(8 - c / 2)``, at most 255."""
