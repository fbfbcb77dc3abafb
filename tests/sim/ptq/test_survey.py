"""What 16-bit tensors hold."""

import numpy as np
import pytest
import torch

from golden.common.formats import ACT16
from golden.network.network import GELU_POINT
from golden.network.precision import Precision
from sim.ptq import export, pipeline, source, survey
from sim.ptq.twin import Twin
from tests.cases import vits


@pytest.fixture(scope="module")
def result():
    network = source.read(vits.model(), vits.preprocessing())
    return pipeline.quantize(network, vits.pixels(16), pipeline.Plan(Precision(8, 8)))


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(vits.pixels(16))


def surveyed(result, images, twin=None, ranges=None):
    found = survey.survey(twin or result.twin, ranges or result.ranges, images, batch=5)
    return {one.title: one for one in found}


def test_every_tensor_of_16_bits_is_there_and_holds_what_it_holds(result, images):
    found = surveyed(result, images)
    assert list(found) == ["embedding", "blocks.0.qkv", "blocks.0.fc1", "blocks.0", "blocks.1.qkv",
                           "blocks.1.fc1", "blocks.1", "head"]
    twin = result.twin
    with torch.inference_mode():
        x = twin.embed(images)
        after = twin.block(0, x, twin.scales.expand(len(x), -1))
    assert found["embedding"].largest == pytest.approx(float(x.abs().max()))
    assert found["blocks.0"].largest == pytest.approx(float(after.abs().max()), rel=1e-5)
    variance = float(after.flatten(0, 1).var(0, unbiased=False).median())
    assert found["blocks.0"].variance == pytest.approx(variance, rel=1e-4)
    assert found["blocks.0"].step == 2.0**-result.network.residual_point
    assert found["blocks.0.qkv"].step == 2.0**-result.network.qkv_point
    assert found["blocks.0.fc1"].step == 2.0**-GELU_POINT
    assert found["head"].step == 2.0**-result.network.logit_point
    assert not any(one.complaint() for one in found.values())
    assert "linear" not in vars(twin)


def test_values_beyond_the_format_are_counted(result, images):
    small = export.Ranges(result.ranges.residual / 16, result.ranges.qkv, result.ranges.logits)
    one = surveyed(result, images, ranges=small)["blocks.1"]
    with torch.inference_mode():
        x = result.twin.embed(images)
        for index in range(2):
            x = result.twin.block(index, x, result.twin.scales.expand(len(x), -1))
    limit = ACT16.max * 2.0**-export.residual_format(small.residual).point
    assert one.limit == pytest.approx(limit)
    assert one.clipped == pytest.approx(float((x.abs() > limit).float().mean()))
    assert one.clipped > 0
    assert one.complaint().startswith("blocks.1: ")
    assert "saturate" in one.complaint()


def test_a_step_that_is_too_coarse_is_named(result, images):
    large = export.Ranges(result.ranges.residual * 4096, result.ranges.qkv, result.ranges.logits)
    found = surveyed(result, images, ranges=large)
    assert "too coarse" in found["blocks.0"].complaint()
    assert found["blocks.0"].noise == pytest.approx(
        found["blocks.0"].step**2 / 12 / found["blocks.0"].variance)
    assert found["blocks.0.qkv"].complaint() is None


def test_coarse_channels_and_units_stand_apart(result, images):
    made = result.twin.source()
    made.coarse = torch.zeros(2, made.shape.hidden, dtype=torch.uint8)
    made.coarse[1, 3] = 1
    residual = result.ranges.residual.clone()
    residual[2] *= 100
    twin = Twin(made, Precision(8, 8))
    twin.scales.data = result.twin.scales.data
    found = surveyed(result, images, twin,
                     export.Ranges(residual, result.ranges.qkv, result.ranges.logits))
    assert found["blocks.1.fc1 coarse"].channels == 1
    assert found["blocks.1.fc1 coarse"].step == 16 * found["blocks.1.fc1"].step
    assert "blocks.0.fc1 coarse" not in found
    assert found["blocks.0 coarse"].channels == 1
    assert found["blocks.0 coarse"].step == 16 * found["blocks.0"].step
    assert np.isclose(found["blocks.0"].channels, made.shape.dim - 1)
