"""Runs of a small network and a small exploration, as reports take them."""

import json
from pathlib import Path

import pytest

from golden.common.config import CORES
from golden.network.precision import Precision
from golden.network.shape import VitShape
from sim import explore
from sim.compiler import compile_network, compile_with_room
from sim.compiler.blank import blank_network, default_tap
from sim.estimation import program_report
from sim.estimation.program_costs import ProgramEstimate, estimate_program

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


def write_runs(folder: Path) -> list[Path]:
    """Write a run, a comparison of scales, and an exploration."""
    one, every, grid = (folder / name for name in ("one.json", "all.json", "grid.json"))
    one.write_text(json.dumps(program_report.program_dict(estimated())))
    results = {kind: estimated("w8a8", kind) for kind in ("static", "predicted", "jit")}
    every.write_text(json.dumps(program_report.comparison_dict(results)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explore, "shape_of", lambda model: SHAPE)
        assert explore.main(["--model", "small", "--rows", "4,8", "--cols", "8,16", "--sram",
                             "5,304", "--bits", "w8a8,w4a4", "--workers", "1",
                             "--constraint", "luts<=60000", "--json", str(grid),
                             "--work", str(folder / "kept.jsonl")]) == 0
    return [one, every, grid]
