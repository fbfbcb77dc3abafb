"""A float model of timm's as a module of 8-bit pixels: what quantized networks are held against."""

import torch
from torch import nn


class FloatReference(nn.Module):
    """Normalises pixels and runs a model.

    Parameters
    ----------
    model
        Takes ``(images, 3, side, side)``.
    preprocessing
        The :class:`sim.inputs.models.Preprocessing` that made the pixels.
    """

    def __init__(self, model: nn.Module, preprocessing):
        super().__init__()
        self.model = model
        self.mean, self.std = preprocessing.mean, preprocessing.std

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn ``uint8 (images, side, side, 3)`` into logits ``(images, classes)``."""
        values = (pixels / 255 - torch.tensor(self.mean)) / torch.tensor(self.std)
        return self.model(values.permute(0, 3, 1, 2).contiguous())
