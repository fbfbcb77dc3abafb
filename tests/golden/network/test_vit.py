"""A whole network against its definition, step by step on the front doors of the units."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from golden.common import exp2, log2
from golden.network import vit
from golden.network.network import GELU_POINT, Stream
from golden.network.precision import HEAD, Precision, parse
from golden.network.shape import BLOCK_SITES
from golden.product import mac_array
from golden.product.mac_array import Activation
from golden.results import gelu
from golden.rows import layernorm, softmax
from tests.cases.networks import (
    LONG,
    MEANS,
    MIXED,
    PREFIXES,
    RELATIVE,
    SHAPE,
    WINDOWS,
    massive,
    network,
    pixels,
    with_norm_pre,
    with_qk_norm,
)

PRECISIONS = [("w8a8", 0), ("w6a6", 0), ("w4a8", 600), ("w4a4", 0), ("w4a4", 512), ("w4a3", 700)]


def requant(acc, exponent, low=-2**15, high=2**15 - 1):
    """Scale every element by its own power of two, in Python integers."""
    acc, exponent = np.broadcast_arrays(acc, exponent)
    mantissa, shift = exp2.exp2(exponent.ravel().astype(int))
    found = [min(max((2 * int(a) * int(m) + (1 << int(s))) >> (int(s) + 1), low), high)
             for a, m, s in zip(acc.ravel(), mantissa, shift, strict=True)]
    return np.array(found).reshape(acc.shape)


def add(*terms):
    """Add, and saturate to 16 bits once."""
    return np.clip(sum(np.asarray(term, int) for term in terms), -2**15, 2**15 - 1)


class Definition:
    """The network of one image as the module's docstring has it."""

    def __init__(self, made, image, lambdas):
        self.made, self.seen = made, {}
        self.shape = made.shape
        prefix, classified, edge = made.shape.prefix, made.shape.classified, made.shape.patch
        self.scale = dict(zip(made.shape.site_names(), map(int, lambdas), strict=True))
        grid = range(made.shape.grid)
        rows = np.stack([image[edge * y:edge * (y + 1), edge * x:edge * (x + 1)].reshape(-1)
                         for y in grid for x in grid])
        embedded = self.added("embedding", made.patch, rows, 0, HEAD.mode, made.embedding[prefix:],
                              made.shape.patch_parts)
        x = self.seen["embedding"] = np.concatenate((made.embedding[:prefix], embedded))
        if made.norm_pre is not None:
            norm = made.norm_pre
            u = layernorm.layer_norm(x, norm.gamma, norm.beta, made.epsilon_pre)
            x = self.seen["begun"] = requant(u, 1024 * (made.residual_point - 10 - norm.point))
        merges, self.stream = 0, Stream(made.residual_point, made.epsilon, made.coarse)
        for index in range(made.shape.depth):
            if index in made.shape.merges:
                x, merges = self.merge(f"{index}.merge", made.merges[merges], x), merges + 1
            self.shape = made.shape.blocks[index]
            x = self.block(str(index), made.blocks[index], x)
        if classified:
            a = self.norm("head", made.norm, x[:classified]).reshape(1, -1)
        else:
            x = x[prefix:]
            mean = self.scale["pool"] - log2.log2(np.array([len(x)]))[0]
            if made.shape.fc_norm:
                point = 1024 * made.residual_point
                p = self.site("pool", x, -self.scale["pool"] - point).sum(0)
                m = self.seen["mean"] = requant(p[None], mean + point)
                a = self.norm("head", made.norm, m)
            else:
                p = self.norm("pool", made.norm, x).sum(0)
                a = self.site("head", p[None], mean - self.scale["head"])
        logits = self.added("logits", made.head, a, self.scale["head"], HEAD.mode, 0,
                            made.shape.classified_parts, Activation.SIGNED)
        self.seen["logits"] = logits[0]

    def site(self, name, values, exponent):
        kind = name.rpartition(".")[2]
        layer = "attention" if kind in "qkv" and kind != "qkv" else kind
        fmt = (HEAD if kind in ("head", "pool") else self.widths(name, layer)).site(kind)
        self.seen[name] = requant(values, exponent, fmt.min, fmt.max)
        return self.seen[name]

    def widths(self, name, layer=None):
        """Return the widths of a layer, by a name that begins with the block."""
        index, *rest = name.split(".")
        return self.made.precision.of(int(index), layer or rest[0])

    def norm(self, name, norm, x):
        u = layernorm.layer_norm(x, norm.gamma, norm.beta, self.stream.epsilon, self.stream.coarse)
        return self.site(name, u, -self.scale[name] - 1024 * (10 + norm.point))

    def linear(self, name, layer, a, *residual):
        acc = mac_array.gemm(a, layer.weight, self.widths(name).mode)
        return add(requant(acc, self.scale[name] + layer.exponent), layer.bias, *residual)

    def added(self, name, layer, a, scale, mode, x, parts, kind=Activation.UNSIGNED):
        """Add the products of parts of the inputs to the residual stream, one after the other."""
        for number, part in enumerate(parts):
            if number:
                self.seen[f"{name}.part{number - 1}"] = x
            acc = mac_array.gemm(a[:, part], layer.weight[part], mode, kind)
            x = add(requant(acc, scale + layer.exponent), 0 if number else layer.bias, x)
        return x

    def mixed(self, index, probs, values, row, kind, book):
        """Mix the values of a head."""
        scale, mode = self.scale, self.widths(index, "attention").value_mode
        v, proj, point = scale[f"{index}.v"], scale[f"{index}.proj"], 1024 * self.made.qkv_point
        fmt, mixed = self.widths(index, "proj").site("proj"), 0
        for part in self.shape.key_parts:
            acc = mac_array.gemm(probs[:, part], values[part], mode, kind, book)
            if len(self.shape.key_parts) == 1:
                return requant(acc, (v - proj - row)[:, None], fmt.min, fmt.max)
            mixed = add(requant(acc, (v - row + point)[:, None]), mixed)
        return requant(mixed, -proj - point, fmt.min, fmt.max)

    def merge(self, name, merge, x):
        """Merge each patch of an even row and column with those at its right and below it."""
        grid = self.shape.grid
        line = np.stack([np.concatenate([x[grid * (y + dy) + c + dx] for dy in (0, 1)
                                         for dx in (0, 1)])
                         for y in range(0, grid, 2) for c in range(0, grid, 2)])
        coarse = None if self.stream.coarse is None else np.tile(self.stream.coarse, 4)
        u = layernorm.layer_norm(line, merge.norm.gamma, merge.norm.beta, merge.epsilon, coarse)
        fraction = 9 if line.shape[1] > 1024 else 10
        a = self.site(name, u, -self.scale[name] - 1024 * (fraction + merge.norm.point))
        self.stream = merge.stream
        index = name.partition(".")[0]
        sizes = self.made.shape.blocks[int(index)]
        return self.added(f"{index}.merged", merge.layer, a, self.scale[name],
                          self.widths(name).mode, 0, sizes.merge_parts, Activation.SIGNED)

    def attended(self, index, parts, together, places, window=""):
        """Mix the values of tokens that attend to each other; `places` is added to scores."""
        made, scale, mixed = self.made, self.scale, []
        for head, (q, k, v) in enumerate(zip(*(parts[name][:, together] for name in "qkv"),
                                             strict=True)):
            acc = mac_array.gemm(q, k.T, self.widths(index, "attention").score_mode)
            s = add(requant(acc, scale[f"{index}.q"] + scale[f"{index}.k"]
                            + made.score_exponent + 1024 * 10), places[head])
            step = made.blocks[int(index)].step
            if step:
                p, row = softmax.softmax_codes(s, step)
                kind, book = Activation.CODE, softmax.codebook(step)
            else:
                p, row = softmax.softmax(s)
                kind, book = Activation.UNSIGNED, None
            self.probs.setdefault(f"{index}.probs{window}", []).append(p)
            mixed.append(self.mixed(index, p, v, row, kind, book))
        return np.concatenate(mixed, axis=1)

    def windows(self):
        """Yield rows and columns of windows: cut at each multiple of their side, behind a shift."""
        shape = self.shape
        cuts = [0, *range(shape.shift or shape.window, shape.grid, shape.window), shape.grid]
        for top, bottom in pairwise(cuts):
            for left, right in pairwise(cuts):
                yield np.array([(y, x) for y in range(top, bottom) for x in range(left, right)])

    def block(self, index, block, x):
        scale, seen = self.scale, self.seen
        a = self.norm(f"{index}.qkv", block.norm1, x)
        y = seen[f"{index}.y"] = self.linear(f"{index}.qkv", block.qkv, a)
        parts = {}
        for name, part in zip("qkv", np.split(y, 3, axis=1), strict=True):
            site, point = f"{index}.{name}", 10
            heads = part.reshape(len(part), self.shape.heads, -1).transpose(1, 0, 2)
            norm = {"q": block.q_norm, "k": block.k_norm, "v": None}[name]
            if norm is not None:
                heads = np.stack([layernorm.layer_norm(head, norm.norm.gamma, norm.norm.beta,
                                                       norm.epsilon) for head in heads])
                seen[f"{site}_norm"], point = heads.transpose(1, 0, 2), 10 + norm.norm.point
            parts[name] = self.site(site, heads, -scale[site] - 1024 * point)
        self.probs, heads = {}, self.shape.heads
        if self.shape.window:
            mixed = np.zeros((len(x), self.shape.dim), int)
            for number, at in enumerate(self.windows()):
                tokens, least = at @ (self.shape.grid, 1), at.min(0)
                within = (at - least) @ (self.shape.window, 1)
                mixed[tokens] = self.attended(index, parts, tokens,
                                              block.places[:, within[:, None], within],
                                              f"@{number}")
        else:
            places = [0] * heads if block.places is None else block.places
            mixed = self.attended(index, parts, slice(None), places)
        seen |= {name: np.stack(those) for name, those in self.probs.items()}
        a = seen[f"{index}.proj"] = mixed
        x = seen[f"{index}.attended"] = self.linear(f"{index}.proj", block.proj, a, x)
        a = self.norm(f"{index}.fc1", block.norm2, x)
        t = seen[f"{index}.t"] = self.linear(f"{index}.fc1", block.fc1, a)
        flags = None if block.coarse is None else np.tile(block.coarse, len(t))
        g = seen[f"{index}.gelu"] = gelu.gelu(t.ravel(), flags).reshape(t.shape)
        a = self.site(f"{index}.fc2", g, -scale[f"{index}.fc2"] - 1024 * 10)
        x = seen[f"{index}.x"] = self.added(f"{index}.x", block.fc2, a, scale[f"{index}.fc2"],
                                            self.widths(f"{index}.fc2").mode, x,
                                            self.shape.hidden_parts)
        return x


@pytest.mark.parametrize(("bits", "step"), PRECISIONS)
def test_every_tensor_is_that_of_the_definition(bits, step):
    check_definition(network(Precision.parse(bits), step))


@pytest.mark.parametrize("bits", MIXED)
def test_every_tensor_of_mixed_precisions_is_that_of_the_definition(bits):
    made = network(parse(bits), 512)
    check_definition(made)
    first, second = made.blocks
    check_definition(replace(made, blocks=(first, replace(second, step=0))))


@pytest.mark.parametrize("bits", ["w4a4,2=w8a8", "w8a8,merge=w4a4,1=w4a4"])
def test_every_tensor_of_windows_in_mixed_precisions_is_that_of_the_definition(bits):
    shape = replace(SHAPE, **WINDOWS)
    check_definition(massive(with_norm_pre(network(parse(bits), shape=shape))), images=2)


@pytest.mark.parametrize("kind", PREFIXES)
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_every_tensor_of_other_prefixes_is_that_of_the_definition(bits, kind):
    shape = replace(SHAPE, **PREFIXES[kind])
    check_definition(network(Precision.parse(bits), shape=shape))


@pytest.mark.parametrize("kind", MEANS)
@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_every_tensor_of_a_mean_of_patches_is_that_of_the_definition(bits, kind):
    made = network(Precision.parse(bits), shape=replace(SHAPE, **MEANS[kind]))
    check_definition(massive(made) if kind == "fc_norm" else made)


@pytest.mark.parametrize("kind", RELATIVE)
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
def test_every_tensor_with_relative_positions_is_that_of_the_definition(bits, step, kind):
    check_definition(network(Precision.parse(bits), step, shape=replace(SHAPE, **RELATIVE[kind])))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_every_tensor_behind_a_norm_before_the_blocks_is_that_of_the_definition(bits):
    check_definition(massive(with_norm_pre(network(Precision.parse(bits)))))


@pytest.mark.parametrize(("bits", "step"), PRECISIONS)
def test_every_tensor_with_norms_of_queries_and_keys_is_that_of_the_definition(bits, step):
    check_definition(with_qk_norm(massive(network(Precision.parse(bits), step))))


@pytest.mark.parametrize("name", ["q_norm", "k_norm"])
def test_queries_or_keys_alone_can_be_normalised(name):
    made = with_qk_norm(network(parse("w4a4,0=w8a8")))
    one = replace(made, blocks=tuple(replace(block, **{name: None}) for block in made.blocks))
    check_definition(one)
    assert (vit.Vit(one).run(pixels(2)).logits != vit.Vit(made).run(pixels(2)).logits).any()


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_every_tensor_with_norms_of_keys_within_windows_is_that_of_the_definition(bits):
    made = network(Precision.parse(bits), shape=replace(SHAPE, **WINDOWS))
    check_definition(with_qk_norm(with_norm_pre(made)), images=2)


@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
@pytest.mark.parametrize("change", [{}, {"image": 48, "depth": 5, "merges": (2, 4)},
                                    {"image": 32, "window": 4, "merges": ()},
                                    {"dim": 264, "merges": (1,), "depth": 2, "image": 24}],
                         ids=["merged", "merged twice", "not merged", "in parts"])
def test_every_tensor_within_windows_is_that_of_the_definition(change, bits, step):
    shape = replace(SHAPE, **WINDOWS | change)
    check_definition(with_norm_pre(network(Precision.parse(bits), step, shape=shape)), images=2)


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_every_tensor_with_coarse_channels_and_windows_is_that_of_the_definition(bits):
    made = massive(network(Precision.parse(bits), shape=replace(SHAPE, **WINDOWS)))
    merge = made.merges[0]
    flags = np.zeros(2 * SHAPE.dim, np.uint8)
    flags[5] = 1
    coarse = replace(merge, stream=replace(merge.stream, coarse=flags))
    check_definition(replace(made, merges=(coarse,)), images=2)


@pytest.mark.parametrize("kind", LONG)
@pytest.mark.parametrize(("bits", "step"), [("w8a8", 0), ("w4a4", 512)])
def test_every_tensor_of_products_in_parts_is_that_of_the_definition(bits, step, kind):
    shape = replace(SHAPE, depth=1, **LONG[kind])
    check_definition(network(Precision.parse(bits), step, shape=shape), images=1)


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_every_tensor_of_massive_activations_is_that_of_the_definition(bits):
    check_definition(massive(network(Precision.parse(bits))))


@pytest.mark.parametrize("bits", ["w8a8", "w4a4"])
def test_massive_activations_pass_gelu(bits):
    channel, unit = 3, 5
    made, seen = massive(network(Precision.parse(bits)), channel, unit), {}
    vit.Vit(made).run(pixels(3), watch=seen.__setitem__)
    point, fc2 = made.channel_points[channel], made.blocks[0].fc2
    t = seen["0.t"][..., unit].ravel() * 2.0**-(GELU_POINT - gelu.COARSE)
    at = t.argmax()
    assert t[at] > 3 * 32  # where the input of other columns saturates
    factor = fc2.weight[unit, channel] * 2.0**(fc2.exponent[channel] / 1024 - point)
    jump = (seen["0.x"].astype(int) - seen["0.attended"])[..., channel].ravel() * 2.0**-point
    assert jump[at] == pytest.approx(t[at] * 2.0**-gelu.COARSE * factor, rel=0.1)
    others = np.delete(np.abs(seen["1.x"]).max((0, 1)) * 2.0**-made.channel_points, channel)
    assert np.abs(seen["1.x"][..., channel]).max() * 2.0**-point > 20 * others.max()


def check_definition(made, images=3):
    count, images = images, pixels(images, made.shape)
    draw = np.random.default_rng(3)
    lambdas = made.scales + draw.integers(-300, 300, (count, made.shape.sites))
    seen = {}
    result = vit.Vit(made).run(images, scales=lambdas, watch=seen.__setitem__)
    assert (result.scales == lambdas).all()
    for image in range(count):
        wanted = Definition(made, images[image], lambdas[image]).seen
        assert set(wanted) < set(seen)
        for name, tensor in wanted.items():
            found = seen[name][image]
            np.testing.assert_array_equal(found.reshape(tensor.shape), tensor, err_msg=name)
        assert (result.logits[image] == wanted["logits"]).all()
    last = made.shape.depth - 1
    for name in ("0.qkv", *(f"{last}.{kind}" for kind in ("q", "fc1", "fc2", "proj")), "logits"):
        assert len(np.unique(seen[name])) > 3, f"{name} is nearly constant"


def test_nothing_between_pixels_and_logits_is_a_float():
    for bits, step in PRECISIONS:
        made, seen = network(Precision.parse(bits), step), {}
        result = vit.Vit(made).run(pixels(2), watch=seen.__setitem__)
        kinds = {name: tensor.dtype.kind for name, tensor in seen.items()}
        kinds |= {"logits": result.logits.dtype.kind, "scales": result.scales.dtype.kind}
        assert set(kinds.values()) <= {"i", "u"}, kinds


def test_watching_changes_nothing():
    made = vit.Vit(network(Precision(4, 4)))
    watched = made.run(pixels(2), watch=lambda name, tensor: None)
    assert (watched.logits == made.run(pixels(2)).logits).all()


def test_an_image_does_not_depend_on_the_others():
    made, images = vit.Vit(network(Precision(4, 4), 512)), pixels(5)
    together = made.run(images).logits
    for index in range(5):
        assert (made.run(images[index:index + 1]).logits[0] == together[index]).all()


def test_chosen_scales_are_used_and_reported():
    made = vit.Vit(network(Precision(4, 4)))
    seen = {}

    def choose(site, tensor, unit):
        largest = np.abs(tensor * 2.0**(unit / 1024)).reshape(len(tensor), -1).max(1)
        seen[site] = np.ceil(1024 * np.log2(largest / 7)).astype(int)
        return seen[site] if site % 2 else None

    found = made.run(pixels(2), choose=choose)
    assert sorted(seen) == list(range(SHAPE.sites))
    for site, lambdas in seen.items():
        wanted = lambdas if site % 2 else made.network.scales[site]
        assert (found.scales[:, site] == wanted).all()
    again = made.run(pixels(2), scales=found.scales)
    assert (again.logits == found.logits).all()


def test_scales_are_chosen_from_normalised_queries_and_keys():
    made, seen, given = vit.Vit(with_qk_norm(network(Precision(8, 8)))), {}, {}

    def choose(site, tensor, unit):
        given[SHAPE.site_names()[site]] = tensor.copy(), int(np.ravel(unit)[0])

    made.run(pixels(2), choose=choose, watch=seen.__setitem__)
    for site, tensor, point in (("1.q", "1.q_norm", 22), ("1.k", "1.k_norm", 22)):
        values, unit = given[site]
        assert (values == seen[tensor].reshape(values.shape)).all()
        assert unit == -1024 * point
    values, unit = given["1.v"]
    assert (values == seen["1.y"][..., 2 * SHAPE.dim:]).all()
    assert unit == -1024 * 10


def test_images_of_another_size_are_refused():
    made = vit.Vit(network(Precision(8, 8)))
    with pytest.raises(ValueError, match="pixels must have shape"):
        made.run(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(TypeError, match="pixels must be an integer array"):
        made.run(np.zeros((1, 12, 12, 3)))


def test_there_is_a_site_for_every_operand():
    assert len(BLOCK_SITES) * SHAPE.depth + 1 == SHAPE.sites
