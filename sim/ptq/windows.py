"""Windows of a block for tensors: which tokens attend to each other."""

from functools import lru_cache

import torch

from golden.network.shape import BlockShape


@lru_cache
def alike(shape: BlockShape) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the windows of a block, those of a size together.

    Of each size the indexes of their tokens, int64 (windows, tokens), and the places that these
    have in a whole window, int64 (tokens,).
    """
    sizes: dict[tuple[int, int], list] = {}
    for window in shape.windows:
        sizes.setdefault((window.height, window.width), []).append(window)
    return [(torch.stack([torch.from_numpy(shape.tokens_of(window)) for window in windows]),
             torch.from_numpy(shape.places_in(windows[0]))) for windows in sizes.values()]


@lru_cache
def order(shape: BlockShape) -> torch.Tensor:
    """Return where each token is among those of :func:`alike`, int64 (tokens,)."""
    return torch.cat([tokens.flatten() for tokens, _ in alike(shape)]).argsort()
