"""timm models by short or full name, their weights, and what they do to an image first."""

import contextlib
import difflib
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from PIL import Image

from .cli import UserError, one_line
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


def timm_name(name: str) -> str:
    """Return the timm name behind a short name; a timm name, with or without a tag, is its own.

    Raises
    ------
    UserError
        If there is no such model; near matches are named.
    """
    full = SHORT_NAMES.get(name, name)
    if not timm.is_model(full):
        known = [*SHORT_NAMES, *timm.list_models()]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"did you mean {', '.join(near)}?" if near else f"try {', '.join(SHORT_NAMES)}"
        raise UserError(f"no model is called {name!r}; {hint}")
    return full


def meta_model(name: str) -> torch.nn.Module:
    """Build a model without storage for its weights, ready to be traced with meta tensors.

    Models that compute something from tensors while being built cannot do so on the meta device;
    they are built on the CPU and moved.
    """
    full = timm_name(name)
    try:
        with torch.device("meta"):
            model = timm.create_model(full)
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
        entry ``model`` or ``state_dict`` may hold them.
    pretrained
        Download the weights timm has for the model. Not together with `weights`; with neither,
        they are random.

    Raises
    ------
    UserError
        If the model is unknown, the weights cannot be read, do not fit or cannot be downloaded.
    """
    if weights is not None and pretrained:
        raise ValueError("weights come from a file or from timm, not from both")
    full = timm_name(name)
    model = _download(full) if pretrained else _build(full)
    if weights is not None:
        _load(model, read_weights(weights), f"{weights} does not fit {full}")
    return model.eval().requires_grad_(False).to(device)


def _build(full: str) -> torch.nn.Module:
    try:
        return timm.create_model(full)
    except (RuntimeError, TypeError, ValueError, ImportError) as error:
        raise UserError(f"timm cannot build {full}: {one_line(error)}") from None


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
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read the weights: {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise UserError(f"cannot read the weights: {path} is neither safetensors nor a PyTorch "
                        f"checkpoint ({one_line(error)})") from None
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
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


@dataclass(frozen=True)
class Preprocessing:
    """From an image to a model's input, by way of 8-bit pixels.

    Attributes
    ----------
    size
        Height and width of the pixels, ``(H, W)``.
    mean, std
        Per colour, for pixels as 0..1.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    _resize: object

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
    config = timm.data.resolve_model_data_config(model)
    resize = timm.data.create_transform(**config, is_training=False, use_prefetcher=True)
    return Preprocessing(tuple(config["input_size"][1:]), tuple(config["mean"]),
                         tuple(config["std"]), resize)
