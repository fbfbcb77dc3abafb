"""Quantizers with gradients: rounding that these pass straight through.

Scales have LSQ's gradients (Esser et al., arXiv 1902.08153), in the log2 domain.
"""

import math

import numpy as np
import torch

from golden.common.formats import LAMBDA, UINT8, IntFormat

from . import kernels

_MOST = np.float32(UINT8.max)


class _Quantize(torch.autograd.Function):
    """Round to a grid of ``2**lam`` per image, and clamp; straight through, LSQ for `lam`."""

    @staticmethod
    def forward(ctx, x, lam, low, high):
        scale = torch.exp2(lam)
        ctx.save_for_backward(x, scale)
        ctx.limits = low, high
        if _own(x):
            return _torch(kernels.rounded(_rows(x, len(x)), _steps(scale, x),
                                          np.float32(low), np.float32(high)), x)
        return (x / scale).add_(0.5).floor_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        x, scale = ctx.saved_tensors
        low, high = ctx.limits
        every = tuple(dim for dim in range(grad.dim()) if scale.shape[dim] == 1)
        if _own(x):
            inside, slopes = kernels.rounded_gradients(
                _rows(x, len(x)), _rows(grad, len(x)), _steps(scale, x), np.float32(low),
                np.float32(high))
            inside = _torch(inside, x)
            slope = torch.from_numpy(slopes).reshape(-1, *(1,) * (x.dim() - 1))
        else:
            v = x / scale
            q = (v + 0.5).floor_()
            held = q.clamp(low, high)
            inside = q.eq_(held)  # 1 or 0
            slope = held.sub_(v.mul_(inside)).mul_(grad)
            inside = inside.mul_(grad)
        grad_lam = None
        if ctx.needs_input_grad[1]:
            grad_lam = slope.sum(every, keepdim=True) * scale * math.log(2)
        return inside, grad_lam, None, None


class _Shares(torch.autograd.Function):
    """Softmax as it is stored in 8 bits; straight through."""

    @staticmethod
    def forward(ctx, scores):
        exponents = _torch(kernels.exponents(_rows(scores, scores.shape[:-1].numel())), scores)
        exponentials = exponents.exp2_()
        shares, totals = kernels.shares(_rows(exponentials, scores.shape[:-1].numel()), _MOST)
        shares = _torch(shares, scores)
        ctx.save_for_backward(exponentials, shares, torch.from_numpy(totals))
        return shares

    @staticmethod
    def backward(ctx, grad):
        exponentials, shares, totals = ctx.saved_tensors
        rows = len(totals)
        return _torch(kernels.score_gradients(
            _rows(exponentials, rows), _rows(shares, rows), totals.numpy(), _rows(grad, rows),
            _MOST), grad)


def _own(x: torch.Tensor) -> bool:
    """Return whether our kernels take a tensor."""
    return x.device.type == "cpu" and x.dtype == torch.float32


def _rows(x: torch.Tensor, count: int) -> np.ndarray:
    return x.detach().contiguous().view(count, -1).numpy()


def _steps(scale: torch.Tensor, x: torch.Tensor) -> np.ndarray:
    """Return the scale of each image."""
    return scale.detach().reshape(-1).expand(len(x)).contiguous().numpy()


def _torch(made: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(made).view(like.shape)


def quantize(x: torch.Tensor, lam: torch.Tensor, fmt: IntFormat) -> torch.Tensor:
    """Return `x` ``(images, ...)`` on the grid of ``2**lam``, `lam` ``(images,)``, in `fmt`."""
    lam = lam.reshape(-1, *(1,) * (x.dim() - 1))
    return _Quantize.apply(x, lam, float(fmt.min), float(fmt.max))


def round_through(x: torch.Tensor) -> torch.Tensor:
    """Round half up; the gradient passes as if nothing were done."""
    return x + (torch.floor(x + 0.5) - x).detach()


def probabilities(scores: torch.Tensor, step: int) -> torch.Tensor:
    """Return softmax as it is stored: 8-bit exponentials, or codes of a step; rows sum to 1."""
    if not step and _own(scores):
        return _Shares.apply(scores)
    distance = (scores.amax(-1, keepdim=True).detach() - scores) * math.log2(math.e)
    if step:
        code = round_through(distance * (LAMBDA.one / step))
        stored = torch.exp2(-code * (step / LAMBDA.one))
        operand = round_through(stored * UINT8.max) * (code.detach() < 15)
    else:
        operand = round_through(torch.exp2(-distance) * UINT8.max)
    return operand / operand.sum(-1, keepdim=True)
