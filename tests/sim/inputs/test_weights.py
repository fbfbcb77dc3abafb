"""Weights from files as people have them: what is taken, and what is said of the rest."""

import argparse
import datetime
import functools
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from sim.cli import UserError
from sim.inputs import models
from sim.inputs.torchvision_compat import timm
from sim.inputs.weights import ENTRIES, load_weights, read_weights
from tests.cases import vits

TINY = "test_vit"  # timm's smallest ViT, 371 k parameters


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return models.create(TINY).state_dict()


def same(path, state):
    """Return whether a file gives a model exactly these weights."""
    loaded = models.create(TINY, path).state_dict()
    return loaded.keys() == state.keys() and all(
        torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_from_a_file(tmp_path, state, suffix, wrap):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save({wrap: state} if wrap else state, path)
    else:
        safetensors.torch.save_file(state, path)
    loaded = models.create(TINY, path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def _without_norm(state):
    del state["norm.weight"], state["norm.bias"]


def _with_more(state):
    state["head_dist.weight"] = torch.zeros(3)


def _transposed(state):
    state["blocks.1.mlp.fc1.weight"] = state["blocks.1.mlp.fc1.weight"].T.contiguous()


def _quantized(state):
    state["cls_token"] = state["cls_token"].to(torch.int8)


def _infinite(state):
    state["pos_embed"] = state["pos_embed"] / 0


@pytest.mark.parametrize(("change", "message"), [
    (_without_norm, r"does not fit test_vit: norm.weight and norm.bias are missing$"),
    (_with_more, "does not fit test_vit: head_dist.weight is not a key of the model$"),
    (_transposed, r"blocks.1.mlp.fc1.weight has shape \(64, 192\), not \(192, 64\)"),
    (_quantized, "cls_token is torch.int8, not torch.float32"),
    (_infinite, "pos_embed has values that are not finite"),
])
def test_weights_that_do_not_fit_name_the_first_key(tmp_path, state, change, message):
    state = dict(state)
    change(state)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    with pytest.raises(UserError, match=message) as caught:
        models.create(TINY, path)
    assert str(caught.value).startswith(str(path))


class Settings:
    """A class of somebody's training script."""

    made = 0

    def __init__(self, rate):
        self.rate = rate

    def __setstate__(self, state):
        Settings.made += 1


def _saved(path, content, **options):
    torch.save(content, path, **options)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("more", [
    {"args": argparse.Namespace(lr=0.1, output=Path("x"))}, {"metric": np.float64(71.5)},
    {"hparams": Settings(0.1), "when": datetime.datetime(2024, 1, 2)},
    {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "epoch": 3, "scaler": None},
], ids=lambda more: next(iter(more)))
def test_what_training_scripts_add_is_left_out(tmp_path, state, more, legacy):
    path = _saved(tmp_path / "last.pth", {"state_dict": state, **more},
                  _use_new_zipfile_serialization=not legacy)
    before = set(torch.serialization.get_safe_globals())
    assert same(path, state)
    assert Settings.made == 0
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("name", [*ENTRIES, "somebodys_entry"])
def test_entries_that_hold_the_weights(tmp_path, state, name):
    assert same(_saved(tmp_path / "x.pth", {"epoch": 3, name: state}), state)


def test_moving_averages_come_first_as_in_timm(tmp_path, state):
    other = {key: value + 1 for key, value in state.items()}
    path = _saved(tmp_path / "x.pth", {"state_dict": state, "model": state, "model_ema": other})
    assert same(path, other)
    assert all(torch.equal(value, timm.models.load_state_dict(str(path))[key])
               for key, value in other.items())
    assert same(_saved(path, {"model": state, "state_dict_ema": None}), state)


def test_weights_in_an_entry_of_an_entry(tmp_path, state):
    path = _saved(tmp_path / "x.pth", {"ema": {"decay": 0.9, "state_dict": {"model": state}}})
    assert same(path, state)


@pytest.mark.parametrize("prefix", [
    "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module.",
    "net.", "backbone.", "_fsdp_wrapped_module._checkpoint_wrapped_module.", "model._orig_mod.",
])
@pytest.mark.parametrize("suffix", ["pth", "safetensors", "npz"])
def test_prefixes_of_wrappers_are_cut_off(tmp_path, state, prefix, suffix):
    path = tmp_path / f"x.{suffix}"
    wrapped = {prefix + key: value for key, value in state.items()}
    if suffix == "pth":
        torch.save({"state_dict": OrderedDict(wrapped)}, path)
    elif suffix == "npz":
        np.savez(path, **{key: value.numpy() for key, value in wrapped.items()})
    else:
        safetensors.torch.save_file(wrapped, path)
    assert same(path, state)


def test_wrappers_within_a_model_and_of_averages(tmp_path, state):
    blocks = {key.replace("blocks.0.", "blocks.0._orig_mod."): value
              for key, value in state.items()}
    assert blocks.keys() != state.keys()
    assert same(_saved(tmp_path / "x.pth", blocks), state)
    averaged = torch.optim.swa_utils.AveragedModel(models.create(TINY))
    averaged.module.load_state_dict(state)
    assert same(_saved(tmp_path / "y.pth", averaged.state_dict()), state)


def test_a_prefix_that_not_all_have_is_no_wrapper(tmp_path, state):
    wrapped = {f"backbone.{key}": value for key, value in state.items()}
    path = _saved(tmp_path / "x.pth", wrapped | {"head2.weight": torch.zeros(3)})
    with pytest.raises(UserError, match=r": cls_token, pos_embed, .* and \d+ more are missing; "
                                        r"backbone.cls_token, .* more are not keys of the mod"):
        models.create(TINY, path)


def test_the_same_name_under_two_prefixes(tmp_path, state):
    path = _saved(tmp_path / "x.pth", state | {"_orig_mod.cls_token": state["cls_token"]})
    with pytest.raises(UserError, match="holds cls_token more than once"):
        models.create(TINY, path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64,
                                   torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_other_floating_types(tmp_path, state, dtype, suffix):
    path = tmp_path / f"x.{suffix}"
    narrow = {key: value.to(dtype) for key, value in state.items()}
    (torch.save if suffix == "pth" else safetensors.torch.save_file)(narrow, path)
    assert same(path, {key: value.float() for key, value in narrow.items()})


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float16])
def test_narrow_types_that_are_not_finite(tmp_path, state, dtype):
    broken = state | {"cls_token": (state["cls_token"] * float("nan")).to(dtype)}
    with pytest.raises(UserError, match="cls_token has values that are not finite"):
        models.create(TINY, _saved(tmp_path / "x.pth", broken))


@pytest.mark.parametrize(("change", "what"), [
    (lambda value: value.to_sparse(), "sparse_coo"),
    (lambda value: value.to("meta"), "without values"),
    (lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "quantized"),
])
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quant.*")
def test_tensors_without_plain_values(tmp_path, state, change, what):
    path = _saved(tmp_path / "x.pth", state | {"cls_token": change(state["cls_token"])})
    with pytest.raises(UserError, match=f"holds cls_token as a tensor that is {what}, "):
        models.create(TINY, path)


def _jax(model):
    """Return a model's weights in the layout of the authors of ViT."""
    state, heads = model.state_dict(), model.blocks[0].attn.num_heads
    dim = state["pos_embed"].shape[-1]
    made = {"embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0),
            "embedding/bias": state["patch_embed.proj.bias"], "cls": state["cls_token"],
            "Transformer/posembed_input/pos_embedding": state["pos_embed"],
            "head/kernel": state["head.weight"].T, "head/bias": state["head.bias"]}

    def norm(theirs, ours):
        made[f"{theirs}/scale"], made[f"{theirs}/bias"] = (state[f"{ours}.{part}"]
                                                           for part in ("weight", "bias"))

    norm("Transformer/encoder_norm", "norm")
    for index in range(len(model.blocks)):
        block, ours = f"Transformer/encoderblock_{index}", f"blocks.{index}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        norm(f"{block}/LayerNorm_0", f"{ours}.norm1")
        norm(f"{block}/LayerNorm_2", f"{ours}.norm2")
        for part, name in enumerate(("query", "key", "value")):
            rows = slice(part * dim, (part + 1) * dim)
            made[f"{attention}/{name}/kernel"] = (
                state[f"{ours}.attn.qkv.weight"][rows].T.reshape(dim, heads, -1))
            made[f"{attention}/{name}/bias"] = (
                state[f"{ours}.attn.qkv.bias"][rows].reshape(heads, -1))
        made[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(
            heads, -1, dim)
        made[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for part in range(2):
            made[f"{block}/MlpBlock_3/Dense_{part}/kernel"] = (
                state[f"{ours}.mlp.fc{part + 1}.weight"].T)
            made[f"{block}/MlpBlock_3/Dense_{part}/bias"] = state[f"{ours}.mlp.fc{part + 1}.bias"]
    return {name: value.numpy() for name, value in made.items()}


def test_parameters_are_plain_tensors(tmp_path):
    torch.save({"w": torch.nn.Parameter(torch.ones(2))}, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")["w"]
    assert found.tolist() == [1, 1]
    assert not found.requires_grad


def test_archives_of_the_authors_of_vit(tmp_path):
    torch.manual_seed(2)
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=5)
    path, arrays = tmp_path / "x.npz", _jax(model.eval())
    wanted = model.state_dict()
    np.savez(path, **arrays)
    other = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=32, depth=2, num_heads=2, num_classes=5)
    load_weights(other, path, "x")
    assert all(torch.equal(wanted[key], value) for key, value in other.state_dict().items())
    np.savez(path, **{name: value for name, value in arrays.items() if "head" not in name})
    with pytest.raises(UserError, match=r"^it does not fit: head.weight is missing"):
        load_weights(other, path, "it does not fit")
    with pytest.raises(UserError, match=r"it is in JAX's layout, which timm reads for other"):
        load_weights(torch.nn.Linear(2, 2), path, "it does not fit")


BUILD = {"vit": vits.model, "patches only": functools.partial(vits.model, no_embed_class=True),
         "registers": functools.partial(vits.model, reg_tokens=3), "distilled": vits.distilled}


@pytest.mark.parametrize("kind", BUILD)
@pytest.mark.parametrize("side", [8, 24])
def test_positions_of_another_image_size_are_resampled_as_timm_does_it(tmp_path, kind, side):
    path, images = tmp_path / "x.safetensors", torch.randn(2, 3, side, side)
    dynamic = BUILD[kind](dynamic_img_size=True)
    safetensors.torch.save_file(dynamic.state_dict(), path)
    model = BUILD[kind](seed=2, img_size=side)
    with pytest.raises(UserError, match="^x: pos_embed has shape .*, not "):
        load_weights(model, path, "x")
    load_weights(model, path, "x", resample=True)
    torch.testing.assert_close(model(images), dynamic(images))


def test_positions_of_no_square_are_not_resampled(tmp_path):
    path, model = tmp_path / "x.safetensors", vits.model()
    state = model.state_dict()
    safetensors.torch.save_file(state | {"pos_embed": state["pos_embed"][:, :9].clone()}, path)
    with pytest.raises(UserError, match=r"^x: pos_embed has shape \(1, 9, 32\), not \(1, 17, 32\)"):
        load_weights(vits.model(), path, "x", resample=True)


def test_a_model_of_another_image_size(tmp_path, state):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file(state, path)
    made = models.create(TINY, path, image_size=96)
    assert made.pos_embed.shape[1] == 6**2 + 1
    assert models.preprocessing(made).size == (96, 96)
    assert models.meta_model(TINY, 96).pos_embed.shape == made.pos_embed.shape
    with pytest.raises(UserError, match="timm cannot build resnet18: .*img_size"):
        models.create("resnet18", image_size=96)
    with pytest.raises(UserError, match="^timm cannot build .* for images of 8: they are smaller "
                                        "than a patch$"):
        models.create(TINY, path, image_size=8)


def test_positions_of_a_beit_are_resampled_and_its_table_is_not(tmp_path):
    path = tmp_path / "x.safetensors"
    options = {"use_abs_pos_emb": True, "use_rel_pos_bias": False}
    made, larger = vits.beit(**options), vits.beit(seed=2, img_size=24, **options)
    safetensors.torch.save_file(made.state_dict(), path)
    load_weights(larger, path, "x", resample=True)
    torch.testing.assert_close(larger.pos_embed, timm.layers.resample_abs_pos_embed(
        made.pos_embed, new_size=[6, 6], num_prefix_tokens=1))
    safetensors.torch.save_file(vits.beit().state_dict(), path)
    with pytest.raises(UserError, match=r"^x: blocks\.0\.attn\.relative_position_bias_table has "
                                        r"shape \(52, 4\), not \(124, 4\)$"):
        load_weights(vits.beit(img_size=24), path, "x", resample=True)


def test_positions_of_models_that_do_not_say_their_prefix_are_not_resampled(tmp_path):
    path = tmp_path / "x.safetensors"
    options = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2, "local_up_to_layer": 1}
    kind = timm.models.convit.ConVit
    safetensors.torch.save_file(kind(img_size=16, **options).state_dict(), path)
    with pytest.raises(UserError, match=r"^x: pos_embed has shape \(1, 4, \d+\), not \(1, 9, "):
        load_weights(kind(img_size=24, **options), path, "x", resample=True)


def _torchscript(path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


def _zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/1.png", b"")


def _npz_of_objects(path):
    with path.open("wb") as file:
        np.savez(file, a=np.array([{}], dtype=object))


def _pickle(path):
    path.write_bytes(pickle.dumps({"a": np.zeros(3)}, protocol=2))


def _protocol(path):
    torch.save({"a": torch.zeros(3), "b": Path("x")}, path, pickle_protocol=4)


def _calls(path):
    torch.save({"model": os.system}, path)


def _cut(path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(100)}, buffer)
    path.write_bytes(buffer.getvalue()[:600])


def _cut_safetensors(path):
    safetensors.torch.save_file({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize(("write", "message"), [
    (_torchscript, " is a TorchScript program, not weights; save the state_dict"),
    (_zip, " is a zip file, but no PyTorch checkpoint: it holds images/1.png"),
    (_npz_of_objects, " holds arrays that are not numbers"),
    (_pickle, " is a pickle, but not one of torch.save"),
    (_protocol, " was pickled with protocol 4, which cannot be read without running its code"),
    (_calls, r" names (posix|nt).system, which would run code when loaded; it is not$"),
    (_cut, " is a damaged PyTorch checkpoint"),
    (_cut_safetensors, " is damaged, or of a type"),
    (lambda path: torch.save(torch.nn.Linear(2, 2), path),
     " holds a whole torch.nn.modules.linear.Linear, which would run its code; save its state_"),
    (lambda path: torch.save({"model": Settings(1), "epoch": 3}, path),
     r" holds no dictionary of tensors, but model \(.*Settings\), epoch \(int\)$"),
    (lambda path: torch.save([1, 2], path), " holds no dictionary of tensors, but list$"),
    (lambda path: torch.save({}, path), " holds no dictionary of tensors, but nothing at all$"),
    (lambda path: torch.save({"model": {"a": "b"}}, path),
     r" holds no dictionary of tensors, but model \(dict\)$"),
    (lambda path: torch.save({"a": torch.zeros(1), "epoch": 3}, path),
     r" holds no dictionary of tensors, but epoch \(int\)$"),
])
def test_what_else_a_file_holds_is_said_in_one_line(tmp_path, write, message):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(UserError, match=message) as caught:
        read_weights(path)
    assert str(caught.value).startswith(f"cannot read the weights: {path} ")
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(("data", "message"), [
    (b"not weights at all", "is neither safetensors nor a PyTorch checkpoint"),
    (b"", "is neither safetensors nor a PyTorch checkpoint"),
    (b"PK\x03\x04 cut short", "is a damaged PyTorch checkpoint"),
    (b"\x80\x02 no pickle", "is a damaged PyTorch checkpoint"),
    (b"version https://git-lfs.github.com/spec/v1\n", "but a Git LFS pointer"),
    (b"<!DOCTYPE html>", "but an HTML or XML page"), (b"\n <html>", "but an HTML or XML page"),
    (b'{"metadata": {}}', "but JSON text"), (b"\x89HDF\r\n\x1a\n", "but HDF5"),
    (b"\x1f\x8b\x08", "but compressed with gzip"),
])
def test_unreadable_weights(tmp_path, data, message):
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
