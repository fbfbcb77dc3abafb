"""Search for the quantizers of a matrix product that change its result least.

Candidates are tensors ``(count, groups, parameters)``: for each group, that is a head, a column of
weights or just the whole, what a quantizer is made of. All groups are tried at once.
"""

from collections.abc import Callable

import torch
from torch import nn

from .quantizers import Uniform

WHOLE = ("_k", "_v")
"""Points whose tokens are all needed for some tokens of the result."""


class Record:
    """Observer that keeps the values of points, at every `stride`-th token only.

    Keys and values are kept whole. The first token is the class token, and always kept.
    """

    def __init__(self, stride: int):
        self.stride = stride
        self.seen: dict[str, torch.Tensor] = {}

    def thin(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Return what is kept of a point's values."""
        return x if name.endswith(WHOLE) else x[..., ::self.stride, :]

    def __call__(self, name: str, x: torch.Tensor) -> None:
        self.seen[name] = self.thin(name, x).clone()


def whole(squares: torch.Tensor) -> torch.Tensor:
    """Sum errors for one group."""
    return squares.sum()[None]


def heads(squares: torch.Tensor) -> torch.Tensor:
    """Sum errors ``(images, heads, tokens, columns)`` of each head."""
    return squares.sum((0, 2, 3))


class Columns:
    """Sum errors of equal parts of the columns."""

    def __init__(self, parts: int):
        self.parts = parts

    def __call__(self, squares: torch.Tensor) -> torch.Tensor:
        return squares.flatten(0, -2).sum(0).reshape(self.parts, -1).sum(1)


class Product:
    """A matrix product and the weighted squares of its errors.

    Attributes
    ----------
    left, right
        Exact operands.
    importance
        What an error of the result counts, before it is squared.
    """

    def __init__(self, left: torch.Tensor, right: torch.Tensor, importance=1.0):
        self.left, self.right, self.importance = left, right, importance
        self.result = left @ right

    def of_left(self, right: torch.Tensor, add: Callable, quantizer: nn.Module) -> torch.Tensor:
        """Return the groups' errors for a quantizer of the left operand."""
        return add(self._squares(quantizer(self.left), right))

    def of_right(self, left: torch.Tensor, add: Callable, quantizer: nn.Module) -> torch.Tensor:
        """Return the groups' errors for a quantizer of the right operand."""
        return add(self._squares(left, quantizer(self.right)))

    def _squares(self, left, right):
        return (left @ right).sub_(self.result).mul_(self.importance).square_()


def errors(candidates: torch.Tensor, make: Callable, errors_of: Callable) -> torch.Tensor:
    """Return the errors ``(count, groups)`` of ``make(candidate)``."""
    return torch.stack([errors_of(make(one)) for one in candidates])


def pick(candidates: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the candidates ``(count, groups, parameters)`` at ``index (count, groups)``."""
    return candidates.gather(0, index[..., None].expand(-1, -1, candidates.shape[2]))


def best(candidates: torch.Tensor, make: Callable, errors_of: Callable) -> nn.Module:
    """Return the quantizer whose parameters have the least error in each group."""
    found = errors(candidates, make, errors_of)
    return make(pick(candidates, found.argmin(0)[None])[0])


class PerHead:
    """Make symmetric quantizers of ``(heads, 1)`` scales."""

    def __init__(self, bits: int):
        self.bits = bits

    def __call__(self, parameters: torch.Tensor) -> Uniform:
        return Uniform.symmetric(parameters[:, :, None], self.bits)


class PerPart:
    """Make symmetric quantizers of ``(parts, 1)`` scales, one for each part of the columns."""

    def __init__(self, bits: int, columns: int):
        self.bits, self.columns = bits, columns

    def __call__(self, parameters: torch.Tensor) -> Uniform:
        each = parameters[:, 0].repeat_interleave(self.columns // len(parameters))
        return Uniform.symmetric(each, self.bits)
