"""A quantized Vision Transformer in integers: every number that inference needs, and its limits.

What runs it is :mod:`golden.network.vit`, where each number's use is defined.

Quantization sites are the activations that enter a matrix product. Their scales are given as
``lambda``, :data:`~golden.common.formats.LAMBDA` integers, in one row: the sites of
:data:`~.shape.BLOCK_SITES` for each block, that of a merge before them, and last the head's
(:meth:`.shape.VitShape.site_names`). Softmax probabilities need none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..common.config import CORES
from ..prediction.scale_predictor import ScalePredictor
from ..product.mac_array import Activation, start_limit
from ..results import gelu
from ..rows import layernorm, softmax
from .precision import ATTENTION, HEAD, AnyPrecision, Precision
from .shape import MERGE_SITE, MERGED, BlockShape, VitShape

POINT_LIMIT = 16
"""Binary points of a network lie within -16..16."""

_LARGEST = max(CORES.values(), key=lambda core: core.max_k)  # of its products, some core must do


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Weights, scales and biases of a matrix product.

    Attributes
    ----------
    weight : int8 array, shape (inputs, outputs)
    exponent : int32 array, shape (outputs,)
        log2 of each column's scale over the unit of the result, 10 fractional bits. With the
        lambda of the input added it is that of the requantization.
    bias : int16 array, shape (outputs,)
        In the unit of the result.
    """

    weight: np.ndarray
    exponent: np.ndarray
    bias: np.ndarray


def parts_of(layer: Linear, parts: list[slice]) -> list[Linear]:
    """Return the layers of some parts of the inputs, whose results are added to the residual
    stream; the first one's bias is the layer's, the others have none.
    """
    if len(parts) == 1:
        return [layer]
    return [Linear(layer.weight[part], layer.exponent,
                   np.zeros_like(layer.bias) if part.start else layer.bias) for part in parts]


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Affine of a LayerNorm: see :mod:`golden.rows.layernorm`.

    Attributes
    ----------
    gamma : int16 array, shape (dim,)
    beta : int32 array, shape (dim,)
    point : int
        Fractional bits of `gamma`; `beta` and the result have 10 more, of long rows 9.
    """

    gamma: np.ndarray
    beta: np.ndarray
    point: int


@dataclass(frozen=True, slots=True, eq=False)
class HeadNorm:
    """LayerNorm of the queries or the keys of each head, the same for all heads.

    Attributes
    ----------
    norm
        Its affine, of ``head_dim`` channels.
    epsilon
        In the units of queries and keys before they are quantized, as
        :func:`golden.rows.layernorm.epsilon_units` gives it.
    """

    norm: Norm
    epsilon: int


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Numbers of one block.

    Attributes
    ----------
    norm1, qkv, proj, norm2, fc1, fc2
        Its layers.
    step
        Of 4-bit probability codes, 0 for 8-bit ones.
    coarse : uint8 array, shape (hidden,), or None
        1 for the hidden units whose GELU has :data:`~golden.results.gelu.COARSE` fractional bits
        less than :data:`GELU_POINT`: those of massive activations. None where there are no such.
    places : int16 array, shape (heads, keys, keys), or None
        What is added to the scores of each query, a row, and key of a whole window, or of all
        tokens, for where they are to each other: log2, :data:`~golden.rows.softmax.SCORE`. None
        where nothing is.
    q_norm, k_norm : HeadNorm or None
        LayerNorms of queries and of keys (QK-norm), before they are quantized; None where there are
        none.
    """

    norm1: Norm
    qkv: Linear
    proj: Linear
    norm2: Norm
    fc1: Linear
    fc2: Linear
    step: int = 0
    coarse: np.ndarray | None = None
    places: np.ndarray | None = None
    q_norm: HeadNorm | None = None
    k_norm: HeadNorm | None = None

    def head_norm(self, site: str) -> HeadNorm | None:
        """Return the LayerNorm before the site ``q``, ``k`` or ``v``; None if there is none."""
        return {"q": self.q_norm, "k": self.k_norm}.get(site)


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Formats of the residual stream between merges.

    Attributes
    ----------
    point
        Fractional bits of its 16-bit values.
    epsilon
        Of every LayerNorm, as :func:`golden.rows.layernorm.epsilon_units` gives it.
    coarse : uint8 array, shape (dim,), or None
        1 for the channels that have :data:`~golden.rows.layernorm.COARSE` fractional bits less
        than `point`, which the others have: those of massive activations. None where there are
        no such.
    """

    point: int
    epsilon: int
    coarse: np.ndarray | None = None

    def points(self, dim: int) -> np.ndarray:
        """Fractional bits of each channel, int64 (dim,)."""
        points = np.full(dim, self.point, np.int64)
        return points if self.coarse is None else points - layernorm.COARSE * self.coarse


@dataclass(frozen=True, slots=True, eq=False)
class Merge:
    """Numbers of a merge of :data:`~.shape.MERGED` patches to one.

    Attributes
    ----------
    norm
        LayerNorm of their channels, one patch behind the other.
    layer
        The product that halves them.
    epsilon
        Of that LayerNorm, in the units of the stream before.
    stream
        Formats of what becomes of it.
    """

    norm: Norm
    layer: Linear
    epsilon: int
    stream: Stream


@dataclass(frozen=True, slots=True, eq=False)
class Tap:
    """Scales predicted from the residual stream of one point.

    Attributes
    ----------
    after
        Blocks before the point; 0 is the output of the embedding.
    chunk_tokens, groups
        As :func:`golden.prediction.range_unit.log_ranges` takes them.
    mean, gain : int arrays, shape (2 * groups,)
        As :func:`golden.prediction.range_unit.statistics` takes them.
    predictor
        What turns the statistics into scales.
    sites : int array
        Indexes of the predictor's sites in a row of scales; all of them used from `after` on.
    """

    after: int
    chunk_tokens: int
    groups: int
    mean: np.ndarray
    gain: np.ndarray
    predictor: ScalePredictor
    sites: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A quantized Vision Transformer.

    Attributes
    ----------
    shape, precision
        Sizes and widths: those of all blocks, or of each and its layers.
    residual_point, qkv_point, logit_point
        Fractional bits of the 16-bit residual stream, of queries, keys and values before they
        are normalised and quantized, and of the logits.
    epsilon
        Of every LayerNorm, as :func:`golden.rows.layernorm.epsilon_units` gives it.
    score_exponent
        log2 of ``log2(e) / sqrt(head_dim)``, 10 fractional bits.
    patch
        Weights of the patch embedding for raw 8-bit pixels; its bias is in `embedding`, too.
    embedding : int16 array, shape (tokens, dim)
        What is added to each patch: position and bias; and the tokens of the prefix, with theirs.
    blocks, norm, head
        The layers behind it. `head` takes `shape.classified` tokens as one row of
        `shape.classified_dim` values, or the mean of the patches.
    scales : int16 array, shape (shape.sites,)
        Static lambda of each site.
    taps
        Where lambda of later sites is predicted instead, by rising `after`.
    coarse : uint8 array, shape (dim,), or None
        1 for the channels of the residual stream that have :data:`~golden.rows.layernorm.COARSE`
        fractional bits less than `residual_point`, which the others have: those of massive
        activations. None where there are no such.
    norm_pre : Norm or None
        A LayerNorm of the embedded tokens before the blocks, whose result is the residual stream.
        The embedding has a binary point of its own then, the same for all channels, which only
        `epsilon_pre` depends on.
    epsilon_pre
        Of that LayerNorm; 0 without it.
    merges
        Of each of `shape.merges`; `residual_point`, `epsilon` and `coarse` are for what is before
        the first.

    Raises
    ------
    TypeError, ValueError
        If an array is no integer, of another shape, or holds a number out of its format.
    """

    shape: VitShape
    precision: AnyPrecision
    residual_point: int
    qkv_point: int
    logit_point: int
    epsilon: int
    score_exponent: int
    patch: Linear
    embedding: np.ndarray
    blocks: tuple[Block, ...]
    norm: Norm
    head: Linear
    scales: np.ndarray
    taps: tuple[Tap, ...] = ()
    coarse: np.ndarray | None = None
    norm_pre: Norm | None = None
    epsilon_pre: int = 0
    merges: tuple[Merge, ...] = ()

    @property
    def channel_points(self) -> np.ndarray:
        """Fractional bits of each channel of the residual stream at first, int64 (dim,)."""
        return self.streams[0].points(self.shape.dim)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Formats of the residual stream, before the first merge and behind each."""
        first = Stream(self.residual_point, self.epsilon, self.coarse)
        return (first, *(merge.stream for merge in self.merges))

    def stream(self, block: int) -> Stream:
        """Formats of the residual stream in a block."""
        return self.streams[self.shape.stage(block)]

    def __post_init__(self):
        shape, precision = self.shape, self.precision
        precision.check(shape)
        for name in ("residual_point", "qkv_point", "logit_point"):
            integer(name, getattr(self, name), -POINT_LIMIT, POINT_LIMIT)
        integer("epsilon", self.epsilon, layernorm.EPSILON.min, layernorm.EPSILON.max)
        integer("score_exponent", self.score_exponent, formats.LAMBDA.min, formats.LAMBDA.max)
        if len(self.blocks) != shape.depth:
            raise ValueError(f"there must be {shape.depth} blocks, not {len(self.blocks)}")
        put = object.__setattr__
        put(self, "patch", _linear("patch", self.patch, shape.patch_values, shape.dim, HEAD,
                                   Activation.UNSIGNED, shape.patch_parts))
        put(self, "embedding", integers(
            "embedding", self.embedding, formats.ACT16.min, formats.ACT16.max,
            shape=(shape.tokens, shape.dim), dtype=np.int16))
        for index, block in enumerate(self.blocks):
            if not shape.in_windows and (block.places is not None) != shape.rel_pos_bias:
                raise ValueError(f"blocks[{index}] must have places if, and only if, rel_pos_bias "
                                 "of the shape says so")
        put(self, "blocks", tuple(
            _block(f"blocks[{index}]", block, sizes, partial(precision.of, index))
            for index, (block, sizes) in enumerate(zip(self.blocks, shape.blocks, strict=True))))
        if len(self.merges) != len(shape.merges):
            raise ValueError(f"there must be {len(shape.merges)} merges, not {len(self.merges)}")
        put(self, "merges", tuple(
            _merge(f"merges[{index}]", merge, shape.blocks[block],
                   precision.of(block, MERGE_SITE))
            for index, (merge, block) in enumerate(zip(self.merges, shape.merges, strict=True))))
        put(self, "norm", _norm("norm", self.norm, shape.last_dim))
        put(self, "head", _linear("head", self.head, shape.classified_dim, shape.classes, HEAD,
                                  parts=shape.classified_parts))
        put(self, "scales", integers("scales", self.scales, formats.LAMBDA.min, formats.LAMBDA.max,
                                     shape=(shape.sites,), dtype=np.int16))
        put(self, "coarse", _flags("coarse", self.coarse, shape.dim))
        integer("epsilon_pre", self.epsilon_pre, layernorm.EPSILON.min, layernorm.EPSILON.max)
        if self.norm_pre is not None:
            put(self, "norm_pre", _norm("norm_pre", self.norm_pre, shape.dim))
        taken = set()
        for index, tap in enumerate(self.taps):
            integer(f"taps[{index}].after", tap.after, self.taps[index - 1].after if index else 0,
                    shape.depth)
            sites = integers(f"taps[{index}].sites", tap.sites, shape.first_site(tap.after),
                             shape.sites - 1, shape=(tap.predictor.shape.sites,))
            if len(set(sites.tolist())) < len(sites):
                raise ValueError(f"taps[{index}].sites must differ from each other")
            taken.update(sites.tolist())


def _linear(name: str, layer: Linear, inputs: int, outputs: int, precision: Precision,
            activation: Activation = Activation.SIGNED, parts: list[slice] | None = None) -> Linear:
    for part in parts or [slice(0, inputs)]:
        start_limit(part.stop - part.start, precision.mode, activation, _LARGEST)
    fmt, wide = precision.weight, formats.EXPONENT
    return Linear(
        integers(f"{name}.weight", layer.weight, fmt.min, fmt.max, shape=(inputs, outputs),
                 dtype=np.int8),
        integers(f"{name}.exponent", layer.exponent, wide.min - formats.LAMBDA.min,
                 wide.max - formats.LAMBDA.max, shape=(outputs,), dtype=np.int32),
        integers(f"{name}.bias", layer.bias, formats.ACT16.min, formats.ACT16.max,
                 shape=(outputs,), dtype=np.int16))


def _norm(name: str, norm: Norm, channels: int) -> Norm:
    gamma, beta = layernorm.GAMMA, layernorm.BETA
    return Norm(
        integers(f"{name}.gamma", norm.gamma, gamma.min, gamma.max, shape=(channels,),
                 dtype=np.int16),
        integers(f"{name}.beta", norm.beta, beta.min, beta.max, shape=(channels,),
                 dtype=np.int32),
        integer(f"{name}.point", norm.point, -POINT_LIMIT, POINT_LIMIT))


def _head_norm(name: str, norm: HeadNorm | None, channels: int) -> HeadNorm | None:
    if norm is None:
        return None
    limits = layernorm.EPSILON
    return HeadNorm(_norm(name, norm.norm, channels),
                    integer(f"{name}.epsilon", norm.epsilon, limits.min, limits.max))


def _block(name: str, block: Block, shape: BlockShape,
           precision: Callable[[str], Precision]) -> Block:
    dim, hidden, attention = shape.dim, shape.hidden, precision(ATTENTION)
    start_limit(shape.head_dim, attention.score_mode, Activation.SIGNED, _LARGEST)
    start_limit(shape.key_parts[0].stop, attention.value_mode, Activation.UNSIGNED, _LARGEST)
    places = block.places
    if places is not None:
        places = integers(f"{name}.places", places, softmax.SCORE.min, softmax.SCORE.max,
                          shape=(shape.heads, shape.keys, shape.keys), dtype=np.int16)
    return Block(
        _norm(f"{name}.norm1", block.norm1, dim),
        _linear(f"{name}.qkv", block.qkv, dim, 3 * dim, precision("qkv")),
        _linear(f"{name}.proj", block.proj, dim, dim, precision("proj")),
        _norm(f"{name}.norm2", block.norm2, dim),
        _linear(f"{name}.fc1", block.fc1, dim, hidden, precision("fc1")),
        _linear(f"{name}.fc2", block.fc2, hidden, dim, precision("fc2"), Activation.UNSIGNED,
                shape.hidden_parts),
        integer(f"{name}.step", block.step, 0, softmax.STEP.max),
        _flags(f"{name}.coarse", block.coarse, hidden), places,
        _head_norm(f"{name}.q_norm", block.q_norm, shape.head_dim),
        _head_norm(f"{name}.k_norm", block.k_norm, shape.head_dim))


def _merge(name: str, merge: Merge, after: BlockShape, precision: Precision) -> Merge:
    merged = MERGED * after.dim // 2
    stream, epsilon = merge.stream, layernorm.EPSILON
    return Merge(
        _norm(f"{name}.norm", merge.norm, merged),
        _linear(f"{name}.layer", merge.layer, merged, after.dim, precision,
                parts=after.merge_parts),
        integer(f"{name}.epsilon", merge.epsilon, epsilon.min, epsilon.max),
        Stream(integer(f"{name}.stream.point", stream.point, -POINT_LIMIT, POINT_LIMIT),
               integer(f"{name}.stream.epsilon", stream.epsilon, epsilon.min, epsilon.max),
               _flags(f"{name}.stream.coarse", stream.coarse, after.dim)))


def _flags(name: str, flags: np.ndarray | None, size: int) -> np.ndarray | None:
    return None if flags is None else integers(name, flags, 0, 1, shape=(size,), dtype=np.uint8)


GELU_POINT = gelu.INPUT.frac
"""Fractional bits of the first MLP layer's result, which GELU takes."""
