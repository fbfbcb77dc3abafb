"""A whole Vision Transformer in integers, from 8-bit pixels to 16-bit logits.

With ``lambda[s]`` of an image at site `s`, ``point`` of the network, ``m / 2**s = 2**x`` as
:mod:`golden.common.exp2` gives it and ``requant`` as in :mod:`golden.results.requant`, one block of
`x` (int16, the residual stream) does, for each token or row of attention:

    u    = layer_norm(x)                             32 bits, 10 + g fractional, of long rows 9 + g
    qkv  = requant(u, -lambda[qkv] - (10 + g))                    to the site's format
    y    = requant(qkv @ weight, lambda[qkv] + exponent) + bias   16 bits, qkv_point fractional
    q    = requant(y, -lambda[q] - qkv_point)                     and so k and v, or
           requant(layer_norm(y), -lambda[q] - (10 + g))          of each head, where q or k has one
    s    = requant(q @ k.T, lambda[q] + lambda[k] + score_exponent + 10)     Q6.10, log2
    a, r = softmax(s)                                             operands or codes, exponent
    proj = requant(a @ v, lambda[v] - r - lambda[proj])           to the site's format, or of
           requant(a @ v, lambda[v] - r + qkv_point)              parts of more keys, the sum of
           requant(m, -lambda[proj] - qkv_point)                  16 bits, to the site's format
    x    = requant(proj @ weight, lambda[proj] + exponent) + bias + x
    fc1  = requant(layer_norm(x), ...)                            as above
    t    = requant(fc1 @ weight, lambda[fc1] + exponent) + bias   16 bits, 10 fractional
    fc2  = requant(gelu(t), -lambda[fc2] - 10)                    to the site's format, unsigned;
                                                   gelu is any of :mod:`golden.results.curves`
    x    = requant(fc2 @ weight, lambda[fc2] + exponent) + bias + x

``requant`` to 16 bits saturates; bias and residual are added to that, and the sum saturates once.
A block's places, where it has some, are added to ``s``, which saturates once more. Where there are
windows, attention is within each: of a window smaller than others, places are those of its tokens.
A merge puts four patches, by row and column, in line, and does

    a    = requant(layer_norm(line), -lambda[merge] - (10 + g))   to the site's format
    x    = requant(a @ weight, lambda[merge] + exponent) + bias   16 bits

The patch embedding does the same with pixels (lambda 0) and the embedding in the place of bias and
residual; where there is a LayerNorm before the blocks, ``x = requant(layer_norm(x), residual_point
- (10 + g))`` of 16 bits. Sums of more than :data:`~.shape.LONGEST` products, which an MLP's second
layer, a merge, the patch embedding and the head may have, are taken in parts, each requantized and
added to what the parts before it have made, the bias with the first. Tokens of the prefix are those
of the embedding; the head takes the normalised class token, beside it that of distillation where
there is one, or the mean of the patches, which are quantized, added and requantized:

    p    = requant(layer_norm(x), -lambda[pool] - (10 + g))       to the site's format
    head = requant(sum(p), lambda[pool] - log2(patches) - lambda[head])

or, where the last LayerNorm is behind the mean (``fc_norm``), the same of the residual stream as it
is, coarse channels included:

    p    = requant(x, -lambda[pool] - residual_point)             to the site's format
    mean = requant(sum(p), lambda[pool] - log2(patches) + residual_point)    16 bits
    head = requant(layer_norm(mean), -lambda[head] - (10 + g))    to the site's format

Channels of `x` that are `coarse` have less fractional bits than the others
(:mod:`golden.rows.layernorm`): the exponents, biases and embeddings that make them have, too, so
that only ``layer_norm`` knows. Columns of `t` that are `coarse` have less as well
(:mod:`golden.results.gelu`), and so have those of `gelu`: only ``gelu`` knows, for the exponents
and biases of `fc1` and the rows of `fc2`'s weights make up for it. Scales are static, or taken from
the residual stream at a tap (:mod:`golden.prediction.range_unit`,
:mod:`golden.prediction.scale_unit`), image by image.

Rows are computed in parallel; results do not depend on it.
"""

from dataclasses import dataclass

import numpy as np
from numba import get_num_threads

from ..common import formats
from ..common.checks import integers
from ..common.formats import Mode
from ..prediction import range_unit, scale_unit
from ..results.curves import CURVES
from ..rows import layernorm
from .network import Network
from .precision import HEAD, site_format
from .shape import MERGE_SITE
from .vit_blocks import Blocks, Choose, Watch, ignore
from .vit_layers import Product, added, patches, products_of

IMAGES = 2
"""Images of a thread that go through the network together: tensors of more leave the caches, and
their memory is not at hand again (DeiT-Tiny: two thirds of the time of 26 images at once).
"""


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """What a network made of some images.

    Attributes
    ----------
    logits : int16 array, shape (images, classes)
        With the network's `logit_point` fractional bits.
    scales : int16 array, shape (images, sites)
        lambda of each image at each site.
    """

    logits: np.ndarray
    scales: np.ndarray


class Vit:
    """A network ready to run.

    Parameters
    ----------
    network
        Its weights are laid out once, here.
    """

    def __init__(self, network: Network):
        self.network = network
        mode = self._mode
        self._patch = products_of(network.patch, HEAD.mode, network.shape.patch_parts)
        self._head = products_of(network.head, HEAD.mode, network.shape.classified_parts)
        shapes = network.shape.blocks
        self._products = [{
            "qkv": Product(block.qkv, mode(index, "qkv")),
            "proj": [Product(block.proj, mode(index, "proj"))],
            "fc1": Product(block.fc1, mode(index, "fc1")),
            "fc2": products_of(block.fc2, mode(index, "fc2"), shape.hidden_parts)}
            for index, (block, shape) in enumerate(zip(network.blocks, shapes, strict=True))]
        self._merges = [products_of(merge.layer, mode(block, MERGE_SITE), shapes[block].merge_parts)
                        for merge, block in zip(network.merges, network.shape.merges, strict=True)]
        self._formats = [site_format(network.shape, network.precision, site)
                         for site in range(network.shape.sites)]
        self._curve = CURVES[network.shape.activation]
        self._shifts = [layernorm.shifts_of(stream.coarse, network.shape.dim << stage)
                        for stage, stream in enumerate(network.streams)]

    def _mode(self, block: int, layer: str) -> Mode:
        """How the array multiplies by the weights of a layer."""
        return self.network.precision.of(block, layer).mode

    def run(self, pixels, *, scales=None, choose: Choose | None = None,
            watch: Watch | None = None) -> Inference:
        """Classify images.

        Parameters
        ----------
        pixels : uint8 array, shape (images, side, side, colours)
            As an image file holds them, of three: red, green, blue.
        scales : int array, shape (images, sites), optional
            lambda of each site, in place of static and predicted ones.
        choose : callable, optional
            Called for every site with its index, what is about to be quantized (an integer array,
            images first; queries, keys and values as ``(images, tokens, dim)``, behind their
            LayerNorm if they have one), and the log2 of its unit with 10 fractional bits (an
            integer array that broadcasts to it); returns lambda of each image, or None to leave
            it.
        watch : callable, optional
            Called with the name and the integers of each tensor as it is made, like
            ``3.fc1``, which it may keep.

        Returns
        -------
        Inference

        Raises
        ------
        TypeError, ValueError
            If an argument is of another type or shape, or out of range.
        """
        network, shape = self.network, self.network.shape
        pixels = integers("pixels", pixels, 0, formats.UINT8.max, dtype=np.uint8,
                          shape=(None, shape.image, shape.image, shape.colours))
        images = len(pixels)
        if scales is None:
            lambdas = np.tile(network.scales.astype(np.int64), (images, 1))
            taps = network.taps
        else:
            lambdas = integers("scales", scales, formats.LAMBDA.min, formats.LAMBDA.max,
                               shape=(images, shape.sites)).copy()
            taps = ()
        at_a_time = images
        if choose is None and watch is None:  # which see all images at once
            at_a_time = IMAGES * get_num_threads()
        logits = [self._run(pixels[first:first + at_a_time], lambdas[first:first + at_a_time], taps,
                            choose, watch or ignore)
                  for first in range(0, max(images, 1), max(at_a_time, 1))]
        return Inference(np.concatenate(logits), lambdas.astype(np.int16))

    def _run(self, pixels, lambdas, taps, choose: Choose | None, watch: Watch) -> np.ndarray:
        """Return the logits of images; what is predicted and chosen is put into `lambdas`."""
        network, shape, images = self.network, self.network.shape, len(pixels)
        state = Blocks(self, lambdas, choose, watch)

        x = np.empty((images, shape.tokens, shape.dim), np.int16)
        x[:, :shape.prefix] = network.embedding[:shape.prefix]
        x[:, shape.prefix:] = added(
            self._patch, patches(pixels, shape), np.zeros(images, np.int64),
            network.embedding[None, shape.prefix:],
            lambda part, made: watch(f"embedding.part{part}", made))
        watch("embedding", x)
        x = state.begin(x)
        for index in range(shape.depth + 1):
            for tap in taps:
                if tap.after == index:
                    lambdas[:, tap.sites] = predict(x, tap)
            if index in shape.merges:
                x = state.merge(index, x)
            if index < shape.depth:
                x = state.block(index, x)
        logits = state.head(x)
        watch("logits", logits)
        return logits


def predict(x, tap) -> np.ndarray:
    """Return lambda of a tap's sites, (images, sites), from the residual stream ``x``."""
    u = np.stack([range_unit.statistics(image, tap.chunk_tokens, tap.groups, tap.mean, tap.gain)
                  for image in x])
    return scale_unit.predict_batch(u, tap.predictor)
