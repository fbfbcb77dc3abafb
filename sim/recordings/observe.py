"""Activations of a ViT at the sites of :mod:`.sites`, taken out of PyTorch with hooks."""

from collections.abc import Iterable
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn

from ..cli import UserError
from ..inputs.torchvision_compat import timm

_ATTENTION = (timm.layers.Attention, timm.models.swin_transformer.WindowAttention)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the transformer blocks of `model` in the order in which they run.

    Raises
    ------
    UserError
        If it has none, or their attention is not that of a plain ViT or Swin.
    """
    found = [module for module in model.modules()
             if hasattr(module, "attn") and hasattr(module, "mlp")]
    for block in found:
        if type(block.attn) not in _ATTENTION or not hasattr(block.mlp, "fc2"):
            raise UserError("only blocks of a plain ViT or Swin can be recorded, not "
                            f"{type(block.attn).__name__} in {type(model).__name__}")
    if not found:
        raise UserError(f"{type(model).__name__} has no transformer blocks to record")
    return found


def _tokens(x: torch.Tensor) -> np.ndarray:
    """Return ``(tokens, channels)`` of an activation with one image."""
    return x.detach().reshape(-1, x.shape[-1]).cpu().numpy()


def _heads(x: torch.Tensor) -> np.ndarray:
    """Return ``(heads, tokens, channels)``, windows counted as heads, of one image."""
    return x.detach().reshape(-1, *x.shape[-2:]).cpu().numpy()


def _block_hooks(block: nn.Module, seen: dict[str, np.ndarray]):
    attn, mlp = block.attn, block.mlp

    def split(module, args, output):
        groups = output.reshape(*output.shape[:-1], 3, attn.num_heads, -1)
        seen["q"], seen["k"], seen["v"] = map(_heads, groups.permute(2, 0, 3, 1, 4))

    def inputs(name):
        return lambda module, args: seen.__setitem__(name, _tokens(args[0]))

    def outputs(name):
        return lambda module, args, output: seen.__setitem__(name, _heads(output))

    yield attn.qkv.register_forward_pre_hook(inputs("qkv"))
    yield attn.qkv.register_forward_hook(split)
    for name in "q", "k":
        norm = getattr(attn, f"{name}_norm", None)
        if norm is not None:
            yield norm.register_forward_hook(outputs(name))
    yield attn.attn_drop.register_forward_hook(outputs("probs"))
    yield attn.proj.register_forward_pre_hook(inputs("proj"))
    yield mlp.fc1.register_forward_pre_hook(inputs("fc1"))
    yield mlp.fc2.register_forward_pre_hook(inputs("fc2"))


@contextmanager
def _unfused(attentions: Iterable[nn.Module]):
    """Make softmax a step of its own, so that its output can be seen."""
    saved = [(attn, attn.fused_attn) for attn in attentions]
    try:
        for attn, _ in saved:
            attn.fused_attn = False
        yield
    finally:
        for attn, fused in saved:
            attn.fused_attn = fused


def observe(model: nn.Module, x: torch.Tensor, wanted: Iterable[int], tap: int = 0,
            ) -> tuple[dict[int, dict[str, np.ndarray]], np.ndarray]:
    """Run `model` on one image and return what its blocks see.

    Parameters
    ----------
    x
        Input, ``(1, 3, H, W)``, in the dtype of the model.
    wanted
        Numbers of the blocks to look at.
    tap
        Number of the block whose output is the tapped residual stream.

    Returns
    -------
    sites : dict from block to dict from the name of a site to its activations
    residual : array ``(tokens, channels)``
    """
    found = blocks(model)
    sites = {number: {} for number in wanted}
    residual = []
    with ExitStack() as stack:
        stack.enter_context(_unfused([found[number].attn for number in sites]))
        for number, seen in sites.items():
            for handle in _block_hooks(found[number], seen):
                stack.callback(handle.remove)
        handle = found[tap].register_forward_hook(
            lambda module, args, output: residual.append(_tokens(output)))
        stack.callback(handle.remove)
        with torch.no_grad():
            model(x)
    return sites, residual[0]
