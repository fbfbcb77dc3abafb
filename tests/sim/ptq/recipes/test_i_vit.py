"""I-ViT's integer functions against Python's integers, and against what they stand for."""

import math

import pytest
import torch

from golden.network.precision import Precision
from sim.ptq import source
from sim.ptq.recipes import i_vit
from tests.cases import vits


def shift_exp(code, scale, shift):
    step = math.floor(-1 / scale)
    code = max(code + (code >> 1) - (code >> 4), shift * step)
    whole = code // step
    return math.floor(((code - whole * step) / 2 - step) * 2**(shift - whole))


def shiftmax(row, scale):
    exps = [shift_exp(code - max(row), scale, 15) for code in row]
    factor = (2**31 - 1) // min(sum(exps), 2**31 - 1)
    return [(one * factor) >> 16 for one in exps]


def shift_gelu(row, scale):
    made = []
    for code in row:
        exp = shift_exp(code - max(row), 1.702 * scale, 23)
        total = min(exp + shift_exp(-max(row), 1.702 * scale, 23), 2**31 - 1)
        made.append(code * ((exp * ((2**31 - 1) // total)) >> 24))
    return made


def norm(row):
    mean = math.floor(sum(row) / len(row) + 0.5)
    centred = [one - mean for one in row]
    square, root = sum(one * one for one in centred), 2**16
    for _ in range(10):
        root = (root + square // root) >> 1
    return [(one * ((2**31 - 1) // root)) >> 1 for one in centred]


@pytest.mark.parametrize("scale", [0.03, 0.11, 0.7])
def test_shiftmax_and_shift_gelu_are_those_of_the_definition(scale):
    torch.manual_seed(1)
    codes = torch.randint(-128, 128, (6, 24))
    codes[0] = -codes[0].abs()  # a row whose largest is negative, or 0
    assert i_vit.shiftmax(codes, scale).tolist() == [shiftmax(r, scale) for r in codes.tolist()]
    assert i_vit.shift_gelu(codes, scale).tolist() == [shift_gelu(r, scale)
                                                       for r in codes.tolist()]


def test_integer_norm_is_that_of_the_definition_and_near_layernorm():
    torch.manual_seed(2)
    codes = torch.randint(-9000, 12000, (6, 48))
    found = i_vit.integer_norm(codes)
    assert found.tolist() == [norm(row) for row in codes.tolist()]
    wanted = torch.nn.functional.layer_norm(codes.float(), (48,))
    assert (found * 48**0.5 / 2**30 - wanted).abs().max() < 0.01


def test_functions_are_near_what_they_stand_for():
    scale = 0.05
    codes = torch.arange(-120, 121)[None]
    x = codes * scale
    gelu = i_vit.shift_gelu(codes, scale) * scale / 128
    assert (gelu - torch.nn.functional.gelu(x)).abs().max() < 0.25  # 6 % of the largest
    p = i_vit.shiftmax(codes, scale) / 2**15
    assert (p - x.softmax(-1)).abs().max() < 0.1 * x.softmax(-1).max()


@torch.inference_mode()
def test_a_network_uses_all_three(monkeypatch):
    network = source.read(vits.model(), vits.preprocessing())
    pixels, used = torch.from_numpy(vits.pixels(6)), []
    made = i_vit.make(network, Precision(8, 8), pixels)
    for name in ("shiftmax", "shift_gelu", "integer_norm"):
        function = getattr(i_vit, name)
        monkeypatch.setattr(i_vit, name, lambda *args, f=function, n=name: used.append(n)
                            or f(*args))
    made(pixels)
    assert used == ["integer_norm", "shiftmax", "integer_norm", "shift_gelu"] * 2 + [
        "integer_norm"]
