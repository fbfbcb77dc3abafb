"""Small random networks."""

from dataclasses import replace

import numpy as np

from golden.network.network import Block, HeadNorm, Linear, Merge, Network, Norm, Stream
from golden.network.precision import HEAD, AnyPrecision, layer_of
from golden.network.shape import MERGED, VitShape
from golden.results import gelu
from golden.rows import layernorm

SHAPE = VitShape(image=12, patch=4, dim=12, depth=2, heads=3, hidden=20, classes=5)
PREFIXES = {"registers": {"prefix": 5}, "distilled": {"prefix": 2, "classified": 2}}
"""Other tokens before the patches than a class token alone."""

MEANS = {"norm": {"classified": 0}, "fc_norm": {"classified": 0, "fc_norm": True},
         "registers": {"classified": 0, "prefix": 4, "fc_norm": True},
         "patches alone": {"classified": 0, "prefix": 0, "fc_norm": True},
         "norm of patches alone": {"classified": 0, "prefix": 0}}
"""The mean of the patches, behind or before the last LayerNorm, and tokens before them."""

RELATIVE = {"class token": {"rel_pos_bias": True},
            "mean": {"rel_pos_bias": True, "classified": 0, "fc_norm": True}}
"""Relative positions of all tokens, a class token among them."""

ACTIVATIONS = ("gelu_tanh", "quick_gelu", "silu", "relu")
"""Of MLPs, from tables that programs load."""

WINDOWS = {"window": 3, "prefix": 0, "classified": 0, "image": 24, "depth": 3, "merges": (2,)}
"""A grid of four windows, of nine in the block after it, which is merged to one."""

LONG = {"hidden": {"hidden": 1056}, "patch": {"image": 40, "patch": 20},
        "keys": {"image": 68, "patch": 4}, "head": {"prefix": 90, "classified": 90}}
"""Products in parts: of an MLP, of patches, of probabilities and values, of a head."""

MIXED = ("w4a4,0=w8a8", "w8a8,0=w4a4", "w4a4,1=w4a8,qkv=w6a6,0.fc2=w4a8,0.proj=w8a8",
         "w4a8,attention=w8a4,1.fc1=w8a8,1.fc2=w4a4")
"""Precisions of two blocks and their layers that differ."""


def network(precision: AnyPrecision, step: int = 0, seed: int = 1,
            shape: VitShape = SHAPE) -> Network:
    """Return a network of random weights whose tensors neither vanish nor saturate everywhere."""
    draw = np.random.default_rng(seed)

    def linear(inputs, outputs, point, gain, fmt):
        weight = draw.integers(fmt.min, fmt.max + 1, (inputs, outputs))
        scale = np.log2(gain / (np.sqrt(inputs / 3) * fmt.max))
        exponent = np.round(1024 * (scale + point + draw.normal(0, 0.3, outputs)))
        return Linear(weight, exponent.astype(int), draw.integers(-200, 200, outputs))

    def norm(channels=shape.last_dim):
        return Norm(draw.integers(2000, 6000, channels), draw.integers(-2**21, 2**21, channels), 12)

    def weight(index, layer):
        return precision.of(index, layer).weight

    def block(index, sizes):
        dim, hidden = sizes.dim, sizes.hidden
        made = Block(norm(dim), linear(dim, 3 * dim, 10, 1, weight(index, "qkv")),
                     linear(dim, dim, 9, 1, weight(index, "proj")),
                     norm(dim), linear(dim, hidden, 10, 1, weight(index, "fc1")),
                     linear(hidden, dim, 9, 1, weight(index, "fc2")), step)
        if not shape.window and not shape.rel_pos_bias:
            return made
        places = draw.integers(-2000, 2001, (sizes.heads, sizes.keys, sizes.keys))
        return replace(made, places=places)

    def merge(index, points):
        dim = shape.blocks[index].dim
        merged = MERGED * dim // 2
        return Merge(norm(merged), linear(merged, dim, points, 1, weight(index, "merge")), 9,
                     Stream(points, 2))

    def largest_of(name):
        index, _, kind = name.rpartition(".")
        return (precision.of(int(index), layer_of(kind)) if index else HEAD).site("qkv").max

    largest = np.array([largest_of(name) for name in shape.site_names()])
    lambdas = np.round(1024 * (np.log2(3 / largest) + draw.normal(0, 0.2, shape.sites)))
    fc2 = [shape.site(block, "fc2") for block in range(shape.depth)]
    lambdas[fc2] -= 1024
    lambdas[-1] = 1024 * np.log2(3 / 127)
    if not shape.classified:
        lambdas[-2:] = 1024 * np.log2(3 / 127), 1024 * np.log2((3 if shape.fc_norm else 1) / 127)
    blocks = tuple(block(index, sizes) for index, sizes in enumerate(shape.blocks))
    patch = linear(shape.patch_values, shape.dim, 9, 1 / 128, HEAD.weight)
    return Network(shape, precision, 9, 10, 10, 1, 1024 * -1, patch,
                   draw.integers(-1000, 1000, (shape.tokens, shape.dim)), blocks, norm(),
                   linear(shape.classified_dim, shape.classes, 10, 1, HEAD.weight),
                   lambdas.astype(int),
                   merges=tuple(merge(block, 10 - number)
                                for number, block in enumerate(shape.merges)))


def with_norm_pre(made: Network) -> Network:
    """Return a network with a LayerNorm before the blocks."""
    dim, draw = made.shape.dim, np.random.default_rng(4)
    norm = Norm(draw.integers(2000, 6000, dim), draw.integers(-2**21, 2**21, dim), 12)
    return replace(made, norm_pre=norm, epsilon_pre=1000)


def with_qk_norm(made: Network) -> Network:
    """Return a network with LayerNorms of queries and keys."""
    channels, draw = made.shape.head_dim, np.random.default_rng(6)

    def norm(epsilon):
        return HeadNorm(Norm(draw.integers(2000, 6000, channels),
                             draw.integers(-2**21, 2**21, channels), 12), epsilon)

    return replace(made, blocks=tuple(
        replace(block, q_norm=norm(3000 + index), k_norm=norm(500 + index))
        for index, block in enumerate(made.blocks)))


def massive(made: Network, channel: int = 3, unit: int = 5) -> Network:
    """Return a network in which a coarse channel carries massive activations from block 0 on.

    Block 0 has them from a coarse column of GELU, where some hidden units' inputs are beyond 32.
    """
    channels, units = (np.zeros(size, np.uint8) for size in (made.shape.dim, made.shape.hidden))
    channels[channel] = units[unit] = 1

    def coarser(layer, column, shift, times=1):
        exponent, bias = layer.exponent.copy(), layer.bias.copy()
        exponent[column] += round(1024 * np.log2(times)) - 1024 * shift
        bias[column] >>= shift
        return replace(layer, exponent=exponent, bias=bias)

    def carried(layer):
        """Only that hidden unit goes to the channel, and to no other."""
        weight, exponent = layer.weight.copy(), layer.exponent.copy()
        weight[:, channel] = weight[unit] = 0
        weight[unit, channel] = largest
        exponent[channel] = round(1024 * np.log2(60 / largest)) + 1024 * 9
        return replace(layer, weight=weight, exponent=exponent)

    largest = made.precision.of(0, "fc2").weight.max
    embedding, scales = made.embedding.copy(), made.scales.copy()
    embedding[:, channel] >>= layernorm.COARSE
    scales[made.shape.site(0, "fc2")] += 2 * 1024
    first, *others = made.blocks
    first = replace(first, fc1=coarser(first.fc1, unit, gelu.COARSE, 80), coarse=units,
                    fc2=carried(first.fc2))
    blocks = [replace(block, proj=coarser(block.proj, channel, layernorm.COARSE),
                      fc2=coarser(block.fc2, channel, layernorm.COARSE))
              for block in (first, *others)]
    return replace(made, patch=coarser(made.patch, channel, layernorm.COARSE), scales=scales,
                   embedding=embedding, blocks=tuple(blocks), coarse=channels)


def pixels(count: int, shape: VitShape = SHAPE, seed: int = 2) -> np.ndarray:
    """Return random images."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, shape.image, shape.image, shape.colours), dtype=np.uint8)
