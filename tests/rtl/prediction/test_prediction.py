# amaranth: UnusedElaboratable=no

import random
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out, connect, flipped

from golden.common.config import AcceleratorConfig
from golden.common.formats import ACT16, GAIN, LAMBDA, LOG2
from golden.core.bit_fields import pack
from golden.core.isa import PREDICTOR, STATISTICS
from golden.prediction import scale_unit
from golden.prediction.range_shape import RangeShape, beats
from golden.prediction.range_unit import log_ranges, statistics
from golden.prediction.scale_predictor import ScalePredictor
from golden.prediction.scale_unit import predict
from rtl.common.shapes import shape_of
from rtl.prediction.prediction import Prediction, predict_layout, tap_layout
from tests.benches.simulate import simulate
from tests.benches.streams import source
from tests.cases.predictors import random_predictor

LANES = {lanes: AcceleratorConfig(4, 4, lanes=4, scale_lanes=lanes, range_entries=64,
                                  max_statistics=64, max_projected=16, max_monomials=64,
                                  max_sites=32) for lanes in (1, 2, 4)}
CONFIG = LANES[2]


class System(wiring.Component):
    """A prediction whose scales are a stream like others, so that it can be a top."""

    def __init__(self, config):
        self._prediction = Prediction(config)
        members = dict(self._prediction.signature.members)
        super().__init__({**members, "o": Out(stream.Signature(shape_of(LAMBDA)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.prediction = prediction = self._prediction
        connect(m, flipped(self.taps), prediction.taps)
        connect(m, flipped(self.units), prediction.units)
        m.d.comb += [getattr(prediction, name).eq(getattr(self, name))
                     for name in ("tap", "watch", "run", "start")]
        m.d.comb += [self.o.valid.eq(prediction.o.valid), self.done.eq(prediction.done),
                     self.o.payload.eq(prediction.o.payload)]
        return m


@dataclass(frozen=True)
class Image:
    """A tensor that is watched, and the predictor that its ranges are for."""

    shape: RangeShape
    x: np.ndarray
    mean: np.ndarray
    gain: np.ndarray
    predictor: ScalePredictor

    def units(self, config):
        """Units of the stream: statistics, then the predictor."""
        numbers = scale_unit.pack(self.predictor, config).reshape(-1).tolist()
        pairs = [number for pair in zip(self.mean.tolist(), self.gain.tolist(), strict=True)
                 for number in pair]
        return packed(pairs, STATISTICS), packed(numbers, PREDICTOR)

    def expected(self):
        u = statistics(self.x, self.shape.chunk_tokens, self.shape.groups, self.mean, self.gain)
        return predict(u, self.predictor).tolist()


def packed(numbers, layout):
    """Numbers by units; those behind the last one are zero."""
    size = len(layout)
    return [pack(dict(zip(layout, numbers[at:at + size], strict=False)), layout)
            for at in range(0, len(numbers), size)]


def image(tokens, channels, chunk, groups, *, degree, sites, variables=None, seed=1):
    """A random tensor and predictor; with `variables` the statistics are projected."""
    rng = np.random.default_rng(seed)
    shape = RangeShape(tokens, channels, chunk, groups)
    spread = 2.0 ** rng.uniform(2, 13, channels)
    x = np.clip(rng.normal(0, spread, (tokens, channels)).round(), ACT16.min, ACT16.max)
    x = x.astype(np.int16)
    logs = log_ranges(x, chunk, groups)
    mean = np.clip(logs + rng.integers(-900, 900, logs.shape), LOG2.min, LOG2.max)
    gain = rng.integers(1, 2 * GAIN.one, logs.shape)
    predictor = random_predictor(rng, variables=variables or len(logs), degree=degree, sites=sites,
                                 statistics=len(logs) if variables else None)
    return Image(shape, x, mean, gain, predictor)


def images():
    """Odd and even numbers of statistics and coefficients, projected or not, one site and many."""
    return [
        image(5, 8, 2, 1, degree=1, sites=3, seed=1),
        image(1, 4, 1, 1, degree=2, sites=1, seed=2),
        image(6, 8, 3, 2, degree=2, sites=9, variables=3, seed=3),
        image(3, 3, 3, 3, degree=1, sites=32, seed=4),
        image(7, 12, 2, 3, degree=1, sites=5, variables=5, seed=5),
        image(4, 4, 4, 1, degree=3, sites=2, variables=1, seed=6),
    ]


def check(config, every, *, idle=0.0, pause=0, flip=None):
    """Predict for one image after the other, and compare.

    What is at the other ports while it is not asked for is garbage. `flip` changes a unit.
    """
    dut, rng = System(config), random.Random(1)
    given = []

    async def watch(ctx):
        before = 0
        while True:
            *_, valid, value, done = await ctx.tick().sample(dut.o.valid, dut.o.payload, dut.done)
            if before:
                given[-1] = (given[-1][0], done)
            if valid:
                given.append((value, None))
            before = valid

    def garbage(layout):
        return layout.from_bits(rng.getrandbits(layout.size))

    async def control(ctx):
        for index, each in enumerate(every):
            ctx.set(dut.tap, tap_layout.const(each.shape.registers(config)))
            ctx.set(dut.watch, 1)
            await ctx.tick()
            ctx.set(dut.watch, 0)
            ctx.set(dut.tap, garbage(tap_layout))
            words = beats(each.x, each.shape, config).tolist()
            await source(dut.taps, words, idle=idle, seed=index)(ctx)
            for _ in range(rng.randint(0, pause)):
                await ctx.tick()
            assert not given
            normalisations, coefficients = each.units(config)
            units = [*normalisations, *coefficients]
            if flip is not None:
                units[flip] ^= 1 << 13
            ctx.set(dut.run, predict_layout.const(each.predictor.registers()))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await source(dut.units, units, idle=idle, seed=index + 50)(ctx)
            expected = each.expected()
            while len(given) < len(expected) or given[-1][1] is None:
                await ctx.tick()
            want = [(value, int(at == len(expected) - 1)) for at, value in enumerate(expected)]
            assert given == want, f"image {index}: {given} != {want} (expected)"
            ctx.set(dut.run, garbage(predict_layout))
            for _ in range(rng.randint(0, pause)):
                await ctx.tick()
            assert len(given) == len(expected), "there is a scale too many"
            given.clear()

    simulate(dut, control, monitors=[watch], max_cycles=30_000)


@pytest.mark.parametrize(("lanes", "idle", "pause"), [(1, 0.0, 0), (2, 0.5, 60), (4, 0.0, 9)])
def test_predictions_match_golden(lanes, idle, pause):
    check(LANES[lanes], images(), idle=idle, pause=pause)


def test_hundreds_of_units():
    made = image(3, 64, 3, 16, degree=2, sites=31, variables=7, seed=9)
    assert len(made.units(CONFIG)[1]) > 255
    check(CONFIG, [made])


@pytest.mark.parametrize("flip", [0, -1])
def test_wrong_bit_is_noticed(flip):
    made = image(6, 8, 3, 2, degree=1, sites=4, seed=3)
    with pytest.raises(AssertionError, match="expected"):
        check(CONFIG, [made], flip=flip)
