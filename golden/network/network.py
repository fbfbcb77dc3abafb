"""A quantized Vision Transformer in integers: every number that inference needs, and its limits.

What runs it is :mod:`golden.network.vit`, where each number's use is defined.

Quantization sites are the activations that enter a matrix product. Their scales are given as
``lambda``, :data:`~golden.common.formats.LAMBDA` integers, in one row of ``7 * depth + 1``: the
sites of :data:`BLOCK_SITES` for each block, and last the head's. Softmax probabilities need none.
"""

import re
from dataclasses import dataclass, fields

import numpy as np

from ..common import formats
from ..common.checks import integer, integers
from ..common.config import CORES
from ..common.formats import IntFormat, Mode
from ..prediction.scale_predictor import ScalePredictor
from ..product.mac_array import Activation, start_limit
from ..results import gelu
from ..rows import layernorm, softmax

BLOCK_SITES = ("qkv", "q", "k", "v", "proj", "fc1", "fc2")
"""Sites of a block that have a scale, in the order of their indexes."""

ON_WEIGHT_PORT = ("k", "v")
"""Sites that enter the array where weights do, which makes their formats symmetric."""

UNSIGNED = ("fc2",)
"""Sites without negative values: GELU's output plus its offset."""

POINT_LIMIT = 16
"""Binary points of a network lie within -16..16."""

_LARGEST = max(CORES.values(), key=lambda core: core.max_k)  # of its products, some core must do


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
        """Format of a site of :data:`BLOCK_SITES`, or of ``head``."""
        if name == "head":
            return formats.INT8
        return IntFormat(self.activations, name not in UNSIGNED, name in ON_WEIGHT_PORT)


HEAD = Precision(8, 8)
"""Widths of the patch embedding and the head."""


@dataclass(frozen=True, slots=True)
class VitShape:
    """Sizes of a Vision Transformer with a class token, for square images of three colours.

    Its tokens are the prefix, which begins with the class token and is the same for all images, and
    the patches.

    Attributes
    ----------
    image, patch
        Side of the image and of a patch, in pixels.
    dim, depth, heads, hidden
        Channels, blocks, heads of a block, and channels inside its MLP.
    classes
        Length of the logits.
    prefix
        Tokens before the patches: the class token, and those of distillation or registers.
    classified
        First tokens that the head takes, side by side: 1, or 2 of a distilled network.
    """

    image: int
    patch: int
    dim: int
    depth: int
    heads: int
    hidden: int
    classes: int
    prefix: int = 1
    classified: int = 1

    def __post_init__(self):
        for field in fields(self):
            integer(field.name, getattr(self, field.name), 1)
        integer("dim", self.dim, 1, layernorm.HIGHEST_CHANNELS)
        for whole, part in (("image", "patch"), ("dim", "heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(f"{whole} must be a multiple of {part}, not "
                                 f"{getattr(self, whole)} of {getattr(self, part)}")
        integer("classified", self.classified, 1, self.prefix)
        integer("tokens", self.tokens, 1, softmax.HIGHEST_KEYS)

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image // self.patch

    @property
    def tokens(self) -> int:
        """The prefix and the patches."""
        return self.prefix + self.patches

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return self.grid**2

    @property
    def patch_values(self) -> int:
        """Values of a patch: row, column, colour."""
        return 3 * self.patch**2

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.dim // self.heads

    @property
    def classified_dim(self) -> int:
        """Values that the classifier takes."""
        return self.classified * self.dim

    @property
    def sites(self) -> int:
        """Length of a row of scales."""
        return len(BLOCK_SITES) * self.depth + 1

    def site(self, block: int, name: str) -> int:
        """Index of a block's site in a row of scales."""
        return len(BLOCK_SITES) * block + BLOCK_SITES.index(name)

    def kind(self, site: int) -> str:
        """Name of a site without its block, by its index in a row of scales."""
        last = site == self.sites - 1
        return "head" if last else BLOCK_SITES[site % len(BLOCK_SITES)]

    def site_names(self) -> list[str]:
        """Names of the sites in the order of a row of scales, like ``3.fc1``; last ``head``."""
        names = [f"{block}.{name}" for block in range(self.depth) for name in BLOCK_SITES]
        return [*names, "head"]


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


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """Affine of a LayerNorm: see :mod:`golden.rows.layernorm`.

    Attributes
    ----------
    gamma : int16 array, shape (dim,)
    beta : int32 array, shape (dim,)
    point : int
        Fractional bits of `gamma`; `beta` and the result have 10 more.
    """

    gamma: np.ndarray
    beta: np.ndarray
    point: int


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
    """

    norm1: Norm
    qkv: Linear
    proj: Linear
    norm2: Norm
    fc1: Linear
    fc2: Linear
    step: int = 0
    coarse: np.ndarray | None = None


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
        Sizes and widths.
    residual_point, qkv_point, logit_point
        Fractional bits of the 16-bit residual stream, of queries, keys and values before they
        are quantized, and of the logits.
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
        `shape.classified_dim` values.
    scales : int16 array, shape (shape.sites,)
        Static lambda of each site.
    taps
        Where lambda of later sites is predicted instead, by rising `after`.
    coarse : uint8 array, shape (dim,), or None
        1 for the channels of the residual stream that have :data:`~golden.rows.layernorm.COARSE`
        fractional bits less than `residual_point`, which the others have: those of massive
        activations. None where there are no such.

    Raises
    ------
    TypeError, ValueError
        If an array is no integer, of another shape, or holds a number out of its format.
    """

    shape: VitShape
    precision: Precision
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

    @property
    def channel_points(self) -> np.ndarray:
        """Fractional bits of each channel of the residual stream, int64 (dim,)."""
        points = np.full(self.shape.dim, self.residual_point, np.int64)
        return points if self.coarse is None else points - layernorm.COARSE * self.coarse

    def __post_init__(self):
        shape, precision = self.shape, self.precision
        for name in ("residual_point", "qkv_point", "logit_point"):
            integer(name, getattr(self, name), -POINT_LIMIT, POINT_LIMIT)
        integer("epsilon", self.epsilon, layernorm.EPSILON.min, layernorm.EPSILON.max)
        integer("score_exponent", self.score_exponent, formats.LAMBDA.min, formats.LAMBDA.max)
        if len(self.blocks) != shape.depth:
            raise ValueError(f"there must be {shape.depth} blocks, not {len(self.blocks)}")
        put = object.__setattr__
        put(self, "patch", _linear("patch", self.patch, shape.patch_values, shape.dim, HEAD,
                                   Activation.UNSIGNED))
        put(self, "embedding", integers(
            "embedding", self.embedding, formats.ACT16.min, formats.ACT16.max,
            shape=(shape.tokens, shape.dim), dtype=np.int16))
        put(self, "blocks", tuple(_block(f"blocks[{index}]", block, shape, precision)
                                  for index, block in enumerate(self.blocks)))
        put(self, "norm", _norm("norm", self.norm, shape.dim))
        put(self, "head", _linear("head", self.head, shape.classified_dim, shape.classes, HEAD))
        put(self, "scales", integers("scales", self.scales, formats.LAMBDA.min, formats.LAMBDA.max,
                                     shape=(shape.sites,), dtype=np.int16))
        put(self, "coarse", _flags("coarse", self.coarse, shape.dim))
        taken = set()
        for index, tap in enumerate(self.taps):
            integer(f"taps[{index}].after", tap.after, self.taps[index - 1].after if index else 0,
                    shape.depth)
            sites = integers(f"taps[{index}].sites", tap.sites, tap.after * len(BLOCK_SITES),
                             shape.sites - 1, shape=(tap.predictor.shape.sites,))
            if len(set(sites.tolist())) < len(sites):
                raise ValueError(f"taps[{index}].sites must differ from each other")
            taken.update(sites.tolist())


def _linear(name: str, layer: Linear, inputs: int, outputs: int, precision: Precision,
            activation: Activation = Activation.SIGNED) -> Linear:
    start_limit(inputs, precision.mode, activation, _LARGEST)
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


def _block(name: str, block: Block, shape: VitShape, precision: Precision) -> Block:
    dim, hidden = shape.dim, shape.hidden
    start_limit(shape.head_dim, precision.score_mode, Activation.SIGNED, _LARGEST)
    start_limit(shape.tokens, precision.value_mode, Activation.UNSIGNED, _LARGEST)
    return Block(
        _norm(f"{name}.norm1", block.norm1, dim),
        _linear(f"{name}.qkv", block.qkv, dim, 3 * dim, precision),
        _linear(f"{name}.proj", block.proj, dim, dim, precision),
        _norm(f"{name}.norm2", block.norm2, dim),
        _linear(f"{name}.fc1", block.fc1, dim, hidden, precision),
        _linear(f"{name}.fc2", block.fc2, hidden, dim, precision, Activation.UNSIGNED),
        integer(f"{name}.step", block.step, 0, softmax.STEP.max),
        _flags(f"{name}.coarse", block.coarse, hidden))


def _flags(name: str, flags: np.ndarray | None, size: int) -> np.ndarray | None:
    return None if flags is None else integers(name, flags, 0, 1, shape=(size,), dtype=np.uint8)


GELU_POINT = gelu.INPUT.frac
"""Fractional bits of the first MLP layer's result, which GELU takes."""
