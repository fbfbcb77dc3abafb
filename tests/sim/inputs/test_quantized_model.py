import dataclasses
import json

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from PIL import Image

from golden.network import vit
from golden.network.network import Linear, Network, Tap
from golden.network.precision import Precision, parse
from sim.cli import UserError
from sim.inputs import models, quantized_model
from sim.inputs.model_lookup import preprocessing_of_model
from sim.inputs.quantized_model import QuantizedModel, load, save
from sim.inputs.torchvision_compat import timm
from sim.recordings import recording_file
from tests.cases import networks
from tests.cases.predictors import random_predictor

CONFIG = {"input_size": (3, 12, 12), "interpolation": "bilinear", "mean": (0.5, 0.4, 0.3),
          "std": (0.2, 0.25, 0.3), "crop_pct": 0.9, "crop_mode": "center"}
ABOUT = {"model": "small", "classes": list("abcde"), "preprocessing": CONFIG,
         "calibration": {"images": 3, "rate": 0.1, "tuple": (1, 2), "none": None}}
CASES = {"w8a8": (0, False), "w4a4": (512, True), "w6a3": (0, True), "w4a8": (300, False)}


def tapped(network: Network) -> Network:
    """Return the network with two taps, with a projection and without."""
    draw = np.random.default_rng(5)
    dim = network.shape.dim

    def tap(after, sites, groups, **size):
        return Tap(after, 4, groups, draw.integers(-500, 500, 2 * groups),
                   draw.integers(0, 5000, 2 * groups, dtype=np.int32),
                   random_predictor(draw, sites=len(sites), **size), np.array(sites, np.int16))

    taps = (tap(0, [2, 5, 9], 1, variables=2, degree=3),
            tap(1, [14, 10], dim, variables=3, statistics=2 * dim, degree=2))
    return dataclasses.replace(network, taps=taps)


def small(name: str = "w4a4") -> Network:
    step, taps = CASES[name]
    network = networks.network(Precision.parse(name), step)
    return tapped(network) if taps else network


def leaves(value, name="", owner=None, key=None):
    """Walk through everything in a network: yields name, value and where it is held."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), f"{name}.{field.name}", value,
                              field.name)
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            if isinstance(part, np.ndarray):
                yield f"{name}.{index}", part, owner, (key, index)
            else:
                yield from leaves(part, f"{name}.{index}")
    else:
        yield name, value, owner, key


def assert_same(found: Network, wanted: Network):
    pairs = list(zip(leaves(found), leaves(wanted), strict=True))
    assert len(pairs) > 40
    for (name, a, *_), (other, b, *_) in pairs:
        assert name == other
        assert type(a) is type(b), name
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape) == (b.dtype, b.shape), name
            np.testing.assert_array_equal(a, b, name)
        else:
            assert a == b, name


def parts(path):
    """Return the JSON object of a file, without its digest, and its arrays."""
    data = path.read_bytes()
    about = json.loads(safetensors_header(data)["__metadata__"]["vernier"])
    del about["sha256"]
    return about, safetensors.numpy.load(data)


def safetensors_header(data):
    return json.loads(data[8:8 + int.from_bytes(data[:8], "little")])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "small.safetensors"
    save(QuantizedModel(small(), ABOUT), path)
    return path


def test_a_model_of_mixed_precision_comes_back_as_it_was(tmp_path):
    for bits in (*networks.MIXED, "w4a4"):
        made = networks.network(parse(bits))
        save(QuantizedModel(made, ABOUT), tmp_path / "mixed.safetensors")
        assert_same(load(tmp_path / "mixed.safetensors").network, made)
        assert str(load(tmp_path / "mixed.safetensors").network.precision) == bits


@pytest.mark.parametrize("text", ["w4a4,2=w8a8", "w4a4,0", "w4a5", 4])
def test_precisions_that_mean_nothing_are_damage(text, tmp_path):
    path = tmp_path / "mixed.safetensors"
    save(QuantizedModel(networks.network(parse("w4a4,0=w8a8")), ABOUT), path)
    about, arrays = parts(path)
    about["network"]["precision"] = text
    path.write_bytes(quantized_model.content(about, arrays))
    with pytest.raises(UserError, match="is damaged"):
        load(path)


@pytest.mark.parametrize("name", CASES)
def test_round_trip(tmp_path, name):
    path, network = tmp_path / "m.safetensors", small(name)
    save(QuantizedModel(network, ABOUT), path)
    model = load(path)
    assert_same(model.network, network)
    assert len(model.network.taps) == (2 if CASES[name][1] else 0)
    assert model.metadata == QuantizedModel(network, ABOUT).metadata
    assert (model.name, model.classes) == ("small", tuple("abcde"))


def test_coarse_flags_survive_and_may_lack(tmp_path):
    path, network = tmp_path / "m.safetensors", networks.massive(small("w4a4"))
    save(QuantizedModel(network, ABOUT), path)
    found = load(path).network
    assert_same(found, network)
    assert found.blocks[0].coarse.any()
    blocks = parts(path)[0]["network"]["blocks"]
    assert ["coarse" in block for block in blocks] == [True, False]


@pytest.mark.parametrize("kind", networks.PREFIXES)
def test_a_prefix_survives_and_may_lack(tmp_path, kind):
    path, prefix = tmp_path / "m.safetensors", networks.PREFIXES[kind]
    shape = dataclasses.replace(networks.SHAPE, **prefix)
    network = networks.network(Precision(8, 8), shape=shape)
    save(QuantizedModel(network, ABOUT), path)
    assert_same(load(path).network, network)
    stored = parts(path)[0]["network"]["shape"]
    assert {name: stored[name] for name in prefix} == prefix
    save(QuantizedModel(networks.network(Precision(8, 8)), ABOUT), path)
    assert not {"prefix", "classified"} & parts(path)[0]["network"]["shape"].keys()


@pytest.mark.parametrize("change", [*networks.MEANS.values(), *networks.RELATIVE.values()])
def test_means_of_patches_and_relative_positions_survive(tmp_path, change):
    path = tmp_path / "m.safetensors"
    shape = dataclasses.replace(networks.SHAPE, **change)
    network = networks.network(Precision(8, 8), shape=shape)
    save(QuantizedModel(network, ABOUT), path)
    assert load(path).network.shape == shape
    assert_same(load(path).network, network)
    stored = parts(path)[0]["network"]["shape"]
    assert ("fc_norm" in stored) == shape.fc_norm
    assert ("rel_pos_bias" in stored) == shape.rel_pos_bias
    about, arrays = parts(path)
    about["network"]["shape"]["fc_norm"] = 1
    path.write_bytes(quantized_model.content(about, arrays))
    with pytest.raises(UserError, match="fc_norm must be true or false, not 1"):
        load(path)


def test_an_activation_survives_and_may_lack(tmp_path):
    path = tmp_path / "m.safetensors"
    shape = dataclasses.replace(networks.SHAPE, activation="silu")
    save(QuantizedModel(networks.network(Precision(8, 8), shape=shape), ABOUT), path)
    assert load(path).network.shape == shape
    about, arrays = parts(path)
    for value, message in ((3, "activation must be a name, not 3"),
                           ("mish", "activation must be one of gelu, .*, not 'mish'")):
        about["network"]["shape"]["activation"] = value
        path.write_bytes(quantized_model.content(about, arrays))
        with pytest.raises(UserError, match=message):
            load(path)
    save(QuantizedModel(networks.network(Precision(8, 8)), ABOUT), path)
    assert "activation" not in parts(path)[0]["network"]["shape"]


def test_windows_and_merges_survive_and_may_lack(tmp_path):
    path = tmp_path / "m.safetensors"
    shape = dataclasses.replace(networks.SHAPE, **networks.WINDOWS)
    network = networks.network(Precision(8, 8), shape=shape)
    draw, dim = np.random.default_rng(5), 2 * shape.dim
    tap = Tap(3, 4, dim, draw.integers(-500, 500, 2 * dim),
              draw.integers(0, 5000, 2 * dim, dtype=np.int32),
              random_predictor(draw, sites=2, variables=3, statistics=2 * dim, degree=2),
              np.array([shape.sites - 2, shape.sites - 1], np.int16))
    network = dataclasses.replace(network, taps=(tap,))
    save(QuantizedModel(network, ABOUT), path)
    assert_same(load(path).network, network)
    save(QuantizedModel(networks.network(Precision(8, 8)), ABOUT), path)
    stored = parts(path)[0]["network"]
    assert not {"window", "merges"} & stored["shape"].keys()
    assert "merges" not in stored
    assert "places" not in stored["blocks"][0]


def test_norms_of_queries_and_keys_survive_and_may_lack(tmp_path):
    path, network = tmp_path / "m.safetensors", networks.with_qk_norm(small("w4a4"))
    first, second = network.blocks
    network = dataclasses.replace(network, blocks=(first, dataclasses.replace(second, k_norm=None)))
    save(QuantizedModel(network, ABOUT), path)
    assert_same(load(path).network, network)
    blocks = parts(path)[0]["network"]["blocks"]
    assert [{"q_norm", "k_norm"} & block.keys() for block in blocks] == [
        {"q_norm", "k_norm"}, {"q_norm"}]


def test_reloaded_network_gives_the_same_logits(path):
    pixels = networks.pixels(2)
    found, wanted = (vit.Vit(network).run(pixels) for network in (load(path).network, small()))
    np.testing.assert_array_equal(found.logits, wanted.logits)
    np.testing.assert_array_equal(found.scales, wanted.scales)
    assert not np.array_equal(wanted.scales[0], wanted.scales[1])


def test_every_number_of_a_network_is_in_the_file(tmp_path):
    path, network = tmp_path / "m.safetensors", small()

    def content():
        save(QuantizedModel(network, {}), path)
        return path.read_bytes()

    before = content()
    for name, value, owner, key in leaves(network):
        if value is None:
            continue
        if isinstance(value, np.ndarray):
            changed = value.copy()
            changed.flat[0] ^= 1
        else:
            changed = "relu" if isinstance(value, str) else value + 1
        if isinstance(key, tuple):
            key, index = key
            whole = getattr(owner, key)
            changed = (*whole[:index], changed, *whole[index + 1:])
            value = whole
        object.__setattr__(owner, key, changed)
        assert content() != before, name
        object.__setattr__(owner, key, value)
    assert content() == before


def test_fields_to_come_are_stored_or_refused():
    @dataclasses.dataclass
    class Later:
        layer: Linear
        table: np.ndarray
        shift: int
        more: tuple[Linear, ...] = ()

    layer = small().head
    later = Later(layer, np.arange(4, dtype=np.uint8), 3, (layer, layer))
    arrays = {}
    tree = quantized_model._take_apart(Later, later, "", arrays)
    assert len(arrays) == 10
    again = quantized_model._put_together(Later, json.loads(json.dumps(tree)), "", arrays)
    assert not arrays
    assert again.shift == 3
    np.testing.assert_array_equal(again.more[1].weight, layer.weight)

    for kind, value in (float, 0.5), (dict[str, int], {}), (Linear | Tap, layer):
        later = dataclasses.make_dataclass("Later", [("odd", kind)])
        with pytest.raises(TypeError, match=r"^odd is a .*, which a file has no form for$"):
            quantized_model._take_apart(later, later(value), "", {})


def test_floats_are_refused():
    network = small()
    object.__setattr__(network.taps[0], "mean", np.zeros(2))
    with pytest.raises(TypeError, match=r"taps\.0\.mean must be an integer array, not float64"):
        save(QuantizedModel(network, {}), "nowhere/x")


def test_same_model_gives_the_same_bytes(path, tmp_path):
    again = tmp_path / "again.safetensors"
    save(QuantizedModel(small(), dict(reversed(ABOUT.items()))), again)
    assert again.read_bytes() == path.read_bytes()
    save(load(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_failed_write_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*small.safetensors: No space left"):
        save(QuantizedModel(small("w8a8"), {}), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.1, 0.5, 0.9, 0.9999])
def test_cut_short(path, share):
    data = path.read_bytes()
    path.write_bytes(data[:int(share * len(data))])
    with pytest.raises(UserError, match="small.safetensors is (not|damaged)") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_any_flipped_byte_is_noticed(path):
    data = bytearray(path.read_bytes())
    places = [*range(120), *range(120, len(data), 61), len(data) - 1]
    for place in places:
        data[place] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(UserError, match="small.safetensors (is|has)"):
            load(path)
        data[place] ^= 0x10
    path.write_bytes(data)
    load(path)


def _png(path):
    Image.new("RGB", (9, 9)).save(path, "png")


def _floats(path):
    safetensors.numpy.save_file({"a": np.zeros(3, np.float32)}, path)


def _other_metadata(path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, path, {"vernier": '{"architecture": {}}'})


def _list(path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, path, {"vernier": "[1]"})


def _deep(path):
    safetensors.numpy.save_file({"a": np.zeros(3)}, path, {"vernier": "[" * 100_000})


def _recording(path):
    path.write_bytes(recording_file.Recording({"a": np.zeros(3)}, {}).content())


@pytest.mark.parametrize("make", [_png, _floats, _other_metadata, _list, _deep, _recording])
def test_foreign_file(tmp_path, make):
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(UserError, match=r"x.safetensors is not a quantized model, or is damaged; "
                                        r"python -m sim.calibrate makes one$"):
        load(path)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none.safetensors: No such file"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_other_version(path, version):
    about, arrays = parts(path)
    path.write_bytes(quantized_model.content(about | {"version": version}, arrays))
    with pytest.raises(UserError, match=rf"has version {version} of the format, and this program "
                                        r"reads version 1; calibrate the model again with"):
        load(path)


def _set(keys, value):
    def change(about, arrays):
        for key in keys[:-1]:
            about = about[key]
        about[keys[-1]] = value
    return change


def _drop(*keys):
    def change(about, arrays):
        for key in keys[:-1]:
            about = about[key]
        del about[keys[-1]]
    return change


def _array(name, function):
    def change(about, arrays):
        arrays[name] = np.ascontiguousarray(function(arrays[name]))
    return change


def _without(about, arrays):
    del arrays["blocks.1.fc1.bias"]


def _with_more(about, arrays):
    arrays["blocks.2.fc1.bias"] = np.zeros(3, np.int8)


N = "network"


@pytest.mark.parametrize(("change", "message"), [
    (_array("blocks.0.qkv.weight", lambda x: x * 0 - 8), r"blocks\[0\].qkv.weight\[0, 0\] = -8"),
    (_array("scales", lambda x: x[:-1]), r"scales must have shape \(15\), not \(14,\)"),
    (_array("embedding", lambda x: x * 0.5), "embedding must be an integer array, not float64"),
    (_array("taps.0.sites", lambda x: x * 0 + 3), r"taps\[0\].sites must differ"),
    (_array("taps.0.mean", lambda x: x[1:]), r"mean must have shape \(2\), not \(1,\)"),
    (_array("taps.0.gain", lambda x: x - 10**6), r"gain\[0\] = -\d+ is outside"),
    (_array("taps.1.predictor.constant", lambda x: x + 10**6), r"constant\[0\] = \d+ is outside"),
    (_without, "'blocks.1.fc1.bias' is missing"),
    (_with_more, "a network has no blocks.2.fc1.bias"),
    (_set([N, "precision", "weights"], 5), "weights must have 4, 6 or 8 bits, not 5"),
    (_set([N, "precision", "weights"], 4.0), "precision.weights must be an integer, not 4.0"),
    (_set([N, "shape", "depth"], 3), "there must be 3 blocks, not 2"),
    (_set([N, "blocks"], {}), "blocks must be a list, not {}"),
    (_set([N, "head"], "x"), "head must be an object, not 'x'"),
    (_set([N], None), "the network must be an object, not None"),
    (_set([N, "epsilon"], True), "epsilon must be an integer, not True"),
    (_set([N, "residual_point"], 10**30), r"residual_point must be within -16\.\.16"),
    (_set([N, "surprise"], 1), "the network has no surprise"),
    (_set([N, "taps", 0, "chunk_tokens"], 0), "chunk_tokens must be 1 or more, not 0"),
    (_set([N, "taps", 0, "predictor", "bias"], "taps.1.predictor.bias"),
     "'taps.0.predictor.bias' is missing"),
    (_set([N, "taps", 1, "predictor", "bias"], None),
     "projection and bias must be given together"),
    (_drop(N, "blocks", 0, "step"), "blocks.0 lacks step"),
    (_drop(N), "'network' is missing"),
    (_drop("about"), "'about' is missing"),
    (_set(["about"], [1]), r"metadata must be a dictionary, not \[1\]"),
    (_set(["about", "classes"], ["a"]), "classes must be the names of the 5 classes"),
    (_set(["about", "model"], 3), "model must be a name, not 3"),
])
def test_wrong_contents_are_named(path, change, message):
    about, arrays = parts(path)
    change(about, arrays)
    path.write_bytes(quantized_model.content(about, arrays))
    with pytest.raises(UserError, match=f"small.safetensors is damaged: .*{message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_type_that_numpy_has_not(path):
    about, _ = parts(path)
    safetensors.torch.save_file({"scales": torch.zeros(3, dtype=torch.bfloat16)}, path,
                                {"vernier": json.dumps(about | {"sha256": ""})})
    with pytest.raises(UserError, match="is damaged: 'BF16' is missing, or of a type unknown"):
        load(path)


def test_metadata_is_what_json_can_say():
    with pytest.raises(ValueError, match="not JSON compliant"):
        QuantizedModel(small("w8a8"), {"x": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        QuantizedModel(small("w8a8"), {"x": np.zeros(3)})
    with pytest.raises(ValueError, match="classes must be the names of the 5 classes"):
        QuantizedModel(small("w8a8"), {"classes": "abcde"})
    model = QuantizedModel(small("w8a8"), {})
    assert (model.name, model.classes) == (None, None)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bicubic", "nearest"])
def test_preprocessing_gives_the_pixels_of_timm(tmp_path, mode, interpolation):
    config = CONFIG | {"crop_mode": mode, "interpolation": interpolation}
    path = tmp_path / "m.safetensors"
    save(QuantizedModel(small("w8a8"), {"preprocessing": config}), path)
    stored = preprocessing_of_model(load(path))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (31, 47, 3), dtype=np.uint8))
    transform = timm.data.create_transform(**config, is_training=False, use_prefetcher=True)
    pixels = stored.pixels(image)
    np.testing.assert_array_equal(pixels, np.asarray(transform(image)).transpose(1, 2, 0))
    wanted = timm.data.create_transform(**config, is_training=False)(image)
    np.testing.assert_allclose(stored.tensor(pixels)[0], wanted, atol=1e-6)


def test_preprocessing_of_a_model_can_be_stored():
    made = models.preprocessing(models.create("test_vit"))
    config = json.loads(json.dumps(made.config))
    again = models.preprocessing_of(config)
    assert (again.size, again.mean, again.std, again.config) == (
        made.size, made.mean, made.std, made.config)
    image = Image.effect_noise((200, 170), 60)
    np.testing.assert_array_equal(again.pixels(image), made.pixels(image))


@pytest.mark.parametrize(("changed", "message"), [
    ({"input_size": (3, 12)},
     r"input_size must be colours \(1 to 4\), height and width, not \[3, 12\]"),
    ({"input_size": (5, 12, 12)}, r"input_size must be colours \(1 to 4\), height"),
    ({"input_size": (1, 12, 12)}, r"mean must be one number for each of 1 colours, not \[0.5"),
    ({"input_size": (3, 0, 12)}, r"input_size must be colours \(1 to 4\), height"),
    ({"mean": "grey"}, "mean must be one number for each of 3 colours, not 'grey'"),
    ({"std": [1, 1, True]}, "std must be one number for each of 3 colours"),
    ({"std": [1, 1, 0]}, "std must be above 0"),
    ({"crop_pct": 0}, r"crop_pct must be within 0.1\.\.2, not 0"),
    ({"interpolation": "best"}, "interpolation must be nearest, .* or lanczos, not 'best'"),
    ({"crop_mode": []}, r"crop_mode must be center, squash or border, not \[\]"),
])
def test_unusable_preprocessing(changed, message):
    model = QuantizedModel(small("w8a8"), {"preprocessing": CONFIG | changed})
    with pytest.raises(UserError, match=f"^the model's preprocessing is unusable: {message}"):
        preprocessing_of_model(model)


@pytest.mark.parametrize(("about", "message"), [
    ({}, "does not say how its images are prepared"),
    ({"preprocessing": 3}, "is unusable: a preprocessing must be values by name, not 3"),
    ({"preprocessing": {"mean": 3}}, "is unusable: .* lack input_size"),
    ({"preprocessing": CONFIG | {"input_size": (3, 16, 16)}},
     "takes images of 12 x 12, but its preprocessing makes 16 x 16"),
])
def test_preprocessing_that_is_missing_or_does_not_fit(about, message):
    with pytest.raises(UserError, match=message):
        preprocessing_of_model(QuantizedModel(small("w8a8"), about))
