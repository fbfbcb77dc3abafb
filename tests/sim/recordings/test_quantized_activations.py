import lzma

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from sim.cli import UserError
from sim.inputs import images, models
from sim.inputs.torchvision_compat import timm
from sim.recordings import observe, quantized_activations, recording_file
from sim.recordings.recording_file import Choices
from sim.recordings.sites import SITES
from tests.cases.recorded import FILE


def small_vit(**choices):
    torch.manual_seed(1)
    return timm.models.vision_transformer.VisionTransformer(**{
        "img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2,
        "num_classes": 5, **choices}).eval()


def small_swin():
    torch.manual_seed(1)
    return timm.models.swin_transformer.SwinTransformer(
        img_size=32, patch_size=2, window_size=4, embed_dim=16, depths=(2, 2), num_heads=(2, 4),
        num_classes=5).eval()


class Preprocess(models.Preprocessing):
    """Pixels of 32 x 32."""

    def __init__(self):
        super().__init__((32, 32), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25),
                         lambda image: np.asarray(image.resize((32, 32))).transpose(2, 0, 1))


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(1)
    return [(images.Source(f"{i}.png", "0" * 64),
             Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))) for i in range(3)]


@pytest.fixture(scope="module")
def made(pictures):
    return quantized_activations.record(small_vit(), Preprocess(), pictures, Choices(site_images=2))


@pytest.mark.parametrize("registers", [0, 3])
def test_observed_sites_are_the_operands_of_the_products(registers):
    model, tokens = small_vit(reg_tokens=registers).double(), 17 + registers
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    sites, residual = observe.observe(model, x, [0, 2])
    assert residual.shape == (tokens, 24)
    assert sites.keys() == {0, 2}
    for number, seen in sites.items():
        block = model.blocks[number]
        assert seen.keys() == SITES.keys()
        qkv = torch.from_numpy(seen["qkv"]) @ block.attn.qkv.weight.T + block.attn.qkv.bias
        q, k, v = qkv.detach().numpy().reshape(tokens, 3, 2, 12).transpose(1, 2, 0, 3)
        for name, expected in ("q", q), ("k", k), ("v", v):
            np.testing.assert_allclose(seen[name], expected, rtol=1e-9)
        np.testing.assert_allclose(seen["probs"].sum(2), 1, rtol=1e-9)
        attended = (seen["probs"] @ v).transpose(1, 0, 2).reshape(tokens, 24)
        np.testing.assert_allclose(seen["proj"], attended, rtol=1e-9)
        hidden = torch.from_numpy(seen["fc1"]) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
        np.testing.assert_allclose(seen["fc2"], torch.nn.functional.gelu(hidden).detach().numpy(),
                                   rtol=1e-9)


def test_observing_leaves_the_model_as_it_was():
    model = small_vit()
    model.blocks[0].attn.fused_attn = True
    observe.observe(model, torch.rand(1, 3, 32, 32), [0])
    assert model.blocks[0].attn.fused_attn
    assert not any(module._forward_hooks or module._forward_pre_hooks
                   for module in model.modules())


def test_norms_of_queries_and_keys_are_observed():
    model = small_vit(qk_norm=True)
    x = torch.rand(1, 3, 32, 32)
    seen = observe.observe(model, x, [0])[0][0]
    assert abs(seen["q"].mean(2)).max() < 1e-6
    assert abs(seen["v"].mean(2)).max() > 1e-3


def test_windows_count_as_heads(pictures):
    made = quantized_activations.record(small_swin(), Preprocess(), pictures[:1], Choices())
    assert made.metadata["blocks"] == [0, 1, 3]
    assert made.tensors["residual/0"].shape == (256, 16)
    assert made.tensors["site/0/q/8/0"].shape == (16 * 2, 16, 8)
    assert made.tensors["site/0/probs/4/0"].shape == (16 * 2, 16, 16)


def test_models_of_other_blocks_are_refused(pictures):
    torch.manual_seed(1)
    with pytest.raises(UserError, match="only blocks of a plain ViT or Swin can be recorded, not "
                                        "EvaAttention in Eva"):
        observe.blocks(models.meta_model("eva02_tiny_patch14_224"))
    with pytest.raises(UserError, match="ResNet has no transformer blocks to record"):
        observe.blocks(models.meta_model("resnet18"))


def test_blocks_that_do_not_exist(pictures):
    with pytest.raises(UserError, match="blocks must be below 3, not 7"):
        quantized_activations.record(small_vit(), Preprocess(), pictures, Choices(blocks=(0, 7)))


def test_model_that_diverges(pictures):
    model = small_vit()
    with torch.no_grad():
        model.blocks[1].mlp.fc1.bias[0] = torch.inf
    with pytest.raises(UserError, match="fc2 of block 1 is not finite"):
        quantized_activations.record(model, Preprocess(), pictures, Choices())
    with torch.no_grad():
        model.blocks[0].mlp.fc2.bias[0] = torch.nan
    with pytest.raises(UserError, match="the residual stream is zero or not finite"):
        quantized_activations.record(model, Preprocess(), pictures, Choices())


def test_recorded_tensors(made):
    places = [(block, name) for block in (0, 1, 2) for name in SITES]
    names = {f"site/{block}/{name}/{bits}/{image}"
             for block, name in places for bits in (8, 4) for image in (0, 1)}
    names |= {f"codes/{block}/probs/{image}" for block in (0, 1, 2) for image in (0, 1)}
    names |= {f"{kind}/{image}" for kind in ("residual", "range/tensor", "range/channels")
              for image in (0, 1, 2)}
    assert made.tensors.keys() == names | {"pixels/0"}
    assert len(made.metadata["sites"]) == len(places) * 2 + 3


def test_scales_are_those_of_all_images(made, pictures):
    alone = quantized_activations.record(small_vit(), Preprocess(), pictures[:1], Choices())
    assert [site["lam"] for site in alone.metadata["sites"]] != [
        site["lam"] for site in made.metadata["sites"]]


def test_choices_limit_what_is_stored(pictures):
    choices = Choices(blocks=(1,), sites=("q", "fc2"), bits=(4,), pixel_images=0)
    made = quantized_activations.record(small_vit(), Preprocess(), pictures[:1], choices)
    assert made.tensors.keys() == {"site/1/q/4/0", "site/1/fc2/4/0", "residual/0",
                                   "range/tensor/0", "range/channels/0"}


@pytest.mark.parametrize("threads", [1, 2])
def test_recording_does_not_depend_on_threads(made, pictures, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = quantized_activations.record(small_vit(), Preprocess(), pictures,
                                             Choices(site_images=2))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert again.content() == made.content()


# The file.


def test_file_holds_what_was_written(made, tmp_path):
    recording_file.write(made, tmp_path / "a.xz")
    read = recording_file.read(tmp_path / "a.xz")
    assert recording_file.differences(made, read) == []
    assert read.metadata == made.metadata


def test_strided_arrays_are_stored_in_order(tmp_path):
    tensor = np.arange(12, dtype=np.int8).reshape(3, 4).T
    recording_file.write(recording_file.Recording({"x": tensor}, {}), tmp_path / "a.xz")
    np.testing.assert_array_equal(recording_file.read(tmp_path / "a.xz").tensors["x"], tensor)


def test_content_does_not_depend_on_the_order_of_insertion(made):
    turned = recording_file.Recording(dict(reversed(made.tensors.items())),
                                 dict(reversed(made.metadata.items())))
    assert turned.content() == made.content()


def test_other_version_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr(recording_file, "VERSION", 0)
    recording_file.write(made, tmp_path / "a.xz")
    monkeypatch.undo()
    with pytest.raises(UserError, match="has version 0 of the recorded format, and this program "
                                        "reads version 1; record it again"):
        recording_file.read(tmp_path / "a.xz")


def test_other_format_is_refused(made, tmp_path, monkeypatch):
    monkeypatch.setattr(recording_file, "FORMAT", "pictures")
    recording_file.write(made, tmp_path / "a.xz")
    monkeypatch.undo()
    with pytest.raises(UserError, match="is not a file of recorded activations, but 'pictures'"):
        recording_file.read(tmp_path / "a.xz")


@pytest.mark.parametrize("data", [
    b"", b"text", lzma.compress(b""), lzma.compress(b"text"),
    lzma.compress(safetensors.torch.save({"x": torch.zeros(2)})),
    lzma.compress(safetensors.torch.save({"x": torch.zeros(2)}, {"vernier": "[]"})),
    lzma.compress(safetensors.torch.save({"x": torch.zeros(2)}, {"vernier": "{}"})),
    FILE.read_bytes()[:100_000],
], ids=["empty", "text", "nothing", "no tensors", "no metadata", "list", "no version", "cut short"])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "a.xz").write_bytes(data)
    with pytest.raises(UserError, match="is not a file of recorded activations, or is damaged"):
        recording_file.read(tmp_path / "a.xz")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none.xz: No such file or directory"):
        recording_file.read(tmp_path / "none.xz")


def test_differences_are_named(made):
    changed = recording_file.Recording(dict(made.tensors), {**made.metadata, "blocks": [9]})
    changed.tensors["residual/0"] = made.tensors["residual/0"] + np.eye(17, 24, dtype=np.int16)
    del changed.tensors["pixels/0"]
    assert recording_file.differences(made, changed) == [
        "blocks of the metadata differ", "pixels/0: only one has it, or its shape differs",
        "residual/0: 17 of 408 elements differ"]
