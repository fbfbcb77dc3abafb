"""Models that come with the package, by name.

A float model is a file ``NAME.safetensors`` as :mod:`sim.train` writes it, its log beside it;
a quantized form of it, a variant, is ``NAME_w8a8.safetensors`` and the like, as
:mod:`sim.calibrate` writes it. On command lines a variant is called ``NAME:w8a8``.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import safetensors

from ..cli import UserError

FOLDER = Path(__file__).parent
DEFAULT = "w8a8"
"""The variant that a name alone stands for."""

_QUANTIZED = re.compile(r"(.+)_(w[0-9]+a[0-9]+)")


@dataclass(frozen=True)
class Trained:
    """What a file of :mod:`sim.train` says about the model whose weights it holds.

    Attributes
    ----------
    path
        The file.
    architecture
        Arguments of timm's VisionTransformer.
    classes
        Names of the classes.
    mean, std
        Per colour, for pixels as 0..1.
    """

    path: Path
    architecture: dict
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def config(self) -> dict:
        """Data configuration in timm's terms.

        Images of the model's size are taken as they are; others are resized and cropped to it.
        """
        side = self.architecture["img_size"]
        return {"input_size": (3, side, side), "interpolation": "bicubic", "mean": self.mean,
                "std": self.std, "crop_pct": 1.0, "crop_mode": "center",
                "num_classes": len(self.classes), "label_names": self.classes}


def trained(path: Path | str) -> Trained | None:
    """Return what a file of float weights says about its model; None unless it is of sim.train."""
    try:
        with safetensors.safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {}).get("vernier", "null"))
        made = Trained(Path(path), dict(about["architecture"]), tuple(about["classes"]),
                       tuple(about["mean"]), tuple(about["std"]))
    except (OSError, safetensors.SafetensorError, ValueError, TypeError, KeyError,
            RecursionError):
        return None
    side = made.architecture.get("img_size")
    return made if type(side) is int and all(isinstance(name, str) for name in made.classes) \
        else None


def _files() -> dict[str, dict[str | None, Path]]:
    """Return the files of each model: of its variants, and under None the float weights."""
    found = {}
    for path in sorted(FOLDER.glob("*.safetensors")):
        match = _QUANTIZED.fullmatch(path.stem)
        name, variant = match.groups() if match else (path.stem, None)
        found.setdefault(name, {})[variant] = path
    return found


def names() -> list[str]:
    """Return the names of the models."""
    return list(_files())


def variants(name: str) -> list[str]:
    """Return the quantized forms of a model, like ``w8a8``."""
    return [variant for variant in _files().get(name, {}) if variant is not None]


def find(name: str) -> Trained:
    """Return the float model of a name.

    Raises
    ------
    UserError
        If there is none, or its file is damaged.
    """
    path = _files().get(name, {}).get(None)
    if path is None:
        raise UserError(f"the package has no float weights of {name!r}; {_known()}")
    made = trained(path)
    if made is None:
        raise UserError(f"{path} is damaged, or not a file of sim.train; install the package again")
    return made


def quantized_file(name: str) -> Path:
    """Return the file of the quantized model ``NAME`` or ``NAME:VARIANT``.

    Raises
    ------
    UserError
        If there is none.
    """
    name, _, variant = name.partition(":")
    files = _files()
    if name not in files:
        raise UserError(f"the package has no model {name!r}; {_known()}")
    path = files[name].get(variant or DEFAULT)
    if path is None:
        have = ", ".join(f"{name}:{one}" for one in variants(name)) or "no quantized form of it"
        raise UserError(f"the package has no {name}:{variant or DEFAULT}, but {have}")
    return path


def _known() -> str:
    have = names()
    return f"it has {', '.join(have)}" if have else "it has none at all"
