"""Images as training takes them: padded, cropped and mirrored, cut into patches, normalised."""

import numpy as np
import torch


def patches(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Cut ``[n, side, side, 3]`` into ``[n, patches, 3 * size**2]``, in timm's order."""
    n, side, _, colours = pixels.shape
    grid = side // size
    cut = pixels.reshape(n, grid, size, grid, size, colours).permute(0, 1, 3, 5, 2, 4)
    return cut.reshape(n, grid * grid, colours * size * size)


def normalise(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Return 8-bit pixels ``[..., 3]`` as the model wants them."""
    return (pixels.float() / 255 - mean) / std


def normalise_patches(cut: torch.Tensor, mean: torch.Tensor, std: torch.Tensor,
                      area: int) -> torch.Tensor:
    """Normalise 8-bit patches ``[..., 3 * area]``, colour by colour."""
    return ((cut.float() / 255 - mean.repeat_interleave(area)) / std.repeat_interleave(area))


def pad(pixels: np.ndarray, padding: int) -> torch.Tensor:
    """Mirror the edges of 8-bit images ``[n, side, side, 3]``."""
    around = (padding, padding)
    return torch.from_numpy(np.pad(pixels, ((0, 0), around, around, (0, 0)), "reflect"))


def augment(padded: torch.Tensor, padding: int, draw: torch.Generator) -> torch.Tensor:
    """Crop each padded image somewhere, and mirror every other one or so."""
    n, side = len(padded), padded.shape[1] - 2 * padding
    span = torch.arange(side)
    top, left = torch.randint(2 * padding + 1, (2, n, 1), generator=draw)
    flip = torch.rand(n, 1, generator=draw) < 0.5
    rows, columns = top + span, left + torch.where(flip, side - 1 - span, span)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
