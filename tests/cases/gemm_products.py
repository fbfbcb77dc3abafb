"""Matrix products for tests: random ones, DeiT-Tiny's own, every pair of operands."""

import numpy as np
from safetensors.numpy import load_file

from golden.common.config import AcceleratorConfig
from golden.common.formats import CODE, INT4, INT8, OPERAND, UINT8, IntFormat, Mode
from golden.product.mac_array import CODES, Activation, activation_format, start_limit

from ..benches.gemm_streams import Product
from .recorded import WEIGHTS, recorded

KINDS = [(mode, activation) for mode in Mode for activation in Activation
         if mode is not Mode.W4A4 or activation is not Activation.CODE]
"""Every precision with every kind of activations it takes."""


def operands(mode, activation, m, k, n, seed=1, batch=()):
    """Return random activations, weights, codebook or None, and start values."""
    rng = np.random.default_rng(seed)
    fmt = activation_format(mode, activation)
    a = rng.integers(fmt.min, fmt.max + 1, (*batch, m, k))
    w = rng.integers(mode.weight.min, mode.weight.max + 1, (*batch, k, n))
    codebook = None
    if activation is Activation.CODE:
        codebook = rng.integers(OPERAND.min, OPERAND.max + 1, CODES)
    limit = start_limit(k, mode, activation)
    return a, w, codebook, rng.integers(-limit, limit + 1, n)


def _draw(rng, fmt: IntFormat, shape):
    """Values over the whole range of `fmt`, one in eight at its ends."""
    values = rng.integers(fmt.min, fmt.max, shape, endpoint=True)
    return np.where(rng.random(shape) < 1 / 8, rng.choice([fmt.min, fmt.max], shape), values)


def random_product(rng, m: int, k: int, n: int, mode: Mode, activation: Activation,
                   config: AcceleratorConfig) -> Product:
    """Operands and start values over their whole ranges."""
    limit = start_limit(k, mode, activation, config)
    return Product(_draw(rng, activation_format(mode, activation), (m, k)),
                   _draw(rng, mode.weight, (k, n)), mode, activation,
                   rng.integers(-limit, limit, n, endpoint=True))


def random_products(config: AcceleratorConfig, *, repeats: int = 1, seed: int = 1) -> list[Product]:
    """Every kind of product, ragged tiles of lengths around the time a tile takes to drain."""
    rng = np.random.default_rng(seed)
    kinds = [kind for kind in KINDS for _ in range(repeats)]
    rng.shuffle(kinds)
    lengths = rng.permutation(np.resize([1, 2, 3, 5, 8, 13, 21, 34], len(kinds)))
    return [random_product(rng, config.tile_rows(mode) + int(rng.integers(1, 3)), int(k),
                           config.tile_cols(mode) + int(rng.integers(1, 4)), mode, activation,
                           config)
            for (mode, activation), k in zip(kinds, lengths, strict=True)]


def _kind(signed: bool) -> Activation:
    return Activation.SIGNED if signed else Activation.UNSIGNED


def _cut(config, a, w, mode, activation=Activation.SIGNED) -> Product:
    """Return the first tiles of a product: more than one each way, the last ones ragged."""
    rows, cols = config.tile_rows(mode) + 1, config.tile_cols(mode) + 1
    return Product(a[:rows, :config.max_k], w[:config.max_k, :cols], mode, activation)


def attention_products(config: AcceleratorConfig) -> list[Product]:
    """Scores and weighted values of recorded heads: K and V are on the weight port."""
    data = recorded()
    products = []
    for head, block in enumerate(data.blocks):
        def values(name, bits, block=block, head=head):
            return data.site(name, block, bits).values[head]

        for mode in Mode:
            bits_a, bits_w = mode.activation_bits, mode.weight.bits
            products += [
                _cut(config, values("q", bits_a), values("k", bits_w).T, mode),
                _cut(config, values("probs", bits_a), values("v", bits_w), mode,
                     Activation.UNSIGNED),
            ]
        products += [_cut(config, data.codes(block).values[head], values("v", mode.weight.bits),
                          mode, Activation.CODE) for mode in (Mode.W8A8, Mode.W4A8)]
    return products


def layer_products(config: AcceleratorConfig) -> list[Product]:
    """Recorded activations by the weights of the layers they enter; needs the weights' file."""
    weights = load_file(WEIGHTS)
    layers = {"qkv": "attn.qkv", "proj": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    products = []
    for number, (site, layer) in enumerate(layers.items()):
        for mode, block in zip(Mode, np.roll(recorded().blocks, number), strict=True):
            weight = weights[f"blocks.{block}.{layer}.weight"].T
            a = recorded().site(site, block, mode.activation_bits)
            products.append(_cut(config, a.values, _quantized(weight, mode.weight), mode,
                                 _kind(a.signed)))
    return products


def _quantized(weight, fmt: IntFormat):
    """Round float weights (k, n) to `fmt`, each column by its largest."""
    scale = np.abs(weight).max(axis=0) / fmt.max
    return np.clip(np.rint(weight / scale), -fmt.max, fmt.max).astype(np.int64)


def operand_pairs() -> list[Product]:
    """Products of one step in which every activation byte meets every weight byte."""
    def values(fmt):
        return np.arange(fmt.min, fmt.max + 1)

    def pairs(fmt):  # two to a byte
        low, high = np.meshgrid(values(fmt), values(fmt))
        return np.stack([low.ravel(), high.ravel()], axis=1).ravel()

    bytes_ = {Activation.SIGNED: values(INT8), Activation.UNSIGNED: values(UINT8),
              Activation.CODE: values(CODE)}
    weights = {mode: pairs(mode.weight) if mode.col_slots == 2 else values(mode.weight)
               for mode in Mode}
    products = [Product(a[:, None], weights[mode][None], mode, kind)
                for mode in (Mode.W8A8, Mode.W4A8) for kind, a in bytes_.items()]
    return [*products, Product(pairs(INT4)[:, None], weights[Mode.W4A4][None], Mode.W4A4)]


PRODUCTS = {
    "random and attention": lambda config: [*random_products(config, repeats=3),
                                            *attention_products(config)],
    "layers": layer_products,
    "operand pairs": lambda config: operand_pairs(),
}
"""Sets of products by name, for testbenches."""
