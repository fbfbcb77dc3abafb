"""The methods that are compared, each as a way to make a contender.

All start from the same weights, rounded once for each precision, and differ in the scales alone;
``-all`` also trains weights, norms and biases, and recipes of other authors bring their own.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from golden.network.precision import AnyPrecision

from ..common.code_digest import digest as code_digest
from ..prediction import predictor
from ..ptq import dynamic, pipeline
from ..ptq.checkpoint import Checkpoint
from ..ptq.float_vit import FloatVit
from ..ptq.reconstruct import Reconstruction
from ..ptq.training import train
from ..ptq.twin import Twin
from .contender import Contender, Emulated, Integer
from .loss_oracle import LossOracle


@dataclass
class Bench:
    """What all methods have in common.

    Attributes
    ----------
    source, pixels
        The float network; uint8 calibration images.
    options
        Of predictors.
    scales, everything
        Budgets of training scales, and of training everything; the same for static and predicted.
    folder
        Where intermediate results are kept.
    run
        What identifies network and images, for the checkpoints.
    iterations
        Steps for each block where blocks are reconstructed.
    """

    source: FloatVit
    pixels: np.ndarray
    options: predictor.Options
    scales: train.Budget
    everything: train.Budget
    folder: Path
    run: dict
    progress: Callable = lambda steps, what: steps
    iterations: int = 200

    def result(self, precision: AnyPrecision, name: str, **changes) -> pipeline.Result:
        """Quantize by a plan; steps that plans share are done once."""
        plan = pipeline.Plan(precision, **changes)
        static = replace(plan, predictor=None, budget=train.Budget(epochs=0), reconstruction=None)
        stages = self._stages("blocks", static, {})
        if plan.predictor is not None:
            options = plan.predictor.placed(self.source.shape.depth)
            wanted = predictor.Options(taps=options.taps, chunk_tokens=options.chunk_tokens,
                                       groups=options.groups)
            stages = self._stages("observed", replace(static, predictor=wanted), stages)
        own = self._checkpoint(name, plan)
        return pipeline.quantize(self.source, self.pixels, plan, self.progress,
                                 stages=stages | own.load(),
                                 save=lambda every: own.save(_without(every, stages)))

    def _stages(self, name: str, plan: pipeline.Plan, before: dict) -> dict:
        """Return the stages of a plan without training, from its checkpoint if it is there."""
        checkpoint = self._checkpoint(name, plan)
        stages = before | checkpoint.load()
        if "whole" not in stages or name not in stages["whole"]:
            pipeline.quantize(self.source, self.pixels, plan, self.progress, stages=stages,
                              save=lambda every: checkpoint.save(_without(every, before)))
            stages = before | checkpoint.load()
            stages["whole"] = [*stages.get("whole", []), name]
            checkpoint.save(_without(stages, before) | {"whole": stages["whole"]})
        return stages

    def _checkpoint(self, name: str, plan: pipeline.Plan) -> Checkpoint:
        run = self.run | {"plan": repr(plan), "code": code_digest("sim.ptq.pipeline")}
        digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:8]
        return Checkpoint(self.folder / f"{plan.precision}_{name}_{digest}.checkpoint", run)


def _without(stages: dict, shared: dict) -> dict:
    return {name: state for name, state in stages.items() if name not in shared}


@dataclass(frozen=True)
class Method:
    """A way to quantize.

    Attributes
    ----------
    title
        For tables.
    source
        Where it was published.
    make
        From a bench and a precision to a contender.
    """

    name: str
    title: str
    source: str
    make: Callable[[Bench, AnyPrecision], Contender]


def _observed(rule: str, gather: Callable) -> Callable:
    """Static scales gathered from those that a rule gives for each calibration image."""
    def make(bench: Bench, precision: AnyPrecision) -> Contender:
        result = bench.result(precision, "blocks")
        lambdas = np.floor(gather(_scales(bench, result, rule), axis=0) + 0.5).astype(np.int64)
        return Integer(replace(result.network, scales=lambdas))
    return make


def _scales(bench: Bench, result: pipeline.Result, rule: str) -> np.ndarray:
    """Return lambda ``(images, sites)`` of a rule on the quantized network's own values."""
    shape, twin, give, rows = bench.source.shape, result.twin, dynamic.RULES[rule], []
    chosen = pipeline.spread(len(bench.pixels), pipeline.Plan.images)
    images = torch.from_numpy(bench.pixels[chosen])
    with torch.inference_mode():
        for part in bench.progress(list(images.split(25)), f"Observing, {rule}"):
            rows.append(np.empty((len(part), shape.sites), np.int64))

            def see(site, values, row=rows[-1]):
                flat = values.reshape(len(values), -1).contiguous().numpy()
                row[:, site] = give(flat, twin.formats[site])

            twin(part, observe=see)
    return np.concatenate(rows)


def _trained(name: str, budget: str, *, predicted: bool, shuffled: bool = False) -> Callable:
    def make(bench: Bench, precision: AnyPrecision) -> Contender:
        chosen = bench.options if predicted else None
        result = bench.result(precision, name, predictor=chosen, budget=getattr(bench, budget))
        return Integer(result.network, shuffled=shuffled)
    return make


def _dynamic(rule: str, *, mirrored: bool = False) -> Callable:
    def make(bench: Bench, precision: AnyPrecision) -> Contender:
        return Integer(bench.result(precision, "blocks").network, rule, mirrored=mirrored)
    return make


def _of_loss(*, kinds: bool = False, mirrored: bool = False) -> Callable:
    def make(bench: Bench, precision: AnyPrecision) -> Contender:
        reference = Twin(bench.source, precision)
        reference.active = False
        return LossOracle(bench.result(precision, "blocks").network, reference, kinds, mirrored)
    return make


def _static(bench: Bench, precision: AnyPrecision) -> Contender:
    return Integer(bench.result(precision, "blocks").network)


def _reconstructed(name: str, **options) -> Callable:
    """Blocks reconstructed, with rates that get as far in fewer steps."""
    def make(bench: Bench, precision: AnyPrecision) -> Contender:
        how = Reconstruction.paced(bench.iterations, seed=bench.everything.seed, **options)
        return Integer(bench.result(precision, name, reconstruction=how).network)
    return make


def _regressed(bench: Bench, precision: AnyPrecision) -> Contender:
    return Integer(bench.result(precision, "ridge", predictor=bench.options).network)


def _weights(bench: Bench, precision: AnyPrecision) -> Contender:
    twin = bench.result(precision, "blocks").twin
    twin.active = False
    return Emulated(twin)


def _activations(bench: Bench, precision: AnyPrecision) -> Contender:
    result = bench.result(precision, "blocks")
    twin = Twin(result.folded, precision, result.twin.step)
    twin.scales.data, twin.stored = result.twin.scales.data, result.twin.stored
    return Emulated(twin)


def _qpp(bench: Bench, precision: AnyPrecision) -> Contender:
    options = predictor.Options(taps=(1,), chunk_tokens=0, groups=1, rank=0, degree=1,
                                least=bench.options.least)
    result = bench.result(precision, "qpp", predictor=options, budget=bench.scales)
    return Emulated(result.twin)


_PAPER = "Li et al., arXiv 2606.21947"

METHODS = {method.name: method for method in (
    Method("minmax", "static min/max", "", _observed("minmax", np.max)),
    Method("percentile", "static percentile", "", _observed("percentile", np.mean)),
    Method("mse", "static MSE", "", _static),
    Method("weights-only", "static MSE, float activations", "", _weights),
    Method("activations-only", "static MSE, float weights", "", _activations),
    Method("lsq", "static, trained scales", "Esser et al., arXiv 1902.08153",
           _trained("lsq", "scales", predicted=False)),
    Method("jit-minmax", "just-in-time min/max", "", _dynamic("minmax")),
    Method("jit-percentile", "just-in-time percentile", "", _dynamic("percentile")),
    Method("oracle", "per-image oracle (MSE)", "", _dynamic("mse")),
    Method("mirrored", "oracle of the mirrored image", "", _dynamic("mse", mirrored=True)),
    Method("oracle-loss", "per-image oracle (loss)", "", _of_loss()),
    Method("oracle-loss-kinds", "per-image oracle (loss), kinds of sites", "",
           _of_loss(kinds=True)),
    Method("mirrored-loss", "loss oracle of the mirrored image", "", _of_loss(mirrored=True)),
    Method("mirrored-loss-kinds", "loss oracle of the mirrored image, kinds of sites", "",
           _of_loss(kinds=True, mirrored=True)),
    Method("ridge", "ScalePredictor, not trained", _PAPER, _regressed),
    Method("predictor", "ScalePredictor", _PAPER, _trained("predictor", "scales", predicted=True)),
    Method("shuffled", "ScalePredictor, images swapped", "",
           _trained("predictor", "scales", predicted=True, shuffled=True)),
    Method("brecq", "BRECQ, on our scales and weights", "Li et al., arXiv 2102.05426",
           _reconstructed("brecq", drop=0.0, mix=0.0)),
    Method("qdrop", "QDrop, on our scales and weights", "Wei et al., arXiv 2203.05740",
           _reconstructed("qdrop")),
    Method("lsq-all", "static, all trained", "", _trained("lsq-all", "everything",
                                                          predicted=False)),
    Method("predictor-all", "ScalePredictor, all trained", _PAPER,
           _trained("predictor-all", "everything", predicted=True)),
    Method("shuffled-all", "the same, images swapped", "",
           _trained("predictor-all", "everything", predicted=True, shuffled=True)),
    Method("qpp", "QPP", "Kryzhanovskiy et al., CVPR 2021", _qpp),
)}
"""Our own methods by name; those of :mod:`sim.ptq.recipes` join them in :mod:`sim.accuracy`."""
