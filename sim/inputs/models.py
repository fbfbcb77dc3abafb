"""Float models by name: timm's, and those of the package; what they do to an image first."""

import contextlib
import difflib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import Image

from .. import zoo
from ..cli import UserError, one_line
from . import torch_files
from .torchvision_compat import timm

SHORT_NAMES = {
    "deit_t": "deit_tiny_patch16_224",
    "deit_s": "deit_small_patch16_224",
    "deit_b": "deit_base_patch16_224",
    "vit_t": "vit_tiny_patch16_224",
    "vit_s": "vit_small_patch16_224",
    "vit_b": "vit_base_patch16_224",
    "vit_l": "vit_large_patch16_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "dinov2_s": "vit_small_patch14_dinov2",
    "dinov2_b": "vit_base_patch14_dinov2",
}


def is_known(name: str) -> bool:
    """Return whether there is a model of a short name, a timm name or a name of the package."""
    full = SHORT_NAMES.get(name, name)
    return full in zoo.names() or timm.is_model(full)


def timm_name(name: str) -> str:
    """Return the timm name behind a short name; a timm name, with or without a tag, is its own.

    So is the name of a model that comes with the package (:mod:`sim.zoo`).

    Raises
    ------
    UserError
        If there is no such model; near matches are named.
    """
    if not is_known(name):
        known = [*SHORT_NAMES, *zoo.names(), *timm.list_models()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = (f"did you mean {', '.join(near)}?" if near
                else f"try {', '.join([*SHORT_NAMES, *zoo.names()])}")
        raise UserError(f"no model is called {name!r}; {hint}")
    return SHORT_NAMES.get(name, name)


def meta_model(name: str) -> torch.nn.Module:
    """Build a model without storage for its weights, ready to be traced with meta tensors.

    Models that compute something from tensors while being built cannot do so on the meta device;
    they are built on the CPU and moved.
    """
    full, about = timm_name(name), _trained(name)
    try:
        with torch.device("meta"):
            model = timm.create_model(full) if about is None else _package_model(about)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        model = _build(full).to("meta")
    return model.eval()


def create(name: str, weights: Path | str | None = None, *, pretrained: bool = False,
           device: torch.device | str = "cpu") -> torch.nn.Module:
    """Build a model in evaluation mode, without gradients.

    Parameters
    ----------
    name
        Short name or timm name.
    weights
        File with the weights under timm's key names: safetensors, or a PyTorch checkpoint whose
        entry ``model`` or ``state_dict`` may hold them. A file of :mod:`sim.train` says itself
        what model it is for, unless `name` is one of timm's.
    pretrained
        Download the weights timm has for the model. Not together with `weights`; with neither,
        they are random. A model of the package has its own weights in both cases.

    Raises
    ------
    UserError
        If the model is unknown, the weights cannot be read, do not fit or cannot be downloaded.
    """
    if weights is not None and pretrained:
        raise ValueError("weights come from a file or from timm, not from both")
    about = _trained(name, weights)
    if about is not None:
        model, weights = _package_model(about), weights or about.path
    else:
        full = timm_name(name)
        model = _download(full) if pretrained else _build(full)
    if weights is not None:
        _load(model, read_weights(weights), f"{weights} does not fit {timm_name(name)}"
              if about is None else f"{weights} is damaged")
    return model.eval().requires_grad_(False).to(device)


def _build(full: str) -> torch.nn.Module:
    try:
        return timm.create_model(full)
    except (RuntimeError, TypeError, ValueError, ImportError) as error:
        raise UserError(f"timm cannot build {full}: {one_line(error)}") from None


def _trained(name: str, weights: Path | str | None = None) -> zoo.Trained | None:
    """Return what sim.train left to know about a model; None for one of timm's."""
    if timm.is_model(SHORT_NAMES.get(name, name)):
        return None
    about = None if weights is None else zoo.trained(weights)
    return zoo.find(name) if about is None and timm_name(name) in zoo.names() else about


def _package_model(about: zoo.Trained) -> torch.nn.Module:
    try:
        model = timm.models.vision_transformer.VisionTransformer(**about.architecture)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise UserError(f"timm cannot build the model of {about.path}: "
                        f"{one_line(error)}") from None
    model.pretrained_cfg = about.config
    return model


def class_names(model: torch.nn.Module) -> tuple[str, ...] | None:
    """Return the names of the classes of a model of the package; None for others."""
    names = (getattr(model, "pretrained_cfg", None) or {}).get("label_names")
    return None if names is None else tuple(names)


@contextlib.contextmanager
def _quiet(name: str):
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _download(full: str) -> torch.nn.Module:
    try:
        with _quiet("huggingface_hub"):  # its retries, one line each
            return timm.create_model(full, pretrained=True)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        raise UserError(f"timm cannot give {full} its weights ({one_line(error)}); "
                        "name a file with --weights") from None


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """Read named tensors from a safetensors file or a PyTorch checkpoint.

    Raises
    ------
    UserError
        If the file cannot be read or holds something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            checkpoint = file.read(2) in {b"PK", b"\x80\x02"}  # zip, or pickle as before 1.6
        if not checkpoint:
            return safetensors.torch.load_file(path)
        state = torch_files.read(path)
    except OSError as error:
        raise UserError(f"cannot read the weights: {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"cannot read the weights: {path} is neither safetensors nor a PyTorch "
                        f"checkpoint ({one_line(error)})") from None
    except ValueError:
        raise UserError(f"cannot read the weights: {path} is a damaged PyTorch checkpoint, "
                        "or holds more than tensors") from None
    for key in "model", "state_dict":
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
            isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"cannot read the weights: {path} holds no dictionary of tensors")
    return state


def _load(model: torch.nn.Module, state: dict[str, torch.Tensor], complaint: str) -> None:
    """Load `state` into `model` if it has exactly the model's keys and shapes, finite floats."""
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in state]
    unexpected = [key for key in state if key not in wanted]
    for keys, what in (missing, "is missing"), (unexpected, "is not a key of the model"):
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise UserError(f"{complaint}: {keys[0]} {what}{more}")
    for key, value in wanted.items():
        got = state[key]
        if got.shape != value.shape:
            raise UserError(f"{complaint}: {key} has shape {tuple(got.shape)}, "
                            f"not {tuple(value.shape)}")
        if got.is_floating_point() != value.is_floating_point():
            raise UserError(f"{complaint}: {key} is {got.dtype}, not {value.dtype}")
        if not bool(torch.isfinite(got).all()):
            raise UserError(f"{complaint}: {key} has values that are not finite")
    model.load_state_dict(state, strict=True)


CONFIG = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
"""What of timm's data configuration decides the pixels and the model's input."""

_CHOICES = {"interpolation": ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"),
            "crop_mode": ("center", "squash", "border")}


@dataclass(frozen=True)
class Preprocessing:
    """From an image to a model's input, by way of 8-bit pixels.

    Attributes
    ----------
    size
        Height and width of the pixels, ``(H, W)``.
    mean, std
        Per colour, for pixels as 0..1.
    config
        Plain values from which :func:`preprocessing_of` makes the same again; None if it was not
        made from such.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _resize: object
    config: dict | None = None

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Resize and crop an image to the model's uint8 pixels, shape ``(H, W, 3)``."""
        return np.ascontiguousarray(np.asarray(self._resize(image.convert("RGB")))
                                    .transpose(1, 2, 0))

    def tensor(self, pixels: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Normalise pixels ``(H, W, 3)`` to a batch of one, ``(1, 3, H, W)``."""
        mean, std = (torch.tensor(value, dtype=dtype) for value in (self.mean, self.std))
        values = torch.tensor(pixels, dtype=dtype) / 255
        return ((values - mean) / std).permute(2, 0, 1)[None].contiguous()

    def __call__(self, image: Image.Image, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the model's input for an image, ``(1, 3, H, W)``."""
        return self.tensor(self.pixels(image), dtype)


def preprocessing(model: torch.nn.Module) -> Preprocessing:
    """Return the evaluation preprocessing that timm's data configuration gives for `model`."""
    return preprocessing_of(timm.data.resolve_model_data_config(model))


def preprocessing_of(config: dict) -> Preprocessing:
    """Return the evaluation preprocessing of a data configuration of timm's.

    Parameters
    ----------
    config
        A value for each name of :data:`CONFIG`, as timm has it or read from JSON; others are
        left out.

    Raises
    ------
    TypeError, ValueError
        If a value is missing or is not what timm takes.
    """
    if not isinstance(config, dict):
        raise TypeError(f"a preprocessing must be values by name, not {config!r}")
    for name in CONFIG:
        if name not in config:
            raise ValueError(f"a preprocessing must have {', '.join(CONFIG)}, and not lack {name}")
    plain = {name: list(value) if isinstance(value, tuple) else value
             for name, value in config.items() if name in CONFIG}
    size = plain["input_size"]
    if not (_numbers(size, int) and size[0] == 3 and min(size) > 0):
        raise ValueError(f"input_size must be 3, height and width, not {size!r}")
    for name in "mean", "std":
        if not _numbers(plain[name], int | float):
            raise ValueError(f"{name} must be three numbers, not {plain[name]!r}")
    if min(plain["std"]) <= 0:
        raise ValueError(f"std must be above 0, not {plain['std']!r}")
    share = plain["crop_pct"]
    if not _number(share, int | float) or not 0.1 <= share <= 2:
        raise ValueError(f"crop_pct must be within 0.1..2, not {share!r}")
    for name, known in _CHOICES.items():
        if plain[name] not in known:
            raise ValueError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, "
                             f"not {plain[name]!r}")
    resize = timm.data.create_transform(**plain, is_training=False, use_prefetcher=True)
    return Preprocessing(tuple(size[1:]), tuple(plain["mean"]), tuple(plain["std"]), resize, plain)


def _number(value, kind) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < float("inf")


def _numbers(value, kind) -> bool:
    return (isinstance(value, list) and len(value) == 3
            and all(_number(one, kind) for one in value))
