"""Networks without weights: what a model's shapes alone cost on a core.

How long a program takes does not depend on the numbers in it.
"""

from functools import lru_cache

import numpy as np

from golden.common.config import AcceleratorConfig
from golden.common.formats import GAIN
from golden.network.network import Block, HeadNorm, Linear, Merge, Network, Norm, Stream, Tap
from golden.network.precision import AnyPrecision
from golden.network.shape import MERGED, VitShape
from golden.prediction.scale_predictor import PredictorShape, ScalePredictor

from ..prediction.default_shapes import predictor_shape, tap_shape
from .limits import DoesNotFit


def shape_of(model: str, image_size: int | None = None) -> VitShape:
    """Return the sizes of a ViT, by the short or full name of a timm model; for images of
    its usual size, or of another.

    Raises
    ------
    UserError
        If there is no such model.
    DoesNotFit
        If it has something that the integer network does not do; it is named.
    """
    return _model(model, image_size)[0]


def begins_with_norm(model: str, image_size: int | None = None) -> bool:
    """Return whether a model that :func:`shape_of` takes has a LayerNorm before its blocks."""
    return _model(model, image_size)[1]


def has_qk_norm(model: str, image_size: int | None = None) -> bool:
    """Return whether a model that :func:`shape_of` takes has LayerNorms of queries and keys."""
    return _model(model, image_size)[2]


@lru_cache
def _model(model: str, image_size: int | None) -> tuple[VitShape, bool, bool]:
    # PyTorch takes seconds to import: only once there is something to build.
    from ..inputs.models import meta_model, preprocessing
    from ..ptq import source

    made = meta_model(model, image_size)
    what = source.missing(made, preprocessing(made))
    if what is not None:
        raise DoesNotFit(what)
    return source.sizes(made), source.has_norm_pre(made), source.has_qk_norm(made)


def blank_network(shape: VitShape, precision: AnyPrecision, tap: Tap | None = None,
                  *, norm_pre: bool = False, qk_norm: bool = False) -> Network:
    """Return a network of zeros; with `norm_pre`, one with a LayerNorm before its blocks, with
    `qk_norm`, one with LayerNorms of queries and keys.
    """
    def linear(inputs, outputs):
        return Linear(np.zeros((inputs, outputs), np.int8), np.zeros(outputs, np.int32),
                      np.zeros(outputs, np.int16))

    def layer_norm(channels):
        return Norm(np.zeros(channels, np.int16), np.zeros(channels, np.int32), 0)

    @lru_cache
    def block(sizes):
        dim, hidden, keys = sizes.dim, sizes.hidden, sizes.keys
        added = shape.window or shape.rel_pos_bias
        places = np.zeros((sizes.heads, keys, keys), np.int16) if added else None
        head = HeadNorm(layer_norm(sizes.head_dim), 0) if qk_norm else None
        return Block(layer_norm(dim), linear(dim, 3 * dim), linear(dim, dim), layer_norm(dim),
                     linear(dim, hidden), linear(hidden, dim), places=places, q_norm=head,
                     k_norm=head)

    def merge(sizes):
        merged = MERGED * sizes.dim // 2
        return Merge(layer_norm(merged), linear(merged, sizes.dim), 0, Stream(0, 0))

    return Network(shape, precision, 0, 0, 0, 0, 0, linear(shape.patch_values, shape.dim),
                   np.zeros((shape.tokens, shape.dim), np.int16), tuple(map(block, shape.blocks)),
                   layer_norm(shape.last_dim), linear(shape.classified_dim, shape.classes),
                   np.zeros(shape.sites, np.int16), () if tap is None else (tap,),
                   norm_pre=layer_norm(shape.dim) if norm_pre else None,
                   merges=tuple(merge(shape.blocks[index]) for index in shape.merges))


def default_tap(shape: VitShape, config: AcceleratorConfig) -> Tap:
    """Return a tap after the first block that predicts all scales behind it; where patches are
    merged, the first of which the scratchpad has room for all that it watches, twice.

    Their sizes are those of :mod:`sim.prediction.default_shapes`.
    """
    after = next((after for after, sizes in enumerate(shape.blocks, start=1)
                  if not shape.merges
                  or 4 * sizes.tokens * sizes.dim <= 1024 * config.sram_kib), shape.depth)
    block = shape.blocks[after - 1]
    watched = tap_shape(block.tokens, block.dim, config)
    sites = np.arange(shape.first_site(after), shape.sites)
    sizes = predictor_shape(watched, len(sites), config)
    return Tap(after, watched.chunk_tokens, watched.groups, np.zeros(watched.statistics, int),
               np.full(watched.statistics, GAIN.one), _predictor(sizes), sites)


def _predictor(sizes: PredictorShape) -> ScalePredictor:
    coefficients = [np.zeros((sizes.sites, sizes.monomials_of_degree(degree)), int)
                    for degree in range(1, sizes.degree + 1)]
    projection = ((np.zeros((sizes.variables, sizes.statistics), int),
                   np.zeros(sizes.variables, int)) if sizes.projected else ())
    return ScalePredictor(np.zeros(sizes.sites, int), coefficients, *projection)
