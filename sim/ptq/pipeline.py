"""From a float network and calibration images to a quantized one, step by step.

The steps' results can be kept (``stages``): an interrupted run goes on from them, and runs that
share their first steps share the results.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from golden.common.formats import LAMBDA
from golden.network.network import Network
from golden.network.precision import HEAD, AnyPrecision

from ..prediction import predictor as prediction
from . import blockwise, export, fold
from .export import Quantized, Ranges
from .float_vit import FloatVit
from .reconstruct import Reconstruction, reconstruct
from .training import train
from .training.budget import Budget
from .twin import Twin


@dataclass(frozen=True)
class Plan:
    """What is chosen about a calibration.

    Attributes
    ----------
    precision
        Widths, of all blocks or of each.
    images
        How many of the images the block-wise calibration takes; reconstruction and training take
        all.
    strength
        Of the channel profiles.
    options
        Of the block-wise calibration.
    reconstruction
        Of the blocks after it; None for none.
    predictor
        Of predicted scales; None for static ones.
    budget
        Of the training; none of 0 epochs.
    """

    precision: AnyPrecision
    images: int = 256
    strength: fold.Strength = fold.DEFAULT
    options: blockwise.Options = blockwise.DEFAULT
    reconstruction: Reconstruction | None = None
    predictor: prediction.Options | None = None
    budget: Budget = field(default_factory=lambda: Budget(epochs=0))


@dataclass
class Result:
    """A quantized network, as the twin that was calibrated and as the integers it stands for; and
    the float network in the coordinates of its channel profiles.
    """

    twin: Twin
    ranges: Ranges
    folded: FloatVit

    @cached_property
    def network(self) -> Network:
        """The integers."""
        return network(self.twin, self.ranges)


def spread(count: int, wanted: int) -> np.ndarray:
    """Return the indexes of `wanted` of `count` images, or of all, in even steps.

    Folders are often sorted by class; the first images would be of a few classes only.
    """
    wanted = min(count, wanted)
    return np.arange(wanted) * count // wanted


def weights(twin: Twin) -> dict[str, Quantized]:
    """Return the integers of a twin's rounded layers, by the names that `export.build` takes."""
    made = {}
    for name, lambdas in twin.weight_scales.items():
        fmt = twin.weight_format(name)
        scaled = (twin.weights[name].detach() / torch.exp2(lambdas)).clamp(fmt.min, fmt.max)
        made[name.replace("_", ".")] = Quantized(
            torch.floor(scaled + 0.5).to(torch.int8),
            torch.round(lambdas.double() * LAMBDA.one).long())
    return made


def network(twin: Twin, ranges: Ranges) -> Network:
    """Return a twin as integers; its scales must be on the grid (:func:`.training.train.snap`)."""
    scales = np.round(twin.scales.detach().double().numpy() * LAMBDA.one).astype(np.int64)
    return export.build(twin.source(), weights(twin), ranges, scales, twin.precision, twin.step,
                        tuple(tap.export(scales) for tap in twin.taps))


def quantize(source: FloatVit, pixels: np.ndarray, plan: Plan,
             progress: Callable = lambda steps, what: steps, *, stages: dict | None = None,
             save: Callable = lambda stages: None) -> Result:
    """Quantize a network.

    Parameters
    ----------
    source
        The float network.
    pixels : uint8 array, shape (images, side, side, 3)
        Calibration images.
    plan
        What to do.
    progress
        Called with a list of steps and what they are; iterates over them.
    stages, save
        `save` is called with what is done, after each block and epoch; given as `stages`, a later
        call goes on from there. ``channels``, ``blocks``, ``reconstruction`` and ``observed`` of
        one plan serve all others that differ in training and in what is made of the same
        statistics only.

    Returns
    -------
    Result
        Depends on nothing but the arguments, the number of threads of PyTorch, and the processor,
        which rounds sums in another order and, if it has bfloat16, trains in that; on the device
        too if blocks are reconstructed.
    """
    stages = dict(stages or {})
    images = torch.from_numpy(np.ascontiguousarray(pixels))

    def keep(stage):
        def store(state):
            stages[stage] = state
            save(stages)
        return store

    chosen = images[spread(len(images), plan.images)]
    if "channels" not in stages:
        keep("channels")(fold.observe(source, chosen, progress=progress).state())
    folded = fold.fold(source, fold.ChannelRanges.load(stages["channels"]), plan.strength)
    made = blockwise.calibrate(folded, plan.precision, chosen, plan.options, progress,
                               resume=stages.get("blocks"), save=keep("blocks"))
    if plan.reconstruction is not None:
        reconstruct(made.twin, folded, images, plan.reconstruction, progress,
                    resume=stages.get("reconstruction"), save=keep("reconstruction"))
    if plan.predictor is not None:
        streams = export.residual_formats(made.ranges)
        options = plan.predictor.placed(source.shape.depth)
        if "observed" not in stages:
            keys = [options.key(after, source.shape) for after in options.taps]
            keep("observed")(prediction.observe(made.twin, images, keys, streams, progress).state())
        observed = prediction.Observed(**stages["observed"])
        made.twin.taps.extend(prediction.taps(observed, options, made.twin, streams))
    if plan.budget.epochs:
        reference = Twin(source, HEAD)
        reference.active = False
        run = train.Training(made.twin, reference, images, plan.budget)
        if "training" in stages:
            run.load(stages["training"])
        while run.done < plan.budget.epochs:
            run.epoch(progress)
            keep("training")(run.state())
    train.snap(made.twin)
    return Result(made.twin, made.ranges, folded)

