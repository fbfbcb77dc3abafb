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
    Linear,
    Network,
    Norm,
    Precision,
    Tap,
)
from golden.results import gelu
from golden.rows import layernorm

from .source import LAYERS, Affine, FloatVit

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
    """Largest magnitudes in calibration: of the residual stream, of queries, keys and values before
    they are quantized, of GELU's input, and of the logits.
    """

    residual: float
    qkv: float
    gelu: float
    logits: float


def point(largest: float) -> int:
    """Return the fractional bits with which 16 bits hold `largest` and :data:`HEADROOM`."""
    limit = math.floor(math.log2(formats.ACT16.max / max(largest * HEADROOM, 1e-9)))
    return min(max(limit, -POINT_LIMIT), POINT_LIMIT)


def build(source: FloatVit, weights: dict[str, Quantized], ranges: Ranges, scales: np.ndarray,
          precision: Precision, step: int = 0, taps: tuple[Tap, ...] = ()) -> Network:
    """Return the integer network.

    Parameters
    ----------
    source
        Supplies everything but the weights: biases, embedding, LayerNorms.
    weights
        Of the layers ``patch``, ``head``, and ``3.fc1`` and the like.
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
    residual, qkv, logits = (point(value)
                             for value in (ranges.residual, ranges.qkv, ranges.logits))

    def layer(name: str, part: Affine, fraction: int, offset: float = 0.0) -> Linear:
        quantized = weights[name]
        bias = part.bias - offset * quantized.value.sum(0)
        return Linear(quantized.integers.numpy(),
                      quantized.lambdas.numpy() + fraction * LAMBDA.one,
                      _round(bias, fraction, formats.ACT16).astype(np.int16))

    blocks = []
    for index, block in enumerate(source.blocks):
        parts = {name: layer(f"{index}.{name}", block[name], fraction, offset)
                 for name, fraction, offset in zip(
                     LAYERS, (qkv, residual, GELU_POINT, residual),
                     (0.0, 0.0, 0.0, gelu.OFFSET / gelu.RESULT.one), strict=True)}
        blocks.append(Block(norm1=_norm(block["norm1"]), norm2=_norm(block["norm2"]), step=step,
                            **parts))
    return Network(
        shape=shape, precision=precision, residual_point=residual, qkv_point=qkv,
        logit_point=logits,
        epsilon=layernorm.epsilon_units(source.epsilon, shape.dim, residual),
        score_exponent=round(LAMBDA.one * math.log2(math.log2(math.e)
                                                    / math.sqrt(shape.head_dim))),
        patch=layer("patch", source.patch, residual),
        embedding=_round(source.embedding, residual, formats.ACT16).astype(np.int16),
        blocks=tuple(blocks), norm=_norm(source.norm), head=layer("head", source.head, logits),
        scales=scales, taps=taps)


def _round(values: torch.Tensor, fraction: int, fmt: formats.IntFormat) -> np.ndarray:
    scaled = np.floor(values.double().numpy() * 2.0**fraction + 0.5)
    return np.clip(scaled, fmt.min, fmt.max).astype(np.int64)


def _norm(part: Affine) -> Norm:
    """Return a LayerNorm with as many fractional bits as its factors and offsets have room for."""
    limits = ((part.weight, layernorm.GAMMA.max, 0),
              (part.bias, layernorm.BETA.max, layernorm.NORMALIZED.frac))
    fraction = POINT_LIMIT
    for values, limit, more in limits:
        largest = float(values.abs().max())
        if largest > 0:
            fraction = min(fraction, math.floor(math.log2(limit / largest)) - more)
    return Norm(_round(part.weight, fraction, layernorm.GAMMA),
                _round(part.bias, fraction + layernorm.NORMALIZED.frac, layernorm.BETA), fraction)
