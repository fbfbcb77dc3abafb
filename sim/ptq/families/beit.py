"""BEiT of timm's: Bao et al., arXiv 2106.08254, and its second version, Peng et al., 2208.06366."""

from collections.abc import Iterator

import torch
from torch import nn

from golden.network.shape import VitShape

from ...cli import one_line
from ...inputs.models import Preprocessing
from ...inputs.torchvision_compat import timm
from ..float_vit import Affine, FloatVit
from .timm_layers import (
    activation,
    identity,
    is_norm,
    last_norm,
    linear,
    missing_in_epsilons,
    missing_in_images,
    missing_in_mlp,
    norm,
    patch,
    scaled,
)

_TIMM = timm.models.beit


def is_one(model: nn.Module) -> bool:
    """Return whether a model is a BEiT of the first or the second version."""
    return type(model) is _TIMM.Beit


def read(model: nn.Module, preprocessing: Preprocessing) -> FloatVit:
    """Take the weights out of a timm Beit that lacks nothing."""
    shape = sizes(model)
    weight, bias = patch(model.patch_embed.proj, preprocessing)
    embedding = torch.cat((model.cls_token[0].double(), bias.expand(shape.patches, -1)))
    if model.pos_embed is not None:
        embedding += model.pos_embed[0].double()
    head = model.head
    return FloatVit(
        shape, model.blocks[0].norm1.eps, Affine(weight, torch.zeros_like(bias)), embedding,
        [_block(block) for block in model.blocks], norm(last_norm(model)),
        identity(shape.dim) if type(head) is nn.Identity else linear(head),
        places=[_places(model, block) for block in model.blocks] if shape.rel_pos_bias else None)


def sizes(model: nn.Module) -> VitShape:
    """Return the sizes of a timm Beit that lacks nothing."""
    first, embed, token = model.blocks[0], model.patch_embed, model.global_pool == "token"
    return VitShape(
        image=embed.img_size[0], patch=embed.patch_size[0], dim=model.embed_dim,
        depth=len(model.blocks), heads=first.attn.num_heads, hidden=first.mlp.fc1.out_features,
        classes=getattr(model.head, "out_features", model.embed_dim), classified=int(token),
        colours=embed.proj.in_channels, fc_norm=not token and is_norm(model.fc_norm),
        rel_pos_bias=bool(_tables(model, first)), activation=activation(first.mlp))


def missing(model: nn.Module, preprocessing: Preprocessing) -> Iterator[str]:
    """Yield what the integer network lacks for a timm Beit."""
    if not len(model.blocks):
        yield "it has no blocks"
        return
    if model.global_pool not in {"token", "avg"}:
        yield "there must be a class token or the mean of the patches to be classified"
    if type(model.head) not in {nn.Linear, nn.Identity}:
        yield "there must be a linear head, or none"
    if last_norm(model) is None:
        yield "the last norm must be a LayerNorm with weight and bias"
    embed = model.patch_embed
    if type(embed) is not timm.layers.PatchEmbed or type(embed.norm) is not nn.Identity:
        yield f"patch embedding {type(embed).__name__} is not supported"
        return
    yield from missing_in_images(embed, preprocessing)
    yield from missing_in_epsilons(model)
    for index, block in enumerate(model.blocks):
        yield from (f"block {index}: {what}" for what in _missing_in_block(model, block))
    try:
        sizes(model)
    except ValueError as error:
        yield one_line(error)


def _missing_in_block(model: nn.Module, block: nn.Module) -> Iterator[str]:
    if type(block) is not _TIMM.Block:
        yield f"{type(block).__name__} is not supported"
        return
    if type(block.attn) is not _TIMM.Attention:
        yield f"attention {type(block.attn).__name__} is not supported"
        return
    yield from missing_in_mlp(block, model.blocks[0])
    found, wanted = block.attn.qkv.out_features, 3 * model.embed_dim
    if found != wanted:
        yield f"there must be {wanted} channels of queries, keys and values, not {found}"
    if bool(_tables(model, block)) != bool(_tables(model, model.blocks[0])):
        yield "relative positions of some blocks alone are not supported"


def _block(block: nn.Module) -> dict[str, Affine]:
    attn = block.attn
    qkv = linear(attn.qkv)
    if attn.q_bias is not None:
        qkv.bias = torch.cat((attn.q_bias, attn.k_bias, attn.v_bias)).double()
    return {"norm1": norm(block.norm1), "qkv": qkv,
            "proj": scaled(linear(attn.proj), block.gamma_1), "norm2": norm(block.norm2),
            "fc1": linear(block.mlp.fc1), "fc2": scaled(linear(block.mlp.fc2), block.gamma_2)}


def _tables(model: nn.Module, block: nn.Module) -> list[nn.Module]:
    """Return what has relative positions for a block: its own, those that all blocks share."""
    return [one for one in (block.attn, model.rel_pos_bias)
            if getattr(one, "relative_position_bias_table", None) is not None]


def _places(model: nn.Module, block: nn.Module) -> torch.Tensor:
    """Return what is added to the scores of a block, (heads, tokens, tokens)."""
    return sum(one.relative_position_bias_table.double()[one.relative_position_index]
               for one in _tables(model, block)).permute(2, 0, 1).contiguous()
