"""Quantizers of the published recipes, as modules that return the values of their codes.

Activations have channels last; scales and zero points broadcast. Roundings are half up.
"""

import math

import numpy as np
import torch
from torch import nn

PERCENTILES = (0.999, 0.9999, 0.99999)
"""Shares that RepQ-ViT tries."""

SMALLEST = 1e-8
"""Of a scale, for what is always 0."""


def nearest(x: torch.Tensor) -> torch.Tensor:
    """Round half up."""
    return torch.floor(x + 0.5)


class Uniform(nn.Module):
    """``s (clip(round(x / s) + z, low, high) - z)``."""

    def __init__(self, scale, zero=0.0, low: int = 0, high: int = 255):
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.register_buffer("zero", torch.as_tensor(zero, dtype=torch.float32))
        self.low, self.high = low, high

    @classmethod
    def asymmetric(cls, scale, zero, bits: int) -> "Uniform":
        """Return the quantizer with codes ``0..2**bits - 1``."""
        return cls(scale, zero, 0, 2**bits - 1)

    @classmethod
    def symmetric(cls, scale, bits: int) -> "Uniform":
        """Return the quantizer with codes ``-2**(bits - 1)..2**(bits - 1) - 1`` and no offset."""
        return cls(scale, 0.0, -2**(bits - 1), 2**(bits - 1) - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        codes = (nearest(x / self.scale) + self.zero).clamp_(self.low, self.high)
        return codes.sub_(self.zero).mul_(self.scale)


class LogSqrt2(nn.Module):
    """RepQ-ViT's quantizer of probabilities: ``d * 2**(-code / 2)``, 0 beyond the last code."""

    def __init__(self, delta, bits: int):
        super().__init__()
        self.register_buffer("delta", torch.as_tensor(delta, dtype=torch.float32))
        self.levels = 2**bits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = nearest(-2 * torch.log2(x / self.delta)).clamp_min_(0)
        return torch.where(code < self.levels, torch.exp2(-code / 2) * self.delta, 0.0)


class Groups(nn.Module):
    """Quantizers side by side, one per part of the last dimension."""

    def __init__(self, parts: list[nn.Module]):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = x.chunk(len(self.parts), -1)
        return torch.cat([part(one) for part, one in zip(self.parts, pieces, strict=True)], -1)


def affine(low: torch.Tensor, high: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and zero point of the codes that cover ``low..high``.

    Where there is nothing between the two, as behind a LayerNorm whose factor is 0, they cover 0.
    """
    constant = high - low <= 1e-6 * torch.maximum(high.abs(), low.abs())
    low, high = (torch.where(constant, one, end) for one, end in
                 ((low.clamp_max(0), low), (high.clamp_min(0), high)))
    scale = ((high - low) / (2**bits - 1)).clamp_min(SMALLEST)
    return scale, nearest(-low / scale)


def covering(x: torch.Tensor, bits: int, *, channels: bool = False) -> Uniform:
    """Return the asymmetric quantizer of minimum and maximum, of a tensor or of each channel."""
    flat = x.flatten(0, -2) if channels else x.flatten()
    return Uniform.asymmetric(*affine(flat.amin(0), flat.amax(0), bits), bits)


def percentile(x: torch.Tensor, bits: int, *, channels: bool = False) -> Uniform:
    """Return the asymmetric quantizer of least squared error among :data:`PERCENTILES`.

    Each clips as much at either end (Li et al., RepQ-ViT, arXiv 2212.08254).
    """
    flat = x.flatten(0, -2) if channels else x.flatten()[:, None]
    shares = [end for share in PERCENTILES for end in (1 - share, share)]
    bounds = torch.from_numpy(np.quantile(flat.numpy(), shares, 0).astype(np.float32))
    tried = [affine(low, high, bits) for low, high in bounds.split(2)]
    error = torch.stack([_error(flat, Uniform.asymmetric(*one, bits)) for one in tried])
    best = error.argmin(0)[None]
    scale, zero = (torch.stack(part).gather(0, best)[0] for part in zip(*tried, strict=True))
    return Uniform.asymmetric(*((scale, zero) if channels else (scale[0], zero[0])), bits)


def percentile_log(x: torch.Tensor, bits: int) -> LogSqrt2:
    """Return the log-sqrt2 quantizer whose largest value is one of :data:`PERCENTILES`."""
    flat = x.flatten()
    deltas = np.quantile(flat.numpy(), PERCENTILES)
    tried = [LogSqrt2(max(float(delta), SMALLEST), bits) for delta in deltas]
    return min(tried, key=lambda one: float(_error(flat, one)))


def _error(x: torch.Tensor, quantizer: nn.Module) -> torch.Tensor:
    return (quantizer(x) - x).square_().mean(0)


def round_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return weights ``(inputs, outputs)`` rounded by percentiles, asymmetric per output."""
    return percentile(weight, bits, channels=True)(weight)


class AdaLog(nn.Module):
    """AdaLog's quantizer: powers of ``2**(-q / 37)`` from a table of short mantissas, less a shift.

    ``value = s * 2**-floor(code q / 37) * T[code] - shift`` with `T` in units of
    ``1 / (2**(bits + 1) - 2)`` (Wu et al., arXiv 2407.12951).
    """

    BASE = 37

    def __init__(self, q: int, scale: float, bits: int, shift: float = 0.0):
        super().__init__()
        self.q, self.scale, self.shift, self.levels = q, scale, shift, 2**bits
        self.register_buffer("values", torch.tensor([*table(q, bits), 0.0]) * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = ((x + self.shift) / self.scale).clamp_(1e-15, 1.0)
        code = nearest(-torch.log2(small) * (self.BASE / self.q)).clamp_(0, self.levels)
        return self.values[code.int()] - self.shift


def table(q: int, bits: int) -> list[float]:
    """Return AdaLog's value of each code, for a scale of 1."""
    unit = 2**(bits + 1) - 2
    base = AdaLog.BASE
    mantissas = [math.floor(2**(-rest / base) * unit + 0.5) / unit for rest in range(base)]
    return [2.0**-(code * q // base) * mantissas[code * q % base] for code in range(2**bits)]
