"""Patches that are embedded as the first block takes them: one window behind the other."""

from collections.abc import Callable

from golden.network.precision import HEAD
from golden.product.mac_array import Activation

from ..builder import Matrix
from ..layers import LayerBuilder
from ..lowering import taps_of
from ..residual import patch_layers, patches_of, same_for_all
from .groups import Group
from .stream import Stream


def fetch_first(build: LayerBuilder) -> Callable[[Stream, Group], Matrix]:
    """Return what gives the first block its tokens. It embeds them itself, so that they need not be
    stored and loaded, where there is a LayerNorm behind that, what is added is the same for all,
    and no scale is predicted from it.
    """
    network = build.network
    itself = same_for_all(network) and network.norm_pre is not None and not taps_of(build)[0]
    return embedded if itself else Stream.fetch


def embedded(stream: Stream, group: Group) -> Matrix:
    """Return the tokens of a group, one window behind the other, from the image."""
    build, at = stream.build, group.at
    layers = patch_layers(build)
    image = stream.regions["image"].address
    made = stream.rows(f"embedded{at}", group.rows + 1)
    # The last first: each leaves its row of zeros, with a bias, where the one before it ends.
    for (number, window), start in reversed(list(zip(group.windows, group.starts, strict=True))):
        for part, layer in enumerate(layers):
            of = f".part{part}" if part < len(layers) - 1 else ""
            patches = patches_of(build, f"patches{of}@{number}", window, part, image)
            build.onto(made, f"embedding{at}", patches, layer, None, HEAD.mode, [],
                       Activation.UNSIGNED, first=start, alone=not part)
    x = stream.rows(f"x{at}", group.rows)
    build.begun(made, 1, group.rows, (x, 0))
    build.version(x, f"begun{at}")
    made.versions[-1].last = made.last
    return x
