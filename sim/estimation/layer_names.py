"""What timm calls the layers that a program's tensors come from.

Products of two activations, and the softmax between them, have no layer of their own: they are
named like the attention they belong to, as :mod:`sim.estimation.tracing` names them.
"""

import re
from bisect import bisect
from collections.abc import Sequence

from golden.core.isa import Opcode

from ..compiler.cascade import SECOND

_OF_BLOCK = {
    "qkv": "norm1", "keys": "norm1", "q": "attn.qkv", "k": "attn.qkv", "v": "attn.qkv",
    "scores": "attn", "probs": "attn", "mixing": "attn", "proj": "attn", "attended": "attn.proj",
    "fc1": "norm2", "fc2": "mlp.fc1", "x": "mlp.fc2", "windows": "norm1", "places": "attn",
    "y.q": "attn.qkv", "y.k": "attn.qkv",
}
_NORMS_OF_BLOCK = {"q": "attn.q_norm", "k": "attn.k_norm"}
_OF_MERGE = {"line": "norm", "merge": "norm", "merged": "reduction"}
_OUTSIDE = {"load": "pos_embed", "patches": "patch_embed", "embedding": "patch_embed.proj",
            "begun": "norm_pre", "pool": "norm", "head": "norm", "logits": "head"}
_OUTSIDE_STAGES = _OUTSIDE | {"load": "patch_embed", "begun": "patch_embed.norm", "pool": "norm",
                              "ones": "head.global_pool", "head": "head.global_pool",
                              "logits": "head.fc"}
_OF_NONE = frozenset(op.name for op in (Opcode.SCALES, Opcode.TABLE, Opcode.PREDICT,
                                        Opcode.EXIT, Opcode.END))


def whole_of(tensor: str) -> str:
    """Return the name of the tensor that a block of rows, or a window, is of: ``3.fc2`` of
    ``3.fc2@64``.
    """
    return tensor.partition("@")[0]


def layer_of(kind: str, tensor: str, stages: Sequence[int] = ()) -> str:
    """Return the name that timm has for the layer of an instruction.

    Parameters
    ----------
    kind
        Of the instruction, like ``GEMM``.
    tensor
        What it makes, like ``3.fc2``: ``blocks.3.mlp.fc1``, whose result the second layer takes.
        Without a number, like ``fc2``, it is that of all blocks: ``blocks.*.mlp.fc1``. Of the
        second network of a cascade it is called the same.
    stages
        First blocks of stages, where there are any: ``3.fc2`` is of ``layers.1.blocks.1`` then.

    Returns
    -------
    str
        Empty where timm has nothing of the kind: predictions, scales, the mean of patches, the
        end, tensors of others.
    """
    if kind in _OF_NONE:
        return ""
    tensor = tensor.removeprefix(SECOND)
    block, role = re.fullmatch(r"(?:(\d+)\.)?(.*?)(?:\.wide)?(?:\.(?:part)?\d+)?",
                               whole_of(tensor)).groups()
    stage = within = "*"
    if block is not None:
        number = bisect(stages, int(block)) - 1
        stage, within = number, int(block) - stages[number] if stages else block
    before = f"layers.{stage}." if stages else ""
    if kind == Opcode.NORM.name and role in _NORMS_OF_BLOCK:
        return f"{before}blocks.{within}.{_NORMS_OF_BLOCK[role]}"
    if role in _OF_BLOCK:
        return f"{before}blocks.{within}.{_OF_BLOCK[role]}"
    if stages and role in _OF_MERGE:
        return f"{before}downsample.{_OF_MERGE[role]}"
    return (_OUTSIDE_STAGES if stages else _OUTSIDE).get(role, "")
