# amaranth: UnusedElaboratable=no
"""Designs of an exploration under Verilator: each takes the cycles of its row."""

import random
from dataclasses import asdict, replace

import numpy as np
import pytest

from golden.common.config import CORES
from golden.common.config_file import core_from_table
from golden.network.precision import Precision
from golden.network.shape import VitShape
from golden.prediction.scale_predictor import ScalePredictor
from sim.compiler import compile_network
from sim.compiler.blank import default_tap
from sim.exploration.evaluate import Setting
from sim.exploration.exploration import Exploration
from sim.exploration.grid import designs, memory_of
from sim.exploration.kept import Kept
from sim.exploration.run import run
from sim.harness import verilator
from tests.cases.networks import network, pixels

SHAPE = VitShape(image=16, patch=4, dim=32, depth=2, heads=2, hidden=72, classes=11)
SETTINGS = {lanes: Setting("random", SHAPE, "", replace(CORES["4x4"], scale_lanes=lanes), 50.0,
                           "28nm") for lanes in (1, 4)}
"""By lanes of the scale unit, which a grid does not vary."""

GRID = {"rows": [4, 8], "cols": [4, 8], "sram_kib": [4, 8, 24, 64], "bus_bytes": [2, 4, 8],
        "stream_words": [256, 2048], "memory": ["1:8", "20:4", "7:1.3", "90:2"],
        "bits": ["w8a8", "w4a4"], "scales": ["static", "predicted"]}
CORES_DRAWN, EACH = 5, 2
SEED = 1
"""One with which :func:`test_what_is_drawn_is_of_all_kinds`."""


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Designs that fit, with what they have in common and the cycles of their rows, by core."""
    found, wanted = {}, designs(**GRID)
    for lanes, setting in SETTINGS.items():
        kept = Kept(tmp_path_factory.mktemp("work") / "kept.jsonl", setting)
        rows = Exploration.of(setting, run(setting, wanted, kept, None), [], ["fps", "luts"]).rows
        for design, row in zip(wanted, rows, strict=True):
            if row["fits"]:
                core = found.setdefault((lanes, *design.core.values()), [])
                core.append((setting, design, row["cycles"]))
    return found


@pytest.fixture(scope="module")
def drawn(explored):
    """Some designs of each of a few cores."""
    draw = random.Random(SEED)
    return [one for core in draw.sample(sorted(explored), CORES_DRAWN)
            for one in draw.sample(explored[core], EACH)]


def with_numbers(design, config):
    """A network of the shapes that were explored, with random numbers in it."""
    made = network(Precision.parse(design.bits), shape=SHAPE)
    if design.scales == "static":
        return made
    draw, tap = np.random.default_rng(3), default_tap(SHAPE, config)
    blank = tap.predictor
    coefficients = [draw.integers(-500, 501, one.shape) for one in blank.coefficients]
    projection = () if blank.projection is None else (
        draw.integers(-500, 501, blank.projection.shape),
        draw.integers(-500, 501, blank.bias.shape))
    return replace(made, taps=(replace(tap, predictor=ScalePredictor(
        made.scales[tap.sites], coefficients, *projection)),))


def test_what_is_drawn_is_of_all_kinds(drawn):
    assert len(drawn) == CORES_DRAWN * EACH == 10
    found = [asdict(design) | {"lanes": setting.base.scale_lanes} for setting, design, _ in drawn]
    for name, values in {**GRID, "lanes": list(SETTINGS)}.items():
        assert len({one[name] for one in found}) >= min(3, len(values)), name
    assert {(one["rows"], one["cols"]) for one in found} == {(4, 4), (4, 8), (8, 8)}


@pytest.mark.verilator
@pytest.mark.parametrize("number", range(CORES_DRAWN * EACH))
def test_the_rtl_takes_the_cycles_of_the_row(drawn, number):
    setting, design, cycles = drawn[number]
    config = core_from_table(design.core, setting.base)
    program = compile_network(with_numbers(design, config), config, whole=True)
    memory = memory_of(design.memory, setting.clock_mhz)
    result = verilator.run(program, pixels(1, SHAPE)[0], latency=memory.latency,
                           bandwidth=memory.bytes_per_cycle, check=True)
    assert result.ok, f"{design}: {result.message}"
    assert result.cycles == cycles, design
