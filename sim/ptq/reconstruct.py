"""Rounding and scales of block after block, learned from the block's output.

As BRECQ (Li et al., arXiv 2102.05426) and QDrop (Wei et al., arXiv 2203.05740) do it: each weight
takes one of two neighbouring integers, by a share between them that ends at 0 or 1 (AdaRound,
Nagel et al., arXiv 2004.10568); the scales of the block's sites are learned with it (LSQ). What
enters the block is a random mixture of the float network's stream and of that of what has been
quantized so far, and each activation stays unquantized with some probability. Afterwards the last
bias of the block takes up what its output lacks on average. Slow without a GPU.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from golden.common.formats import LAMBDA, IntFormat
from golden.network.shape import BLOCK_SITES, MERGE_SITE

from .export import Quantized
from .float_vit import LAYERS, FloatVit
from .twin import Twin

ZETA, GAMMA = 1.1, -0.1  # where the sigmoid of a share ends before it is clamped to 0..1
BETA = 20.0, 2.0  # exponent of the regulariser, first and last
ITERATIONS = 20_000
TOWARDS = 0.45  # how far a share starts from the calibrated integer towards the float weight


@dataclass(frozen=True)
class Reconstruction:
    """How blocks are reconstructed; as in the papers.

    Attributes
    ----------
    iterations, batch
        Steps per block, images per step.
    rounding_rate
        Learning rate (Adam) of the roundings.
    scale_rate
        Of scales, log2 units; falls to 0 as a cosine does.
    drop
        Probability of each activation to stay unquantized.
    mix
        Of each value that enters a block to be the float network's.
    weight
        Of the regulariser that makes shares 0 or 1, beside the squared error of a token.
    warmup
        Share of the steps without it.
    seed
        Of all that is random.
    device
        Where to compute; None for a GPU if there is one.
    """

    iterations: int = ITERATIONS
    batch: int = 32
    rounding_rate: float = 1e-3
    scale_rate: float = 1e-4
    drop: float = 0.5
    mix: float = 0.5
    weight: float = 0.01
    warmup: float = 0.2
    seed: int = 1
    device: str | None = None

    @classmethod
    def paced(cls, iterations: int, **options) -> "Reconstruction":
        """Return one of fewer or more steps, with rates such that all gets equally far."""
        pace = ITERATIONS / iterations
        return cls(iterations, rounding_rate=cls.rounding_rate * pace,
                   scale_rate=cls.scale_rate * pace, **options)

    def beta(self, done: float) -> float | None:
        """Return the regulariser's exponent after a share of the steps; None for none yet."""
        if done < self.warmup:
            return None
        first, last = BETA
        return last + (first - last) * (1 - done) / (1 - self.warmup)


class Rounding(nn.Module):
    """A layer's integers while they are learned, each between two neighbours.

    Parameters
    ----------
    integers
        One neighbour of each.
    wanted
        Real numbers, in the same unit; the other neighbour lies towards them. What is used at
        first lies nearly half way from the integers to them or to the other neighbour.
    fmt
        Of the integers.
    """

    def __init__(self, integers: torch.Tensor, wanted: torch.Tensor, fmt: IntFormat):
        super().__init__()
        low = torch.where(wanted > integers, integers, integers - 1).clamp(fmt.min, fmt.max - 1)
        share = torch.lerp(integers - low, (wanted - low).clamp(0, 1), TOWARDS)
        self.register_buffer("low", low, persistent=False)
        self.alpha = nn.Parameter(torch.logit((share - GAMMA) / (ZETA - GAMMA)))

    def share(self) -> torch.Tensor:
        """Return how far each is on the way from the lower to the upper neighbour, 0..1."""
        return (torch.sigmoid(self.alpha) * (ZETA - GAMMA) + GAMMA).clamp(0, 1)

    def forward(self) -> torch.Tensor:
        """Return what takes the place of the integers."""
        return self.low + self.share()

    def undecided(self, beta: float) -> torch.Tensor:
        """Return the regulariser: 1 for each share of 1/2, falling to 0 for shares of 0 and 1."""
        return (1 - (2 * self.share() - 1).abs().pow(beta)).sum()

    def integers(self) -> torch.Tensor:
        """Return the nearer neighbours, int8."""
        return (self.low + (self.alpha.detach() >= 0)).to(torch.int8)


class Mix:
    """Takes each value from one tensor with some probability, and else from another."""

    def __init__(self, probability: float, draw: torch.Generator):
        self.probability, self.draw = probability, draw

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return a tensor of values of either."""
        chance = torch.empty_like(second, dtype=torch.bool)
        return torch.where(chance.bernoulli_(self.probability, generator=self.draw), first, second)


class _Run:
    def __init__(self, twin: Twin, source: FloatVit, pixels: torch.Tensor,
                 options: Reconstruction):
        self.options, self.shape, self.pixels = options, twin.shape, pixels
        self.device = torch.device(
            options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.twin = twin.to(self.device)
        self.float = Twin(source, twin.precision).to(self.device)
        self.float.active = False
        self.integers: dict[str, torch.Tensor] = {}
        self.done = 0

    def state(self) -> dict:
        """Return what a checkpoint keeps after some blocks."""
        biases = {name: value.detach().cpu() for name, value in self.twin.biases.items()}
        return {"integers": dict(self.integers), "biases": biases,
                "scales": self.twin.scales.detach().cpu(), "done": self.done}

    def load(self, state: dict) -> None:
        """Continue from what :meth:`state` returned."""
        for name, integers in state["integers"].items():
            self.set(name, integers)
        for name, bias in state["biases"].items():
            self.twin.biases[name].data.copy_(bias)
        self.twin.scales.data.copy_(state["scales"])
        self.done = state["done"]

    def set(self, name: str, integers: torch.Tensor) -> None:
        """Give a layer other integers."""
        self.integers[name] = integers.cpu()
        lambdas = torch.round(self.twin.weight_scales[name].detach().cpu().double() * LAMBDA.one)
        self.twin.weights[name].data.copy_(Quantized(self.integers[name], lambdas).value)

    @torch.no_grad()
    def map(self, function: Callable, stream: torch.Tensor) -> torch.Tensor:
        return torch.cat([function(part.to(self.device))
                          for part in stream.split(self.options.batch)])

    def behind(self, twin: Twin, index: int, stream: torch.Tensor) -> torch.Tensor:
        """Return a stream behind a block."""
        return self.map(lambda x: twin.block(index, x, twin.scales.expand(len(x), -1)), stream)

    def logits(self, twin: Twin, stream: torch.Tensor) -> torch.Tensor:
        return self.map(lambda x: twin.classify(x, twin.scales.expand(len(x), -1)), stream)

    def run(self, progress: Callable, save: Callable) -> None:
        depth, twin, reference = self.shape.depth, self.twin, self.float
        if self.done <= depth:
            wanted, found = (self.map(one.embed, self.pixels) for one in (reference, twin))
            for index in range(depth):
                target = self.behind(reference, index, wanted)
                if index == self.done:
                    self.block(index, wanted, found, target, progress)
                    self.correct(f"{index}_fc2", target, self.behind(twin, index, found))
                    self.done += 1
                    save(self.state())
                wanted, found = target, self.behind(twin, index, found)
            self.correct("head", self.logits(reference, wanted), self.logits(twin, found))
            self.done += 1
            save(self.state())
        twin.to("cpu")

    def correct(self, name: str, wanted: torch.Tensor, found: torch.Tensor) -> None:
        """Add to a layer's bias what a stream lacks on average."""
        lack = (wanted - found).flatten(0, -2).mean(0)
        self.twin.biases[name].data += lack

    def block(self, index: int, wanted: torch.Tensor, found: torch.Tensor, target: torch.Tensor,
              progress: Callable) -> None:
        """Reconstruct a block, from the streams before it and the float one behind it."""
        options, twin = self.options, self.twin
        draw = torch.Generator(self.device).manual_seed(options.seed * 10_000 + index)
        mix, twin.drop = Mix(options.mix, draw), Mix(options.drop, draw)
        merge = [MERGE_SITE] if index in self.shape.merges else []
        names = [f"{index}_{layer}" for layer in (*merge, *LAYERS)]
        twin.rounding.update({name: self.rounding(name) for name in names})
        sites = [*merge, *BLOCK_SITES]
        first = self.shape.site(index, sites[0])
        before, own, after = (part.clone() for part in twin.scales.detach().tensor_split(
            (first, first + len(sites))))
        learned = [*twin.rounding.parameters(), own.requires_grad_()]
        adam = torch.optim.Adam([{"params": learned[:-1], "lr": options.rounding_rate},
                                 {"params": learned[-1:]}])
        steps = list(range(options.iterations))
        for step in progress(steps, f"Reconstructing block {index + 1} of {self.shape.depth}"):
            done = step / options.iterations
            adam.param_groups[1]["lr"] = options.scale_rate * 0.5 * (1 + math.cos(math.pi * done))
            chosen = torch.randperm(len(found), generator=draw, device=self.device)[:options.batch]
            scales = torch.cat((before, own, after)).expand(len(chosen), -1)
            made = twin.block(index, mix(wanted[chosen], found[chosen]), scales)
            loss = (made - target[chosen]).square().sum(-1).mean()
            if (beta := options.beta(done)) is not None:
                loss = loss + options.weight * sum(
                    rounding.undecided(beta) for rounding in twin.rounding.values())
            for value, slope in zip(learned, torch.autograd.grad(loss, learned), strict=True):
                value.grad = slope
            adam.step()
        for name in names:
            self.set(name, twin.rounding.pop(name).integers())
        twin.drop = None
        own = torch.floor(own.detach() * LAMBDA.one + 0.5) / LAMBDA.one
        twin.scales.data.copy_(torch.cat((before, own, after)))

    def rounding(self, name: str) -> Rounding:
        """Return the rounding of a layer before it is learned."""
        scale = torch.exp2(self.twin.weight_scales[name].detach())
        integers = torch.floor(self.twin.weights[name].detach() / scale + 0.5)
        return Rounding(integers, self.float.weights[name].detach() / scale,
                        self.twin.weight_format(name))


def reconstruct(twin: Twin, source: FloatVit, pixels: torch.Tensor, options: Reconstruction,
                progress: Callable = lambda steps, what: steps, *, resume: dict | None = None,
                save: Callable = lambda state: None) -> None:
    """Learn the integers of a calibrated twin's blocks and merges, the scales of their sites, and
    the biases of ``fc2`` and the head; the rest of it stays.

    Parameters
    ----------
    twin
        Changed in place; its weights are integers before and after.
    source
        What it was calibrated from, in the same coordinates.
    pixels : uint8 tensor, shape (images, side, side, 3)
        Calibration images; three of their streams are held in memory, that of the device.
    save, resume
        `save` is called with a state after each block and at the end; `resume` continues from
        one of them.
    """
    run = _Run(twin, source, pixels, options)
    if resume is not None:
        run.load(resume)
    run.run(progress, save)
