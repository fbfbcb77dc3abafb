"""Initial weights of a Vision Transformer that is trained on small images."""

import math

import torch
from torch.nn import functional

from ..inputs.torchvision_compat import timm
from .training_images import patches

_NEIGHBOURS = ((0, 1), (1, 0), (0, -1), (-1, 0)), ((1, 1), (1, -1), (-1, -1), (-1, 1))


def build(architecture: dict, pixels: torch.Tensor, seed: int) -> torch.nn.Module:
    """Build a model with initial weights that suit small images.

    The position embedding holds sines and cosines of the row and the column. The queries of a
    head are turned against its keys, so that a patch first looks at the neighbour in one
    direction. The patch embedding whitens the patches of `pixels`, which are normalised. The two
    share the channels: each has a subspace of its own, in a random orthonormal basis. Branches of
    the blocks start at zero.
    """
    torch.manual_seed(seed)
    model = timm.models.vision_transformer.VisionTransformer(**architecture)
    width, heads = model.embed_dim, len(model.blocks) and model.blocks[0].attn.num_heads
    size, (grid, _) = model.patch_embed.patch_size[0], model.patch_embed.grid_size
    head = width // heads
    basis = torch.linalg.qr(torch.randn(width, width)).Q
    places, contents = basis[:, :head], basis[:, head:]

    frequencies = math.pi * (torch.arange(head // 4) + 0.5) / (head // 4)
    angles = torch.arange(grid)[:, None] * frequencies
    waves = torch.stack((angles.cos(), angles.sin()), -1).flatten(1)  # [grid, head / 2]
    rows, columns = waves.repeat_interleave(grid, 0), waves.repeat(grid, 1)
    place = torch.cat((rows, columns), 1) * math.sqrt(72 / head)  # of norm 6
    cut = patches(pixels, size).flatten(0, 1)
    values, vectors = torch.linalg.eigh(cut.T @ cut / len(cut))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = min(len(values), width - head)
    whiten = (vectors / (values + 0.01).sqrt())[:, :kept].T
    with torch.no_grad():
        model.pos_embed[0, 1:] = place @ places.T
        model.pos_embed[0, 0] = 0
        model.patch_embed.proj.weight.copy_(
            (contents[:, :kept] @ whiten).view_as(model.patch_embed.proj.weight))
        model.patch_embed.proj.bias.zero_()
        model.cls_token.copy_(6 * functional.normalize(torch.randn(width), dim=0))
        for index, block in enumerate(model.blocks):
            sharp = 0.75 if index < 2 * len(model.blocks) / 3 else 0.5
            attention = block.attn
            for number in range(heads):
                one = slice(number * head, (number + 1) * head)
                offset = _NEIGHBOURS[index % 2][number % 4]
                turned = _turn(places, frequencies, offset)
                attention.qkv.weight[:width][one] = sharp * turned.T
                attention.qkv.weight[width:2 * width][one] = sharp * places.T
            attention.qkv.weight[:2 * width].add_(torch.randn(2 * width, width), alpha=0.02)
            values = torch.linalg.qr(torch.randn(width, width)).Q
            attention.qkv.weight[2 * width:] = 0.5 * values
            attention.proj.weight.zero_()
            hidden = torch.linalg.qr(torch.randn(block.mlp.fc1.out_features, width)).Q
            block.mlp.fc1.weight.copy_(hidden)
            block.mlp.fc2.weight.zero_()
    return model


def _turn(places: torch.Tensor, frequencies: torch.Tensor, offset: tuple[int, int]) -> torch.Tensor:
    """Turn the waves' subspace so that a place becomes the place `offset` further on."""
    blocks = []
    for distance in offset:
        for angle in frequencies * distance:
            cos, sin = angle.cos(), angle.sin()
            blocks.append(torch.stack((torch.stack((cos, -sin)), torch.stack((sin, cos)))))
    return places @ torch.block_diag(*blocks).T
