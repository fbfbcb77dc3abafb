"""Float models by name: timm's, and those of the package."""

import contextlib
import difflib
import logging
import re
from pathlib import Path

import torch

from .. import zoo
from ..cli import UserError, one_line
from .decoding import MODES
from .preprocessing import Preprocessing, preprocessing, preprocessing_of
from .torchvision_compat import timm
from .weights import colours_of, load_weights

__all__ = ["SHORT_NAMES", "Preprocessing", "class_names", "create", "is_known", "meta_model",
           "preprocessing", "preprocessing_of", "timm_name"]

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


_HUB = re.compile(r"(?:hf[-_]hub:|https://huggingface\.co/)?timm/([^/]+)/?")


def _full(name: str) -> str:
    """Return the name without timm's account at the Hugging Face hub, a short name made long."""
    at_hub = _HUB.fullmatch(name)
    name = at_hub[1] if at_hub else name
    return SHORT_NAMES.get(name, name)


def is_known(name: str) -> bool:
    """Return whether there is a model of a short name, a timm name or a name of the package."""
    return _full(name) in zoo.names() or _is_timm(_full(name))


def _is_timm(full: str) -> bool:
    return not re.search("[:/]", full) and timm.is_model(full)


def timm_name(name: str) -> str:
    """Return the timm name behind a short name; a timm name, with or without a tag, is its own.

    A timm name may be written as the Hugging Face hub has it, like
    ``hf-hub:timm/deit_tiny_patch16_224.fb_in1k``. The name of a model that comes with the package
    (:mod:`sim.zoo`) is its own, too.

    Raises
    ------
    UserError
        If there is no such model; near matches are named.
    """
    if not is_known(name):
        known = [*SHORT_NAMES, *zoo.names(), *timm.list_models()]
        last = re.split("[:/]", name.rstrip("/"))[-1].lower().replace("-", "_")
        near = difflib.get_close_matches(last, known, n=3, cutoff=0.6)
        hint = (f"did you mean {', '.join(near)}?" if near
                else f"try {', '.join([*SHORT_NAMES, *zoo.names()])}")
        raise UserError(f"no model is called {name!r}; {hint}")
    return _full(name)


def meta_model(name: str, image_size: int | None = None) -> torch.nn.Module:
    """Build a model without storage for its weights, ready to be traced with meta tensors.

    `image_size` is as for :func:`create`.

    Models that compute something from tensors while being built cannot do so on the meta device;
    they are built on the CPU and moved.
    """
    full, about = timm_name(name), _trained(name)
    try:
        with torch.device("meta"):
            model = (timm.create_model(full, **_sized(image_size)) if about is None
                     else _package_model(about, image_size))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        model = _build(full, image_size).to("meta")
    return _for_size(model, image_size).eval()


def create(name: str, weights: Path | str | None = None, *, pretrained: bool = False,
           device: torch.device | str = "cpu", image_size: int | None = None) -> torch.nn.Module:
    """Build a model in evaluation mode, without gradients.

    Parameters
    ----------
    name
        Short name or timm name.
    weights
        File with the weights under timm's key names or Hugging Face's, see
        :func:`.weights.load_weights`; pixels have the colours that its patch embedding takes,
        up to four. A file of :mod:`sim.train` says itself what model it is
        for, unless `name` is one of timm's.
    pretrained
        Download the weights timm has for the model. Not together with `weights`; with neither,
        they are random. A model of the package has its own weights in both cases.
    image_size
        Height and width of the images it is to take, in pixels, in place of its usual ones;
        position embeddings are resampled as timm does it.

    Raises
    ------
    UserError
        If the model is unknown, the weights cannot be read, do not fit or cannot be downloaded.
    """
    if weights is not None and pretrained:
        raise ValueError("weights come from a file or from timm, not from both")
    about = _trained(name, weights)
    if about is not None:
        model, weights = _package_model(about, image_size), weights or about.path
    else:
        full = timm_name(name)
        model = _download(full, image_size) if pretrained else _build(full, image_size)
        if weights is not None:
            model = _for_colours(model, full, weights, image_size)
    _check_grid(model, name, image_size)
    if weights is not None:
        load_weights(model, weights, f"{weights} does not fit {timm_name(name)}"
                     if about is None else f"{weights} is damaged", resample=image_size is not None)
    model = _for_size(model, image_size)
    return model.eval().requires_grad_(False).to(device)


def _sized(image_size: int | None) -> dict:
    """Return what timm takes to build a model for images of a size."""
    return {} if image_size is None else {"img_size": image_size}


def _check_grid(model: torch.nn.Module, name: str, image_size: int | None) -> None:
    """Raise :exc:`UserError` if there is no patch in an image."""
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is not None and not min(grid):
        raise UserError(f"timm cannot build {name} for images of {image_size}: they are smaller "
                        "than a patch")


def _for_size(model: torch.nn.Module, image_size: int | None) -> torch.nn.Module:
    """Return the model, with a data configuration for images of its size."""
    if image_size is not None:
        colours = model.pretrained_cfg["input_size"][0]
        model.pretrained_cfg = model.pretrained_cfg | {
            "input_size": (colours, image_size, image_size)}
    return model


def _for_colours(model: torch.nn.Module, full: str, weights: Path | str,
                 image_size: int | None) -> torch.nn.Module:
    """Return the model for images of the colours that weights are for. Its data configuration makes
    such: of gray, and of what is beside red, green and blue, mean and deviation are the average of
    theirs.
    """
    embed = getattr(getattr(model, "patch_embed", None), "proj", None)
    if getattr(embed, "in_channels", None) != 3:
        return model
    colours = colours_of(weights)
    if colours == 3:
        return model
    if colours not in MODES:
        raise UserError(f"{weights} is for images of {colours} colours, and 1 to {max(MODES)} are "
                        "supported")
    model = _build(full, image_size, colours)
    config, kept = model.pretrained_cfg, 3 if colours > 3 else 0
    made = {name: (*config[name][:kept],
                   *(sum(config[name]) / len(config[name]),) * (colours - kept))
            for name in ("mean", "std")}
    model.pretrained_cfg = config | made | {"input_size": (colours, *config["input_size"][1:])}
    return model


def _build(full: str, image_size: int | None = None, colours: int = 3) -> torch.nn.Module:
    options = {} if colours == 3 else {"in_chans": colours}
    try:
        return timm.create_model(full, **_sized(image_size), **options)
    except AssertionError as error:
        raise UserError(f"timm cannot build {full} for images of {image_size}: "
                        f"{one_line(error)}") from None
    except (RuntimeError, TypeError, ValueError, ImportError) as error:
        raise UserError(f"timm cannot build {full}: {one_line(error)}") from None


def _trained(name: str, weights: Path | str | None = None) -> zoo.Trained | None:
    """Return what sim.train left to know about a model; None for one of timm's."""
    if _is_timm(_full(name)):
        return None
    about = None if weights is None else zoo.trained(weights)
    return zoo.find(_full(name)) if about is None and timm_name(name) in zoo.names() else about


def _package_model(about: zoo.Trained, image_size: int | None = None) -> torch.nn.Module:
    try:
        model = timm.models.vision_transformer.VisionTransformer(
            **about.architecture | _sized(image_size))
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


def _download(full: str, image_size: int | None = None) -> torch.nn.Module:
    try:
        with _quiet("huggingface_hub"):  # its retries, one line each
            return timm.create_model(full, pretrained=True, **_sized(image_size))
    except (OSError, RuntimeError, ValueError, ImportError, TypeError, AssertionError) as error:
        raise UserError(f"timm cannot give {full} its weights ({one_line(error)}); "
                        "name a file with --weights") from None
