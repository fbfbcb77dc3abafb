"""Images of a step of training: mirrored, cropped, recoloured and mixed."""

import math

import torch
from torch.nn import functional

from .budget import Budget


def augment(pixels: torch.Tensor, budget: Budget, draw: torch.Generator) -> torch.Tensor:
    """Mirror, crop, recolour and mix uint8 images ``(images, side, side, 3)``."""
    side = pixels.shape[1]
    images = pixels.permute(0, 3, 1, 2).float()
    made = torch.empty_like(images)
    for index, image in enumerate(images):
        area, aspect, top, left, flip = torch.rand(5, generator=draw).tolist()
        area, aspect = budget.area + (1 - budget.area) * area, math.exp((aspect - 0.5) * 0.5)
        height, width = (min(side, max(1, round(side * math.sqrt(area * ratio))))
                         for ratio in (aspect, 1 / aspect))
        top, left = round(top * (side - height)), round(left * (side - width))
        part = image[None, :, top:top + height, left:left + width]
        made[index] = functional.interpolate(part, (side, side), mode="bicubic",
                                             align_corners=False)[0]
        if flip < 0.5:
            made[index] = made[index].flip(2)
    if budget.colour:
        made = recoloured(made, budget.colour, draw)
    if float(torch.rand((), generator=draw)) < budget.mix:
        share, top, left = torch.rand(3, generator=draw).tolist()
        length = round(side * math.sqrt(share))
        rows, columns = (slice(round(at * (side - length)), round(at * (side - length)) + length)
                         for at in (top, left))
        made[:, :, rows, columns] = made.flip(0)[:, :, rows, columns]
    return made.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def recoloured(images: torch.Tensor, most: float, draw: torch.Generator) -> torch.Tensor:
    """Change brightness, contrast (about the mean grey) and saturation of images by factors of up
    to ``2**most``, each image by its own: ``(images, colours, side, side)``, values 0 to 255.
    """
    factors = torch.exp2(most * (2 * torch.rand((3, len(images), 1, 1, 1), generator=draw) - 1))
    bright, contrast, saturation = factors
    made = (images * bright).clamp_(0, 255)
    mean = _grey(made).mean((2, 3), keepdim=True)
    made = (mean + contrast * (made - mean)).clamp_(0, 255)
    grey = _grey(made)
    return grey + saturation * (made - grey)


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Return the luma of RGB (ITU-R BT.601); of other images, the mean of their colours."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
