"""What a float model does to an image first: resize, crop, normalise."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from .decoding import MODES
from .torchvision_compat import timm

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

    @property
    def colours(self) -> int:
        """Channels of the images."""
        return len(self.mean)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """Resize and crop an image to the model's uint8 pixels, shape ``(H, W, colours)``."""
        image = image.convert(MODES[self.colours])
        parts = [image]
        if self.colours % 2 == 0:  # the last channel by itself: Pillow multiplies others by it
            parts = [image.convert(MODES[self.colours - 1]), image.getchannel("A")]
        made = np.concatenate([np.asarray(self._resize(part)) for part in parts])
        return np.ascontiguousarray(made.transpose(1, 2, 0))

    def tensor(self, pixels: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Normalise pixels ``(H, W, colours)`` to a batch of one, ``(1, colours, H, W)``."""
        mean, std = (torch.tensor(value, dtype=dtype) for value in (self.mean, self.std))
        values = torch.tensor(pixels, dtype=dtype) / 255
        return ((values - mean) / std).permute(2, 0, 1)[None].contiguous()

    def __call__(self, image: Image.Image, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the model's input for an image, ``(1, colours, H, W)``."""
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
    if not (_numbers(size, int, 3) and size[0] in MODES and min(size) > 0):
        raise ValueError(f"input_size must be colours (1 to {max(MODES)}), height and width, not "
                         f"{size!r}")
    for name in "mean", "std":
        if not _numbers(plain[name], int | float, size[0]):
            raise ValueError(f"{name} must be one number for each of {size[0]} colours, not "
                             f"{plain[name]!r}")
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


def _numbers(value, kind, count: int) -> bool:
    return (isinstance(value, list) and len(value) == count
            and all(_number(one, kind) for one in value))
