"""Golden integer inference against torch float32, in images a second of a whole network.

Golden runs 8-bit pixels to logits, torch prepared float pixels to logits: timm's model in inference
mode, both with its attention as it comes (``scaled_dot_product_attention``) and written out.
Each side is timed with one image at a time and with several, and the faster way of each counts.
Bursts of either side alternate within one run, on the same threads. Without a file of weights they
are random.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from golden.network.network import Network
from golden.network.precision import Precision
from golden.network.vit import Vit
from sim.cli import command, positive
from sim.common.tables import show, table_of
from sim.inputs import models
from sim.ptq import pipeline, source

from .bursts import add_threads, medians, set_threads

BATCHES = (1, 8)
BURST = 4  # calls in a row; the first one is dropped
SETTLE = 1
ATTENTION = {"torch": True, "torch, attention written out": False}


@dataclass(frozen=True, slots=True)
class Speed:
    """Images a second of one way to run a network, by how many images run together."""

    name: str
    images: dict[int, float]

    @property
    def best(self) -> float:
        """The faster way."""
        return max(self.images.values())


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured."""

    golden: list[Speed]
    torch: list[Speed]

    def ratio(self, speed: Speed) -> float:
        """Best speed of one of golden's networks over the best of torch."""
        return speed.best / max(other.best for other in self.torch)


def _fused(model: torch.nn.Module, fused: bool) -> None:
    for block in model.blocks:
        block.attn.fused_attn = fused


def _torch_call(model: torch.nn.Module, x: torch.Tensor, fused: bool) -> Callable:
    def call():
        _fused(model, fused)
        with torch.inference_mode():
            return model(x)
    return call


def measure(networks: dict[str, Network], model: torch.nn.Module, preprocessing,
            pixels: np.ndarray, repeat: int) -> Result:
    """Time golden's networks and a timm model.

    Parameters
    ----------
    networks
        By the names that they are to have.
    model, preprocessing
        The float model.
    pixels : uint8 array, shape (images, side, side, 3)
        Images; those of :data:`BATCHES` must be there.
    repeat
        Bursts of each way.
    """
    calls, places = [], []
    for name, network in networks.items():
        vit = Vit(network)
        for batch in BATCHES:
            calls.append(lambda vit=vit, part=pixels[:batch]: vit.run(part))
            places.append((name, batch))
    x = torch.cat([preprocessing.tensor(image) for image in pixels])
    for name, fused in ATTENTION.items():
        for batch in BATCHES:
            calls.append(_torch_call(model, x[:batch], fused))
            places.append((name, batch))
    seconds = medians(calls, repeat, BURST, SETTLE)
    speeds = {}
    for (name, batch), median in zip(places, seconds, strict=True):
        speeds.setdefault(name, {})[batch] = batch / median
    return Result([Speed(name, speeds[name]) for name in networks],
                  [Speed(name, speeds[name]) for name in ATTENTION])


def _table(result: Result, title: str, width: int) -> Table:
    rows = [[speed.name, *(f"{speed.images[batch]:.1f}" for batch in BATCHES),
             f"{result.ratio(speed):.2f}" if speed in result.golden else ""]
            for speed in (*result.golden, *result.torch)]
    return table_of(title, ["images/s", *(f"{batch} together" for batch in BATCHES),
                            "best / torch"], rows, width,
                    [[number] for number in range(1, 1 + len(BATCHES))])


def _json(result: Result, model: str, threads: int) -> str:
    return json.dumps({
        "model": model, "threads": threads,
        "golden": [asdict(speed) | {"ratio": result.ratio(speed)} for speed in result.golden],
        "torch": [asdict(speed) for speed in result.torch]}, indent=2)


def _precisions(text: str) -> list[Precision]:
    try:
        return [Precision.parse(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vit",
                                     description=__doc__.partition("\n")[0])
    parser.add_argument("--model", metavar="NAME", default="deit_t",
                        help="short or timm name (default: %(default)s)")
    parser.add_argument("--weights", metavar="FILE", type=Path,
                        help="float weights (default: random)")
    parser.add_argument("--bits", metavar="WxAy,...", type=_precisions, default="w8a8,w4a4",
                        help="widths of golden's networks (default: %(default)s)")
    parser.add_argument("--images", metavar="N", type=positive, default=max(BATCHES),
                        help="random images to quantize with (default: %(default)s)")
    add_threads(parser)
    parser.add_argument("--repeat", metavar="N", type=positive, default=10,
                        help="bursts of calls of each way (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print images per second as JSON")
    return parser


@command("python -m benchmarks.vit")
def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = _parser()
    options = parser.parse_args(argv)
    set_threads(parser, options.threads)
    torch.manual_seed(1)
    model = models.create(options.model, options.weights)
    preprocessing = models.preprocessing(model)
    made = source.read(model, preprocessing, options.model)
    shape = (max(options.images, *BATCHES), *preprocessing.size, 3)
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    networks = {f"golden {bits}": pipeline.quantize(made, pixels[:options.images],
                                                    pipeline.Plan(bits)).network
                for bits in options.bits}
    result = measure(networks, model, preprocessing, pixels, options.repeat)
    if options.json:
        print(_json(result, options.model, options.threads))
    else:
        console = Console()
        show(console, _table(result, f"{options.model}, {options.threads} threads: golden "
                             "integers against torch float32", console.width))
    return 0


if __name__ == "__main__":
    sys.exit(main())
