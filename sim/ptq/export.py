"""From a float network and its quantized weights to the integers of :mod:`golden.network`."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from golden.common import formats
from golden.common.formats import LAMBDA
from golden.network.network import (
    GELU_POINT,
    POINT_LIMIT,
    Block,
    HeadNorm,
    Linear,
    Merge,
    Network,
    Norm,
    Stream,
    Tap,
)
from golden.network.precision import AnyPrecision
from golden.network.shape import MERGED
from golden.results import gelu
from golden.rows import layernorm, softmax
from golden.rows.layernorm import COARSE

from .float_vit import HEAD_NORMS, LAYERS, Affine, FloatVit, offset_of

HEADROOM = 2.0
"""How far beyond the largest value seen in calibration a 16-bit tensor reaches, at least."""


@dataclass
class Quantized:
    """Weights ``integers * 2**(lambdas / 1024)``: int8 (inputs, outputs) and int (outputs,)."""

    integers: torch.Tensor
    lambdas: torch.Tensor

    @property
    def value(self) -> torch.Tensor:
        """The weights that the integers stand for, float64."""
        return self.integers.double() * torch.exp2(self.lambdas.double() / LAMBDA.one)


@dataclass(frozen=True)
class Ranges:
    """Largest magnitudes in calibration: of each channel of the residual stream, float tensor
    (dim,); of queries, keys and values before they are quantized; of the logits; of the embedding,
    if a LayerNorm is between it and the residual stream; and of the residual stream behind each
    merge.
    """

    residual: torch.Tensor
    qkv: float
    logits: float
    embedding: float = 0.0
    merged: tuple[torch.Tensor, ...] = ()

    @property
    def streams(self) -> tuple[torch.Tensor, ...]:
        """Of each channel of the residual stream, before the first merge and behind each."""
        return (self.residual, *self.merged)


@dataclass(frozen=True)
class ResidualFormat:
    """Binary points of the 16-bit residual stream.

    Attributes
    ----------
    point
        Fractional bits of most channels.
    coarse : uint8 array, shape (dim,), or None
        1 for channels with :data:`golden.rows.layernorm.COARSE` less; None if there are none.
    """

    point: int
    coarse: np.ndarray | None

    @property
    def unit(self) -> float:
        """The step of most channels."""
        return 2.0**-self.point

    @property
    def points(self) -> np.ndarray | int:
        """Fractional bits, of each channel if they differ."""
        return self.point if self.coarse is None else self.point - COARSE * self.coarse.astype(int)

    def stored(self, x: torch.Tensor) -> torch.Tensor:
        """Return residuals as if all channels had `point` fractional bits, as statistics see them.

        What is stored of a coarse channel is ``2**COARSE`` times smaller.
        """
        if self.coarse is None:
            return x
        return x * torch.exp2(-COARSE * torch.from_numpy(self.coarse).to(x.dtype))


def point(largest: float) -> int:
    """Return the fractional bits with which 16 bits hold `largest` and :data:`HEADROOM`."""
    limit = math.floor(math.log2(formats.ACT16.max / max(largest * HEADROOM, 1e-9)))
    return min(max(limit, -POINT_LIMIT), POINT_LIMIT)


WORTH = 1 / 4
"""Coarse channels are for networks in which they leave so much of the squared rounding error."""


def residual_format(largest: torch.Tensor) -> ResidualFormat:
    """Choose the binary points of a residual stream, by the squared error of its rounding.

    Parameters
    ----------
    largest : float tensor, shape (dim,)
        Of each channel in calibration. Where few channels are far larger than the others (massive
        activations) these few get coarse formats, so that the others keep their resolution.
    """
    points = np.array([point(value) for value in largest.tolist()])
    whole = int(points.min())

    def error(fine: int) -> float:
        return float((4.0**-np.where(points < fine, fine - COARSE, fine)).sum())

    fine = min(range(whole, min(whole + COARSE, POINT_LIMIT) + 1), key=error)
    if error(fine) > WORTH * error(whole):
        return ResidualFormat(whole, None)
    return ResidualFormat(fine, (points < fine).astype(np.uint8))


def residual_formats(ranges: Ranges) -> tuple[ResidualFormat, ...]:
    """Return the formats of the residual stream, before the first merge and behind each."""
    return tuple(map(residual_format, ranges.streams))


def build(source: FloatVit, weights: dict[str, Quantized], ranges: Ranges, scales: np.ndarray,
          precision: AnyPrecision, step: int = 0, taps: tuple[Tap, ...] = ()) -> Network:
    """Return the integer network.

    Parameters
    ----------
    source
        Supplies everything but the weights: biases, embedding, LayerNorms, coarse hidden units,
        what is added to scores.
    weights
        Of the layers ``patch``, ``head``, and ``3.fc1`` and the like; ``3.merge`` before a block.
    ranges
        Give the binary points.
    scales
        Static lambda of each site.
    step
        Of 4-bit probability codes; 0 for 8-bit probabilities.
    taps
        Predictors.
    """
    shape = source.shape
    streams = residual_formats(ranges)
    stream, qkv, logits = streams[0], point(ranges.qkv), point(ranges.logits)
    embedded = stream.points if source.norm_pre is None else point(ranges.embedding)

    def layer(name: str, part: Affine, fraction, offset: float = 0.0) -> Linear:
        quantized = weights[name]
        bias = part.bias - offset * quantized.value.sum(0)
        return Linear(quantized.integers.numpy(),
                      quantized.lambdas.numpy() + fraction * LAMBDA.one,
                      _round(bias, fraction, formats.ACT16).astype(np.int16))

    blocks = []
    for index, block in enumerate(source.blocks):
        coarse, residual = source.coarse_units(index), streams[shape.stage(index)].points
        coarse = None if coarse is None else coarse.numpy()
        hidden = GELU_POINT if coarse is None else GELU_POINT - gelu.COARSE * coarse.astype(int)
        parts = {name: layer(f"{index}.{name}", block[name], fraction, offset)
                 for name, fraction, offset in zip(
                     LAYERS, (qkv, residual, hidden, residual),
                     (0.0, 0.0, 0.0, offset_of(shape)), strict=True)}
        parts |= {name: HeadNorm(_norm(block[name]), layernorm.epsilon_units(
            source.epsilon, shape.head_dim, qkv)) for name in HEAD_NORMS if name in block}
        blocks.append(Block(norm1=_norm(block["norm1"]), norm2=_norm(block["norm2"]), step=step,
                            coarse=coarse, places=_places(source, index), **parts))
    merges = []
    for number, (block, merge) in enumerate(zip(shape.merges, source.merges, strict=True)):
        before, behind, dim = *streams[number:number + 2], shape.blocks[block].dim
        merges.append(Merge(
            _norm(merge["norm"]), layer(f"{block}.merge", merge["merge"], behind.points),
            layernorm.epsilon_units(source.epsilon, MERGED * dim // 2, before.point),
            Stream(behind.point, layernorm.epsilon_units(source.epsilon, dim, behind.point),
                   behind.coarse)))
    return Network(
        shape=shape, precision=precision, residual_point=stream.point, qkv_point=qkv,
        logit_point=logits,
        epsilon=layernorm.epsilon_units(source.epsilon, shape.dim, stream.point),
        score_exponent=round(LAMBDA.one * math.log2(math.log2(math.e)
                                                    / math.sqrt(shape.head_dim))),
        patch=layer("patch", source.patch, embedded),
        embedding=_round(source.embedding, embedded, formats.ACT16).astype(np.int16),
        blocks=tuple(blocks), norm=_norm(source.norm), head=layer("head", source.head, logits),
        scales=scales, taps=taps, coarse=stream.coarse, merges=tuple(merges),
        **_first(source, stream, embedded))


def _places(source: FloatVit, index: int) -> np.ndarray | None:
    """Return what is added to the scores of a block, in their format."""
    if source.places is None:
        return None
    return _round(source.places[index] * math.log2(math.e), softmax.SCORE.frac, softmax.SCORE)


def _first(source: FloatVit, stream: ResidualFormat, embedded) -> dict:
    """Return the fields of the LayerNorm before the blocks, if there is one."""
    if source.norm_pre is None:
        return {}
    smaller = torch.exp2(torch.as_tensor(stream.points - np.asarray(stream.point)).double())
    norm = _norm(Affine(source.norm_pre.weight * smaller, source.norm_pre.bias * smaller))
    return {"norm_pre": norm,
            "epsilon_pre": layernorm.epsilon_units(source.epsilon, source.shape.dim, embedded)}


def _round(values: torch.Tensor, fraction, fmt: formats.IntFormat) -> np.ndarray:
    scaled = np.floor(values.double().numpy() * np.exp2(fraction) + 0.5)
    return np.clip(scaled, fmt.min, fmt.max).astype(np.int64)


def _norm(part: Affine) -> Norm:
    """Return a LayerNorm with as many fractional bits as its factors and offsets have room for."""
    normalized = layernorm.fraction_of(len(part.weight))
    limits = ((part.weight, layernorm.GAMMA.max, 0), (part.bias, layernorm.BETA.max, normalized))
    fraction = POINT_LIMIT
    for values, limit, more in limits:
        largest = float(values.abs().max())
        if largest > 0:
            fraction = min(fraction, math.floor(math.log2(limit / largest)) - more)
    return Norm(_round(part.weight, fraction, layernorm.GAMMA),
                _round(part.bias, fraction + normalized, layernorm.BETA), fraction)
