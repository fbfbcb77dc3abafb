"""Weight rounding with second-order compensation, in closed form.

Weights are ``(inputs, outputs)``, one scale per output column, symmetric. A layer's inputs are
known by their moments: ``H = E[x x^T]``.
"""

import torch

from golden.common.formats import LAMBDA, IntFormat

from ..cli import UserError
from .export import Quantized

_SHRINK = torch.arange(0, 1.5, 1 / 32, dtype=torch.float64)


def column_scales(weight: torch.Tensor, fmt: IntFormat,
                  importance: torch.Tensor | None = None) -> torch.Tensor:
    """Return the lambda of each column, int64, of least squared error.

    `importance` ``(inputs,)`` weighs the rows, as the diagonal of ``H`` does.
    """
    weight = weight.double()
    importance = torch.ones(len(weight)).double() if importance is None else importance.double()
    top = torch.log2(weight.abs().amax(0).clamp_min(1e-12) / fmt.max)
    lams = torch.ceil((top - _SHRINK[:, None]) * LAMBDA.one)  # tries x columns
    error = torch.stack([
        ((grid(weight, lam, fmt) - weight).square() * importance[:, None]).sum(0) for lam in lams])
    return lams.gather(0, error.argmin(0)[None])[0].long()


def grid(weight: torch.Tensor, lam: torch.Tensor, fmt: IntFormat) -> torch.Tensor:
    """Return the nearest weights on the grid of each column."""
    scale = torch.exp2(lam.double() / LAMBDA.one)
    return torch.floor(weight / scale + 0.5).clamp(fmt.min, fmt.max) * scale


def nearest(weight: torch.Tensor, lam: torch.Tensor, fmt: IntFormat) -> Quantized:
    """Round each weight to the nearest."""
    scale = torch.exp2(lam.double() / LAMBDA.one)
    return Quantized(torch.floor(weight.double() / scale + 0.5).clamp(fmt.min, fmt.max)
                     .to(torch.int8), lam)


def _root(matrix: torch.Tensor) -> torch.Tensor:
    """Return the Cholesky factor of a covariance; of inputs that hardly vary, whose covariance is
    rounding errors, with as much on its diagonal as it takes.

    Raises
    ------
    UserError
        If it is not finite.
    """
    if not torch.isfinite(matrix).all():
        raise UserError("the model's activations must be finite, but what enters a layer is not")
    root, failed = torch.linalg.cholesky_ex(matrix)
    more = 1e-6 * float(matrix.diagonal().abs().mean()) + 1e-12
    while failed:
        matrix = matrix + more * torch.eye(len(matrix), dtype=matrix.dtype)
        root, failed = torch.linalg.cholesky_ex(matrix)
        more *= 10
    return root


def gptq(weight: torch.Tensor, hessian: torch.Tensor, lam: torch.Tensor, fmt: IntFormat,
         damping: float = 0.01) -> Quantized:
    """Round row after row, and make up for each row's error in the rows still to come.

    Frantar et al., GPTQ, arXiv 2210.17323, in the order of falling importance; the rows of all
    columns are rounded together.
    """
    weight, hessian = weight.double().clone(), hessian.double().clone()
    diagonal = hessian.diagonal()
    diagonal += damping * diagonal.mean() + 1e-12
    order = diagonal.argsort(descending=True)
    hessian, work = hessian[order][:, order], weight[order]
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(_root(hessian)), upper=True)
    scale = torch.exp2(lam.double() / LAMBDA.one)
    chosen = torch.empty_like(work)
    for row in range(len(work)):
        chosen[row] = torch.floor(work[row] / scale + 0.5).clamp(fmt.min, fmt.max)
        error = (work[row] - chosen[row] * scale) / inverse[row, row]
        work[row + 1:] -= inverse[row, row + 1:, None] * error
    integers = torch.empty_like(chosen)
    integers[order] = chosen
    return Quantized(integers.to(torch.int8), lam)


def refit(hessian: torch.Tensor, cross: torch.Tensor, weight: torch.Tensor,
          damping: float = 0.01) -> torch.Tensor:
    """Return the weights that best give the float layer's outputs from quantized inputs.

    Ridge regression towards `weight` (Zhong et al., ERQ, arXiv 2407.06794): minimises
    ``E|y - W^T x|^2 + d |W - weight|^2`` with ``cross = E[x y^T]``.
    """
    hessian, cross = hessian.double(), cross.double()
    ridge = damping * hessian.diagonal().mean() * torch.eye(len(hessian)).double()
    return torch.linalg.solve(hessian + ridge, cross + ridge @ weight.double())
