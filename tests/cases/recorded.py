"""Activations of DeiT-Tiny on natural images, recorded by ``python -m sim.record``.

    from tests.recorded import recorded

    data = recorded()
    data.residual(0)                # int16 (197, 192): residual stream after block 0
    data.site("fc1", 5, 8).values   # int8 (197, 192): operands of fc1 of block 5, 8 bits
    data.site("k", 0, 4).values     # int8 (3, 197, 64), within -7..7: heads, tokens, channels
    data.codes(11).values           # uint8 (3, 197, 197): codes of the attention probabilities
    data.codebook                   # int64 (16,): the operands they stand for
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golden.common.formats import IntFormat
from sim.recordings import recording_file

FILE = Path(__file__).parents[1] / "data" / "deit_t.safetensors.xz"
SHARED = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = SHARED / "weights" / "deit_tiny_patch16_224.safetensors"


@dataclass(frozen=True, slots=True)
class Operands:
    """Quantized activations of one site: ``x`` is about ``values * 2**(lam / 1024)``.

    `values` has shape ``(tokens, channels)``, or ``(heads, tokens, channels)`` for q, k, v and
    probs. For codes, the codebook's entries stand in place of `values`.
    """

    values: np.ndarray
    lam: int
    format: IntFormat

    @property
    def signed(self) -> bool:
        """Whether the site has negative values."""
        return self.format.signed


class Recorded:
    """What a recorded file holds; all arrays are read-only."""

    def __init__(self, path: Path = FILE):
        file = recording_file.read(path)
        self.tensors, self.metadata = file.tensors, file.metadata
        for tensor in self.tensors.values():
            tensor.setflags(write=False)
        self._entries = {(entry["site"], entry["block"], entry.get("bits", "codes")): entry
                         for entry in self.metadata["sites"]}

    @property
    def images(self) -> tuple[str, ...]:
        """File names of the images; an image is given by its index here."""
        return tuple(image["file"] for image in self.metadata["images"])

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks whose sites are recorded."""
        return tuple(self.metadata["blocks"])

    @property
    def frac(self) -> int:
        """Fractional bits of the residual stream."""
        return self.metadata["tap"]["frac"]

    @property
    def chunk_tokens(self) -> int:
        """Tokens per chunk of :meth:`ranges`."""
        return self.metadata["tap"]["chunk_tokens"]

    @property
    def codebook(self) -> np.ndarray:
        """The 16 operands that codes stand for, int64."""
        return np.array(self._entries["probs", self.blocks[0], "codes"]["codebook"])

    def pixels(self, image: int = 0) -> np.ndarray:
        """Input of the patch embedding, uint8 ``(224, 224, 3)``; recorded for image 0."""
        return self.tensors[f"pixels/{image}"]

    def residual(self, image: int = 0) -> np.ndarray:
        """Residual stream after block 0, int16 ``(197, 192)``."""
        return self.tensors[f"residual/{image}"]

    def ranges(self, image: int = 0, per_channel: bool = False) -> np.ndarray:
        """What ``log_ranges(residual(image), chunk_tokens, groups)`` is, groups 1 or 192."""
        return self.tensors[f"range/{'channels' if per_channel else 'tensor'}/{image}"]

    def site(self, name: str, block: int, bits: int, image: int = 0) -> Operands:
        """Operands of a site; recorded for image 0, names of :mod:`sim.recordings.sites`."""
        entry = self._entries[name, block, bits]
        fmt = IntFormat(bits, entry["signed"], symmetric=entry["min"] == -entry["max"])
        return Operands(self.tensors[f"site/{block}/{name}/{bits}/{image}"], entry["lam"], fmt)

    def codes(self, block: int, image: int = 0) -> Operands:
        """Codes 0..15 of the attention probabilities."""
        entry = self._entries["probs", block, "codes"]
        return Operands(self.tensors[f"codes/{block}/probs/{image}"], entry["lam"],
                        IntFormat(4, signed=False))


@functools.cache
def recorded() -> Recorded:
    """Return the recorded file, read once."""
    return Recorded()
