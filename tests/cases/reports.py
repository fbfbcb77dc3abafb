"""Runs of a small network, a small exploration and scales, as reports take them."""

import json
from pathlib import Path

import numpy as np
import pytest

from golden.common.config import CORES
from golden.network.precision import Precision
from golden.network.shape import VitShape
from sim import explore
from sim.compiler import compile_network, compile_with_room
from sim.compiler.blank import blank_network, default_tap
from sim.estimation import program_report
from sim.estimation.program_costs import ProgramEstimate, estimate_program
from sim.evaluation import accuracy_report, comparison
from sim.evaluation.evaluation import Answers
from sim.evaluation.preparation import Prepared, candidates

SHAPE = VitShape(image=32, patch=8, dim=32, depth=2, heads=2, hidden=64, classes=10)
NAME = "small </script><b>"
"""Of the model: what a page must not take for its own."""

_CONFIG = CORES["8x16"]


def estimated(bits: str = "w4a4", scales: str = "predicted") -> ProgramEstimate:
    """Estimate the small network."""
    network = blank_network(SHAPE, Precision.parse(bits),
                            default_tap(SHAPE, _CONFIG) if scales == "predicted" else None)
    about = {"model": NAME}
    return estimate_program(compile_with_room(network, _CONFIG, about, jit=True)
                            if scales == "jit" else compile_network(network, _CONFIG, about))


IMAGES = 40


def scales() -> dict[str, np.ndarray]:
    """Return lambda ``(images, sites)`` by method: one for all images, and two that vary."""
    draw, shape = np.random.default_rng(4), (IMAGES, SHAPE.sites)
    middle = draw.integers(-6000, -1000, SHAPE.sites)
    varied = middle + draw.normal(0, 200, shape).astype(int)
    return {"mse": np.broadcast_to(middle, shape), "oracle": varied, "lsq": varied * 0 + middle + 9,
            "ridge": varied + draw.normal(0, 50, shape).astype(int)}


def accuracies() -> dict:
    """Return a comparison of methods with these scales, at two precisions."""
    known, top = candidates(), np.tile([[1, 2]], (IMAGES, 1))

    def answers(method, bits, found=None):
        return Answers(Prepared(method, bits, found is not None, (), None, (), Path(method), ""),
                       top, found)

    every = [answers("fp32", "fp32"), answers("qpp", "w4a4")]
    every += [answers(method, bits, found) for bits in ("w4a4", "w8a8")
              for method, found in scales().items()]
    names = SHAPE.site_names()
    return {"kind": "accuracy", "model": NAME, "images": {"count": IMAGES}, "sites": names,
            **accuracy_report.as_dict(comparison.rows(every, None, known, names))}


def write_runs(folder: Path) -> list[Path]:
    """Write a run, a comparison of scales, an exploration, and a comparison of accuracy."""
    one, every, grid, methods = (folder / name for name in (
        "one.json", "all.json", "grid.json", "accuracy.json"))
    methods.write_text(json.dumps(accuracies()))
    one.write_text(json.dumps(program_report.program_dict(estimated())))
    results = {kind: estimated("w8a8", kind) for kind in ("static", "predicted", "jit")}
    every.write_text(json.dumps(program_report.comparison_dict(results)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explore, "shape_of", lambda model: SHAPE)
        patch.setattr(explore, "begins_with_norm", lambda model: False)
        patch.setattr(explore, "has_qk_norm", lambda model: False)
        assert explore.main(["--model", "small", "--rows", "4,8", "--cols", "8,16", "--sram",
                             "5,304", "--bits", "w8a8,w4a4", "--workers", "1",
                             "--constraint", "luts<=60000", "--json", str(grid),
                             "--work", str(folder / "kept.jsonl")]) == 0
    return [one, every, grid, methods]
