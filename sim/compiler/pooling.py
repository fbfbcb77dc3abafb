"""The mean of the patches as instructions: a product of ones with what each patch gives, which is
stored as weights.
"""

from collections.abc import Iterable

from golden.common.formats import LAMBDA
from golden.core.isa import Layout, Opcode, Path, Source
from golden.core.program import Region
from golden.core.rules import weight_layout
from golden.network.precision import HEAD
from golden.network.shape import HEAD_SITE
from golden.network.vit_blocks import mean_exponent
from golden.product.mac_array import Activation

from .builder import Matrix
from .layers import LayerBuilder


def classify_mean(build: LayerBuilder, parts: Iterable[tuple[Matrix, int, int, int]],
                  regions: dict[str, Region]) -> Matrix:
    """Logits of the mean of the patches, into external memory.

    `parts` are patches of the residual stream: a matrix, the row where they begin there, the first
    one, and how many.
    """
    network, shape = build.network, build.network.shape
    head, count, dim = shape.sites - 1, shape.blocks[-1].grid**2, shape.last_dim
    p = build.matrix("pool", weight_layout(HEAD.value_mode), count, dim)
    for x, row, first, rows in parts:
        out = p, first * build.config.cols // build.config.word_bytes
        if shape.fc_norm:
            build.quantized(x, row, rows, head - 1, out)
        else:
            build.norm("pool", x, network.norm, head - 1, rows, HEAD.mode, first=row, out=out)
        x.versions[-1].last = x.last
    ones = build.matrix("ones", Layout.OPERAND8, 1, count, signed=False, unit=build.config.rows)
    build.load(ones, regions["ones"].address)
    if shape.fc_norm:
        mean = build.matrix("mean", Layout.WIDE, 1, dim)
        _sum(build, ones, p, mean, path=Path.WIDE,
             exponent=mean_exponent(count) + build.stream.point * LAMBDA.one)
        a = build.norm("head", mean, network.norm, head, 1, HEAD.mode)
    else:
        a = build.matrix("head", Layout.OPERAND8, 1, dim)
        fmt = HEAD.site(HEAD_SITE)
        _sum(build, ones, p, a, path=Path.DIRECT, exponent=mean_exponent(count),
             scale_b=build.slots[head], subtract_b=1, low=fmt.min, high=fmt.max)
    return build.classify(a, regions["logits"].address)


def _sum(build: LayerBuilder, ones: Matrix, p: Matrix, dest: Matrix, **fields) -> None:
    """Add the rows of what is stored as weights, times the scale of the site."""
    pool = build.network.shape.sites - 2
    build.emit(Opcode.GEMM, b"", {"source": (ones, 0), "weights_address": (p, 0)},
               {"dest": (dest, 0)}, mode=HEAD.mode, weights=Source.VALUES, m=1,
               activation=Activation.UNSIGNED, k=p.rows, n=p.cols, scale_a=build.slots[pool],
               **fields)
    build.need(0)  # a mean, no product
