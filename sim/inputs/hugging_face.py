"""Names that Hugging Face's transformers give to weights, as timm's.

Those of ``ViTForImageClassification``, ``DeiTForImageClassification`` (also ``WithTeacher``) and
``SwinForImageClassification``. Queries, keys and values, which have weights of their own there, are
one layer in timm; Swin's patches are merged at the end of a stage there, in timm at the beginning
of the next.
"""

import re

import torch

State = dict[str, torch.Tensor]

_ANCHOR = "embeddings.patch_embeddings.projection.weight"
_MODEL = re.compile(r"^(?:vit|deit|swin)\.")
_PARTS = ("query", "key", "value")
_SPLIT = re.compile(r"(.*\.attn)\.(?:attention|self)\.(query|key|value)\.(weight|bias)")

_NAMES = [(re.compile(pattern), name) for pattern, name in (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^encoder\.layer\.(?=\d)", "blocks."),
    (r"^encoder\.layers\.(?=\d)", "layers."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.self\.(?=relative_position_)", ".attn."),
    (r"\.attention\.(?=(?:attention|self)\.)", ".attn."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^(?:cls_)?classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)]


def is_theirs(state: State) -> bool:
    """Return whether weights have Hugging Face's names."""
    return any(_MODEL.sub("", key) == _ANCHOR for key in state)


def timm_names(state: State) -> State:
    """Return weights of Hugging Face's names under timm's; what has no other name keeps its own.

    ``DeiTForImageClassification`` classifies by the class token alone, where timm takes the mean of
    two heads: of twice the logits, and of zeros.
    """
    made, split = {}, {}
    swin = any(".relative_position_bias_table" in key for key in state)
    for key, value in state.items():
        name = _renamed(key, swin)
        found = _SPLIT.fullmatch(name)
        if found:
            layer, part, kind = found.groups()
            split.setdefault((layer, kind), {})[part] = (key, value)
        elif not name.endswith(".relative_position_index"):  # which timm makes by itself
            made[name] = value
    for (layer, kind), parts in split.items():
        try:
            made[f"{layer}.qkv.{kind}"] = torch.cat([parts[part][1] for part in _PARTS])
        except (KeyError, RuntimeError):  # one is missing, or of another shape
            made |= dict(parts.values())
    if "dist_token" in made and "head_dist.weight" not in made:
        for kind in ("weight", "bias"):
            head = made.get(f"head.{kind}")
            if head is not None and head.is_floating_point():
                made[f"head.{kind}"] = 2 * head.float()  # float8 has no products
                made[f"head_dist.{kind}"] = torch.zeros_like(made[f"head.{kind}"])
    return made


def _renamed(key: str, swin: bool) -> str:
    bare = name = _MODEL.sub("", key)
    for pattern, other in _NAMES:
        name = pattern.sub(other, name)
    if name == bare:
        return key
    if swin:
        name = re.sub(r"^head\.", "head.fc.", name)
        name = re.sub(r"^(layers\.)(\d+)(\.downsample\.)",
                      lambda found: f"{found[1]}{int(found[2]) + 1}{found[3]}", name)
    return name
