"""The float form of a predictor against its integers."""

import numpy as np
import pytest
import torch

from golden.common.formats import LAMBDA
from golden.network import vit
from golden.network.precision import Precision
from golden.prediction import range_unit, scale_predictor
from sim.prediction import predictor
from sim.ptq import pipeline, source
from sim.ptq.export import ResidualFormat
from sim.ptq.tap import Tap, log_ranges, monomials, quantiles
from sim.ptq.training import train
from tests.cases import vits

POINT = 9
PLAIN = ResidualFormat(POINT, None)
MASSIVE = ResidualFormat(POINT, np.array([0, 0, 1, 0, 0, 0], np.uint8))


def residuals(images=4, tokens=11, channels=6, seed=1):
    """Return a residual stream in integers with outliers."""
    draw = np.random.default_rng(seed)
    return np.clip(draw.standard_t(3, (images, tokens, channels)) * 400, -2**15,
                   2**15 - 1).astype(np.int64)


def tap(degree=2, projected=True, groups=3, sites=(1, 4), stream=PLAIN):
    torch.manual_seed(2)
    count = 2 * groups
    projection = 0.5 * torch.randn(2, count) if projected else None
    made = Tap(1, 4, groups, stream, torch.full((count,), 1.5), torch.full((count,), 2.0),
               projection, torch.tensor([0.1, -0.2]) if projected else None, degree, list(sites))
    with torch.no_grad():
        made.coefficients.copy_(0.2 * torch.randn_like(made.coefficients)
                                * 0.1**made._degrees().sub(1))
    return made


@pytest.mark.parametrize(("chunk", "groups"), [(4, 1), (4, 3), (1, 6), (20, 2)])
def test_the_statistics_are_those_of_the_range_unit(chunk, groups):
    x = residuals()
    found = log_ranges(torch.from_numpy(x / 2.0**POINT), chunk, groups, 2.0**-POINT)
    for image, row in zip(x, found.numpy(), strict=True):
        wanted = range_unit.log_ranges(image, chunk, groups) / LAMBDA.one - POINT
        np.testing.assert_allclose(row, wanted, atol=2 / LAMBDA.one)


@pytest.mark.parametrize("projected", [True, False])
@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("stream", [PLAIN, MASSIVE], ids=["plain", "massive"])
def test_the_integers_predict_what_the_float_form_predicts(stream, degree, projected):
    made, x = tap(degree, projected, stream=stream), residuals()
    constants = np.array([-3000, -2500, 100, 200, -100])
    found = vit.predict(x.astype(np.int16), made.export(constants))
    scales = made(torch.from_numpy(x / np.exp2(stream.points)).float(),
                  torch.from_numpy(constants / LAMBDA.one).float(), torch.zeros(4, 5))
    np.testing.assert_allclose(found, scales[:, [1, 4]].detach() * LAMBDA.one, atol=6)
    assert np.ptp(found, axis=0).min() > 20
    assert (scales[:, [0, 2, 3]] == 0).all()


def test_without_coefficients_the_scales_are_static():
    made = tap()
    with torch.no_grad():
        made.coefficients.zero_()
    constants = np.arange(5)
    found = vit.predict(residuals().astype(np.int16), made.export(constants))
    assert (found == constants[[1, 4]]).all()


def test_coefficients_beyond_the_error_limit_are_made_smaller():
    made = tap(3)
    with torch.no_grad():
        made.coefficients[0] *= 1000
    made.limit()
    exported = made.export(np.zeros(5, int))
    assert max(scale_predictor.scale_error_bound(exported.predictor)) <= (
        scale_predictor.SCALE_ERROR_LIMIT)
    other = tap(3).export(np.zeros(5, int))
    assert (exported.predictor.coefficients[0][1] == other.predictor.coefficients[0][1]).all()


def test_gradients_reach_coefficients_and_constants():
    made, constants = tap(), torch.zeros(5, requires_grad=True)
    made(torch.randn(3, 11, 6), constants, torch.zeros(3, 5)).sum().backward()
    assert made.coefficients.grad.abs().min() > 0
    assert constants.grad.tolist() == [0, 3, 0, 0, 3]


def test_monomials_are_products_in_the_order_of_the_hardware():
    z = torch.tensor([[2.0, 3.0]])
    assert monomials(z, 3).tolist() == [[2, 3, 4, 6, 9, 8, 12, 18, 27]]


def test_the_statistics_of_qpp_have_no_integer_form():
    x = torch.arange(1001.0).reshape(1, 1001, 1)
    assert quantiles(x).tolist() == [[900, 990, 999, 1000, 500]]
    made = Tap(1, 0, 1, ResidualFormat(0, None), torch.zeros(5), torch.ones(5), None, None, 1, [0])
    assert made(x, torch.zeros(1), torch.zeros(1, 1)).shape == (1, 1)
    with pytest.raises(ValueError, match="no integer form"):
        made.export(np.zeros(1, int))


def test_a_quantized_network_predicts_what_its_twin_predicts():
    network, images = source.read(vits.model(), vits.preprocessing()), vits.pixels(40)
    options = predictor.Options(taps=(0, 1), chunk_tokens=4, rank=3, degree=2, least=-9.0)
    budget = train.Budget(epochs=1, batch=10)
    result = pipeline.quantize(network, images, pipeline.Plan(
        Precision(8, 8), predictor=options, budget=budget))
    found = vit.Vit(result.network).run(images).scales
    twin, rows = result.twin, []
    twin.taps[-1].register_forward_hook(lambda module, args, output: rows.append(output))
    train.logits(twin, torch.from_numpy(images))
    wanted = torch.cat(rows).numpy() * LAMBDA.one
    predicted = np.concatenate([tap.sites for tap in result.network.taps])
    assert len(predicted) > 5
    error, second = np.abs(found - wanted), result.network.taps[1].sites
    assert np.delete(error, second, 1).max() < 3  # the first tap sees what the embedding is
    assert np.quantile(error[:, second], 0.98) < 30  # the second, 16 bits that a block rounded
    assert found[:, predicted].std(0).mean() > 10
