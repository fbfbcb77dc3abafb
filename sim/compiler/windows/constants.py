"""What networks in windows have in external memory, beside their image and embedding; what any one
adds to scores there, and the factors of a mean.
"""

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.core.isa import Layout
from golden.memory.scratchpad import stride_of, words_of, write_operand, write_wide
from golden.network.network import Network
from golden.network.shape import Window

from .groups import windows_of


def region_sizes(network: Network, config: AcceleratorConfig) -> dict[str, int]:
    """Return the bytes of the residual streams that a network in windows has there, by name."""
    shape = network.shape
    sizes = {}
    for stage in range(len(shape.merges) + 1):
        block = shape.blocks[shape.merges[stage - 1] if stage else 0]
        stride = stride_of(Layout.WIDE, block.tokens, block.dim, config)
        sizes["residual" if not stage else f"residual.{stage}"] = (
            block.tokens * stride * config.word_bytes)
    return sizes


def constants(network: Network, config: AcceleratorConfig) -> dict[str, bytes]:
    """Return what lies in external memory beside the embedding: for each block and size of its
    windows what is added to scores, of each head; and the factors that make a sum of patches.
    """
    found = {}
    for index, (block, sizes) in enumerate(zip(network.blocks, network.shape.blocks, strict=True)):
        if block.places is None:
            continue
        for window in windows_of(sizes):
            name = places_name(index, window)
            if name not in found:
                within = sizes.places_in(window) if sizes.window else np.arange(sizes.tokens)
                found[name] = b"".join(_wide_bytes(one[within[:, None], within], config)
                                       for one in block.places)
    if network.shape.classified:
        return found
    count = network.shape.blocks[-1].grid**2
    stride = stride_of(Layout.OPERAND8, 1, count, config)
    words = np.zeros((words_of(Layout.OPERAND8, 1, count, stride, config), config.rows), np.uint16)
    write_operand(words, 0, stride, np.ones((1, count), np.uint8), Layout.OPERAND8)
    return {**found, "ones": words.astype("<u2").tobytes()}


def places_name(index: int, window: Window) -> str:
    return f"{index}.places.{window.height}x{window.width}"


def _wide_bytes(values: np.ndarray, config: AcceleratorConfig) -> bytes:
    rows, cols = values.shape
    stride = stride_of(Layout.WIDE, rows, cols, config)
    words = np.zeros((rows * stride, config.rows), np.uint16)
    write_wide(words, 0, stride, values)
    return words.astype("<u2").tobytes()
