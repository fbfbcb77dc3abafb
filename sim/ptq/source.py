"""The float side of a quantized network, from a timm model.

What the integer network has no operation for is folded first:
the normalisation of pixels into the patch embedding, LayerScale into the layer before it. The two
heads of a distilled network, whose logits timm averages, become one that takes both tokens side by
side. Without a head, the features that it would take are what comes out.
"""

from types import ModuleType

import torch
from torch import nn

from golden.network.shape import VitShape

from ..cli import UserError, one_line
from ..inputs.models import Preprocessing
from ..inputs.torchvision_compat import timm
from .families import beit, swin
from .families.timm_layers import (
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
)
from .float_vit import HEAD_NORMS, Affine, FloatVit

_TIMM = timm.models.vision_transformer
_DISTILLED = timm.models.deit.VisionTransformerDistilled

_LACKS = {
    "BEiT3": "a norm within attention and MLP",
    "Cait": "talking heads", "Eva": "rotary position embedding",
    "MlpMixer": "mixing of tokens by an MLP", "NaFlexVit": "patches of any aspect",
    "SwinTransformerV2": "cosine attention", "SwinTransformerV2Cr": "cosine attention",
    "VisionTransformerRelPos": "relative position bias",
    "VisionTransformerSAM": "relative position bias",
}
"""What keeps other models of timm's from being integer networks, by their class."""

_POOLED = {"avg": "average pooling", "avgmax": "average and maximum pooling",
           "max": "maximum pooling", "map": "attention pooling", "prr": "attention pooling",
           "": "the output of all tokens"}


def read(model: nn.Module, preprocessing: Preprocessing, name: str = "") -> FloatVit:
    """Take the weights out of a timm VisionTransformer, Beit or SwinTransformer.

    Raises
    ------
    UserError
        If the model has something that the integer network does not do; it is named.
    """
    name = name or type(model).__name__
    what = missing(model, preprocessing)
    if what is not None:
        raise UserError(f"{name} cannot be quantized: {what}")
    with torch.no_grad():
        family = _family(model)
        if family is not None:
            return family.read(model, preprocessing)
        first, shape = model.blocks[0], sizes(model)
        weight, bias = patch(model.patch_embed.proj, preprocessing)
        places = model.pos_embed[0].double()
        embedding = torch.cat((*_prefix(model), bias.expand(shape.patches, -1)))
        embedding[shape.tokens - len(places):] += places  # no_embed_class: patches only
        blocks = [_block(block) for block in model.blocks]
        return FloatVit(shape, first.norm1.eps, Affine(weight, torch.zeros_like(bias)), embedding,
                        blocks, norm(last_norm(model)), _head(model),
                        norm_pre=norm(model.norm_pre) if has_norm_pre(model) else None)


def sizes(model: nn.Module) -> VitShape:
    """Return the sizes of a timm model that lacks nothing."""
    family = _family(model)
    if family is not None:
        return family.sizes(model)
    first = model.blocks[0]
    return VitShape(
        image=model.patch_embed.img_size[0], patch=model.patch_embed.patch_size[0],
        dim=model.embed_dim, depth=len(model.blocks), heads=first.attn.num_heads,
        hidden=first.mlp.fc1.out_features,
        classes=getattr(model.head, "out_features", model.embed_dim),
        prefix=model.num_prefix_tokens, classified=_classified(model),
        colours=model.patch_embed.proj.in_channels,
        fc_norm=not _classified(model) and is_norm(model.fc_norm),
        activation=activation(first.mlp))


def _family(model: nn.Module) -> ModuleType | None:
    """Return the module that reads models of a family of its own."""
    return next((family for family in (beit, swin) if family.is_one(model)), None)


def _classified(model: nn.Module) -> int:
    """Return how many tokens the head takes; 0 if it takes the mean of the patches."""
    if type(model) is _DISTILLED:
        return 2
    return 1 if model.global_pool == "token" else 0


def has_norm_pre(model: nn.Module) -> bool:
    """Return whether a timm model has a LayerNorm before its blocks."""
    return is_norm(model.patch_embed.norm if swin.is_one(model)
                   else getattr(model, "norm_pre", None))


def has_qk_norm(model: nn.Module) -> bool:
    """Return whether a timm model has LayerNorms of queries and keys."""
    return not swin.is_one(model) and _normalizes_queries(model.blocks[0])


def _normalizes_queries(block: nn.Module) -> bool:
    return is_norm(getattr(getattr(block, "attn", None), "q_norm", None))


def missing(model: nn.Module, preprocessing: Preprocessing) -> str | None:
    """Return what the integer network lacks for a model; None if nothing."""
    return next(_missing(model, preprocessing), None)


def _missing(model: nn.Module, preprocessing: Preprocessing):
    """Yield what the integer network lacks for a model."""
    family = _family(model)
    if family is not None:
        yield from family.missing(model, preprocessing)
        return
    if type(model) not in {_TIMM.VisionTransformer, _DISTILLED}:
        name = type(model).__name__
        why = f": {_LACKS[name]} is missing" if name in _LACKS else ""
        yield ("only timm's VisionTransformer, Beit and SwinTransformer are supported, not "
               f"{name}{why}")
        return
    if not len(model.blocks):
        yield "it has no blocks"
        return
    pooled = {"token"} if type(model) is _DISTILLED else {"token", "avg"}
    if model.global_pool not in pooled:
        what = _POOLED.get(model.global_pool, f"pooling of kind {model.global_pool!r}")
        rest = " or the mean of the patches" * ("avg" in pooled)
        yield f"{what} is missing, only a class token{rest} is classified"
    if model.global_pool == "avg" and model.pool_include_prefix and model.num_prefix_tokens:
        yield "pooling of other tokens than the patches is missing"
    if type(model) is _DISTILLED and model.reg_token is not None:
        yield "register tokens of a distilled network are not supported"
    if model.pos_embed is None:
        yield "there must be a learned position embedding"
    if getattr(model, "attn_pool", None) is not None:
        yield "attention pooling is missing"
    if not (type(model.norm_pre) is nn.Identity or is_norm(model.norm_pre)):
        yield "the norm before the blocks must be a LayerNorm with weight and bias"
    for head in (model.head, *([model.head_dist] if type(model) is _DISTILLED else [])):
        if type(head) is not nn.Linear and not (type(head) is nn.Identity and head is model.head
                                                and type(model) is not _DISTILLED):
            yield "there must be a linear head, or none"
    if last_norm(model) is None:
        yield "the last norm must be a LayerNorm with weight and bias"
    if (type(model.patch_embed) is not timm.layers.PatchEmbed
            or not (model.patch_embed.flatten or model.dynamic_img_size)):
        yield f"patch embedding {type(model.patch_embed).__name__} is not supported"
    elif not isinstance(model.patch_embed.norm, nn.Identity):
        yield "a norm after the patch embedding is not supported"
    else:
        yield from missing_in_images(model.patch_embed, preprocessing)
    yield from missing_in_epsilons(model)
    for index, block in enumerate(model.blocks):
        yield from (f"block {index}: {what}" for what in _missing_in_block(block, model))
        if _normalizes_queries(block) != has_qk_norm(model):
            yield f"block {index}: queries and keys must be normalised in all blocks or in none"
    try:
        sizes(model)
    except ValueError as error:
        yield one_line(error)


def _missing_in_block(block: nn.Module, model: nn.Module):
    if type(block) is not _TIMM.Block:
        yield f"{type(block).__name__} is not supported"
        return
    attn = block.attn
    if type(attn) is not timm.layers.Attention:
        yield f"attention {type(attn).__name__} is not supported"
        return
    if type(getattr(attn, "norm", nn.Identity())) is not nn.Identity:
        yield "attention with norm is not supported"
    if {type(attn.q_norm), type(attn.k_norm)} != {nn.Identity}:
        for name in HEAD_NORMS:
            if not is_norm(getattr(attn, name)):
                yield f"{name} must be a LayerNorm with weight and bias"
    if getattr(attn, "gate", None) is not None:
        yield "gated attention is not supported"
    yield from missing_in_mlp(block, model.blocks[0])
    for name in ("ls1", "ls2"):
        if type(getattr(block, name)) not in {nn.Identity, timm.layers.LayerScale,
                                              getattr(_TIMM, "LayerScale", nn.Identity)}:
            yield f"{name} {type(getattr(block, name)).__name__} is not supported"


def _prefix(model: nn.Module) -> list[torch.Tensor]:
    """Return the tokens before the patches, without positions, (1, dim) or (registers, dim)."""
    tokens = (model.cls_token, getattr(model, "dist_token", None), model.reg_token)
    return [token[0].double() for token in tokens if token is not None]


def _head(model: nn.Module) -> Affine:
    """Return the classifier: of two heads, half of each one's weights above each other; of none,
    what gives the features as they are.
    """
    if type(model.head) is nn.Identity:
        return identity(model.embed_dim)
    if type(model) is not _DISTILLED:
        return linear(model.head)
    parts = [linear(head) for head in (model.head, model.head_dist)]
    return Affine(torch.cat([part.weight for part in parts]) / 2,
                  sum(part.bias for part in parts) / 2)


def _block(block: nn.Module) -> dict[str, Affine]:
    attn = block.attn
    heads = {name: norm(getattr(attn, name)) for name in HEAD_NORMS if is_norm(getattr(attn, name))}
    return {"norm1": norm(block.norm1), "qkv": linear(attn.qkv), **heads,
            "proj": linear(attn.proj, block.ls1), "norm2": norm(block.norm2),
            "fc1": linear(block.mlp.fc1), "fc2": linear(block.mlp.fc2, block.ls2)}
