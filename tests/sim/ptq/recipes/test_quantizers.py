"""Quantizers against their definitions on plain numbers."""

import math

import numpy as np
import pytest
import torch

from sim.ptq.recipes import quantizers
from sim.ptq.recipes.quantizers import AdaLog, LogSqrt2, Uniform


def uniform(x, scale, zero, low, high):
    """Definition, on Python's numbers."""
    return (min(max(math.floor(x / scale + 0.5) + zero, low), high) - zero) * scale


@pytest.mark.parametrize(("bits", "zero"), [(3, 2), (4, 0), (4, 15), (8, 100)])
def test_uniform_values_are_those_of_the_nearest_code(bits, zero):
    x = np.random.default_rng(1).normal(0, 3, 500).astype(np.float32)
    scale = 0.375
    for quantizer, args in ((Uniform.asymmetric(scale, zero, bits), (zero, 0, 2**bits - 1)),
                            (Uniform.symmetric(scale, bits), (0, -2**(bits - 1),
                                                              2**(bits - 1) - 1))):
        found = quantizer(torch.from_numpy(x)).tolist()
        assert found == [uniform(float(one), scale, *args) for one in x]


def test_covering_quantizers_reach_both_ends_of_every_channel():
    x = torch.tensor([[-1.0, 2.0, 3.0], [2.0, 2.5, 3.0]])
    quantizer = quantizers.covering(x, 4, channels=True)
    assert (quantizer(x) - x).abs().max() <= 0.51 * quantizer.scale.max()
    assert quantizer.scale[2] == pytest.approx(3 / 15)  # constant: the codes cover 0


@pytest.mark.parametrize("bits", [3, 4])
def test_percentiles_beat_the_extremes_of_long_tails(bits):
    draw = np.random.default_rng(2)
    x = torch.from_numpy(draw.standard_t(2, (20_000, 3)).astype(np.float32))
    for channels in (False, True):
        chosen = quantizers.percentile(x, bits, channels=channels)
        errors = [(one(x) - x).square().mean() for one in
                  (chosen, quantizers.covering(x, bits, channels=channels))]
        assert errors[0] <= errors[1]
    each = [quantizers.percentile(column, bits).scale for column in x.T]
    torch.testing.assert_close(chosen.scale, torch.stack(each))


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_log_sqrt2_values_are_halving_every_second_code(bits):
    delta = 0.75
    x = np.exp(np.random.default_rng(3).uniform(-9, 0.2, 400)).astype(np.float32)
    wanted = []
    for one in map(float, x):
        code = max(math.floor(-2 * math.log2(one / delta) + 0.5), 0)
        odd = 1 + (math.sqrt(2) - 1) * (code % 2)
        wanted.append(delta * 2.0**-math.ceil(code / 2) * odd if code < 2**bits else 0.0)
    np.testing.assert_allclose(LogSqrt2(delta, bits)(torch.from_numpy(x)), wanted, rtol=1e-6)
    assert LogSqrt2(delta, bits)(torch.zeros(1)) == 0


@pytest.mark.parametrize(("q", "bits"), [(10, 4), (37, 4), (61, 3), (138, 6)])
def test_adalog_table_is_a_short_mantissa_and_a_shift(q, bits):
    unit = 2**(bits + 1) - 2
    for code, value in enumerate(quantizers.table(q, bits)):
        mantissa = value * 2.0**(code * q // 37) * unit
        assert mantissa == pytest.approx(round(mantissa), abs=1e-9)
        assert unit / 2 <= round(mantissa) <= unit
        assert value == pytest.approx(2**(-code * q / 37), rel=0.6 / (unit / 2))


def test_adalog_takes_the_code_nearest_in_the_log_domain_and_its_shift_off():
    shift, scale, q, bits = 0.17, 2.0, 20, 4
    quantizer = AdaLog(q, scale, bits, shift)
    values = [scale * one - shift for one in quantizers.table(q, bits)]
    for x in np.random.default_rng(4).uniform(-0.169, 2.5, 300):
        code = max(math.floor(-math.log2((x + shift) / scale) * 37 / q + 0.5), 0)
        wanted = values[code] if code < 2**bits else -shift
        assert float(quantizer(torch.tensor([x], dtype=torch.float32))) == pytest.approx(
            wanted, abs=1e-6)
