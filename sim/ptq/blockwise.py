"""Static scales and rounded weights, layer after layer, from calibration images.

Two streams go through the network side by side: that of the float network, and that of what has
been quantized so far. Each site's scale is the MSE-optimal one of the second stream. Each
layer is fitted to give the first stream's output from the second stream's input
(:func:`~sim.ptq.rounding.refit`), then rounded (:func:`~sim.ptq.rounding.gptq`).

Where a layer's output goes into the residual stream, a token's error counts by what LayerNorm makes
of it: relative to the variance of the token. Else the few tokens with massive activations, which
LayerNorm makes next to nothing of, would outweigh all others.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from golden.common.formats import LAMBDA
from golden.network.precision import AnyPrecision
from golden.network.shape import MERGE_SITE

from . import observers, rounding
from .export import Quantized, Ranges, residual_formats
from .float_vit import FloatVit
from .twin import Twin


@dataclass(frozen=True)
class Options:
    """What is chosen about a block-wise calibration.

    Attributes
    ----------
    ridge
        How strongly weights that are fitted to the float outputs before they are rounded are held
        to what they were, relative to the mean of the diagonal; infinite: they are not fitted.
    compensate
        Whether weights are rounded by GPTQ, and not each to the nearest.
    damping
        Of GPTQ, relative to the mean of the diagonal.
    observer
        How static scales are chosen: a name of :data:`sim.ptq.observers.OBSERVERS`.
    step
        Of 4-bit probability codes; 0 for 8-bit probabilities.
    batch
        Images at a time.
    """

    ridge: float = 3.0
    compensate: bool = True
    damping: float = 0.01
    observer: str = "mse"
    step: int = 0
    batch: int = 32


DEFAULT = Options()

_LEAST_VARIANCE = 1e-3


@dataclass
class Calibrated:
    """A twin with its scales and rounded weights, and the integers of the weights.

    Attributes
    ----------
    twin
        Its `weights` are the rounded ones' values.
    weights
        By the names that :func:`sim.ptq.export.build` takes.
    ranges
        Of the 16-bit tensors.
    """

    twin: Twin
    weights: dict[str, Quantized]
    ranges: Ranges


class _Moments:
    """Moments of a layer's quantized inputs `x` and float outputs `y`, over weighted tokens."""

    def __init__(self):
        self.count, self.square, self.cross, self.x, self.y = 0, 0.0, 0.0, 0.0, 0.0

    def add(self, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor | None) -> None:
        x, y = x.flatten(0, -2), y.flatten(0, -2)
        weight = x.new_ones(len(x), 1) if weight is None else weight.reshape(-1, 1)
        weighted = (weight * x).T
        self.count += float(weight.double().sum())
        self.square = self.square + (weighted @ x).double()
        self.cross = self.cross + (weighted @ y).double()
        self.x = self.x + weighted.double().sum(1)
        self.y = self.y + (weight * y).double().sum(0)

    def centred(self):
        """Return covariance, cross covariance, mean of `x` and of `y`."""
        x, y = self.x / self.count, self.y / self.count
        return (self.square / self.count - torch.outer(x, x),
                self.cross / self.count - torch.outer(x, y), x, y)


class _Calibration:
    def __init__(self, source: FloatVit, precision: AnyPrecision, pixels: torch.Tensor,
                 options: Options):
        self.options, self.shape = options, source.shape
        self.float = Twin(source, precision, options.step)
        self.float.active = False
        self.twin = Twin(source, precision, options.step)
        self.weights: dict[str, Quantized] = {}
        stages = (0, *source.shape.merges)
        first, *merged = (torch.zeros(source.shape.blocks[block].dim) for block in stages)
        self.reach = Ranges(first, 0.0, 0.0, merged=tuple(merged))
        self.done = 0
        self.batches = list(pixels.split(options.batch))

    def map(self, function, *streams):
        return [function(*parts) for parts in zip(*streams, strict=True)]

    def scale(self, site: int, stream) -> None:
        """Choose the scale of a site for a stream of what is to be quantized."""
        values = torch.cat([part.flatten() for part in stream[::max(1, len(stream) // 8)]])
        lam = observers.OBSERVERS[self.options.observer](
            values, self.twin.formats[site])
        self.twin.scales.data[site] = round(lam * LAMBDA.one) / LAMBDA.one

    def quantize(self, site: int, stream):
        scales = self.twin.scales
        return [self.twin.site(part, scales.expand(len(part), -1), site) for part in stream]

    def layer(self, name: str, inputs, targets, stream=None, *, shift: float = 0.0) -> None:
        """Fit and round a layer; `shift` is taken off the inputs. What the output makes of the
        residual stream, `stream`, weighs the tokens.
        """
        options, twin = self.options, self.twin
        fmt = twin.weight_format(name)
        moments = _Moments()
        weights = [None] * len(inputs) if stream is None else self.map(_weights, stream)
        for x, y, weight in zip(inputs, targets, weights, strict=True):
            moments.add(x - shift if shift else x, y, weight)
        square, cross, x, y = moments.centred()
        weight = twin.weights[name].double()
        if math.isfinite(options.ridge) and name not in {"patch", "head"}:
            weight = rounding.refit(square, cross, weight, options.ridge)
        lam = rounding.column_scales(weight, fmt, square.diagonal())
        rounded = (rounding.gptq(weight, square, lam, fmt, options.damping) if options.compensate
                   else rounding.nearest(weight, lam, fmt))
        self._set(name, rounded)
        twin.biases[name].data = (y - x @ rounded.value).float()

    def _set(self, name: str, rounded: Quantized) -> None:
        self.weights[name.replace("_", ".")] = rounded
        self.twin.weights[name].data = rounded.value.float()
        self.twin.weight_scales[name] = torch.nn.Parameter(
            (rounded.lambdas.double() / LAMBDA.one).float(), requires_grad=False)

    def state(self) -> dict:
        """Return what a checkpoint keeps after some blocks."""
        weights = {name: (one.integers, one.lambdas) for name, one in self.weights.items()}
        return {"weights": weights,
                "biases": {name: value.detach().clone()
                           for name, value in self.twin.biases.items()},
                "scales": self.twin.scales.detach().clone(), "reach": asdict(self.reach),
                "done": self.done}

    def load(self, state: dict) -> None:
        """Continue from what :meth:`state` returned."""
        for name, (integers, lambdas) in state["weights"].items():
            self._set(name.replace(".", "_"), Quantized(integers, lambdas))
        for name, bias in state["biases"].items():
            self.twin.biases[name].data = bias.clone()
        self.twin.scales.data = state["scales"].clone()
        self.reach, self.done = Ranges(**state["reach"]), state["done"]

    def run(self, progress, save: Callable) -> Calibrated:
        shape = self.shape
        twin, reference = self.twin, self.float
        if self.done > shape.depth:
            self._store()
            return Calibrated(twin, self.weights, self.reach)
        if not self.done:
            patches = self.map(twin.patches, self.batches)
            self.layer("patch", patches,
                       self.map(lambda x: x @ reference.weights["patch"], patches))
        wanted, found = self.map(reference.embed, self.batches), self.map(twin.embed, self.batches)
        self._passed(0, wanted)
        if "norm_pre" in twin.weights:
            self._saw(embedding=self.map(reference.embedded, self.batches))
        for index in progress(list(range(shape.depth)), "Calibrating"):
            if index < self.done:
                wanted = self._pass(reference, index, wanted)
                found = self._pass(twin, index, found)
                continue
            wanted, found = self._block(index, wanted, found)
            self.done += 1
            save(self.state())
        if not shape.classified:
            self._store()
            self.scale(shape.sites - 2, self.map(twin.pooled, found))
        a = self.map(lambda x: self._classified(twin, x), found)
        self.scale(shape.sites - 1, a)
        a = self.quantize(shape.sites - 1, a)
        logits = self.map(lambda x: reference.linear("head", self._classified(reference, x)),
                          wanted)
        self.layer("head", a, logits)
        self._saw(logits=logits)
        self.done += 1
        save(self.state())
        return Calibrated(twin, self.weights, self.reach)

    def _store(self) -> None:
        """Let the twin know how the last residual stream is stored."""
        stream = residual_formats(self.reach)[-1]
        self.twin.stored.copy_(-torch.log2(stream.stored(torch.ones_like(self.twin.stored))))

    def _pass(self, twin: Twin, index: int, stream):
        return self.map(lambda x: twin.block(index, x, twin.scales.expand(len(x), -1)), stream)

    def _block(self, index: int, wanted, found):
        """Calibrate a block; return its residual streams in place of those before it."""
        shape, twin, reference = self.shape, self.twin, self.float
        if index in shape.merges:
            wanted, found = self._merge(index, wanted, found)
        site = shape.site(index, "qkv")
        n1, n2 = f"{index}_norm1", f"{index}_norm2"
        a = self.map(lambda x: twin.norm(n1, x), found)
        self.scale(site, a)
        a = self.quantize(site, a)
        y = self.map(lambda x: reference.linear(f"{index}_qkv", reference.norm(n1, x)), wanted)
        self._saw(qkv=y)
        self.layer(f"{index}_qkv", a, y)
        mixed = self.map(lambda y: self._mix(reference, index, y), y)
        y = self.map(lambda a: twin.linear(f"{index}_qkv", a), a)
        heads = self.map(lambda y: twin.heads(index, y), y)
        for part in range(3):
            self.scale(site + 1 + part, [one[part] for one in heads])
        a = self.map(lambda y: self._mix(twin, index, y), y)
        self.scale(site + 4, a)
        a = self.quantize(site + 4, a)
        wanted = self.map(lambda x, m: x + reference.linear(f"{index}_proj", m), wanted, mixed)
        self.layer(f"{index}_proj", a, self.map(torch.sub, wanted, found), wanted)
        found = self.map(lambda x, a: x + twin.linear(f"{index}_proj", a), found, a)
        self._passed(index, wanted)

        a = self.map(lambda x: twin.norm(n2, x), found)
        self.scale(site + 5, a)
        a = self.quantize(site + 5, a)
        t = self.map(lambda x: reference.linear(f"{index}_fc1", reference.norm(n2, x)), wanted)
        self.layer(f"{index}_fc1", a, t)
        offset, g = twin.offset, self.map(lambda t: reference.gelu(index, t), t)
        a = self.map(lambda a: twin.gelu(index, twin.linear(f"{index}_fc1", a)), a)
        self.scale(site + 6, a)
        a = self.quantize(site + 6, a)
        wanted = self.map(lambda x, g: x + reference.linear(f"{index}_fc2", g - offset),
                          wanted, g)
        self.layer(f"{index}_fc2", a, self.map(torch.sub, wanted, found), wanted, shift=offset)
        found = self.map(lambda x, a: x + twin.linear(f"{index}_fc2", a - offset), found, a)
        self._passed(index, wanted)
        return wanted, found

    def _merge(self, index: int, wanted, found):
        """Calibrate the merge before a block; return the residual streams behind it."""
        twin, reference = self.twin, self.float
        site, name = self.shape.site(index, MERGE_SITE), f"{index}_merge"
        a = self.map(lambda x: twin.merging(index, x), found)
        self.scale(site, a)
        a = self.quantize(site, a)
        wanted = self.map(lambda x: reference.linear(name, reference.merging(index, x)), wanted)
        self.layer(name, a, wanted, wanted)
        self._passed(index, wanted)
        return wanted, self.map(lambda a: twin.linear(name, a), a)

    def _passed(self, index: int, stream) -> None:
        """Take in what the residual stream holds in a block."""
        streams, stage = list(self.reach.streams), self.shape.stage(index)
        channels = [part.abs().amax((0, 1)) for part in stream]
        streams[stage] = torch.stack([streams[stage], *channels]).amax(0)
        self.reach = replace(self.reach, residual=streams[0], merged=tuple(streams[1:]))

    def _saw(self, **streams) -> None:
        """Take in what another 16-bit tensor holds."""
        for name, stream in streams.items():
            largest = max(getattr(self.reach, name), _reach(stream))
            self.reach = replace(self.reach, **{name: largest})

    @staticmethod
    def _classified(twin, x):
        return twin.classified(x, twin.scales.expand(len(x), -1))

    @staticmethod
    def _mix(twin, index, y):
        return twin.attention(index, y, twin.scales.expand(len(y), -1))


def _weights(x: torch.Tensor) -> torch.Tensor:
    """Return what an error of each token counts: one over its variance."""
    return 1 / (x.var(-1) + _LEAST_VARIANCE)


def _reach(stream) -> float:
    return max(float(part.abs().max()) for part in stream)


@torch.no_grad()
def calibrate(source: FloatVit, precision: AnyPrecision, pixels: torch.Tensor,
              options: Options = DEFAULT, progress: Callable = lambda steps, what: steps, *,
              resume: dict | None = None, save: Callable = lambda state: None) -> Calibrated:
    """Choose static scales and round the weights of a network.

    Parameters
    ----------
    source
        In the coordinates of its channel profiles (:mod:`sim.ptq.fold`).
    precision
        Widths of weights and sites, of all blocks or of each.
    pixels : uint8 tensor, shape (images, side, side, 3)
        Calibration images; their streams are held in memory.
    save, resume
        `save` is called with a state after each block and at the end; `resume` continues from
        one of them.
    """
    run = _Calibration(source, precision, pixels, options)
    if resume is not None:
        run.load(resume)
    return run.run(progress, save)
