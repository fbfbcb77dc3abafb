"""The float side of a quantized network: its weights as one plain structure, from a timm model.

Weights are ``(inputs, outputs)``. What the integer network has no operation for is folded first:
the normalisation of pixels into the patch embedding, LayerScale into the layer before it. The two
heads of a distilled network, whose logits timm averages, become one that takes both tokens side by
side. Without a head, the class token's features are what comes out.
"""

from dataclasses import dataclass

import torch
from torch import nn

from golden.network.shape import VitShape

from ..cli import UserError, one_line
from ..inputs.models import Preprocessing
from ..inputs.torchvision_compat import timm

LAYERS = ("qkv", "proj", "fc1", "fc2")
"""Matrix products of a block that have weights."""

_TIMM = timm.models.vision_transformer
_DISTILLED = timm.models.deit.VisionTransformerDistilled

_LACKS = {
    "Beit": "relative position bias", "BEiT3": "a norm within attention and MLP",
    "Cait": "talking heads", "Eva": "rotary position embedding",
    "MlpMixer": "mixing of tokens by an MLP", "NaFlexVit": "patches of any aspect",
    "SwinTransformer": "attention within windows", "SwinTransformerV2": "attention within windows",
    "SwinTransformerV2Cr": "attention within windows",
    "VisionTransformerRelPos": "relative position bias",
    "VisionTransformerSAM": "attention within windows",
}
"""What keeps other models of timm's from being integer networks, by their class."""

_POOLED = {"avg": "average pooling", "avgmax": "average and maximum pooling",
           "max": "maximum pooling", "map": "attention pooling", "prr": "attention pooling",
           "": "the output of all tokens"}


@dataclass
class Affine:
    """Weights ``(inputs, outputs)`` and biases of a layer, or ``(channels,)`` of a LayerNorm."""

    weight: torch.Tensor
    bias: torch.Tensor


@dataclass
class FloatVit:
    """A Vision Transformer's weights, float64.

    Attributes
    ----------
    shape, epsilon
        Sizes; what LayerNorm adds to the variance.
    patch
        Patch embedding for raw pixels 0..255, by row, column and colour; its bias is zero.
    embedding
        ``(tokens, dim)``: position, and tokens of the prefix or bias of the patch embedding.
    blocks
        For each block ``norm1``, ``qkv``, ``proj``, ``norm2``, ``fc1``, ``fc2``.
    norm, head
        The last LayerNorm; the classifier of ``shape.classified_dim`` inputs.
    coarse : uint8 tensor, shape (depth, hidden), or None
        1 for hidden units whose values are taken ``2**COARSE`` times smaller behind GELU
        (:data:`golden.results.gelu.COARSE`), which their weights in ``fc2`` make up for; None if
        there are none.
    norm_pre
        A LayerNorm of the embedded tokens, before the blocks; None if there is none.
    """

    shape: VitShape
    epsilon: float
    patch: Affine
    embedding: torch.Tensor
    blocks: list[dict[str, Affine]]
    norm: Affine
    head: Affine
    coarse: torch.Tensor | None = None
    norm_pre: Affine | None = None

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor by name, like ``blocks.3.fc1.weight``."""
        found = {"embedding": self.embedding}
        parts = {"patch": self.patch, "norm": self.norm, "head": self.head}
        if self.norm_pre is not None:
            parts["norm_pre"] = self.norm_pre
        for index, block in enumerate(self.blocks):
            parts |= {f"blocks.{index}.{name}": part for name, part in block.items()}
        for name, part in parts.items():
            found[f"{name}.weight"], found[f"{name}.bias"] = part.weight, part.bias
        return found

    def copy(self) -> "FloatVit":
        """Return a network whose tensors are its own."""
        def twin(part):
            return Affine(part.weight.clone(), part.bias.clone())

        return FloatVit(self.shape, self.epsilon, twin(self.patch), self.embedding.clone(),
                        [{name: twin(part) for name, part in block.items()}
                         for block in self.blocks], twin(self.norm), twin(self.head), self.coarse,
                        self.norm_pre and twin(self.norm_pre))


def read(model: nn.Module, preprocessing: Preprocessing, name: str = "") -> FloatVit:
    """Take the weights out of a timm VisionTransformer.

    Raises
    ------
    UserError
        If the model has something that the integer network does not do; it is named.
    """
    name = name or type(model).__name__
    what = missing(model, preprocessing)
    if what is not None:
        raise UserError(f"{name} cannot be quantized: {what}")
    first, shape = model.blocks[0], sizes(model)
    with torch.no_grad():
        patch, bias = _patch(model.patch_embed.proj, preprocessing)
        places = model.pos_embed[0].double()
        embedding = torch.cat((*_prefix(model), bias.expand(shape.patches, -1)))
        embedding[shape.tokens - len(places):] += places  # no_embed_class: patches only
        blocks = [_block(block) for block in model.blocks]
        return FloatVit(shape, first.norm1.eps, Affine(patch, torch.zeros_like(bias)), embedding,
                        blocks, _norm(model.norm), _head(model),
                        norm_pre=_norm(model.norm_pre) if has_norm_pre(model) else None)


def sizes(model: nn.Module) -> VitShape:
    """Return the sizes of a timm VisionTransformer that lacks nothing."""
    first = model.blocks[0]
    return VitShape(
        image=model.patch_embed.img_size[0], patch=model.patch_embed.patch_size[0],
        dim=model.embed_dim, depth=len(model.blocks), heads=first.attn.num_heads,
        hidden=first.mlp.fc1.out_features,
        classes=getattr(model.head, "out_features", model.embed_dim),
        prefix=model.num_prefix_tokens, classified=2 if type(model) is _DISTILLED else 1)


def has_norm_pre(model: nn.Module) -> bool:
    """Return whether a timm VisionTransformer has a LayerNorm before its blocks."""
    return _is_norm(model.norm_pre)


def missing(model: nn.Module, preprocessing: Preprocessing) -> str | None:
    """Return what the integer network lacks for a model; None if nothing."""
    return next(_missing(model, preprocessing), None)


def _missing(model: nn.Module, preprocessing: Preprocessing):
    """Yield what the integer network lacks for a model."""
    if type(model) not in {_TIMM.VisionTransformer, _DISTILLED}:
        name = type(model).__name__
        why = f": {_LACKS[name]} is missing" if name in _LACKS else ""
        yield f"only timm's VisionTransformer is supported, not {name}{why}"
        return
    if not len(model.blocks):
        yield "it has no blocks"
        return
    if model.global_pool != "token":
        what = _POOLED.get(model.global_pool, f"pooling of kind {model.global_pool!r}")
        yield f"{what} is missing, only a class token is classified"
    if model.cls_token is None:
        yield "there must be a class token"
    if type(model) is _DISTILLED and model.reg_token is not None:
        yield "register tokens of a distilled network are not supported"
    if model.pos_embed is None:
        yield "there must be a learned position embedding"
    if getattr(model, "attn_pool", None) is not None:
        yield "attention pooling is missing"
    if type(model.fc_norm) is not nn.Identity:
        yield "fc_norm is not supported"
    if not (type(model.norm_pre) is nn.Identity or _is_norm(model.norm_pre)):
        yield "the norm before the blocks must be a LayerNorm with weight and bias"
    for head in (model.head, *([model.head_dist] if type(model) is _DISTILLED else [])):
        if type(head) is not nn.Linear and not (type(head) is nn.Identity and head is model.head
                                                and type(model) is not _DISTILLED):
            yield "there must be a linear head, or none"
    if not _is_norm(model.norm):
        yield "the last norm must be a LayerNorm with weight and bias"
    if (type(model.patch_embed) is not timm.layers.PatchEmbed
            or not (model.patch_embed.flatten or model.dynamic_img_size)):
        yield f"patch embedding {type(model.patch_embed).__name__} is not supported"
    elif not isinstance(model.patch_embed.norm, nn.Identity):
        yield "a norm after the patch embedding is not supported"
    elif len({*model.patch_embed.img_size}) > 1 or len({*model.patch_embed.patch_size}) > 1:
        yield "images and patches must be square"
    elif tuple(preprocessing.size) != tuple(model.patch_embed.img_size):
        yield f"images must be of {model.patch_embed.img_size}, not {tuple(preprocessing.size)}"
    elif model.patch_embed.proj.in_channels != 3:
        yield "images must have three colours"
    epsilons = {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)}
    if len(epsilons) > 1:
        yield f"every LayerNorm must have the same epsilon, not {sorted(epsilons)}"
    for index, block in enumerate(model.blocks):
        yield from (f"block {index}: {what}" for what in _missing_in_block(block))
    try:
        sizes(model)
    except ValueError as error:
        yield one_line(error)


def _missing_in_block(block: nn.Module):
    if type(block) is not _TIMM.Block:
        yield f"{type(block).__name__} is not supported"
        return
    attn, mlp = block.attn, block.mlp
    if type(attn) is not timm.layers.Attention:
        yield f"attention {type(attn).__name__} is not supported"
        return
    for part in ("q_norm", "k_norm", "norm"):
        if type(getattr(attn, part, nn.Identity())) is not nn.Identity:
            yield f"attention with {part} is not supported"
    if getattr(attn, "gate", None) is not None:
        yield "gated attention is not supported"
    if type(mlp) is not timm.layers.Mlp or type(mlp.norm) is not nn.Identity:
        yield f"MLP {type(mlp).__name__} is not supported"
    elif type(mlp.act) is not nn.GELU or mlp.act.approximate != "none":
        yield f"activation {mlp.act} is not supported, only exact GELU"
    for name in ("norm1", "norm2"):
        if not _is_norm(getattr(block, name)):
            yield f"{name} must be a LayerNorm with weight and bias"
    for name in ("ls1", "ls2"):
        if type(getattr(block, name)) not in {nn.Identity, timm.layers.LayerScale,
                                              getattr(_TIMM, "LayerScale", nn.Identity)}:
            yield f"{name} {type(getattr(block, name)).__name__} is not supported"


def _is_norm(norm: nn.Module) -> bool:
    return isinstance(norm, nn.LayerNorm) and norm.weight is not None and norm.bias is not None


def _prefix(model: nn.Module) -> list[torch.Tensor]:
    """Return the tokens before the patches, without positions, (1, dim) or (registers, dim)."""
    tokens = (model.cls_token, getattr(model, "dist_token", None), model.reg_token)
    return [token[0].double() for token in tokens if token is not None]


def _patch(conv: nn.Conv2d, preprocessing: Preprocessing):
    """Fold ``(pixel / 255 - mean) / std`` into the weights and the bias."""
    mean, std = (torch.tensor(value, dtype=torch.float64)
                 for value in (preprocessing.mean, preprocessing.std))
    weight = conv.weight.double() / std[:, None, None]
    bias = conv.bias.double() if conv.bias is not None else torch.zeros(len(weight)).double()
    bias = bias - (weight * mean[:, None, None]).sum((1, 2, 3))
    return (weight / 255).permute(2, 3, 1, 0).flatten(0, 2).contiguous(), bias


def _norm(norm: nn.LayerNorm) -> Affine:
    return Affine(norm.weight.double().clone(), norm.bias.double().clone())


def _head(model: nn.Module) -> Affine:
    """Return the classifier: of two heads, half of each one's weights above each other; of none,
    what gives the features as they are.
    """
    if type(model.head) is nn.Identity:
        return Affine(torch.eye(model.embed_dim).double(), torch.zeros(model.embed_dim).double())
    if type(model) is not _DISTILLED:
        return _linear(model.head)
    parts = [_linear(head) for head in (model.head, model.head_dist)]
    return Affine(torch.cat([part.weight for part in parts]) / 2,
                  sum(part.bias for part in parts) / 2)


def _linear(layer: nn.Linear, scale: nn.Module | None = None) -> Affine:
    weight = layer.weight.double().T.clone()
    bias = (layer.bias.double().clone() if layer.bias is not None
            else weight.new_zeros(weight.shape[1]))
    gamma = getattr(scale, "gamma", None)
    if gamma is not None:
        weight, bias = weight * gamma.double(), bias * gamma.double()
    return Affine(weight.contiguous(), bias)


def _block(block: nn.Module) -> dict[str, Affine]:
    return {"norm1": _norm(block.norm1), "qkv": _linear(block.attn.qkv),
            "proj": _linear(block.attn.proj, block.ls1), "norm2": _norm(block.norm2),
            "fc1": _linear(block.mlp.fc1), "fc2": _linear(block.mlp.fc2, block.ls2)}
