"""FQ-ViT's power-of-two factors, integer LayerNorm and logarithmic softmax."""

import math

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import fq_vit
from tests.cases import vits


def exponential(code, scale):
    """I-BERT's integer exponential, on Python's integers."""
    step = math.floor(-0.6931 / scale)
    linear = math.floor(0.96963238 / 0.35815147 / scale)
    constant = math.floor(1 / 0.35815147 / scale**2)
    code = max(code, 30 * step)
    whole = code // step
    rest = code - step * whole
    return max(rest * (rest + linear) + constant, 0) << (30 - whole)


@pytest.mark.parametrize("scale", [0.013, 0.11, 0.9])
def test_exponentials_are_those_of_the_definition_and_near_exp(scale):
    codes = torch.arange(-255, 1)
    found = fq_vit.exponentials(codes, scale)
    assert found.tolist() == [exponential(code, scale) for code in range(-255, 1)]
    if scale < 0.5:
        exact = torch.exp(codes * scale)
        assert (found / found[-1] - exact).abs().max() < 3 * scale


@pytest.mark.parametrize("bits", [4, 8])
def test_probabilities_are_powers_of_two_near_softmax(bits):
    torch.manual_seed(1)
    codes, scale = torch.randint(-128, 128, (50, 30)), 0.03
    found = fq_vit.log_int_softmax(codes, scale, bits)
    logs = torch.log2(found[found > 0])
    assert torch.equal(logs, logs.round())
    assert logs.min() > -2**bits
    ratio = (found / (codes * scale).softmax(-1))[found > 0]
    assert ratio.min() > 0.6
    assert ratio.max() < 2  # where the inverse of the largest is rounded to 1


def test_factors_follow_the_ranges_of_the_channels():
    torch.manual_seed(2)
    spread = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.3])
    x = torch.rand(400, 5).sub(0.5) * spread
    made = fq_vit.power_of_two_factors(x, x.min(), x.max(), 4)
    base = float((x.max() - x.min()) / 15) / 8
    assert (made.scale / base).tolist() == [8, 4, 2, 1, 1]
    one = fq_vit.Uniform.asymmetric(made.scale.max(), made.zero, 4)
    assert (made(x) - x).square().mean() < 0.6 * (one(x) - x).square().mean()


def test_integer_norm_is_near_layernorm():
    torch.manual_seed(3)
    codes = torch.randint(-300, 900, (20, 64))
    weight, bias = torch.randn(64), torch.randn(64)
    found = fq_vit.integer_norm(codes, 0.25, weight, bias, 0.01)
    wanted = torch.nn.functional.layer_norm(codes.float(), (64,), weight, bias)
    assert (found - wanted).abs().max() < 0.06
    torch.testing.assert_close((found / 0.01).round() * 0.01, found)


@torch.inference_mode()
def test_the_residual_stream_is_quantized():
    network = source.read(vits.model(), vits.preprocessing())
    pixels = torch.from_numpy(vits.pixels(6))
    made = fq_vit.make(network, Precision(4, 4), pixels)
    scale = made.quantizers["0_sum2"].scale
    assert len(scale.unique()) > 1
    codes = made.block(0, made.embed(pixels)) / scale
    torch.testing.assert_close(codes, codes.round(), atol=1e-3, rtol=0)
    assert codes.max() - codes.min() <= 15.01
