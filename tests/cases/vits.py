"""Small float Vision Transformers of timm's, with weights that make their parts matter."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from sim.inputs.models import Preprocessing
from sim.inputs.torchvision_compat import timm

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
OF_FOURTH = 0.6, 0.15


def model(seed: int = 1, **options):
    """Return a random model with 17 tokens of 32 channels, two blocks of four heads."""
    return _built(timm.models.vision_transformer.VisionTransformer, seed, options)


def distilled(seed: int = 1, **options):
    """Return such a model with a token and a head of distillation."""
    return _built(timm.models.deit.VisionTransformerDistilled, seed, options)


def swin(seed: int = 1, **options):
    """Return a random Swin Transformer: 4 x 4 windows of 3 x 3 patches, and half as many."""
    torch.manual_seed(seed)
    made = timm.models.swin_transformer.SwinTransformer(
        **{"img_size": 48, "patch_size": 4, "num_classes": 7, "embed_dim": 16, "depths": (2, 2),
           "num_heads": (2, 4), "window_size": 3, "mlp_ratio": 2.0} | options)
    return stir(made, 1.5)


def with_activation(model, act: nn.Module):
    """Return a model whose MLPs have another activation than the one it comes with."""
    for module in model.modules():
        if isinstance(module, timm.layers.Mlp):
            module.act = act
    return model


SWINS = {
    "merged": swin,
    "one window at last": lambda: swin(img_size=56, window_size=7, embed_dim=24),
    "merged twice": lambda: swin(depths=(2, 1, 3), num_heads=(1, 2, 4)),
    "not merged": lambda: swin(img_size=24, depths=(3,), num_heads=(2,)),
    "features": lambda: swin(img_size=24, num_classes=0),
    "no biases": lambda: swin(img_size=24, qkv_bias=False),
    "long rows": lambda: swin(img_size=24, embed_dim=264, depths=(1, 1), num_heads=(3, 6),
                              mlp_ratio=0.5),
    "silu": lambda: with_activation(swin(img_size=24), nn.SiLU()),
}
"""Small Swin Transformers."""


def beit(seed: int = 1, **options):
    """Return such a model with relative positions and LayerScale, the mean of whose patches is
    classified.
    """
    made = _built(timm.models.beit.Beit, seed, {
        "use_abs_pos_emb": False, "use_rel_pos_bias": True, "init_values": 0.5} | options)
    for block in made.blocks:  # LayerScale of one sign, as it is trained
        for gamma in (block.gamma_1, block.gamma_2):
            if gamma is not None:
                gamma.abs_().add_(0.2)
    return made


def _built(kind, seed: int, options: dict):
    torch.manual_seed(seed)
    made = kind(**{"img_size": 16, "patch_size": 4, "num_classes": 7, "embed_dim": 32, "depth": 2,
                   "num_heads": 4, "mlp_ratio": 2.0} | options)
    return stir(made, 1.5)


FAMILIES = {
    "vit": model,
    "layer scale": lambda: model(init_values=0.5, no_embed_class=True),
    "no biases": lambda: model(qkv_bias=False, proj_bias=False),
    "registers": lambda: model(reg_tokens=4),
    "registers without place": lambda: model(reg_tokens=4, no_embed_class=True, init_values=1e-5),
    "distilled": distilled,
    "any size": lambda: model(dynamic_img_size=True),
    "features": lambda: model(num_classes=0),
    "norm before": lambda: model(pre_norm=True),
    "norms of queries and keys": lambda: model(qk_norm=True),
    "norm of a class token": lambda: model(fc_norm=True),
    "mean": lambda: model(global_pool="avg"),
    "mean behind norm": lambda: model(global_pool="avg", fc_norm=False),
    "mean beside registers": lambda: model(global_pool="avg", reg_tokens=3, class_token=False),
    "mean of patches alone": lambda: model(global_pool="avg", class_token=False),
    "mean of normalised patches alone": lambda: model(
        global_pool="avg", class_token=False, fc_norm=False),
    "beit": beit,
    "beit of a class token": lambda: beit(global_pool="token", use_abs_pos_emb=True,
                                          init_values=None),
    "beit with shared positions": lambda: beit(
        use_rel_pos_bias=False, use_shared_rel_pos_bias=True, qkv_bias=False),
    "gelu by tanh": lambda: model(act_layer="gelu_tanh"),
    "gelu by tanh of torch": lambda: with_activation(model(), nn.GELU(approximate="tanh")),
    "quick gelu": lambda: model(act_layer="quick_gelu"),
    "silu": lambda: model(act_layer="silu"),
    "relu": lambda: model(act_layer="relu"),
    "beit with quick gelu": lambda: with_activation(
        beit(), timm.layers.activations.QuickGELU()),
    "one patch": lambda: model(patch_size=16),
    "many patches": lambda: model(patch_size=2),
}
"""Small members of families of plain Vision Transformers."""


def stir(model, gain: float = 1.0):
    """Give a model random weights that keep what passes through it of about one size."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                value.copy_(1 + 0.3 * torch.randn_like(value))
            elif name.endswith("relative_position_bias_table"):
                value.normal_(0, gain)
            elif value.dim() > 1:
                value.normal_(0, gain / value.shape[-1]**0.5)
            else:
                value.normal_(0, 0.3)
    return model.eval().requires_grad_(False)


def preprocessing(side: int = 16, colours: int = 3) -> Preprocessing:
    """Return the preprocessing of images that have the right size already."""
    mean, std = ((*three, fourth)[:colours]
                 for three, fourth in zip((MEAN, STD), OF_FOURTH, strict=True))
    return Preprocessing((side, side), mean, std,
                         lambda image: np.asarray(image).reshape(side, side, -1)
                         .transpose(2, 0, 1))


def pixels(count: int, side: int = 16, seed: int = 3, colours: int = 3) -> np.ndarray:
    """Return smooth random images, uint8 (count, side, side, colours)."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (count, 4, 4, colours), dtype=np.uint8)
    one_by_one = coarse.transpose(0, 3, 1, 2) if colours != 3 else coarse[:, None]
    made = np.stack([[np.asarray(Image.fromarray(each).resize((side, side), Image.BICUBIC))
                      for each in image] for image in one_by_one])
    return made[:, 0] if colours == 3 else np.ascontiguousarray(made.transpose(0, 2, 3, 1))
