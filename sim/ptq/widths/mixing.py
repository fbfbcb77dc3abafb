"""Which layers may be narrow: what each costs in accuracy and in cycles, and a choice among them.

A network calibrated with wide layers, next to the float one, shows what a layer's being narrow
does: its weights are rounded anew, what enters it has a scale of its own, all other layers stay as
they are, and the Kullback-Leibler divergence of the class probabilities from the float network's
rises. So near to the float network what several layers do adds up, more or less; where most layers
are narrow, every value is rounded differently once one of them is wide, and that moves the
divergence, too.

Calibration images are all that is looked at. Nothing here is random.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from golden.common.formats import LAMBDA, IntFormat
from golden.network.precision import ATTENTION, AnyPrecision, Mixed, Precision
from golden.network.shape import VitShape

from .. import blockwise, observers, pipeline, rounding
from ..float_vit import FloatVit
from ..training.budget import Budget
from ..twin import Twin
from . import hessian
from .gains import Gain, layers_of
from .mixing_costs import Costs


@dataclass(frozen=True)
class Option(Gain):
    """A layer with other widths than the narrowest.

    Attributes
    ----------
    cycles
        How many more there are.
    """

    cycles: int


PRECISIONS = tuple(map(Precision.parse, ("w4a4", "w4a8", "w8a8")))
"""What layers are to have, the narrowest first and the widest last."""

MEASURED = 64
"""So many of the calibration images show what layers' being narrow does."""


@dataclass(frozen=True)
class Choice:
    """Widths of all layers, for a budget of cycles.

    Attributes
    ----------
    precision
        The widths.
    options, chosen
        What layers could have had, and what they have, if not the narrowest.
    cycles, widest
        Of a frame with these widths, and with the widest.
    """

    precision: AnyPrecision
    options: list[Option]
    chosen: list[Option]
    cycles: int
    widest: int


MEASURE = "measured"

JUDGES: dict[str, Callable] = {
    MEASURE: lambda made, pixels, options, progress: measure(
        Sensitivity(made.twin, made.folded, pixels, options), PRECISIONS, progress),
    "hawq-v2": lambda made, pixels, options, progress: hessian.measure(
        hessian.Curvature(made.folded, pixels, options), PRECISIONS, progress)}
"""How it is judged what layers gain: by the divergence with each of them narrow, or by the trace of
the Hessian (:mod:`.hessian`).
"""


def mixed(source: FloatVit, pixels: np.ndarray, plan: pipeline.Plan, share: float, costs: Costs,
          progress: Callable = lambda steps, what: steps, *, by: str = MEASURE,
          stages: dict | None = None, save: Callable = lambda stages: None) -> Choice:
    """Choose widths of all layers so that a frame takes a share of the cycles that it takes with
    the widest, or fewer.

    Parameters
    ----------
    source
        The float network.
    pixels : uint8 array, shape (images, side, side, 3)
        Calibration images.
    plan
        Of the calibration; its precision does not count, and neither does what it has beyond
        blocks but for one thing: if it trains, weights are made wider only where that is all there
        is left to do. What their rounding loses comes back with training.
    share
        Of the cycles.
    costs
        Of layers.
    by
        How accuracy is judged, one of :data:`JUDGES`.
    stages, save
        As :func:`sim.ptq.pipeline.quantize` takes them.

    Raises
    ------
    ValueError
        If the narrowest widths take more cycles.
    """
    widest = costs.frame(PRECISIONS[-1])
    budget = math.floor(share * widest)
    if costs.least > budget:
        least = math.ceil(1000 * costs.least / widest) / 1000
        raise ValueError(f"the share of cycles must be {least:g} or more, which "
                         f"{PRECISIONS[0]} takes, not {share:g}")
    stages = dict(stages or {})
    if "options" not in stages:
        wide = replace(plan, precision=PRECISIONS[-1], reconstruction=None, predictor=None,
                       budget=Budget(epochs=0))
        made = pipeline.quantize(source, pixels, wide, progress, stages=stages, save=save)
        chosen = pixels[pipeline.spread(len(pixels), MEASURED)]
        found = JUDGES[by](made, torch.from_numpy(chosen), plan.options, progress)
        stages["options"] = [(one.block, one.layer, str(one.precision), one.gain) for one in found]
        save(stages)
    options = []
    for block, layer, text, gain in stages["options"]:
        precision = Precision.parse(text)
        options.append(Option(block, layer, precision, gain,
                              costs.more(block, layer, precision)))
    weighed = [one for one in options if one.precision.weights == PRECISIONS[0].weights]
    chosen = choose(options, budget - costs.least,
                    choose(weighed, budget - costs.least) if plan.budget.epochs else ())
    while True:  # cycles of layers add up, but for what nobody has seen yet
        precision = precision_of(PRECISIONS[0], chosen, source.shape)
        cycles = costs.frame(precision)
        if cycles <= budget:
            return Choice(precision, options, chosen, cycles, widest)
        chosen.remove(min(chosen, key=lambda one: one.gain / one.cycles))


class Sensitivity:
    """Measures what layers' being narrow does to a network.

    Parameters
    ----------
    twin
        Calibrated, with all layers wide.
    source
        The float network, in the same coordinates.
    pixels : uint8 tensor, shape (images, side, side, 3)
        Calibration images.
    options
        Of the calibration: how scales are chosen and weights rounded.
    """

    @torch.no_grad()
    def __init__(self, twin: Twin, source: FloatVit, pixels: torch.Tensor,
                 options: blockwise.Options = blockwise.DEFAULT):
        self.twin, self.shape, self.options = twin, twin.shape, options
        reference = Twin(source, twin.precision)
        reference.active = False
        batches = pixels.split(options.batch)
        self._wanted = [reference(part).log_softmax(-1) for part in batches]
        self._stream = [twin.embed(part) for part in batches]
        self._block = 0
        self._seen: dict[int, list[torch.Tensor]] | None = None

    @torch.no_grad()
    def divergence(self) -> float:
        """Return the mean divergence of the network as it is now, from the block on that
        :meth:`of` was last asked for."""
        total, count = 0.0, 0
        for x, wanted in zip(self._stream, self._wanted, strict=True):
            scales = self._scales(x)
            for index in range(self._block, self.shape.depth):
                x = self.twin.block(index, x, scales)
            found = self.twin.classify(x, scales).log_softmax(-1)
            total += float((wanted.exp() * (wanted - found)).double().sum())
            count += len(wanted)
        return total / count

    @torch.no_grad()
    def of(self, block: int, layer: str, precision: Precision) -> float:
        """Return the mean divergence with a layer in other widths. Blocks must not fall."""
        self._go_to(block)
        with self._changed(block, layer, precision):
            return self.divergence()

    def _scales(self, x: torch.Tensor) -> torch.Tensor:
        return self.twin.scales.expand(len(x), -1)

    def _go_to(self, block: int) -> None:
        """Take the streams to a block."""
        while self._block < block:
            self._stream = [self.twin.block(self._block, x, self._scales(x))
                            for x in self._stream]
            self._block, self._seen = self._block + 1, None

    def _operands(self, block: int) -> dict[int, list[torch.Tensor]]:
        """Return what enters the layers of a block, by site, before it is quantized."""
        if self._seen is None:
            self._seen = {}
            for x in self._stream:
                self.twin.block(block, x, self._scales(x), lambda site, values: (
                    self._seen.setdefault(site, []).append(values)))
        return self._seen

    @contextlib.contextmanager
    def _changed(self, block: int, layer: str, precision: Precision) -> Iterator[None]:
        """Give a layer other widths, for a while."""
        twin, name = self.twin, f"{block}_{layer}"
        kept = twin.scales.data.clone(), list(twin.formats)
        weighted = layer != ATTENTION
        if weighted:
            before = twin.weights[name].data, twin.biases[name].data, twin.weight_scales[name]
        operands = self._operands(block)
        try:
            for kind in (layer,) if weighted else ("q", "k", "v"):
                site = self.shape.site(block, kind)
                self._rescale(site, precision.site(kind), operands[site])
            if weighted:
                site = self.shape.site(block, layer)
                self._round(name, precision, operands[site], kept[0][site], kept[1][site], site)
            yield
        finally:
            twin.scales.data, twin.formats = kept
            if weighted:
                twin.weights[name].data, twin.biases[name].data = before[:2]
                twin.weight_scales[name] = before[2]

    def _rescale(self, site: int, fmt: IntFormat, values: list[torch.Tensor]) -> None:
        twin = self.twin
        if fmt == twin.formats[site]:
            return
        lam = observers.OBSERVERS[self.options.observer](
            torch.cat([part.flatten() for part in values]), fmt)
        twin.formats[site] = fmt
        twin.scales.data[site] = round(lam * LAMBDA.one) / LAMBDA.one

    def _round(self, name: str, precision: Precision, values: list[torch.Tensor],
               scale: torch.Tensor, fmt: IntFormat, site: int) -> None:
        """Round a layer's weights anew; its outputs keep their means."""
        twin, shift = self.twin, self.twin.offset if name.endswith("fc2") else 0.0
        weight = twin.weights[name].data.double()
        count, square, mean, before = 0, 0.0, 0.0, 0.0
        narrow = twin.scales.data[site], twin.formats[site]
        for part in values:
            old, new = (self._held(part, *one) - shift for one in ((scale, fmt), narrow))
            square = square + (new.T @ new).double()
            mean, before = mean + new.double().sum(0), before + old.double().sum(0)
            count += len(new)
        mean, before = mean / count, before / count
        square = square / count - torch.outer(mean, mean)
        rounded, wanted = weight, precision.weight
        if wanted != twin.weight_format(name):
            lam = rounding.column_scales(weight, wanted, square.diagonal())
            rounded = (rounding.gptq(weight, square, lam, wanted, self.options.damping)
                       if self.options.compensate
                       else rounding.nearest(weight, lam, wanted)).value
        del twin.weight_scales[name]  # they are used as they are
        twin.weights[name].data = rounded.float()
        twin.biases[name].data = (twin.biases[name].data.double() + before @ weight
                                  - mean @ rounded).float()

    @staticmethod
    def _held(values: torch.Tensor, lam: torch.Tensor, fmt: IntFormat) -> torch.Tensor:
        scale = torch.exp2(lam)
        return ((values / scale + 0.5).floor().clamp(fmt.min, fmt.max) * scale).flatten(0, -2)


def measure(sensitivity: Sensitivity, precisions: Sequence[Precision],
            progress: Callable = lambda steps, what: steps) -> list[Gain]:
    """Return what layers gain by widths other than the narrowest.

    Parameters
    ----------
    precisions
        What layers can have, the narrowest first and the widest, that of the network, last.
    """
    narrow, *wider = precisions
    least = sensitivity.divergence()
    found = []
    for block, layer in progress(layers_of(sensitivity.shape), "Measuring layers"):
        base = sensitivity.of(block, layer, narrow)
        known = {_seen_of(layer, precisions[-1]): least}
        for precision in wider:
            seen = _seen_of(layer, precision)
            if seen not in known:
                known[seen] = sensitivity.of(block, layer, precision)
            found.append(Gain(block, layer, precision, base - known[seen]))
    return found


def _seen_of(layer: str, precision: Precision) -> tuple[int, int]:
    """Return what a layer has of its widths: attention has no weights."""
    return 0 if layer == ATTENTION else precision.weights, precision.activations


def choose(options: list[Option], budget: int, before: Sequence[Option] = ()) -> list[Option]:
    """Return at most one option of each layer, of `budget` cycles or fewer together.

    Step by step the layer is made wider that gains most for a cycle; what has no room any more is
    passed over. It begins with what was chosen `before`.
    """
    chosen = {(one.block, one.layer): one for one in before}

    def step(option: Option) -> tuple[float, int]:
        now = chosen.get((option.block, option.layer))
        return (option.gain - (now.gain if now else 0.0),
                option.cycles - (now.cycles if now else 0))

    while True:
        room = budget - sum(one.cycles for one in chosen.values())
        steps = [(gain / cycles, option) for option in options for gain, cycles in [step(option)]
                 if gain > 0 and 0 < cycles <= room]
        if not steps:
            return sorted(chosen.values(), key=options.index)
        _, best = max(steps, key=lambda pair: pair[0])  # the first of those alike
        chosen[best.block, best.layer] = best


def precision_of(narrow: Precision, chosen: list[Option], shape: VitShape) -> AnyPrecision:
    """Return the widths of a choice, those that most layers of a block have as those of the block.
    """
    if not chosen:
        return narrow
    found = {(one.block, one.layer): one.precision for one in chosen}
    others = []
    for block in range(shape.depth):
        own = {place: found.get(place, narrow) for place in layers_of(shape) if place[0] == block}
        usual = max(own.values(), key=list(own.values()).count)
        if own[block, ATTENTION].activations == usual.activations:
            own[block, ATTENTION] = usual  # of which no weights count
        if usual != narrow:
            others.append((block, "", usual))
        others += [(*place, one) for place, one in own.items() if one != usual]
    return Mixed(narrow, tuple(others))
