"""Layers of timm's as :class:`.float_vit.Affine`, and what keeps them from it."""

from collections.abc import Iterator

import torch
from torch import nn

from golden.common.formats import MOST_COLOURS
from golden.results.curves import CURVES

from ...inputs.models import Preprocessing
from ...inputs.torchvision_compat import timm
from ..float_vit import Affine


def is_norm(norm: nn.Module) -> bool:
    """Return whether a module is a LayerNorm with weight and bias."""
    return isinstance(norm, nn.LayerNorm) and norm.weight is not None and norm.bias is not None


def patch(conv: nn.Conv2d, preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold ``(pixel / 255 - mean) / std`` into the weights and the bias."""
    mean, std = (torch.tensor(value, dtype=torch.float64)
                 for value in (preprocessing.mean, preprocessing.std))
    weight = conv.weight.double() / std[:, None, None]
    bias = conv.bias.double() if conv.bias is not None else torch.zeros(len(weight)).double()
    bias = bias - (weight * mean[:, None, None]).sum((1, 2, 3))
    return (weight / 255).permute(2, 3, 1, 0).flatten(0, 2).contiguous(), bias


def norm(layer: nn.LayerNorm) -> Affine:
    """Return a LayerNorm's affine."""
    return Affine(layer.weight.double().clone(), layer.bias.double().clone())


def linear(layer: nn.Linear, scale: nn.Module | None = None) -> Affine:
    """Return a layer, with a LayerScale behind it folded in."""
    weight = layer.weight.double().T.clone()
    bias = (layer.bias.double().clone() if layer.bias is not None
            else weight.new_zeros(weight.shape[1]))
    return scaled(Affine(weight.contiguous(), bias), getattr(scale, "gamma", None))


def scaled(layer: Affine, gamma: torch.Tensor | None) -> Affine:
    """Return a layer whose results are multiplied by factors of their channels, if there are any.
    """
    if gamma is None:
        return layer
    return Affine((layer.weight * gamma.double()).contiguous(), layer.bias * gamma.double())


def last_norm(model: nn.Module) -> nn.Module | None:
    """Return the LayerNorm of what is classified, before or behind a mean; None if there is not
    one alone.
    """
    norms = [layer for layer in (model.norm, model.fc_norm) if type(layer) is not nn.Identity]
    return norms[0] if len(norms) == 1 and is_norm(norms[0]) else None


def identity(channels: int) -> Affine:
    """Return what gives values as they are."""
    return Affine(torch.eye(channels).double(), torch.zeros(channels).double())


def missing_in_images(embed: nn.Module, preprocessing: Preprocessing) -> Iterator[str]:
    """Yield what is not supported of the images that a patch embedding takes."""
    if len({*embed.img_size}) > 1 or len({*embed.patch_size}) > 1:
        yield "images and patches must be square"
    elif tuple(preprocessing.size) != tuple(embed.img_size):
        yield f"images must be of {embed.img_size}, not {tuple(preprocessing.size)}"
    elif not 1 <= embed.proj.in_channels <= MOST_COLOURS:
        yield f"images must have 1 to {MOST_COLOURS} colours, not {embed.proj.in_channels}"
    elif embed.proj.in_channels != len(preprocessing.mean):
        yield (f"images of {embed.proj.in_channels} colours need as many means and deviations, "
               f"not {len(preprocessing.mean)}")


def missing_in_epsilons(model: nn.Module) -> Iterator[str]:
    """Yield that LayerNorms differ in what they add to the variance, if they do."""
    epsilons = {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}
    if len(epsilons) > 1:
        yield f"every LayerNorm must have the same epsilon, not {sorted(epsilons)}"


_ACTIVATIONS = {nn.SiLU: "silu", nn.ReLU: "relu", timm.layers.activations.Swish: "silu",
                timm.layers.activations.QuickGELU: "quick_gelu",
                timm.layers.activations.GELUTanh: "gelu_tanh"}


def activation(mlp: nn.Module) -> str | None:
    """Return the name of an MLP's activation, as :data:`golden.results.curves.CURVES` has it; None
    if it has none of these.
    """
    if type(mlp.act) is nn.GELU:
        return {"none": "gelu", "tanh": "gelu_tanh"}[mlp.act.approximate]
    return _ACTIVATIONS.get(type(mlp.act))


def missing_in_mlp(block: nn.Module, first: nn.Module) -> Iterator[str]:
    """Yield what is not supported of the MLP and the LayerNorms of a block, beside the first."""
    mlp = block.mlp
    if type(mlp) is not timm.layers.Mlp or type(mlp.norm) is not nn.Identity:
        yield f"MLP {type(mlp).__name__} is not supported"
    elif activation(mlp) is None:
        yield f"activation {mlp.act} is not supported, only {', '.join(CURVES)}"
    elif activation(mlp) != activation(first.mlp):
        yield (f"all blocks must have the activation {activation(first.mlp)} of the first, not "
               f"{activation(mlp)}")
    for name in ("norm1", "norm2"):
        if not is_norm(getattr(block, name)):
            yield f"{name} must be a LayerNorm with weight and bias"
