"""ERQ (Zhong et al., arXiv 2407.06794): two ridge regressions against two errors.

Activations as in RepQ-ViT. Aqer then refits each layer's weights to the exact outputs from
quantized inputs; Wqer rounds half of the remaining rows of weights at a time, turns roundings
over where that lowers the error, and refits the rows still to come. A layer's inputs are those of
the exact network, quantized. Patch embedding and head, of 8 bits, are rounded by percentiles.
The ridge is 0.01 per row of inputs, which is the published 2000 for 1024 images.
"""

from collections.abc import Callable

import torch
from torch import nn

from golden.network.precision import Precision

from ..float_vit import LAYERS, FloatVit
from .harness import NORMS, ChooseByPercentile, Harness, plain, reparameterise
from .quantizers import Uniform, percentile, round_weight
from .search import Record

RIDGE = 0.01
FLIPS = 100
"""Roundings of a column that are turned over at most, in each half."""


def second_moments(x: torch.Tensor) -> torch.Tensor:
    """Return ``E[(x, 1) (x, 1)^T]`` of inputs ``(..., channels)``, float64."""
    rows = x.flatten(0, -2)
    rows = torch.cat((rows, torch.ones_like(rows[:, :1])), 1)
    return (rows.T @ rows).double() / len(rows)


def refit(weight: torch.Tensor, exact: torch.Tensor, quantized: torch.Tensor,
          square: torch.Tensor) -> torch.Tensor:
    """Return what is to be added to weights, and below them to the bias (Aqer).

    `square` are the moments of `quantized`.
    """
    x, z = exact.flatten(0, -2), quantized.flatten(0, -2)
    missing = (x - z) @ weight
    cross = torch.cat((z.T @ missing, missing.sum(0, keepdim=True))).double() / len(z)
    return torch.linalg.solve(_ridged(square), cross)


def _ridged(square):
    return square + RIDGE * torch.eye(len(square), dtype=square.dtype)


def _rounded(weight, quantizer, rounding):
    codes = (rounding(weight / quantizer.scale) + quantizer.zero).clamp(quantizer.low,
                                                                       quantizer.high)
    return (codes - quantizer.zero) * quantizer.scale


def turn_over(weight: torch.Tensor, square: torch.Tensor, quantizer: Uniform) -> torch.Tensor:
    """Return rounding errors of weights: the nearest, improved one at a time in each column.

    The one with the largest gradient that its rounding adds to is rounded the other way, as long
    as that lowers the column's ``e^T square e``.
    """
    down, up = (_rounded(weight, quantizer, way) - weight for way in (torch.floor, torch.ceil))
    error = torch.where(down.abs() < up.abs(), down, up)
    slope = square @ error
    columns = torch.arange(weight.shape[1])
    for _ in range(FLIPS):
        index = torch.where(error * slope > 0, slope.abs(), 0.0).argmax(0)
        old = error[index, columns]
        step = (down + up)[index, columns] - 2 * old
        better = 2 * step * slope[index, columns] + step.square() * square[index, index] < 0
        if not better.any():
            break
        step = torch.where(better, step, 0.0)
        error[index, columns] = old + step
        slope += square[:, index] * step
    return error


def round_halves(weight: torch.Tensor, square: torch.Tensor, quantizer: Uniform) -> torch.Tensor:
    """Return weights, and below them the bias, with all rows rounded but the bias (Wqer)."""
    current, start = weight.clone(), 0
    while start < len(weight) - 1:
        end = start + (len(weight) - start) // 2
        error = turn_over(current[start:end], square[start:end, start:end], quantizer)
        current[start:end] += error
        current[end:] -= torch.linalg.solve(_ridged(square[end:, end:]),
                                            square[end:, start:end] @ error)
        start = end
    return current


def fit(net: Harness, name: str, exact: torch.Tensor, quantizer: nn.Module) -> None:
    """Refit and round a layer."""
    quantized = quantizer(exact)
    square = second_moments(quantized)
    both = torch.cat((net.weights[name], net.biases[name][None])).double()
    both = both + refit(net.weights[name].data, exact, quantized, square)
    rounding = percentile(both[:-1].float(), net.weight_bits(name), channels=True)
    both = round_halves(both, square, rounding).float()
    net.weights[name].data, net.biases[name].data = both[:-1], both[-1]


@torch.no_grad()
def make(source: FloatVit, precision: Precision, pixels: torch.Tensor,
         progress: Callable = plain) -> Harness:
    """Quantize a network."""
    net = Harness(source, precision)
    with net.observed(ChooseByPercentile(net)):
        net.run(pixels, progress, "Calibrating")
    for index in range(net.shape.depth):
        for layer in NORMS:
            reparameterise(net, index, layer)
    quantizers, net.quantizers = net.quantizers, nn.ModuleDict()
    x = net.embed(pixels)
    for index in progress(list(range(net.shape.depth)), "Fitting"):
        record = Record(1)
        with net.observed(record):
            x = net.block(index, x)
        for name in (f"{index}_{layer}" for layer in LAYERS):
            fit(net, name, record.seen[name], quantizers[name])
    net.quantizers = quantizers
    net.round_weights(round_weight, ["patch", "head"])
    return net
