"""What a mapping of operations costs that no program exists for: Swin, and whatever else timm has.

What the core does, and takes, is :mod:`golden.cycles.timing` of a program; nothing here says
anything about that. Here a machine is assumed that has the core's array and units, but overlaps
more than the core does: closed forms of shapes, no state. Matrix products run on the MAC array as
:mod:`golden.product.tiling` describes; vector operations run beside it, on `lanes` lanes, in
:data:`PASSES` passes over their rows. Its schedule:

* Weights stream from external memory, each tile column once and double buffered, so a product
  takes ``max(array, stream)`` cycles. Frames follow each other without a gap: the first tile and
  the image arrive during the frame before.
* Requantization, element operations and the watching of ranges happen on the way from the array to
  memory, at its full rate. So measuring a tensor just in time takes one pass more, not the two of
  the core.
* A softmax between two products of activations works on one head while the array does the scores
  of the next and the attention x V of the last: :func:`softmax_exposed`.
* Any other vector operation takes row tiles from the last tile column of the product before, and
  hands them to the first tile column of the product after: :func:`rows_exposed`. Only what that
  cannot hide costs time.
* The scale unit begins when the range unit has given its last statistic; in the core, it takes them
  as they come.
"""

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, LAMBDA, Mode
from golden.prediction.range_shape import RangeShape, range_cycles
from golden.product.tiling import drain_cycles, gemm_cycles

from .traffic import Traffic
from .workload import AV, HEAD, PATCH, SOFTMAX, Product, Vector

PASSES = {SOFTMAX: 3, "layer norm": 2, "RMS norm": 2, "group norm": 2, "variance": 2}
"""Passes over a row: extreme, sum of exponentials, scaling; sums, scaling. Others take one."""

_BY_ROWS = {SOFTMAX, "layer norm", "RMS norm"}  # lanes take neighbours in a row; others, any

WIDE_BYTES = ACT16.bits // 8
CHANNEL_BYTES = (ACT16.bits + LAMBDA.bits) // 8
"""Bytes that come with the weights of an output channel: bias and log2 of the weight scale."""


def mode_of(op: Product, bits: Mode) -> Mode:
    """Return the precision of a product in a network of `bits`.

    The first layer and the head stay at W8A8; attention x V takes 8-bit probabilities.
    """
    if op.role in (PATCH, HEAD):
        return Mode.W8A8
    return Mode.W4A8 if op.role == AV and bits is Mode.W4A4 else bits


def tile_count(op: Product, mode: Mode, config: AcceleratorConfig) -> tuple[int, int]:
    """Return the rows and columns of tiles of one product."""
    return -(-op.m // config.tile_rows(mode)), -(-op.n // config.tile_cols(mode))


def product_cycles(op: Product, mode: Mode, config: AcceleratorConfig) -> int:
    """Return the array's cycles, one head or group after the other."""
    return op.count * gemm_cycles(*op.shape, mode, config)


def column_cycles(op: Product, mode: Mode, config: AcceleratorConfig) -> int:
    """Return the array's cycles per tile, all of them alike."""
    return max(op.k, drain_cycles(mode, config))


def stream_cycles(size: int, bytes_per_cycle: float) -> int:
    """Return the cycles in which `size` bytes cross the external memory port."""
    return -int(-size // bytes_per_cycle)


def vector_cycles(op: Vector, config: AcceleratorConfig) -> int:
    """Return the cycles of a vector operation by itself."""
    passes = PASSES.get(op.role, 1)
    if op.role in _BY_ROWS:
        return passes * op.rows * -(-op.length // config.lanes)
    return passes * -(-op.rows * op.length // config.lanes)


def rows_exposed(vector: int, before: int, after: int, tiles: int) -> int:
    """Return the cycles a vector operation adds between two products.

    Each of `tiles` row tiles takes `before` cycles in the last tile column of the product before,
    then `vector`, then `after` in the first tile column of the product after; the array does one
    thing at a time. Its work for the two columns is ``tiles * (before + after)``; row tile `i` can
    go on when ``before + i * vector`` or ``i * before + vector`` have passed, and the longest chain
    begins or ends at the first or the last tile.
    """
    return max(0, vector - (tiles - 1) * before, vector - (tiles - 1) * after,
               tiles * vector - (tiles - 1) * (before + after))


def softmax_exposed(vector: int, scores: int, values: int, heads: int) -> int:
    """Return the cycles the softmax of `heads` heads adds to the products around it.

    `vector`, `scores` and `values` are the cycles of one head. The array does the scores of heads 1
    and 2, then alternately attention x V of a head and the scores of the head after the next.
    """
    if heads == 1:
        return vector
    return (max(0, vector - scores) + max(0, vector - values)
            + (heads - 2) * max(0, vector - scores - values))


def product_traffic(op: Product, mode: Mode, config: AcceleratorConfig, bands: int = 1) -> Traffic:
    """Return the traffic of a product's operands, activations being on chip.

    Activations are read once per tile column. Weights, padded to whole tiles, go through the weight
    buffer and leave it once per tile row; they come from external memory, or, where they are
    activations themselves, from the scratchpad, once for each of `bands` bands of rows.
    """
    tile_rows, tile_cols = tile_count(op, mode, config)
    left = op.count * tile_cols * -(-op.m * op.k * mode.activation_bits // 8)
    weights = op.count * tile_cols * op.k * config.cols
    buffer = weights * (bands + tile_rows)
    if op.right:
        right = bands * -(-op.count * op.k * op.n * mode.weight.bits // 8)
        return Traffic(left + right, buffer)
    return Traffic(left, buffer, weights + op.count * op.n * CHANNEL_BYTES)


def vector_traffic(op: Vector) -> Traffic:
    """Return the traffic of a vector operation's operand: 16-bit elements, once per pass."""
    return Traffic(PASSES.get(op.role, 1) * op.rows * op.length * WIDE_BYTES)


def buffer_bytes(config: AcceleratorConfig) -> int:
    """Size of the weight buffer: two tile columns of the longest dot product."""
    return 2 * config.max_k * config.cols


def flush_cycles(shape: RangeShape, config: AcceleratorConfig) -> int:
    """Return the cycles from the last watched beat to the last statistic; watching costs none."""
    return range_cycles(shape, config) - shape.tokens * shape.words(config)


def jit_cycles(elements: int, config: AcceleratorConfig) -> int:
    """Return the cycles that measuring a tensor before it is quantized adds.

    Quantization waits for the last element, so the 16-bit tensor is read and requantized in a pass
    of its own, after the flush of the range unit (one chunk: plain extremes).
    """
    one_chunk = RangeShape(1, config.lanes, 1)
    return flush_cycles(one_chunk, config) + -(-elements // config.lanes)
