"""What the 16-bit tensors of a quantized network hold, on images: whether a format clips values or
loses them in its rounding. Nothing of it is to be silent.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from golden.common.formats import ACT16
from golden.network.network import GELU_POINT
from golden.results import gelu

from .export import Ranges, point, residual_formats
from .float_vit import coarse_units
from .twin import Twin

LOUD = 1e-4
"""A step whose rounding error has more than this share of a tensor's variance is too coarse."""


@dataclass(frozen=True)
class Held:
    """What one format holds of one tensor.

    Attributes
    ----------
    name
        Of the tensor.
    coarse
        Whether it is of its coarse channels, or of the others.
    channels
        How many there are.
    largest
        Largest magnitude.
    step
        Unit of its integers.
    clipped
        Share of the values that saturate.
    variance
        Median over the channels, about their means.
    """

    name: str
    coarse: bool
    channels: int
    largest: float
    step: float
    clipped: float
    variance: float

    @property
    def title(self) -> str:
        """The name, and whether it is of coarse channels."""
        return f"{self.name} coarse" if self.coarse else self.name

    @property
    def limit(self) -> float:
        """The largest magnitude that 16 bits hold."""
        return ACT16.max * self.step

    @property
    def noise(self) -> float:
        """Share of the variance that the rounding error has."""
        return self.step**2 / 12 / max(self.variance, 1e-30)

    def complaint(self) -> str | None:
        """Return in a line what is wrong; None if nothing."""
        if self.clipped:
            return (f"{self.title}: {self.clipped:.2g} of the values are beyond {self.limit:g} and "
                    f"saturate; the largest is {self.largest:.4g}")
        if self.noise > LOUD and not self.coarse:
            return (f"{self.name}: a step of {self.step:g} is too coarse; its rounding error has "
                    f"{self.noise:.2g} of the variance")
        return None


class _Seen:
    """Largest magnitudes, moments and values beyond a limit, by channel."""

    def __init__(self):
        self.count, self.largest, self.beyond, self.sum, self.square = 0, None, 0, 0.0, 0.0

    def __call__(self, x: torch.Tensor, limits: torch.Tensor) -> None:
        x = x.flatten(0, -2)
        largest = x.abs().amax(0)
        self.largest = largest if self.largest is None else torch.maximum(self.largest, largest)
        self.count += len(x)
        self.beyond = self.beyond + (x.abs() > limits).sum(0)
        self.sum = self.sum + x.double().sum(0)
        self.square = self.square + x.double().square().sum(0)

    def held(self, name: str, coarse: bool, step: float, which: torch.Tensor) -> Held:
        variance = self.square / self.count - (self.sum / self.count).square()
        return Held(name, coarse, int(which.sum()), float(self.largest[which].max()), step,
                    float(self.beyond[which].sum()) / self.count / int(which.sum()),
                    float(variance[which].median()))


class _Formats:
    """Steps of the 16-bit tensors' channels, by the names of the tensors."""

    def __init__(self, twin: Twin, ranges: Ranges):
        self.twin, self.ranges = twin, ranges
        self.residual = [torch.as_tensor(2.0**-stream.points)
                         for stream in residual_formats(ranges)]

    def steps(self, name: str, channels: int) -> torch.Tensor:
        index, _, layer = name.removeprefix("blocks.").partition(".")
        if layer == "fc1":
            coarse = coarse_units(self.twin.coarse, self.twin.shape, int(index))
            fewer = 0 if coarse is None else gelu.COARSE * coarse.double()
            return torch.exp2(torch.zeros(channels).double() - GELU_POINT + fewer)
        if layer == "qkv":
            return torch.full((channels,), 2.0**-point(self.ranges.qkv))
        if name == "head":
            return torch.full((channels,), 2.0**-point(self.ranges.logits))
        if name == "embedding" and "norm_pre" in self.twin.weights:
            return torch.full((channels,), 2.0**-point(self.ranges.embedding))
        stage = self.twin.shape.stage(int(index)) if index.isdecimal() else 0
        return self.residual[stage].expand(channels)


@torch.inference_mode()
def survey(twin: Twin, ranges: Ranges, pixels: torch.Tensor, batch: int = 16,
           progress: Callable = lambda steps, what: steps) -> list[Held]:
    """Return what the 16-bit tensors hold while a twin classifies images.

    Parameters
    ----------
    twin
        A calibrated network.
    ranges
        What its formats were chosen from.
    pixels : uint8 tensor, shape (images, side, side, 3)

    Returns
    -------
    list
        For ``embedding``, ``blocks.I.merged`` (the residual stream behind a merge before the
        block), ``blocks.I.qkv``, ``blocks.I.fc1``, ``blocks.I`` (that behind the block) and
        ``head``, in order; coarse channels apart, where there are some.
    """
    formats, seen = _Formats(twin, ranges), {}

    def tell(name: str, x: torch.Tensor) -> torch.Tensor:
        limits = formats.steps(name, x.shape[-1]) * ACT16.max
        seen.setdefault(name, _Seen())(x, limits)
        return x

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        y = Twin.linear(twin, name, x)
        index, _, layer = name.partition("_")
        if layer in {"qkv", "fc1"}:
            return tell(f"blocks.{index}.{layer}", y)
        return tell(name, y) if name == "head" else y

    twin.linear = linear
    twin.embedded = lambda pixels: tell("embedding", Twin.embedded(twin, pixels))
    twin.block = lambda index, *rest: tell(f"blocks.{index}", Twin.block(twin, index, *rest))
    twin.merge = lambda index, *rest: tell(f"blocks.{index}.merged",
                                           Twin.merge(twin, index, *rest))
    try:
        for part in progress(list(pixels.split(batch)), "Surveying formats"):
            twin(part)
    finally:
        del twin.linear, twin.embedded, twin.block, twin.merge
    found = []
    for name, one in seen.items():
        steps = formats.steps(name, len(one.largest))
        found += [one.held(name, step > float(steps.min()), step, steps == step)
                  for step in steps.unique().tolist()]
    return found
