"""Swin Transformers of timm's: Liu et al., arXiv 2103.14030."""

from collections.abc import Iterator
from itertools import accumulate

import torch
from torch import nn

from golden.network.shape import BlockShape, VitShape

from ...cli import one_line
from ...inputs.models import Preprocessing
from ...inputs.torchvision_compat import timm
from ..float_vit import Affine, FloatVit
from .timm_layers import (
    activation,
    identity,
    is_norm,
    linear,
    missing_in_epsilons,
    missing_in_images,
    missing_in_mlp,
    norm,
    patch,
)

_TIMM = timm.models.swin_transformer


def is_one(model: nn.Module) -> bool:
    """Return whether a model is a Swin Transformer of the first version."""
    return type(model) is _TIMM.SwinTransformer


def read(model: nn.Module, preprocessing: Preprocessing) -> FloatVit:
    """Take the weights out of a timm SwinTransformer that lacks nothing."""
    shape, embed, blocks = sizes(model), model.patch_embed, _blocks(model)
    weight, bias = patch(embed.proj, preprocessing)
    fc = model.head.fc
    return FloatVit(
        shape, model.norm.eps, Affine(weight, torch.zeros_like(bias)),
        bias.expand(shape.tokens, -1).clone(), [_block(block) for block in blocks],
        norm(model.norm), identity(shape.last_dim) if type(fc) is nn.Identity else linear(fc),
        norm_pre=norm(embed.norm) if is_norm(embed.norm) else None,
        places=[_places(block.attn) for block in blocks],
        merges=[_merge(stage.downsample) for stage in model.layers[1:]])


def sizes(model: nn.Module) -> VitShape:
    """Return the sizes of a timm SwinTransformer that lacks nothing."""
    blocks, ends = _blocks(model), list(accumulate(len(stage.blocks) for stage in model.layers))
    first, embed = blocks[0], model.patch_embed
    return VitShape(
        image=embed.img_size[0], patch=embed.patch_size[0], dim=first.dim, depth=ends[-1],
        heads=first.attn.num_heads, hidden=first.mlp.fc1.out_features,
        classes=getattr(model.head.fc, "out_features", model.num_features), prefix=0, classified=0,
        window=max(block.window_size[0] for block in blocks), merges=tuple(ends[:-1]),
        colours=embed.proj.in_channels, activation=activation(first.mlp))


def missing(model: nn.Module, preprocessing: Preprocessing) -> Iterator[str]:
    """Yield what the integer network lacks for a timm SwinTransformer."""
    for index, stage in enumerate(model.layers):
        if not len(stage.blocks):
            yield f"stage {index} has no blocks"
            return
    pooled = model.head.global_pool.pool_type
    if pooled != "avg":
        yield f"pooling of kind {pooled!r} is missing, only the mean of the tokens is classified"
    if type(model.head.fc) not in {nn.Linear, nn.Identity}:
        yield "there must be a linear head, or none"
    if not is_norm(model.norm):
        yield "the last norm must be a LayerNorm with weight and bias"
    embed = model.patch_embed
    if type(embed) is not timm.layers.PatchEmbed:
        yield f"patch embedding {type(embed).__name__} is not supported"
        return
    if not (type(embed.norm) is nn.Identity or is_norm(embed.norm)):
        yield "the norm of the patches must be a LayerNorm with weight and bias"
    yield from missing_in_images(embed, preprocessing)
    yield from missing_in_epsilons(model)
    for stage in model.layers[1:]:
        if type(stage.downsample) is not _TIMM.PatchMerging or not is_norm(stage.downsample.norm):
            yield f"merging by {type(stage.downsample).__name__} is not supported"
    blocks = _blocks(model)
    for index, block in enumerate(blocks):
        yield from (f"block {index}: {what}" for what in _missing_in_block(block, blocks[0]))
    try:
        shape = sizes(model)
    except ValueError as error:
        yield one_line(error)
        return
    for index, (block, size) in enumerate(zip(blocks, shape.blocks, strict=True)):
        yield from (f"block {index}: {what}" for what in _other_sizes(block, size))


def _missing_in_block(block: nn.Module, first: nn.Module) -> Iterator[str]:
    if type(block) is not _TIMM.SwinTransformerBlock:
        yield f"{type(block).__name__} is not supported"
    elif type(block.attn) is not _TIMM.WindowAttention:
        yield f"attention {type(block.attn).__name__} is not supported"
    else:
        yield from missing_in_mlp(block, first)


def _other_sizes(block: nn.Module, shape: BlockShape) -> Iterator[str]:
    """Yield what of a block is not as large as it must be."""
    side = shape.window or shape.grid
    for what, found, wanted in (
            ("channels", block.dim, shape.dim), ("heads", block.attn.num_heads, shape.heads),
            ("channels of queries, keys and values", block.attn.qkv.out_features, 3 * shape.dim),
            ("channels inside the MLP", block.mlp.fc1.out_features, shape.hidden),
            ("sides of a window", tuple(block.window_size), (side, side)),
            ("shifts of windows", tuple(block.shift_size), (shape.shift, shape.shift))):
        if found != wanted:
            yield f"there must be {wanted} {what}, not {found}"
            return


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [block for stage in model.layers for block in stage.blocks]


def _block(block: nn.Module) -> dict[str, Affine]:
    return {"norm1": norm(block.norm1), "qkv": linear(block.attn.qkv),
            "proj": linear(block.attn.proj), "norm2": norm(block.norm2),
            "fc1": linear(block.mlp.fc1), "fc2": linear(block.mlp.fc2)}


def _places(attn: nn.Module) -> torch.Tensor:
    """Return what is added to scores, (heads, keys, keys)."""
    taken = attn.relative_position_bias_table[attn.relative_position_index.flatten()]
    side = attn.window_area
    return taken.double().reshape(side, side, -1).permute(2, 0, 1).contiguous()


def _merge(merging: nn.Module) -> dict[str, Affine]:
    made = {"norm": norm(merging.norm), "merge": linear(merging.reduction)}
    first, second = made["norm"], made["merge"]
    return {"norm": Affine(_by_row(first.weight), _by_row(first.bias)),
            "merge": Affine(_by_row(second.weight), second.bias)}


def _by_row(values: torch.Tensor) -> torch.Tensor:
    """Bring channels of four patches, which timm has column by column, into their order by row."""
    return values.unflatten(0, (2, 2, -1)).transpose(0, 1).flatten(0, 2).contiguous()
