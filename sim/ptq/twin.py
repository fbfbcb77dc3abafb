"""The quantized network in PyTorch: the same quantizers in float, with gradients.

Computes what :mod:`golden.network.vit` computes, but for the roundings of 16-bit tensors, from a
:class:`~sim.ptq.float_vit.FloatVit`. Used where gradients or whole data sets are wanted: to choose
scales, to round weights, to train. Gradients pass the roundings straight through, and those of the
scales are LSQ's (Esser et al., arXiv 1902.08153), in the log2 domain.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from golden.common.formats import IntFormat
from golden.network.precision import HEAD, AnyPrecision, site_format
from golden.network.shape import BLOCK_SITES, MERGE_SITE, MERGED
from golden.results import gelu

from . import windows
from .float_vit import (
    ACTIVATIONS,
    HEAD_NORMS,
    LAYERS,
    Affine,
    FloatVit,
    coarse_units,
    offset_of,
)
from .training.quantizers import probabilities, quantize, round_through

LIMIT = gelu.RESULT.max / gelu.RESULT.one
"""Largest value of GELU's result, which saturates."""

Observe = Callable[[int, torch.Tensor], None]
Drop = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Twin(nn.Module):
    """A quantized Vision Transformer in float32.

    Parameters
    ----------
    source
        Weights and everything else, in the coordinates that are to be quantized.
    precision
        Widths of weights and sites, of all blocks or of each.
    step
        Of 4-bit probability codes; 0 for 8-bit probabilities.

    Attributes
    ----------
    formats
        Of each site.
    offset
        What is added to GELU, or whatever activation the network has.
    scales
        Static log2 of each site's scale, ``(sites,)``.
    weight_scales
        log2 of each column's scale for the layers that are to be rounded; those that are missing
        are used as they are.
    rounding
        What gives a layer's integers in place of rounding its weights, while they are learned
        (:mod:`sim.ptq.reconstruct`).
    drop
        What becomes of activations, given as they are and as they are quantized; None for the
        latter.
    places
        What is added to scores, by the number of the block; empty if nothing is.
    stored
        How much smaller each channel of the last residual stream is stored, log2, ``(dim,)``: as
        calibration chooses its format (:class:`sim.ptq.export.ResidualFormat`). It counts where
        patches are quantized as they are, before their mean.
    taps
        What predicts scales, image by image (:class:`sim.ptq.tap.Tap`), by rising `after`.
    active
        Whether activations are quantized.
    narrow
        Whether matrix products are computed from bfloat16: twice as fast where the processor has
        them, and near enough to train.
    """

    def __init__(self, source: FloatVit, precision: AnyPrecision, step: int = 0):
        super().__init__()
        self.shape, self.precision, self.step = source.shape, precision, step
        self.offset = offset_of(source.shape)
        precision.check(source.shape)
        self.formats = [site_format(source.shape, precision, site)
                        for site in range(source.shape.sites)]
        self.epsilon = source.epsilon
        self.embedding = nn.Parameter(source.embedding.float())
        self.register_buffer("coarse", source.coarse, persistent=False)
        parts = {"patch": source.patch, "norm": source.norm, "head": source.head}
        if source.norm_pre is not None:
            parts["norm_pre"] = source.norm_pre
        for index, block in enumerate(source.blocks):
            parts |= {f"{index}_{name}": part for name, part in block.items()}
        for block, merge in zip(self.shape.merges, source.merges, strict=True):
            parts |= {f"{block}_{name}": part for name, part in merge.items()}
        self.weights = nn.ParameterDict({name: part.weight.float() for name, part in parts.items()})
        self.biases = nn.ParameterDict({name: part.bias.float() for name, part in parts.items()})
        self.places = nn.ParameterDict({str(index): places.float()
                                        for index, places in enumerate(source.places or ())})
        self.register_buffer("stored", torch.zeros(self.shape.last_dim), persistent=False)
        self.scales = nn.Parameter(torch.zeros(self.shape.sites))
        self.weight_scales = nn.ParameterDict()
        self.rounding = nn.ModuleDict()
        self.drop: Drop | None = None
        self.taps = nn.ModuleList()
        self.active, self.narrow = True, False
        self.eval()

    def source(self) -> FloatVit:
        """Return the weights as they are now, float64."""
        def part(name):
            return Affine(self.weights[name].detach().double(), self.biases[name].detach().double())

        names = ("norm1", "norm2", *LAYERS, *HEAD_NORMS)
        blocks = [{name: part(f"{index}_{name}") for name in names
                   if f"{index}_{name}" in self.weights} for index in range(self.shape.depth)]
        merges = [{name: part(f"{block}_{name}") for name in ("norm", "merge")}
                  for block in self.shape.merges]
        places = [self.places[str(index)].detach().double() for index in range(len(self.places))]
        return FloatVit(self.shape, self.epsilon, part("patch"), self.embedding.detach().double(),
                        blocks, part("norm"), part("head"), self.coarse,
                        part("norm_pre") if "norm_pre" in self.weights else None,
                        places or None, merges)

    def weight(self, name: str) -> torch.Tensor:
        """Return the weights of a layer, rounded if they have scales."""
        weight = self.weights[name]
        if name not in self.weight_scales:
            return weight
        scale = torch.exp2(self.weight_scales[name])
        if name in self.rounding:
            return self.rounding[name]() * scale
        fmt = self.weight_format(name)
        return round_through((weight / scale).clamp(fmt.min, fmt.max)) * scale

    def weight_format(self, name: str) -> IntFormat:
        """Return the format of a layer's weights."""
        block, _, layer = name.rpartition("_")
        return (self.precision.of(int(block), layer) if block else HEAD).weight

    def product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Multiply matrices."""
        if self.narrow:
            return (a.bfloat16() @ b.bfloat16()).float()
        return a @ b

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Multiply by a layer's weights and add its bias."""
        return self.product(x, self.weight(name)) + self.biases[name]

    def norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Apply a LayerNorm."""
        return functional.layer_norm(x, x.shape[-1:], self.weights[name], self.biases[name],
                                     self.epsilon)

    def site(self, x: torch.Tensor, scales: torch.Tensor, site: int,
             observe: Observe | None = None) -> torch.Tensor:
        """Quantize what enters a matrix product."""
        if observe is not None:
            observe(site, x)
        if not self.active:
            return x
        held = quantize(x, scales[:, site], self.formats[site])
        return held if self.drop is None else self.drop(x, held)

    def patches(self, pixels: torch.Tensor) -> torch.Tensor:
        """Cut pixels ``uint8 (images, side, side, colours)`` as ``golden.network.vit.patches``
        does.
        """
        n, grid, side = len(pixels), self.shape.grid, self.shape.patch
        cut = pixels.reshape(n, grid, side, grid, side, -1).permute(0, 1, 3, 2, 4, 5)
        return cut.reshape(n, grid * grid, -1).float()

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels ``uint8 (images, side, side, 3)`` into the residual stream."""
        x = self.embedded(pixels)
        return self.norm("norm_pre", x) if "norm_pre" in self.weights else x

    def embedded(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels into tokens, as they are before a LayerNorm that may follow."""
        x = self.patches(pixels) @ self.weight("patch") + self.biases["patch"]
        prefix, places = self.embedding.tensor_split((self.shape.prefix,))
        return torch.cat((prefix.expand(len(pixels), -1, -1), x + places), 1)

    def heads(self, index: int, y: torch.Tensor) -> list[torch.Tensor]:
        """Return queries, keys and values of ``y (images, tokens, 3 * dim)`` as they are to be
        quantized, ``(images, tokens, dim)`` each: behind their LayerNorm if they have one.
        """
        shape = self.shape.blocks[index]
        parts = list(y.split(shape.dim, 2))
        for number, name in enumerate(HEAD_NORMS):
            if f"{index}_{name}" in self.weights:
                heads = parts[number].unflatten(2, (shape.heads, -1))
                parts[number] = self.norm(f"{index}_{name}", heads).flatten(2)
        return parts

    def attention(self, index: int, y: torch.Tensor, scales: torch.Tensor,
                  observe: Observe | None = None) -> torch.Tensor:
        """Mix the values of ``y (images, tokens, 3 * dim)``."""
        shape, site = self.shape.blocks[index], self.shape.site(index, "q")
        q, k, v = (self.site(part, scales, site + number, observe)
                   .unflatten(2, (shape.heads, -1)).transpose(1, 2)
                   for number, part in enumerate(self.heads(index, y)))
        places = self.places[str(index)] if self.places else None
        if not shape.window:
            return self.attend(q, k, v, places).transpose(1, 2).flatten(2)
        mixed = []
        for tokens, within in windows.alike(shape):
            own = None if places is None else places[:, None, within[:, None], within]
            mixed.append(self.attend(*(part[:, :, tokens] for part in (q, k, v)), own)
                         .flatten(2, 3))
        return torch.cat(mixed, 2)[:, :, windows.order(shape)].transpose(1, 2).flatten(2)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
               places: torch.Tensor | None) -> torch.Tensor:
        """Mix values ``(images, heads, ..., tokens, channels)``; `places` is added to scores."""
        scores = self.product(q * self.shape.head_dim**-0.5, k.transpose(-1, -2))
        if places is not None:
            scores = scores + places
        weights = probabilities(scores, self.step) if self.active else scores.softmax(-1)
        if self.active and self.drop is not None:
            weights = self.drop(scores.softmax(-1), weights)
        return self.product(weights, v)

    def gelu(self, index: int, t: torch.Tensor) -> torch.Tensor:
        """Return GELU of a block's hidden units, or another activation, with the offset that makes
        it unsigned.

        Of coarse units what the hardware makes is their ReLU, smaller by a power of two; nothing
        is beyond :data:`LIMIT`.
        """
        made = ACTIVATIONS[self.shape.activation](t)
        coarse = coarse_units(self.coarse, self.shape, index)
        if coarse is not None:
            large = (functional.relu(t) if self.active else made) * 2.0**-gelu.COARSE
            made = torch.where(coarse.bool(), large, made)
        made = made + self.offset
        return made.clamp_max(LIMIT) if self.active else made

    def block(self, index: int, x: torch.Tensor, scales: torch.Tensor,
              observe: Observe | None = None) -> torch.Tensor:
        """Run one block, and the merge before it if there is one."""
        if index in self.shape.merges:
            x = self.merge(index, x, scales, observe)
        first = self.shape.site(index, BLOCK_SITES[0])
        a = self.site(self.norm(f"{index}_norm1", x), scales, first, observe)
        mixed = self.attention(index, self.linear(f"{index}_qkv", a), scales, observe)
        a = self.site(mixed, scales, first + 4, observe)
        x = x + self.linear(f"{index}_proj", a)
        a = self.site(self.norm(f"{index}_norm2", x), scales, first + 5, observe)
        g = self.gelu(index, self.linear(f"{index}_fc1", a))
        a = self.site(g, scales, first + 6, observe)
        return x + self.linear(f"{index}_fc2", a - self.offset)

    def merging(self, index: int, x: torch.Tensor) -> torch.Tensor:
        """Return what is multiplied to merge patches before a block: four in line, normalised."""
        n, _, dim = x.shape
        grid = self.shape.blocks[index].grid
        line = x.reshape(n, grid, 2, grid, 2, dim).permute(0, 1, 3, 2, 4, 5)
        return self.norm(f"{index}_norm", line.reshape(n, grid * grid, MERGED * dim))

    def merge(self, index: int, x: torch.Tensor, scales: torch.Tensor,
              observe: Observe | None = None) -> torch.Tensor:
        """Merge patches before a block."""
        a = self.site(self.merging(index, x), scales, self.shape.site(index, MERGE_SITE), observe)
        return self.linear(f"{index}_merge", a)

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is quantized of a residual stream before its mean: the patches, normalised
        or as they are stored.
        """
        x = x[:, self.shape.prefix:]
        return x * torch.exp2(-self.stored) if self.shape.fc_norm else self.norm("norm", x)

    def classified(self, x: torch.Tensor, scales: torch.Tensor,
                   observe: Observe | None = None) -> torch.Tensor:
        """Return what the head takes of a residual stream, ``(images, 1, channels)``: the
        normalised first tokens, side by side, or the mean of the patches, normalised before or
        behind it.
        """
        count = self.shape.classified
        if count:
            return self.norm("norm", x[:, :count]).flatten(1)[:, None]
        pooled = self.site(self.pooled(x), scales, self.shape.sites - 2, observe)
        mean = pooled.mean(1, keepdim=True)
        return self.norm("norm", mean * torch.exp2(self.stored)) if self.shape.fc_norm else mean

    def classify(self, x: torch.Tensor, scales: torch.Tensor,
                 observe: Observe | None = None) -> torch.Tensor:
        """Return the logits ``(images, classes)``."""
        a = self.site(self.classified(x, scales, observe), scales, self.shape.sites - 1, observe)
        return self.linear("head", a)[:, 0]

    def forward(self, pixels: torch.Tensor, scales: torch.Tensor | None = None,
                observe: Observe | None = None,
                streams: list[torch.Tensor] | None = None) -> torch.Tensor:
        """Return the logits ``(images, classes)``.

        Parameters
        ----------
        pixels : uint8 tensor, shape (images, side, side, 3)
        scales : tensor, shape (images, sites), optional
            log2 of the scales of each image; without, the static and the predicted ones.
        observe : callable, optional
            Called for each site with its index and what is about to be quantized.
        streams : list, optional
            What is behind each block, ``(images, tokens, channels)``, is appended to it.
        """
        taps = self.taps if scales is None else ()
        if scales is None:
            scales = self.scales.expand(len(pixels), -1)
        x = self.embed(pixels)
        for index in range(self.shape.depth + 1):
            for tap in taps:
                if tap.after == index:
                    scales = tap(x, self.scales, scales)
            if index < self.shape.depth:
                x = self.block(index, x, scales, observe)
                if streams is not None:
                    streams.append(x)
        return self.classify(x, scales, observe)
