"""Windows of a block for tensors: which tokens attend to each other."""

from functools import lru_cache

import numpy as np
import torch

from golden.network.shape import BlockShape


def alike(shape: BlockShape) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return the windows of a block, those of a size together.

    Of each size the indexes of their tokens, int64 (windows, tokens), and the places that these
    have in a whole window, int64 (tokens,).
    """
    return [(torch.from_numpy(tokens), torch.from_numpy(places))
            for tokens, places in _alike(shape)]


def order(shape: BlockShape) -> torch.Tensor:
    """Return where each token is among those of :func:`alike`, int64 (tokens,)."""
    return torch.cat([tokens.flatten() for tokens, _ in alike(shape)]).argsort()


@lru_cache
def _alike(shape: BlockShape) -> list[tuple[np.ndarray, np.ndarray]]:
    # of arrays: tensors that PyTorch makes while it infers are no use where it learns
    sizes: dict[tuple[int, int], list] = {}
    for window in shape.windows:
        sizes.setdefault((window.height, window.width), []).append(window)
    return [(np.stack([shape.tokens_of(window) for window in windows]),
             shape.places_in(windows[0])) for windows in sizes.values()]
