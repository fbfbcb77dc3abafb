"""Kernels of training against PyTorch's own operations, which other devices and types take."""

import numpy as np
import pytest
import torch

from golden.common.formats import INT4, UINT4, UINT8
from sim.ptq.training import quantizers


def _gradients(function, values, grad):
    values = [value.clone().requires_grad_(True) for value in values]
    made = function(*values)
    made.backward(grad.to(made.dtype))
    return [made.detach(), *(value.grad for value in values)]


def _same(function, values, grad):
    found = _gradients(function, values, grad)
    wanted = _gradients(function, [value.double() for value in values], grad)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == torch.float32
        assert theirs.dtype == torch.float64
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("fmt", [INT4, UINT4, UINT8])
@pytest.mark.parametrize("shape", [(1, 3), (3, 5, 7), (2, 4, 3, 9)])
@pytest.mark.parametrize("shared", [False, True])
def test_rounding_to_a_grid(fmt, shape, shared):
    draw = torch.Generator().manual_seed(1)
    scale = torch.randint(-3, 3, (shape[0],), generator=draw).float()
    # In eighths of a step: ties are there, and none comes about by rounding.
    x = torch.randint(-300, 300, shape, generator=draw) / 8 * torch.exp2(scale).reshape(
        -1, *(1,) * (len(shape) - 1))
    if shared:
        scale = scale[:1]
    _same(lambda x, lam: quantizers.quantize(x, lam.expand(len(x)) if shared else lam, fmt),
          [x, scale], torch.randn(shape, generator=draw))


def test_a_gradient_that_is_not_contiguous():
    x = torch.linspace(-9, 9, 24).reshape(2, 3, 4)
    grad = torch.linspace(-1, 1, 24).reshape(2, 4, 3).transpose(1, 2)
    _same(lambda x, lam: quantizers.quantize(x, lam, INT4), [x, torch.tensor([0.0, 0.5])], grad)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3, 5, 5), (7, 33)])
def test_softmax(shape):
    draw = torch.Generator().manual_seed(2)
    scores = torch.randn(shape, generator=draw) * 3
    rounding = quantizers.probabilities(scores, 0) - quantizers.probabilities(scores.double(), 0)
    assert rounding.abs().max() < 1e-6  # no exponential of these is at a tie
    _same(lambda scores: quantizers.probabilities(scores, 0), [scores],
          torch.randn(shape, generator=draw))


def test_results_do_not_depend_on_threads():
    import numba

    draw = torch.Generator().manual_seed(3)
    x, grad = torch.randn((8, 999), generator=draw), torch.randn((8, 999), generator=draw)
    threads, found = numba.get_num_threads(), []
    try:
        for count in {1, threads}:
            numba.set_num_threads(count)
            found.append(_gradients(lambda x, lam: quantizers.quantize(x, lam, INT4),
                                    [x, torch.full((8,), -1.0)], grad))
    finally:
        numba.set_num_threads(threads)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.equal(one, two)
