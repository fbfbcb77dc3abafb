"""The blocks and the head of :class:`golden.network.vit.Vit`, on the tokens of some images."""

from collections.abc import Callable

import numpy as np

from ..common import formats, log2
from ..common.checks import integers
from ..product.mac_array import CODES
from ..results.curves import curve_table
from ..rows import layernorm, softmax
from .attention import attend, quantize_mixed, split
from .network import GELU_POINT, Norm
from .shape import BLOCK_SITES, MERGE_SITE, MERGED, POOL_SITE
from .vit_layers import (
    NO_TABLE,
    Product,
    added,
    gelu_rows,
    merged,
    multiplier,
    normalized,
    quantize,
    rescale,
)

Watch = Callable[[str, np.ndarray], None]
Choose = Callable[[int, np.ndarray, np.ndarray], np.ndarray | None]

_ONE = formats.LAMBDA.one


def ignore(name, tensor):
    """Watch nothing."""


def _point(norm: Norm) -> int:
    """Fractional bits of a LayerNorm's result."""
    return layernorm.fraction_of(len(norm.gamma)) + norm.point


class Blocks:
    """Blocks and head in one run: the scales of its images, and who watches."""

    def __init__(self, vit, lambdas, choose: Choose | None, watch: Watch):
        self._vit = vit
        self._network = vit.network
        self._lambdas = lambdas
        self._choose = choose
        self._watch = watch

    def _scale(self, site: int, tensor, unit):
        """Return lambda of each image at a site whose values are to be `tensor`."""
        if self._choose is not None:
            chosen = self._choose(site, tensor, np.asarray(unit, np.int64))
            if chosen is not None:
                self._lambdas[:, site] = integers(
                    f"lambda of site {site}", chosen, formats.LAMBDA.min, formats.LAMBDA.max,
                    shape=(len(tensor),))
        return self._lambdas[:, site]

    def _quantized(self, site: int, tensor, point: int):
        """Quantize a tensor with `point` fractional bits to a site."""
        fmt = self._vit._formats[site]
        lambdas = self._scale(site, tensor, -point * _ONE)
        mantissa, shift = multiplier(-lambdas - point * _ONE, np.zeros(1, np.int64))
        out = np.empty(tensor.shape, np.int8 if fmt.signed else np.uint8)
        quantize(tensor, mantissa[:, 0], shift[:, 0], fmt.min, fmt.max, out)
        return out

    def _norm(self, x, norm: Norm, block: int):
        """LayerNorm of the residual stream in a block, int32."""
        stage = self._network.shape.stage(block)
        return normalized(x, norm, self._vit._shifts[stage], self._network.streams[stage].epsilon)

    def begin(self, x):
        """Return the residual stream of the embedded tokens: LayerNorm, if there is one."""
        network, norm = self._network, self._network.norm_pre
        if norm is None:
            return x
        u = normalized(x, norm, np.zeros_like(self._vit._shifts[0]), network.epsilon_pre)
        self._watch("norm_pre", u)
        exponent = np.array([(network.residual_point - _point(norm)) * _ONE])
        mantissa, shift = multiplier(np.zeros(len(x), np.int64), exponent)
        out = np.empty(x.shape, np.int16)
        quantize(u, mantissa[:, 0], shift[:, 0], formats.ACT16.min, formats.ACT16.max, out)
        self._watch("begun", out)
        return out

    def _linear(self, product: Product, a, site: int):
        """Multiply, requantize to 16 bits and add the bias."""
        acc = product(a)
        mantissa, shift = multiplier(self._lambdas[:, site], product.layer.exponent)
        out = np.empty(acc.shape, np.int16)
        rescale(acc, mantissa, shift, product.layer.bias, out)
        return out

    def _added(self, parts: list[Product], a, site: int, x, watch=None):
        """Multiply, requantize to 16 bits, add the bias and the residual stream."""
        return added(parts, a, self._lambdas[:, site], x, watch)

    def _gelu(self, t, coarse):
        out = np.empty_like(t)
        curve = self._vit._curve
        gelu_rows(t.reshape(-1, t.shape[2]), curve_table(curve), out.reshape(-1, t.shape[2]))
        if coarse is not None:  # few columns, which are done once more
            picked = np.flatnonzero(coarse)
            out[..., picked] = curve_table(curve, True)[
                t[..., picked].astype(int) - formats.ACT16.min]
        return out

    def merge(self, index: int, x):
        """Merge patches before a block."""
        network, shape = self._network, self._network.shape
        number = shape.merges.index(index)
        merge, site = network.merges[number], shape.site(index, MERGE_SITE)
        line = merged(x, 2 * shape.blocks[index].grid)
        u = normalized(line, merge.norm, np.tile(self._vit._shifts[number], MERGED),
                       merge.epsilon)
        self._watch(f"{index}.merging", u)
        a = self._quantized(site, u, _point(merge.norm))
        self._watch(f"{index}.merge", a)
        zeros = np.zeros((1, u.shape[1], merge.layer.bias.size), np.int16)
        x = self._added(self._vit._merges[number], a, site, zeros,
                        lambda part, made: self._watch(f"{index}.merged.part{part}", made))
        self._watch(f"{index}.merged", x)
        return x

    def block(self, index: int, x):
        """Run one block on the residual stream (images, tokens, dim)."""
        block, products = self._network.blocks[index], self._vit._products[index]
        shape = self._network.shape
        sites = {name: shape.site(index, name) for name in BLOCK_SITES}

        def watch(name, tensor):
            self._watch(f"{index}.{name}", tensor)
            return tensor

        u = watch("norm1", self._norm(x, block.norm1, index))
        a = watch("qkv", self._quantized(sites["qkv"], u, _point(block.norm1)))
        y = watch("y", self._linear(products["qkv"], a, sites["qkv"]))
        mixed, row_scale = self._attention(index, y, sites, watch)
        if len(shape.blocks[index].key_parts) > 1:
            a = self._quantized(sites["proj"], mixed, self._network.qkv_point)
        else:
            a = self._mixed(mixed, row_scale, sites)
        watch("proj", a)
        x = watch("attended", self._added(products["proj"], a, sites["proj"], x))
        u = watch("norm2", self._norm(x, block.norm2, index))
        a = watch("fc1", self._quantized(sites["fc1"], u, _point(block.norm2)))
        t = watch("t", self._linear(products["fc1"], a, sites["fc1"]))
        g = watch("gelu", self._gelu(t, block.coarse))
        a = watch("fc2", self._quantized(sites["fc2"], g, GELU_POINT))
        return watch("x", self._added(products["fc2"], a, sites["fc2"], x,
                                      lambda part, made: watch(f"x.part{part}", made)))

    def _attention(self, index: int, y, sites, watch):
        """Mix the values: int32 (images, tokens, dim), sums of products, or 16 bits with the
        fractional bits of values if there are several parts; exponents (images, heads, tokens).
        """
        network, shape = self._network, self._network.shape.blocks[index]
        images, tokens, _ = y.shape
        operands = np.empty((3, images, shape.heads, tokens, shape.head_dim), np.int8)
        for name, part, out in zip("qkv", np.split(y, 3, axis=2), operands, strict=True):
            values, point = self._head_normalized(index, name, part, watch)
            fmt = self._vit._formats[sites[name]]
            lambdas = self._scale(sites[name], values, -point * _ONE)
            mantissa, shift = multiplier(-lambdas - point * _ONE, np.zeros(1, np.int64))
            split(values, mantissa[:, 0], shift[:, 0], fmt.min, fmt.max, out)
            watch(name, out)
        places = network.blocks[index].places
        if not shape.window:
            mixed, row_scale, seen = self._attend(index, operands, sites, places)
        else:
            mixed, row_scale, seen = self._windows(index, operands, sites, places)
        for name, tensor in seen.items():
            watch(name, tensor)
        watch("mixed", mixed)
        return mixed, row_scale

    def _head_normalized(self, index: int, name: str, part, watch):
        """Return queries, keys or values, (images, tokens, dim), as they are to be quantized, and
        their fractional bits: behind their LayerNorm, if they have one.
        """
        norm = self._network.blocks[index].head_norm(name)
        if norm is None:
            return part, self._network.qkv_point
        shape = self._network.shape.blocks[index]
        images, tokens, dim = part.shape
        rows = part.reshape(images, tokens * shape.heads, shape.head_dim)
        u = normalized(rows, norm.norm, layernorm.shifts_of(None, shape.head_dim), norm.epsilon)
        watch(f"{name}_norm", u.reshape(images, tokens, shape.heads, shape.head_dim))
        return u.reshape(images, tokens, dim), _point(norm.norm)

    def _windows(self, index: int, operands, sites, places):
        """Attention within windows, those of a size together; what is seen is named by window."""
        shape = self._network.shape.blocks[index]
        _, images, heads, tokens, size = operands.shape
        mixed = np.empty((images, tokens, heads * size), np.int32)
        row_scale = np.empty((images, heads, tokens), np.int32)
        alike, seen = {}, {}
        for number, window in enumerate(shape.windows):
            alike.setdefault((window.height, window.width), []).append((number, window))
        for those in alike.values():
            numbers, windows = zip(*those, strict=True)
            rows = np.stack([shape.tokens_of(window) for window in windows])
            # (3, images, heads, windows, tokens of one, size), windows behind images
            taken = operands[:, :, :, rows].transpose(0, 1, 3, 2, 4, 5)
            taken = np.ascontiguousarray(taken.reshape(3, -1, heads, rows.shape[1], size))
            own = None
            if places is not None:
                within = shape.places_in(windows[0])
                own = np.ascontiguousarray(places[:, within[:, None], within])
            part, exponents, found = self._attend(index, taken, sites, own, len(windows))
            mixed[:, rows] = part.reshape(images, *rows.shape, -1)
            row_scale[:, :, rows] = exponents.reshape(
                images, len(windows), heads, -1).transpose(0, 2, 1, 3)
            for name, tensor in found.items():
                each = tensor.reshape(images, len(windows), *tensor.shape[1:])
                seen |= {f"{name}@{number}": each[:, place]
                         for place, number in enumerate(numbers)}
        return mixed, row_scale, dict(sorted(seen.items()))

    def _attend(self, index: int, operands, sites, places, windows: int = 1):
        """Attention of all tokens to all, of `windows` of each image one after the other; also
        what is to be seen of it, by name.
        """
        network, shape = self._network, self._network.shape.blocks[index]
        lambdas, point = self._lambdas, network.qkv_point * _ONE
        _, images, heads, tokens, size = operands.shape
        mantissa, shift = multiplier(lambdas[:, sites["q"]] + lambdas[:, sites["k"]],
                                      np.array([network.score_exponent + 10 * _ONE]))
        step = network.blocks[index].step
        codes = softmax.codebook(step) if step else np.zeros(CODES, np.uint8)
        factor, code_shift = softmax.reciprocal(step) if step else (0, 0)
        table = codes.astype(np.int16) if step else NO_TABLE
        keep = self._watch is not ignore
        sums = (images, heads, tokens, tokens) if keep else (0, 0, 0, 0)
        scores, probabilities = np.empty(sums, np.int16), np.empty(sums, np.uint8)
        ends = np.array([tokens] if shape.window else [part.stop for part in shape.key_parts])
        dim = heads * size
        several = (len(ends) - 1, images, tokens, dim) if keep else (0, 0, 0, 0)
        mixed, before = np.empty((images, tokens, dim), np.int32), np.empty(several, np.int32)
        row_scale = np.empty((images, heads, tokens), np.int32)
        attend(operands, np.repeat(mantissa[:, 0], windows), np.repeat(shift[:, 0], windows),
               NO_TABLE.reshape(0, 0, 0) if places is None else places, step, factor, code_shift,
               table, codes, keep, ends, np.repeat(lambdas[:, sites["v"]] + point, windows), mixed,
               before, row_scale, scores, probabilities)
        seen = {}
        if keep:
            seen = {"scores": scores, "probs": probabilities, "row_scale": row_scale}
        seen |= {f"mixed.part{part}": made for part, made in enumerate(before)}
        return mixed, row_scale, seen

    def _mixed(self, mixed, row_scale, sites):
        """Quantize the mixed values to the site before the projection."""
        fmt, values = self._vit._formats[sites["proj"]], self._lambdas[:, sites["v"]]
        if self._choose is not None:
            unit = values[:, None, None] - row_scale.transpose(0, 2, 1)
            self._scale(sites["proj"], mixed, np.repeat(unit, self._network.shape.head_dim, axis=2))
        exponent = values - self._lambdas[:, sites["proj"]]
        out = np.empty(mixed.shape, np.int8)
        quantize_mixed(mixed, row_scale, exponent, fmt.min, fmt.max, out)
        return out

    def head(self, x):
        """Classify the first tokens of the residual stream, side by side in one row, or the mean
        of the patches.
        """
        shape = self._network.shape
        site = shape.sites - 1
        taken = slice(0, shape.classified) if shape.classified else slice(shape.prefix, None)
        taken = np.ascontiguousarray(x[:, taken])
        if shape.fc_norm:
            taken = self._mean_of_stream(taken, site - 1)
        u = self._norm(taken, self._network.norm, shape.depth - 1)
        self._watch("norm", u)
        if shape.classified or shape.fc_norm:
            u = u.reshape(len(u), 1, shape.classified_dim)
            a = self._quantized(site, u, _point(self._network.norm))
        else:
            a = self._mean(u, site)
        self._watch("head", a)
        zeros = np.zeros((1, 1, shape.classes), np.int16)
        return self._added(self._vit._head, a, site, zeros,
                           lambda part, made: self._watch(f"logits.part{part}", made[:, 0]))[:, 0]

    def _mean(self, u, site: int):
        """Quantize patches, and their mean to a site."""
        total = self._sum(u, site - 1, _point(self._network.norm))
        fewer = mean_exponent(u.shape[1])
        pool = self._lambdas[:, site - 1]
        lambdas = self._scale(site, total, (pool + fewer)[:, None, None])
        mantissa, shift = multiplier(pool + fewer - lambdas, np.zeros(1, np.int64))
        fmt, out = self._vit._formats[site], np.empty(total.shape, np.int8)
        quantize(total, mantissa[:, 0], shift[:, 0], fmt.min, fmt.max, out)
        return out

    def _mean_of_stream(self, x, pool: int):
        """Quantize patches of the residual stream to a site; return their mean, like the stream."""
        point = self._network.streams[-1].point
        total = self._sum(x, pool, point)
        exponent = self._lambdas[:, pool] + mean_exponent(x.shape[1]) + point * _ONE
        mantissa, shift = multiplier(exponent, np.zeros(1, np.int64))
        out = np.empty(total.shape, np.int16)
        quantize(total, mantissa[:, 0], shift[:, 0], formats.ACT16.min, formats.ACT16.max, out)
        self._watch("mean", out)
        return out

    def _sum(self, tensor, pool: int, point: int):
        """Quantize tokens with `point` fractional bits to a site; return their sum."""
        p = self._quantized(pool, tensor, point)
        self._watch(POOL_SITE, p)
        return p.sum(1, dtype=np.int32)[:, None]


def mean_exponent(tokens: int) -> int:
    """Return ``-log2(tokens)``, 10 fractional bits: what makes a mean of a sum."""
    return -int(log2.log2(np.array([tokens]))[0])
