"""Weights of float models from files: safetensors, PyTorch checkpoints and NumPy archives.

Checkpoints are taken as timm takes them: moving averages first, then the entries that training
scripts use, the prefixes of wrappers cut off. No code of a file is run: of its pickle, only
tensors and plain values are made, and an inert object in the place of everything else.
"""

import argparse
import contextlib
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from ..cli import UserError, one_line
from . import hugging_face, torch_files
from .damage import DAMAGE, arrays_of
from .torchvision_compat import timm

State = dict[str, torch.Tensor]

ENTRIES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "state_dict",
           "model", "model_state_dict", "model_state", "net", "network", "module", "weights",
           "params", "teacher", "student", "backbone", "encoder")
"""Entries of a checkpoint that may hold the weights, the first one that does is taken."""

_LISTED = 6  # names of tensors in a message
_PREFIXES = ("module.", "model.", "net.", "network.", "ema_model.", "backbone.", "encoder.",
             "_forward_module.")
_WRAPPERS = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_JAX = ("embedding/kernel", "opt/target/embedding/kernel", "params/embedding/kernel",
        "params/img/embedding/kernel")
_OTHERS = {b"version https://git-lfs": "a Git LFS pointer, not the file itself (git lfs pull)",
           b"<": "an HTML or XML page", b"{": "JSON text", b"\x1f\x8b": "compressed with gzip",
           b"\xfd7zXZ": "compressed with xz", b"\x28\xb5\x2f\xfd": "compressed with zstd",
           b"BZh": "compressed with bzip2", b"\x89HDF": "HDF5", b"GGUF": "GGUF",
           b"\x93NUMPY": "a single NumPy array"}


class _Inert:
    """In the place of an object of a class that is not loaded; whatever it is given is dropped."""

    def __new__(cls, *args, **options):
        return super().__new__(cls)

    def __init__(self, *args, **options):
        pass

    def __setstate__(self, state):
        pass

    def __setitem__(self, key, value):
        pass


def read_weights(path: Path | str) -> State:
    """Read named tensors from safetensors, a PyTorch checkpoint (zip or legacy) or ``.npz``.

    Returns
    -------
    dict of str to torch.Tensor
        Under the names of the file, less prefixes of wrappers (``module.``, ``_orig_mod.``, ...).

    Raises
    ------
    UserError
        If the file cannot be read or holds something else, which is named.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
        if start.startswith(b"PK\x03\x04"):
            state = _read_zip(path)
        elif start.startswith(b"\x80") and start[8:9] != b"{":  # a pickle, and not safetensors
            state = _tensors_of(_load_checkpoint(path, start[1] if start[1:] else 0), path)
        else:
            state = _read_safetensors(path, start)
    except OSError as error:
        raise _refusal(path, f": {error.strerror or one_line(error)}") from None
    return _unwrapped(state, path)


def _refusal(path: Path, what: str) -> UserError:
    return UserError(f"cannot read the weights: {path}{what}")


def _read_safetensors(path: Path, start: bytes) -> State:
    kind = next((kind for magic, kind in _OTHERS.items()
                 if start.lstrip(b"\xef\xbb\xbf \r\n").startswith(magic)), None)
    if kind is not None and start[8:9] != b"{":
        raise _refusal(path, f" is neither safetensors nor a PyTorch checkpoint, but {kind}")
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        what = ("is damaged, or of a type that is not supported" if start[8:9] == b"{"
                else "is neither safetensors nor a PyTorch checkpoint")
        raise _refusal(path, f" {what} ({one_line(error)})") from None


def _read_zip(path: Path) -> State:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = next((name for name in names if name.rpartition("/")[2] == "data.pkl"), None)
            protocol = archive.read(pickled)[1] if pickled else None
    except DAMAGE as error:
        raise _refusal(path, f" is a damaged PyTorch checkpoint ({one_line(error)})") from None
    if names and all(name.endswith(".npy") for name in names):
        return _read_npz(path)
    if any(re.match(r"[^/]+/code/", name) for name in names):
        raise _refusal(path, " is a TorchScript program, not weights; save the state_dict() of "
                             "what torch.jit.load makes of it")
    if protocol is None:
        have = ", ".join(names[:3]) or "nothing"
        raise _refusal(path, f" is a zip file, but no PyTorch checkpoint: it holds {have}")
    return _tensors_of(_load_checkpoint(path, protocol), path)


def _read_npz(path: Path) -> State:
    state = {}
    try:
        with arrays_of(path) as arrays:
            for name in arrays.files:
                state[name] = torch.from_numpy(arrays[name])
    except DAMAGE as error:
        raise _refusal(path, f" holds arrays that are not numbers, or damaged ones "
                             f"({one_line(error)})") from None
    return state


@contextlib.contextmanager
def _allowed(classes: list[type]) -> Iterator[None]:
    """Let PyTorch's restricted unpickler make objects of some classes, for a while."""
    serialization = torch.serialization
    before = serialization.get_safe_globals()
    serialization.add_safe_globals(classes)
    try:
        yield
    finally:
        serialization.clear_safe_globals()
        serialization.add_safe_globals(before)


def _load_checkpoint(path: Path, protocol: int):
    """Return what a checkpoint holds; objects of classes that are not loaded are inert."""
    inert: dict[str, type] = {}
    while True:
        try:
            with _allowed([argparse.Namespace, *inert.values()]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickle's protocol, and of old storages
                return torch_files.read(path)
        except ValueError as failed:
            error = failed.__cause__
            found = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
            if found is None or found[1] in inert or "\0" in found[1]:
                raise _refusal(path, _why(error, protocol)) from None
            module, _, name = found[1].rpartition(".")
            inert[found[1]] = type(name, (_Inert,), {"__module__": module, "__qualname__": name})


def _why(error: Exception, protocol: int) -> str:
    """Return why a checkpoint cannot be loaded, without PyTorch's advice to run its code."""
    text = str(error)
    blocked = re.search(r"GLOBAL (\S+) whose module \S+ is blocked", text)
    if blocked:
        return f" names {blocked[1]}, which would run code when loaded; it is not"
    if protocol > 2 and isinstance(error, pickle.UnpicklingError):
        return (f" was pickled with protocol {protocol}, which cannot be read without running its "
                "code; save it again with torch.save as it is by default")
    if "Invalid magic number" in text:
        return " is a pickle, but not one of torch.save"
    return " is a damaged PyTorch checkpoint, or holds more than tensors"


def _kind(value) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _tensors_of(content, path: Path) -> State:
    found = _find(content)
    if found is not None:
        return found
    if isinstance(content, _Inert):
        raise _refusal(path, f" holds a whole {_kind(content)}, which would run its code; "
                             "save its state_dict() instead")
    if not isinstance(content, dict):
        raise _refusal(path, f" holds no dictionary of tensors, but {_kind(content)}")
    entries = [f"{key} ({_kind(value)})" for key, value in content.items()
               if not isinstance(value, torch.Tensor)]
    more = f" and {len(entries) - 6} more" if len(entries) > 6 else ""
    raise _refusal(path, f" holds no dictionary of tensors, but {', '.join(entries[:6])}{more}"
                   if entries else " holds no dictionary of tensors, but nothing at all")


def _all_tensors(value) -> bool:
    return isinstance(value, dict) and bool(value) and all(
        isinstance(key, str) and isinstance(one, torch.Tensor) for key, one in value.items())


def _find(content) -> State | None:
    """Return the weights within a checkpoint, however deep; None if there are none."""
    if _all_tensors(content):
        return dict(content)
    if not isinstance(content, dict):
        return None
    for name in ENTRIES:
        found = _find(content.get(name))
        if found is not None:
            return found
    rest = [value for value in content.values() if _all_tensors(value)]
    return dict(rest[0]) if len(rest) == 1 else None


def _unwrapped(state: State, path: Path) -> State:
    """Return tensors without the prefixes that wrappers of a model give to all names."""
    if len(state) > 1 and "n_averaged" in state:  # of torch.optim.swa_utils.AveragedModel
        state = {key: value for key, value in state.items() if key != "n_averaged"}
    names = [_WRAPPERS.sub("", key) for key in state]
    while (prefix := next((one for one in _PREFIXES
                           if all(name.startswith(one) for name in names)), None)) and names:
        names = [name.removeprefix(prefix) for name in names]
    for key, value in state.items():
        if value.layout is not torch.strided or value.is_quantized or value.is_meta:
            what = ("quantized" if value.is_quantized else "without values" if value.is_meta
                    else str(value.layout).removeprefix("torch."))
            raise _refusal(path, f" holds {key} as a tensor that is {what}, which is not supported")
    made = {name: value.detach() for name, value in zip(names, state.values(), strict=True)}
    if len(made) < len(names):
        twice = next(name for name in made if names.count(name) > 1)
        raise _refusal(path, f" holds {twice} more than once, under prefixes of wrappers")
    return made


def load_weights(model: torch.nn.Module, path: Path | str, complaint: str, *,
                 resample: bool = False) -> None:
    """Read a file into `model` if it has exactly the model's keys and shapes, finite numbers.

    With `resample`, position embeddings of another image size are resampled as timm does it.

    A ``.npz`` of the authors of ViT, in JAX's layout, is taken as timm takes it, and names of
    Hugging Face's (:mod:`.hugging_face`) are made timm's.

    Raises
    ------
    UserError
        If the file cannot be read, or does not fit, after `complaint`.
    """
    state = read_weights(path)
    if any(anchor in state for anchor in _JAX):
        _load_jax(model, path, complaint)
        return
    if hugging_face.is_theirs(state):
        state = hugging_face.timm_names(state)
    if resample:
        state = state | _resampled(model, state)
    _load(model, state, complaint)


def colours_of(path: Path | str) -> int:
    """Return how many colours pixels have for the patch embedding of a file; 3 where none is told.

    Raises
    ------
    UserError
        If the file cannot be read.
    """
    state = read_weights(path)
    for name in ("patch_embed.proj.weight", "patch_embeddings.projection.weight"):
        for key, tensor in state.items():
            if key.endswith(name) and tensor.dim() == 4:
                return tensor.shape[1]
    return 3


def _load_jax(model: torch.nn.Module, path: Path | str, complaint: str) -> None:
    if not hasattr(model, "load_pretrained"):
        raise UserError(f"{complaint}: it is in JAX's layout, which timm reads for other models")
    with torch.no_grad():  # timm leaves what the file lacks as it was, in silence
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    try:
        model.load_pretrained(str(path))
    except (KeyError, ValueError, RuntimeError, AttributeError, AssertionError,
            IndexError) as error:
        raise UserError(f"{complaint}: {one_line(error)}") from None
    for key, value in model.named_parameters():
        if not bool(torch.isfinite(value).all()):
            raise UserError(f"{complaint}: {key} is missing, or has values that are not finite")


def _resampled(model: torch.nn.Module, state: State) -> State:
    """Return the position embedding for the model's image size, by its name; nothing if it cannot
    be made of what there is.
    """
    places, wanted = state.get("pos_embed"), getattr(model, "pos_embed", None)
    if (places is None or wanted is None or places.dim() != 3 or places.shape == wanted.shape
            or not places.is_floating_point()):
        return {}
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    prefix = getattr(model, "num_prefix_tokens", None)  # not every family says it, nor the next
    if grid is None or prefix is None:
        return {}
    prefix = 0 if getattr(model, "no_embed_class", False) else prefix
    side = math.isqrt(max(0, places.shape[1] - prefix))
    if not side or side**2 != places.shape[1] - prefix:
        return {}
    return {"pos_embed": timm.layers.resample_abs_pos_embed(
        places.float(), new_size=list(grid), old_size=[side, side],
        num_prefix_tokens=prefix)}


def _listed(keys: list[str]) -> str:
    """Return the first of some names, and how many there are beside these."""
    shown = keys if len(keys) <= _LISTED else keys[:_LISTED - 1]
    names = [*shown, f"{len(keys) - len(shown)} more"] if len(shown) < len(keys) else shown
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _load(model: torch.nn.Module, state: State, complaint: str) -> None:
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    parts = [f"{_listed(keys)} {many if len(keys) > 1 else one}" for keys, one, many in (
        (missing, "is missing", "are missing"),
        (unexpected, "is not a key of the model", "are not keys of the model")) if keys]
    if parts:
        raise UserError(f"{complaint}: {'; '.join(parts)}")
    for key, value in wanted.items():
        got = state[key]
        if got.shape != value.shape:
            raise UserError(f"{complaint}: {key} has shape {tuple(got.shape)}, "
                            f"not {tuple(value.shape)}")
        if got.is_floating_point() != value.is_floating_point():
            raise UserError(f"{complaint}: {key} is {got.dtype}, not {value.dtype}")
        # as the model takes it: not all operations know float8, and float64 may overflow
        if not bool(torch.isfinite(got.to(value.dtype)).all()):
            raise UserError(f"{complaint}: {key} has values that are not finite")
    model.load_state_dict(state, strict=True)
