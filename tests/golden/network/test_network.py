"""The numbers of a quantized network: widths, sizes, and what is refused."""

import dataclasses

import numpy as np
import pytest

from golden.common.config import CORES
from golden.common.formats import Mode
from golden.core.isa import header_words
from golden.network.precision import Precision, parse, site_format
from golden.network.shape import LONGEST, LONGEST_KEYS, WIDEST, VitShape
from tests.cases.networks import SHAPE, WINDOWS, network, with_qk_norm


@pytest.mark.parametrize(("text", "modes", "limits"), [
    ("w8a8", (Mode.W8A8, Mode.W8A8, Mode.W8A8), (-128, 127, 255, 127)),
    ("w6a6", (Mode.W8A8, Mode.W8A8, Mode.W8A8), (-32, 31, 63, 31)),
    ("w4a8", (Mode.W4A8, Mode.W8A8, Mode.W8A8), (-128, 127, 255, 127)),
    ("w4a4", (Mode.W4A4, Mode.W4A4, Mode.W4A8), (-8, 7, 15, 7)),
    ("W4A3", (Mode.W4A4, Mode.W4A4, Mode.W4A8), (-4, 3, 7, 3)),
])
def test_a_precision_gives_the_modes_of_the_products_and_the_formats_of_the_sites(
        text, modes, limits):
    precision = Precision.parse(text)
    assert (precision.mode, precision.score_mode, precision.value_mode) == modes
    assert (precision.site("qkv").min, precision.site("qkv").max, precision.site("fc2").max,
            precision.site("k").max) == limits
    assert precision.site("k").min == -precision.site("k").max
    assert str(precision) == text.lower()


@pytest.mark.parametrize("text", ["w5a4", "w4a5", "4a4", "w4a4x", ""])
def test_other_precisions_are_refused(text):
    with pytest.raises(ValueError, match="w4a4|bits"):
        Precision.parse(text)


W4A4, W4A8, W8A8 = (Precision.parse(text) for text in ("w4a4", "w4a8", "w8a8"))


def test_blocks_and_layers_have_widths_of_their_own():
    mixed = parse("w4a4,10=w8a8,0=w8a8,11=w8a8,fc2=w4a8,0.fc1=w4a4,4.fc2=w4a4")
    assert str(mixed) == "w4a4,0=w8a8,10-11=w8a8,fc2=w4a8,0.fc1=w4a4,4.fc2=w4a4"
    assert parse(str(mixed)) == mixed
    assert [mixed.of(block, "fc2") for block in (0, 3, 4, 10)] == [W8A8, W4A8, W4A4, W8A8]
    assert [mixed.of(0, layer) for layer in ("qkv", "attention", "fc1")] == [W8A8, W8A8, W4A4]
    assert mixed.each == (W4A4, W8A8, W4A8)
    assert parse("w4a8") == W4A8
    assert W4A8.of(3, "proj") == W4A8
    assert W4A8.each == (W4A8,)


@pytest.mark.parametrize(("text", "message"), [
    ("w4a4,", "written like"), ("w4a4,0", "written like"), ("w4a4,=w8a8", "written like"),
    ("w4a4,0.=w8a8", "written like"), ("w4a4,0fc1=w8a8", "written like"),
    ("w4a4,.fc1=w8a8", "written like"), ("0=w8a8", "written like w4a4"),
    ("w4a4,0=w8a9", "activations must have"), ("w4a4,0.fc3=w8a8", "a layer must be one of"),
    ("w4a4,3-1=w8a8", "blocks must rise"), ("w4a4,1-2000000000=w8a8", "blocks must rise"),
    ("w4a4,0-3=w8a8,2=w4a8", "^2 has widths twice"),
    ("w4a4,1.fc1=w8a8,1.fc1=w8a8", r"^1\.fc1 has widths twice"),
])
def test_mixed_precisions_that_mean_nothing_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(("text", "message"), [
    ("w4a4,1-2=w8a8", r"must be 0 to 1, not 2"),
    ("w4a4,1.merge=w8a8", r"1\.merge of a precision must be before"),
    ("w4a4,merge=w8a8", "merge of a precision must be before"),
])
def test_widths_of_what_a_network_has_not_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        network(parse(text))


def test_formats_are_those_of_the_layer_that_a_site_belongs_to():
    precision = parse("w4a4,1=w4a8,attention=w6a6")
    names = SHAPE.site_names()
    bits = {name: site_format(SHAPE, precision, site).bits for site, name in enumerate(names)}
    assert bits["head"] == 8
    assert [bits[f"0.{name}"] for name in ("qkv", "q", "k", "v", "proj", "fc2")] == [
        4, 6, 6, 6, 4, 4]
    assert {bits[name] for name in names if name.startswith("1.")} == {8}


def test_sites_are_named_block_by_block_and_the_head_comes_last():
    names = SHAPE.site_names()
    assert names[SHAPE.site(1, "proj")] == "1.proj"
    assert names[-1] == "head"
    assert len(names) == SHAPE.sites


@pytest.mark.parametrize(("change", "message"), [
    ({"image": 10}, "image must be a multiple of patch"),
    ({"heads": 5}, "dim must be a multiple of heads"),
    ({"depth": 0}, "depth must be 1 or more"),
    ({"dim": 1200}, "dim must be within 1..1024"),
    ({"classified": 2}, "classified must be within 0..1, not 2"),
    ({"fc_norm": True}, "fc_norm is for the mean of patches that have no windows and are not merg"),
    ({**WINDOWS, "fc_norm": True}, "fc_norm is for the mean of patches that have no windows"),
    ({"window": 2}, "there must be no tokens before patches that have windows or are merged"),
    ({**WINDOWS, "image": 28}, "and of windows, but has 7 patches along a side"),
    ({**WINDOWS, "image": 20, "window": 5}, "the grid must be a multiple of what is merged"),
    ({**WINDOWS, "image": 4 * 40, "window": 20}, r"tokens of a window must be within 1\.\.256"),
    ({**WINDOWS, "merges": (2, 2)}, r"merges\[1\] must be within 3\.\.2"),
    ({**WINDOWS, "merges": (3,)}, r"merges\[0\] must be within 1\.\.2, not 3"),
    ({**WINDOWS, "dim": 516}, "dim must be within 1..1024, not 1032"),
])
def test_shapes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SHAPE, **change)
    assert isinstance(SHAPE, VitShape)


@pytest.mark.parametrize(("change", "name", "parts"), [
    ({"hidden": 960}, "hidden_parts", [960]),
    ({"hidden": 961}, "hidden_parts", [512, 961]),
    ({"hidden": 1536}, "hidden_parts", [768, 1536]),
    ({"hidden": 3 * 960}, "hidden_parts", [960, 2 * 960, 3 * 960]),
    ({"hidden": 4096}, "hidden_parts", [832, 1664, 2496, 3328, 4096]),
    ({"image": 64, "patch": 32}, "patch_parts", [8 * 96, 16 * 96, 24 * 96, 3072]),
    ({"image": 27, "patch": 27}, "patch_parts", [9 * 81, 18 * 81, 27 * 81]),
    ({"prefix": 90, "classified": 90}, "classified_parts", [576, 1080]),
    ({"image": 64}, "key_parts", [144, 257]),
    ({"image": 64, "patch": 2}, "key_parts", [208, 416, 624, 832, 1025])])
def test_long_sums_are_of_parts_that_follow_each_other(change, name, parts):
    shape = dataclasses.replace(SHAPE, depth=1, **change)
    found = getattr(shape.blocks[0] if name in ("hidden_parts", "key_parts") else shape, name)
    assert [part.stop for part in found] == parts
    assert [part.start for part in found] == [0, *parts[:-1]]
    assert all(part.stop - part.start <= LONGEST for part in found)


def test_the_default_core_has_room_for_the_longest_parts():
    core = CORES["8x16"]
    assert core.max_k >= LONGEST
    assert core.max_k == WIDEST
    assert core.key_words >= LONGEST_KEYS
    assert 2 * (LONGEST + max(map(header_words, Mode))) == core.stream_words


def test_a_number_out_of_its_format_is_named():
    made = network(Precision(4, 4))
    block = made.blocks[1]
    wrong = block.fc1.weight.astype(np.int64)
    wrong[2, 3] = -8
    broken = dataclasses.replace(block, fc1=dataclasses.replace(block.fc1, weight=wrong))
    with pytest.raises(ValueError, match=r"blocks\[1\]\.fc1\.weight\[2, 3\] = -8"):
        dataclasses.replace(made, blocks=(made.blocks[0], broken))


@pytest.mark.parametrize(("coarse", "message"), [
    (np.arange(20), r"blocks\[1\]\.coarse\[2\] = 2 is outside 0\.\.1"),
    (np.zeros(12, int), r"blocks\[1\]\.coarse must have shape \(20\), not \(12,\)"),
])
def test_coarse_columns_are_flags_of_hidden_units(coarse, message):
    made = network(Precision(4, 4))
    assert made.blocks[1].coarse is None
    broken = dataclasses.replace(made.blocks[1], coarse=coarse)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(made, blocks=(made.blocks[0], broken))
    flags = dataclasses.replace(made.blocks[1], coarse=np.arange(20) % 2)
    assert dataclasses.replace(made, blocks=(made.blocks[0], flags)
                               ).blocks[1].coarse.dtype == np.uint8


@pytest.mark.parametrize(("change", "message"), [
    ({"epsilon": -1}, r"blocks\[1\]\.k_norm\.epsilon must be within 0\.\.\d+, not -1"),
    ({"norm": network(Precision(8, 8)).norm},
     r"blocks\[1\]\.k_norm\.gamma must have shape \(4\), not \(12,\)"),
])
def test_norms_of_keys_have_the_channels_of_a_head(change, message):
    made = with_qk_norm(network(Precision(8, 8)))
    first, block = made.blocks
    broken = dataclasses.replace(block, k_norm=dataclasses.replace(block.k_norm, **change))
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(made, blocks=(first, broken))


@pytest.mark.parametrize("change", [{}, {"rel_pos_bias": True}])
def test_blocks_have_places_if_the_shape_says_so(change):
    made = network(Precision(4, 4), shape=dataclasses.replace(SHAPE, **change))
    with pytest.raises(ValueError, match=r"blocks\[0\] must have places if, and only if, rel_pos"):
        dataclasses.replace(made, shape=dataclasses.replace(
            made.shape, rel_pos_bias=not made.shape.rel_pos_bias))


@pytest.mark.parametrize("name", ["fc_norm", "rel_pos_bias"])
def test_flags_of_a_shape_are_booleans(name):
    with pytest.raises(TypeError, match=f"{name} must be True or False, not 1"):
        dataclasses.replace(SHAPE, **{name: 1})


def test_activations_have_names():
    with pytest.raises(ValueError, match="activation must be one of gelu, .*, relu, not 'mish'"):
        dataclasses.replace(SHAPE, activation="mish")


def test_floats_are_refused():
    made = network(Precision(8, 8))
    with pytest.raises(TypeError, match="scales must be an integer array"):
        dataclasses.replace(made, scales=made.scales.astype(float))
