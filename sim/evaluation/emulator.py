"""The quantized network in float64: quantizers as they are, real arithmetic around them.

Quantization is chosen, the arithmetic around it only carries it out. This module keeps the first
and replaces the second: the same weights, biases, LayerNorm affines and scales, the same rounding
of what enters a matrix product (8-bit exponentials or 4-bit codes of probabilities included), but
powers of two, LayerNorm, the sums of softmax's rows and GELU are real functions, and no other
tensor is rounded or saturated. :func:`emulate` runs a network like that, whole or with some of the
:data:`UNITS` as golden has them; with all of them it gives golden's integers.

All tensors are float64, in the units of golden's integers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection

import numpy as np
import torch

from golden.common import exp2, formats, log2
from golden.common.formats import ACT16, LAMBDA, UINT8, IntFormat
from golden.network.network import GELU_POINT, Linear, Network, Norm, Stream, parts_of
from golden.network.precision import HEAD, site_format
from golden.network.shape import BLOCK_SITES, HEAD_SITE, MERGE_SITE, MERGED
from golden.network.vit import patches, predict
from golden.network.vit_blocks import mean_exponent
from golden.results import gelu
from golden.results.curves import CURVES, curve_columns
from golden.rows import layernorm, softmax

from ..ptq.float_vit import ACTIVATIONS

UNITS = ("exp2", "layernorm", "softmax", "gelu", "residual", "qkv", "scores", "hidden", "logits")
"""What can be real or golden's: the multipliers, the functions, and the rounding to 16 bits of the
residual stream, of queries, keys and values, of scores, of GELU's input, and of the logits."""

FORMATS = ("residual", "qkv", "scores", "hidden", "logits")
"""Those of :data:`UNITS` that are no arithmetic but formats of the network: 16 bits, with its
binary points."""

ONE = LAMBDA.one
_LAST_CODE = formats.CODE.max


def power(exponent: torch.Tensor) -> torch.Tensor:
    """Return ``2**exponent`` of an exponent with golden's 10 fractional bits."""
    return torch.exp2(exponent / ONE)


def normalize(x: torch.Tensor, coarse: np.ndarray | None, epsilon: int) -> torch.Tensor:
    """Return rows with mean 0 and variance 1, as :mod:`golden.rows.layernorm` does."""
    if coarse is not None:
        x = x * torch.exp2(layernorm.COARSE * real(coarse))
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True) + epsilon / x.shape[-1]**2
    return centred * variance.clamp_min(1e-30).rsqrt()


def shifted(activation: str, t: torch.Tensor, coarse: np.ndarray | None = None) -> torch.Tensor:
    """Return GELU, or another activation, with the offset that makes it unsigned, in golden's
    units.

    `coarse` says which columns are, as in :mod:`golden.results.gelu`.
    """
    unit = gelu.INPUT.one if coarse is None else torch.exp2(
        gelu.INPUT.frac - gelu.COARSE * real(coarse))
    return ACTIVATIONS[activation](t / unit) * unit + CURVES[activation].offset


def exponentials(scores: torch.Tensor) -> torch.Tensor:
    """Return the powers of a row of scores that golden rounds to operands: 255 for the largest."""
    return UINT8.max * power(scores - scores.amax(-1, keepdim=True))


def codes(scores: torch.Tensor, step: int) -> torch.Tensor:
    """Return the distances from the largest score that golden rounds to codes: 0 to 15."""
    return ((scores.amax(-1, keepdim=True) - scores) / step).clamp_max(_LAST_CODE)


def _round(x: torch.Tensor) -> torch.Tensor:
    return torch.floor(x + 0.5)


def real(integers) -> torch.Tensor:
    return torch.from_numpy(np.asarray(integers, np.float64))


class Walk(ABC):
    """The way through a network, for subclasses that say what each step returns.

    Steps take and return tensors of integers as float64, images first. `lambdas` are scales
    (images, sites), to which those of the network's taps are written if `predicted`.
    """

    def __init__(self, network: Network, lambdas: np.ndarray, predicted: bool):
        self.network = network
        self.lambdas = torch.from_numpy(np.array(lambdas, np.int64))
        self._taps = network.taps if predicted else ()

    # `kind` is one of UNITS for what is rounded to 16 bits, "site" for what enters a product.

    @abstractmethod
    def requantized(self, kind: str, name: str, acc, exponent, fmt: IntFormat, *terms):
        """Return ``acc * 2**(exponent / 1024)`` in `fmt`, and `terms` added to that."""

    @abstractmethod
    def normalized(self, name: str, x, norm: Norm, coarse: np.ndarray | None, epsilon: int):
        """Return a LayerNorm with its affine."""

    def _normalized(self, name: str, x, norm: Norm, stream: Stream):
        return self.normalized(name, x, norm, stream.coarse, stream.epsilon)

    @abstractmethod
    def stored(self, name: str, scores, step: int):
        """Return the operands or codes that a row of scores is stored as."""

    @abstractmethod
    def row_exponent(self, name: str, total):
        """Return ``1024 * log2(total)``."""

    @abstractmethod
    def activated(self, name: str, t, coarse):
        """Return the activation with its offset; `coarse` says which columns are, None where none
        is.
        """

    def run(self, pixels: np.ndarray) -> torch.Tensor:
        """Return the logits of images, (images, classes)."""
        network, shape = self.network, self.network.shape
        places = real(network.embedding)
        x = self._added("embedding", real(patches(pixels, shape)), network.patch, 0,
                        shape.patch_parts, places[shape.prefix:])
        x = torch.cat((places[:shape.prefix].expand(len(x), -1, -1), x), 1)
        if network.norm_pre is not None:
            u = self.normalized("norm_pre", x, network.norm_pre, None, network.epsilon_pre)
            exponent = (network.residual_point - _point(network.norm_pre)) * ONE
            x = self.requantized("residual", "begun", u, real(exponent), ACT16)
        for index in range(shape.depth + 1):
            for tap in self._taps:
                if tap.after == index:
                    stream = _round(x).clamp(ACT16.min, ACT16.max).numpy().astype(np.int16)
                    self.lambdas[:, tap.sites] = torch.from_numpy(predict(stream, tap))
            if index in shape.merges:
                x = self._merge(index, x)
            if index < shape.depth:
                x = self._block(index, x)
        return self._added("logits", self._classified(x), network.head,
                           self._scale(shape.sites - 1), shape.classified_parts)[:, 0]

    def _classified(self, x):
        """Return what enters the head: the first tokens side by side, or the mean of the patches.
        """
        network, shape, stream = self.network, self.network.shape, self.network.streams[-1]
        site, point = shape.sites - 1, _point(network.norm)
        if shape.classified:
            u = self._normalized("norm", x[:, :shape.classified], network.norm, stream)
            return self._site("head", u.flatten(1)[:, None], site, point)
        x = x[:, shape.prefix:]
        mean = self._scale(site - 1) + mean_exponent(x.shape[1])
        if shape.fc_norm:
            total = self._site("pool", x, site - 1, stream.point).sum(1, keepdim=True)
            x = self.requantized("residual", "mean", total, mean + stream.point * ONE, ACT16)
            u = self._normalized("norm", x, network.norm, stream)
            return self._site("head", u, site, point)
        u = self._normalized("norm", x, network.norm, stream)
        total = self._site("pool", u, site - 1, point).sum(1, keepdim=True)
        exponent = mean - self._scale(site)
        return self.requantized("site", "head", total, exponent, HEAD.site(HEAD_SITE))

    def _merge(self, index: int, x):
        network, shape = self.network, self.network.shape
        number, site = shape.merges.index(index), shape.site(index, MERGE_SITE)
        merge, before = network.merges[number], network.streams[number]
        grid = shape.blocks[index].grid
        line = x.reshape(len(x), grid, 2, grid, 2, -1).permute(0, 1, 3, 2, 4, 5)
        coarse = None if before.coarse is None else np.tile(before.coarse, MERGED)
        u = self.normalized(f"{index}.merging", line.reshape(len(x), grid * grid, -1), merge.norm,
                            coarse, merge.epsilon)
        a = self._site(f"{index}.merge", u, site, _point(merge.norm))
        return self._added(f"{index}.merged", a, merge.layer, self._scale(site),
                           shape.blocks[index].merge_parts, real(0))

    def _scale(self, site: int) -> torch.Tensor:
        return self.lambdas[:, site].double()[:, None, None]

    def _site(self, name: str, tensor, site: int, point: int):
        fmt = site_format(self.network.shape, self.network.precision, site)
        scale = self._scale(site).reshape(-1, *(1,) * (tensor.dim() - 1))
        return self.requantized("site", name, tensor, -scale - point * ONE, fmt)

    def _linear(self, kind: str, name: str, a, layer: Linear, scale, *residual):
        return self.requantized(kind, name, a @ real(layer.weight), scale + real(layer.exponent),
                                ACT16, real(layer.bias), *residual)

    def _added(self, name: str, a, layer: Linear, scale, parts: list[slice], *x):
        """Return what a layer's parts are, added to the residual stream one after the other."""
        kind = "residual" if x else "logits"
        for number, (part, piece) in enumerate(zip(parts, parts_of(layer, parts), strict=True)):
            of = f".part{number}" if number < len(parts) - 1 else ""
            x = (self._linear(kind, f"{name}{of}", a[..., part], piece, scale, *x),)
        return x[0]

    def _block(self, index: int, x):
        network, block = self.network, self.network.blocks[index]
        stream = network.stream(index)
        site = {name: network.shape.site(index, name) for name in BLOCK_SITES}
        u = self._normalized(f"{index}.norm1", x, block.norm1, stream)
        a = self._site(f"{index}.qkv", u, site["qkv"], _point(block.norm1))
        y = self._linear("qkv", f"{index}.y", a, block.qkv, self._scale(site["qkv"]))
        a = self._attention(index, y, site)
        x = self._linear("residual", f"{index}.attended", a, block.proj, self._scale(site["proj"]),
                         x)
        u = self._normalized(f"{index}.norm2", x, block.norm2, stream)
        a = self._site(f"{index}.fc1", u, site["fc1"], _point(block.norm2))
        t = self._linear("hidden", f"{index}.t", a, block.fc1, self._scale(site["fc1"]))
        g = self.activated(f"{index}.gelu", t, block.coarse)
        a = self._site(f"{index}.fc2", g, site["fc2"], GELU_POINT)
        return self._added(f"{index}.x", a, block.fc2, self._scale(site["fc2"]),
                           network.shape.blocks[index].hidden_parts, x)

    def _attention(self, index: int, y, site: dict[str, int]):
        network, shape = self.network, self.network.shape.blocks[index]
        q, k, v = (self._heads(index, name, part.unflatten(2, (shape.heads, -1)), site[name])
                   for name, part in zip("qkv", y.chunk(3, 2), strict=True))
        places = network.blocks[index].places
        places = None if places is None else real(places)
        if not shape.window:
            acc, exponent = self._attended(index, "", q, k, v, places, site)
            return self._mixed(index, acc, exponent, site)
        mixed, exponents = torch.empty_like(v), torch.empty_like(v)
        for number, window in enumerate(shape.windows):
            tokens, within = (torch.from_numpy(one) for one in (shape.tokens_of(window),
                                                                shape.places_in(window)))
            own = None if places is None else places[:, within[:, None], within]
            parts = [part[:, :, tokens] for part in (q, k, v)]
            [mixed[:, :, tokens]], [exponents[:, :, tokens]] = self._attended(
                index, f"@{number}", *parts, own, site)
        return self._mixed(index, [mixed], [exponents], site)

    def _heads(self, index: int, name: str, heads, site: int):
        """Quantize queries, keys or values (images, tokens, heads, channels), behind their
        LayerNorm if they have one: (images, heads, tokens, channels).
        """
        norm, point = self.network.blocks[index].head_norm(name), self.network.qkv_point
        if norm is not None:
            heads = self.normalized(f"{index}.{name}_norm", heads, norm.norm, None, norm.epsilon)
            point = _point(norm.norm)
        return self._site(f"{index}.{name}", heads.transpose(1, 2), site, point)

    def _attended(self, index: int, of: str, q, k, v, places, site: dict[str, int]):
        """Return sums of values of the keys, part by part, and their exponents but for that of
        what they are requantized to, both (images, heads, tokens, channels).
        """
        network, step = self.network, self.network.blocks[index].step
        scale = self._scale(site["q"]) + self._scale(site["k"]) + network.score_exponent
        terms = () if places is None else (places,)
        scores = self.requantized("scores", f"{index}.scores{of}", q @ k.transpose(2, 3),
                                  scale[..., None] + softmax.SCORE.frac * ONE, ACT16, *terms)
        a = self.stored(f"{index}.probs{of}", scores, step)
        if step:
            a = real(softmax.codebook(step))[a.long()]
        row = self.row_exponent(f"{index}.row_scale{of}", a.sum(-1))[..., None]
        exponent = (self._scale(site["v"])[..., None] - row).expand(v.shape)
        parts = [slice(None)] if of else network.shape.blocks[index].key_parts
        return [a[..., part] @ v[..., part, :] for part in parts], [exponent] * len(parts)

    def _mixed(self, index: int, sums: list, exponents: list, site: dict[str, int]):
        """Quantize the mixed values for the projection."""
        network = self.network
        fmt = site_format(network.shape, network.precision, site["proj"])
        point = network.qkv_point * ONE

        def joined(heads):
            return heads.transpose(1, 2).flatten(2)

        if len(sums) == 1:
            return self.requantized("site", f"{index}.proj", joined(sums[0]),
                                    joined(exponents[0]) - self._scale(site["proj"]), fmt)
        mixed = ()
        for number, (acc, exponent) in enumerate(zip(sums, exponents, strict=True)):
            of = f".part{number}" if number < len(sums) - 1 else ""
            mixed = (self.requantized("qkv", f"{index}.mixed{of}", joined(acc),
                                      joined(exponent) + point, ACT16, *mixed),)
        return self._site(f"{index}.proj", *mixed, site["proj"], network.qkv_point)


def _point(norm: Norm) -> int:
    return layernorm.fraction_of(len(norm.gamma)) + norm.point


class Emulation(Walk):
    """Real functions of what came before; the units of `integer` as golden has them."""

    def __init__(self, network, lambdas, predicted, integer: Collection[str] = (),
                 jitter: float = 0.0, seed: int = 1):
        super().__init__(network, lambdas, predicted)
        self._integer = frozenset(integer)
        self._jitter = jitter
        self._noise = torch.Generator().manual_seed(seed)

    def _power(self, exponent):
        if "exp2" not in self._integer:
            return power(exponent)
        values, index = _round(exponent).unique(return_inverse=True)
        mantissa, shift = exp2.exp2(values.numpy().astype(np.int64))
        return (real(mantissa) * torch.exp2(-real(shift)))[index]

    def requantized(self, kind, name, acc, exponent, fmt, *terms):
        made = acc * self._power(exponent)
        if kind != "site" and kind not in self._integer:
            return sum(terms, made)
        if kind == "site" and self._jitter:
            noise = torch.randn(made.shape, dtype=made.dtype, generator=self._noise)
            made = made * (1 + self._jitter * noise)
        made = _round(made).clamp(fmt.min, fmt.max)
        return sum(map(_round, terms), made).clamp(fmt.min, fmt.max) if terms else made

    def normalized(self, name, x, norm, coarse, epsilon):
        if "layernorm" in self._integer:
            made = layernorm.layer_norm(_narrow(x.flatten(0, -2)), norm.gamma, norm.beta, epsilon,
                                        coarse)
            return real(made).reshape(x.shape)
        unit = 2.0**layernorm.fraction_of(x.shape[-1])
        return normalize(x, coarse, epsilon) * unit * real(norm.gamma) + real(norm.beta)

    def stored(self, name, scores, step):
        if step:
            return _round(codes(scores, step))
        if "softmax" in self._integer:
            return real(softmax.softmax(_narrow(scores.flatten(0, -2)))[0]).reshape(scores.shape)
        return _round(exponentials(scores))

    def row_exponent(self, name, total):
        made = ONE * torch.log2(total)
        if "softmax" in self._integer:
            made = real(log2.log2(total.flatten().numpy().astype(np.int64))).reshape(total.shape)
        return made

    def activated(self, name, t, coarse):
        if "gelu" in self._integer:
            curve = CURVES[self.network.shape.activation]
            made = curve_columns(curve, _narrow(t.flatten(0, -2)), [] if coarse is None else coarse)
            return real(made).reshape(t.shape)
        return shifted(self.network.shape.activation, t, coarse)


def _narrow(x) -> np.ndarray:
    return _round(x).clamp(ACT16.min, ACT16.max).numpy().astype(np.int16)


def emulate(network: Network, pixels: np.ndarray, *, scales: np.ndarray | None = None,
            integer: Collection[str] = (), jitter: float = 0.0, batch: int = 8,
            progress: Callable = lambda steps, what: steps) -> np.ndarray:
    """Run a network with real arithmetic around its quantizers.

    Parameters
    ----------
    network
        The quantized network.
    pixels : uint8 array, shape (images, side, side, 3)
        As :meth:`golden.network.vit.Vit.run` takes them.
    scales : int array, shape (images, sites), optional
        lambda of each site in place of static and predicted ones; predictions are golden's, made
        from the emulated residual stream, rounded.
    integer
        Those of :data:`UNITS` that are to be as golden has them.
    jitter
        Standard deviation of a relative error, put on every value that is to be quantized.
    batch
        Images at a time.
    progress
        Called with a list of steps and what they are; iterates over them.

    Returns
    -------
    float64 array, shape (images, classes)
        Logits in golden's units.

    Raises
    ------
    ValueError
        If a unit is not one of :data:`UNITS`.
    """
    for unit in integer:
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
    predicted = scales is None
    if predicted:
        scales = np.broadcast_to(network.scales, (len(pixels), network.shape.sites))
    made = [Emulation(network, scales[first:first + batch], predicted, integer, jitter, first + 1)
            .run(pixels[first:first + batch]).numpy()
            for first in progress(range(0, len(pixels), batch), "Emulating")]
    return np.concatenate(made)
