"""Rounding of weights where what they are rounded for hardly says anything."""

import pytest
import torch

from golden.common.formats import LAMBDA, IntFormat
from sim.cli import UserError
from sim.ptq import rounding

FORMAT = IntFormat(8, symmetric=True)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_inputs_that_do_not_vary_leave_weights_as_near_as_can_be(noise):
    torch.manual_seed(1)
    weight = torch.randn(24, 5).double()
    hessian = torch.randn(24, 24).double() * noise
    hessian = (hessian + hessian.T) / 2  # as what is left of a mean that was taken off
    lam = torch.full((5,), round(LAMBDA.one * -4.0))
    found = rounding.gptq(weight, hessian, lam, FORMAT)
    assert (found.value - weight).abs().max() < 2.0**-4
    assert found.integers.abs().max() <= FORMAT.max


def test_inputs_that_are_not_finite_are_refused():
    weight, lam = torch.ones(3, 2).double(), torch.zeros(2)
    with pytest.raises(UserError, match="must be finite"):
        rounding.gptq(weight, torch.full((3, 3), float("nan")), lam, FORMAT)


def test_damping_is_all_that_a_good_covariance_gets():
    torch.manual_seed(2)
    x = torch.randn(200, 12).double()
    matrix = x.T @ x
    assert torch.equal(rounding._root(matrix), torch.linalg.cholesky(matrix))
