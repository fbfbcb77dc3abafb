"""Golden int8 GEMM against torch float32 matmul, on the matrix products of DeiT-Tiny.

Both take the arrays a user would have: int8 or float32 activations, static weights prepared once
(attention products prepare theirs in every call), checks of the golden front door included. The
heads of a layer go in one batched call; torch is also given them one call each, and the faster way
counts. Bursts of either side alternate within one run, on the same threads.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from golden.common.formats import Mode
from golden.product.mac_array import gemm, prepare_weights
from sim.cli import command, positive
from sim.common.tables import show, table_of

from .bursts import add_threads, medians, set_threads

BURST = 12  # calls in a row; the first few, while threads of the other side calm down, are dropped
SETTLE = 4


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product and how often one image needs it; `heads` of them go in one call."""

    name: str
    m: int
    k: int
    n: int
    calls: int
    heads: int = 1
    static: bool = True  # its right operand is a weight

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call."""
        return self.heads * self.m * self.k * self.n


DEIT_TINY = (
    Product("patch embedding", 196, 768, 192, 1),
    Product("qkv", 197, 192, 576, 12),
    Product("scores", 197, 64, 197, 12, heads=3, static=False),
    Product("attention x V", 197, 197, 64, 12, heads=3, static=False),
    Product("projection", 197, 192, 192, 12),
    Product("fc1", 197, 192, 768, 12),
    Product("fc2", 197, 768, 192, 12),
    Product("head", 1, 192, 1000, 1),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Median seconds of one call of each side."""

    product: Product
    golden: float
    torch: float

    @property
    def ratio(self) -> float:
        """Speed of the golden model over torch's."""
        return self.torch / self.golden


def _contenders(product: Product, rng) -> tuple[Callable, list[Callable]]:
    """Calls to time: golden, and the ways of torch."""
    shape = (product.heads,) if product.heads > 1 else ()
    a = rng.integers(-128, 128, (*shape, product.m, product.k), np.int8)
    w = rng.integers(-128, 128, (*shape, product.k, product.n), np.int8)
    weights = prepare_weights(w, Mode.W8A8) if product.static else w
    x, y = torch.from_numpy(a).float(), torch.from_numpy(w).float()

    ways = [lambda: torch.matmul(x, y)]
    if product.heads > 1:
        ways.append(lambda: [torch.matmul(x[head], y[head]) for head in range(product.heads)])
    exact = torch.matmul(x.double(), y.double()).numpy()
    if not np.array_equal(gemm(a, weights, Mode.W8A8), exact):
        raise AssertionError(f"{product.name}: golden product is not exact")
    return (lambda: gemm(a, weights, Mode.W8A8)), ways


def measure(product: Product, repeat: int, rng) -> Result:
    """Time alternating bursts of each side, `repeat` of them."""
    golden, ways = _contenders(product, rng)
    first, *others = medians([golden, *ways], repeat, BURST, SETTLE)
    return Result(product, first, min(others))


def network(results: list[Result]) -> Result:
    """All the products of one image, one after the other."""
    total = sum(result.product.calls * result.product.macs for result in results)
    return Result(Product("whole network", 1, total, 1, 1),
                  *(sum(result.product.calls * getattr(result, side) for result in results)
                    for side in ("golden", "torch")))


def _table(results: list[Result], threads: int, width: int) -> Table:
    rows = []
    for result in results:
        product = result.product
        heads = f"{product.heads} x " if product.heads > 1 else ""
        size = f"{heads}{product.m} x {product.k} x {product.n}"
        rows.append([product.name, size, str(product.calls), *_speeds(result)])
    whole = network(results)
    rows.append([whole.product.name, f"{whole.product.macs:,} MAC", "", *_speeds(whole)])
    return table_of(f"DeiT-Tiny, {threads} threads: golden int8 against torch float32",
                    ["product", "M x K x N", "calls", "golden GMAC/s", "torch GMAC/s", "ratio"],
                    rows, width, [[2], [1], [4], [3]])


def _speeds(result: Result) -> list[str]:
    return [*(f"{result.product.macs / seconds / 1e9:.1f}"
              for seconds in (result.golden, result.torch)), f"{result.ratio:.2f}"]


def _json(results: list[Result], threads: int) -> str:
    whole = network(results)
    return json.dumps({
        "threads": threads,
        "products": [asdict(result) | {"ratio": result.ratio} for result in results],
        "network": {"macs": whole.product.macs, "golden": whole.golden, "torch": whole.torch,
                    "ratio": whole.ratio},
    }, indent=2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gemm",
                                     description=__doc__.partition("\n")[0])
    add_threads(parser)
    parser.add_argument("--repeat", metavar="N", type=positive, default=40,
                        help="bursts of calls per product and side (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print seconds per call as JSON")
    return parser


@command("python -m benchmarks.gemm")
def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = _parser()
    options = parser.parse_args(argv)
    set_threads(parser, options.threads)
    rng = np.random.default_rng(1)
    with torch.inference_mode():
        results = [measure(product, options.repeat, rng) for product in DEIT_TINY]
    if options.json:
        print(_json(results, options.threads))
    else:
        console = Console()
        show(console, _table(results, options.threads, console.width))
    return 0


if __name__ == "__main__":
    sys.exit(main())
