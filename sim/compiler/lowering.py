"""A network as instructions, whose matrices have no addresses yet.

Per block: LayerNorm; of each head queries, keys and values, scores, softmax and mixing; projection
onto the residual stream in place; LayerNorm, and the two layers of the MLP, the second one in
place.
"""

from dataclasses import replace

import numpy as np

from golden.common.formats import LAMBDA, Mode
from golden.core import isa
from golden.core.isa import Layout, Opcode, Path, Source
from golden.core.rules import operand_layout, weight_layout
from golden.network.network import BLOCK_SITES, GELU_POINT, HEAD, Block, Linear, Tap
from golden.product.mac_array import Activation
from golden.rows import softmax

from .builder import Matrix
from .layers import LayerBuilder
from .limits import DoesNotFit, pixel_bytes
from .payloads import numbers_of

_SCORE = softmax.SCORE.frac * LAMBDA.one


def lower(build: LayerBuilder, image: int, logits: int, embedding: int) -> None:
    """Emit the whole network.

    Parameters
    ----------
    build
        Takes the instructions.
    image, logits, embedding
        Byte addresses in external memory.

    Raises
    ------
    DoesNotFit
        If the scale file is too small, or two taps follow one block.
    """
    network, config = build.network, build.config
    taps = _taps(build)
    scales = [0, *network.scales.tolist()]  # whatever a program before has left in slot 0
    build.emit(Opcode.SCALES, numbers_of(scales, isa.SCALES, config), n=len(scales))
    x = _embedded(build, image, embedding, taps[0])
    for index, block in enumerate(network.blocks):
        _block(build, index, block, x, taps[index + 1])
    _classified(build, x, logits)
    if build.free_slot > config.max_sites:
        raise DoesNotFit(f"the scale file must have {build.free_slot} slots or more for this "
                         f"network, but max_sites is {config.max_sites}")


def _taps(build: LayerBuilder) -> list[list[Tap]]:
    """Return the taps after so many blocks, one at most; none where scales are measured."""
    network = build.network
    taps = [[tap for tap in network.taps if tap.after == after and not build.jit]
            for after in range(network.shape.depth + 1)]
    for after, there in enumerate(taps):
        if len(there) > 1:
            raise DoesNotFit(f"one tap can follow block {after}, but the network has "
                             f"{len(there)} there")
    return taps


def _embedded(build: LayerBuilder, image: int, embedding: int, taps: list[Tap]) -> Matrix:
    """Embed the patches; return the residual stream."""
    network, shape = build.network, build.network.shape
    if taps and shape.prefix > 1:
        raise DoesNotFit("scales can be predicted from the embedding where the class token is the "
                         f"only one before the patches, but there are {shape.prefix}")
    x = build.matrix("x", Layout.WIDE, shape.tokens, shape.dim)
    build.emit(Opcode.LOAD, writes={"dest": (x, 0)}, address=embedding, words=x.words)
    rows = shape.patches + 1  # the first, of zeros, for the last token of the prefix
    pixel = pixel_bytes(shape, build.config)
    values = pixel * shape.patch**2
    patches = build.matrix("patches", Layout.OPERAND8, rows, values, signed=False)
    build.emit(Opcode.PATCHES, writes={"dest": (patches, 0)}, m=rows,
               k=values, address=image, run_bytes=pixel * shape.patch, grid=shape.grid,
               image_row_bytes=pixel * shape.image,
               patch_row_bytes=pixel * shape.image * shape.patch)
    build.onto(x, "embedding", patches, _with_room(network.patch, pixel), None, HEAD.mode, taps,
               Activation.UNSIGNED, first=shape.prefix - 1)
    return x


def _with_room(patch: Linear, pixel: int) -> Linear:
    """Return the patch embedding with weights of zero for what pixels have beside colours."""
    weight = patch.weight.reshape(-1, 3, patch.bias.size)
    weight = np.pad(weight, ((0, 0), (0, pixel - 3), (0, 0)))
    return replace(patch, weight=weight.reshape(-1, patch.bias.size))


def _block(build: LayerBuilder, index: int, block: Block, x: Matrix, taps: list[Tap]) -> None:
    """Attention and MLP of a block, each onto the residual stream."""
    shape, mode = build.network.shape, build.network.precision.mode
    site = {name: shape.site(index, name) for name in BLOCK_SITES}
    a = build.norm(f"{index}.qkv", x, block.norm1, site["qkv"], shape.tokens, mode)
    a = _attention(build, index, block, a, site)
    build.onto(x, f"{index}.attended", a, block.proj, site["proj"], mode, [])
    a = build.norm(f"{index}.fc1", x, block.norm2, site["fc1"], shape.tokens, mode)
    fc2 = build.linear(f"{index}.fc2", a, block.fc1, (site["fc1"], site["fc2"]), mode,
                       GELU_POINT, operand_layout(mode), gelu=1, offset=int(mode is Mode.W4A4),
                       coarse=block.coarse)
    build.onto(x, f"{index}.x", fc2, block.fc2, site["fc2"], mode, taps, Activation.UNSIGNED)


def _attention(build: LayerBuilder, index: int, block: Block, a: Matrix, sites: dict) -> Matrix:
    """Attention of a block, head after head; return what the projection takes."""
    shape, mode = build.network.shape, build.network.precision.mode
    proj = (build.wide(f"{index}.proj", shape.tokens, shape.dim) if build.jit else
            build.matrix(f"{index}.proj", operand_layout(mode), shape.tokens, shape.dim))
    for head in range(shape.heads):
        parts = _projected(build, index, head, block, a, sites)
        probs = _probabilities(build, index, head, block, parts, sites)
        _mixed(build, head, block, probs, parts["v"], proj, sites)
    if build.jit:
        return build.measured(f"{index}.proj", proj, sites["proj"],
                              build.wide_point(sites["proj"]), operand_layout(mode))
    return proj


def _projected(build: LayerBuilder, index: int, head: int, block: Block, a: Matrix,
               sites: dict) -> dict[str, Matrix]:
    """Queries, keys and values of a head."""
    network, precision, shape = build.network, build.network.precision, build.network.shape
    layouts = {"q": operand_layout(precision.score_mode), "k": operand_layout(precision.score_mode),
               "v": weight_layout(precision.value_mode)}
    parts = {}
    for part, (name, layout) in enumerate(layouts.items()):
        first = part * shape.dim + head * shape.head_dim
        parts[name] = build.linear(
            f"{index}.{name}.{head}", a, block.qkv, (sites["qkv"], sites[name]),
            precision.mode, network.qkv_point, layout, slice(first, first + shape.head_dim))
    return parts


def _probabilities(build: LayerBuilder, index: int, head: int, block: Block,
                   parts: dict[str, Matrix], sites: dict) -> Matrix:
    """Scores of a head and their softmax, as 8-bit exponentials or 4-bit codes."""
    network, shape, slots = build.network, build.network.shape, build.slots
    scores = build.matrix(f"{index}.scores.{head}", Layout.WIDE, shape.tokens, shape.tokens)
    build.emit(Opcode.GEMM, b"", {"source": (parts["q"], 0), "weights_address": (parts["k"], 0)},
               {"dest": (scores, 0)}, mode=network.precision.score_mode,
               activation=Activation.SIGNED, weights=Source.KEYS, path=Path.WIDE, m=shape.tokens,
               k=shape.head_dim, n=shape.tokens, exponent=network.score_exponent + _SCORE,
               scale_a=slots[sites["q"]], scale_b=slots[sites["k"]])
    probs = build.matrix(f"{index}.probs.{head}", Layout.OPERAND8, shape.tokens, shape.tokens,
                         signed=False)
    step, payload = {}, b""
    if block.step:
        factor, shift = softmax.reciprocal(block.step)
        step = {"step": block.step, "factor": factor, "shift": shift}
        payload = numbers_of(softmax.codebook(block.step), isa.CODEBOOK, build.config)
    build.emit(Opcode.SOFTMAX, payload, {"source": (scores, 0)}, {"dest": (probs, 0)},
               m=shape.tokens, n=shape.tokens, **step)
    return probs


def _mixed(build: LayerBuilder, head: int, block: Block, probs: Matrix, values: Matrix,
           proj: Matrix, sites: dict) -> None:
    """Probabilities times values of a head, into its columns of what the projection takes."""
    precision, shape, slots = build.network.precision, build.network.shape, build.slots
    fmt = precision.site("proj")
    to_proj = ({"path": Path.WIDE, "exponent": build.wide_point(sites["proj"]) * LAMBDA.one}
               if build.jit else
               {"path": Path.DIRECT, "scale_b": slots[sites["proj"]], "subtract_b": 1,
                "low": fmt.min, "high": fmt.max})
    first = head * shape.head_dim
    build.emit(Opcode.GEMM, b"", {"source": (probs, 0), "weights_address": (values, 0)},
               {"dest": (proj, first // (build.config.lanes if build.jit else 2))},
               mode=precision.value_mode, weights=Source.VALUES, rows=1, m=shape.tokens,
               activation=Activation.CODE if block.step else Activation.UNSIGNED,
               k=shape.tokens, n=shape.head_dim, scale_a=slots[sites["v"]], **to_proj)


def _classified(build: LayerBuilder, x: Matrix, logits: int) -> None:
    """Logits of the classified tokens, into external memory; the end."""
    network, shape = build.network, build.network.shape
    last = shape.sites - 1
    a = build.norm("head", x, network.norm, last, 1, HEAD.mode, shape.classified)
    x.versions[-1].last = x.last
    out = build.matrix("logits", Layout.WIDE, 1, shape.classes)
    build.product(a, network.head, last, HEAD.mode, writes={"dest": (out, 0)}, path=Path.WIDE)
    build.emit(Opcode.STORE, reads={"source": (out, 0)}, address=logits, words=out.words)
    build.emit(Opcode.END)
