# amaranth: UnusedElaboratable=no

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In

from golden.common.config import AcceleratorConfig
from golden.common.formats import LAMBDA
from golden.core.isa import FIELDS
from rtl.common.shapes import shape_of
from rtl.core.scale_file import ScaleFile, exponents_layout
from tests.benches.simulate import simulate

SIZES = {size: AcceleratorConfig(4, 4, lanes=4, max_sites=size) for size in (2, 24, 300)}
CONFIG = SIZES[24]


class System(wiring.Component):
    """A scale file whose port for lambdas is a stream like others, so that it can be a top."""

    def __init__(self, config):
        self._file = ScaleFile(config)
        members = dict(self._file.signature.members)
        super().__init__({**members, "write": In(stream.Signature(shape_of(LAMBDA)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.file = file = self._file
        m.d.comb += [file.write.valid.eq(self.write.valid), self.write.ready.eq(1),
                     file.write.payload.eq(self.write.payload)]
        m.d.comb += [getattr(file, name).eq(getattr(self, name))
                     for name in ("first", "begin", "run", "start")]
        m.d.comb += [getattr(self, name).eq(getattr(file, name))
                     for name in ("done", "base", "base_out")]
        return m


class Bench:
    """A scale file, and the slots that it should have."""

    def __init__(self, config, seed=1):
        self.dut, self.slots = System(config), [0] * config.max_sites
        self.rng = random.Random(seed)

    def lambdas(self, count):
        """Random lambdas, the least and the largest among them."""
        return [self.rng.choice([LAMBDA.min, LAMBDA.max, self.rng.randint(LAMBDA.min, LAMBDA.max)])
                for _ in range(count)]

    def instruction(self, **fields):
        """Random fields, exponents at their limits among them."""
        made = {name: self.rng.randrange(len(self.slots)) for name in
                ("scale_a", "scale_b", "scale_out")}
        for name in ("exponent", "exponent_out"):
            low, high = FIELDS[name].min, FIELDS[name].max
            made[name] = self.rng.choice([low, high, self.rng.randint(low, high)])
        return {**made, "subtract_b": self.rng.randrange(2), **fields}

    async def write(self, ctx, first, lambdas, idle=0.0):
        """Write slots from `first` on, pausing with probability `idle` before each."""
        dut = self.dut
        ctx.set(dut.first, first)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        ctx.set(dut.first, self.rng.randrange(len(self.slots)))
        for slot, value in enumerate(lambdas, first):
            while self.rng.random() < idle:
                ctx.set(dut.write.payload, self.rng.randint(LAMBDA.min, LAMBDA.max))
                await ctx.tick()
            ctx.set(dut.write.payload, value)
            ctx.set(dut.write.valid, 1)
            await ctx.tick()
            ctx.set(dut.write.valid, 0)
            self.slots[slot] = value

    async def resolve(self, ctx, fields, starts=1):
        """Add up the exponents of an instruction, and compare; `start` is given so many times."""
        dut = self.dut
        ctx.set(dut.run, exponents_layout.const(fields))
        ctx.set(dut.start, 1)
        for _ in range(starts):
            await ctx.tick()
            assert not ctx.get(dut.done)
        ctx.set(dut.start, 0)
        for _ in range(ScaleFile.LATENCY):
            assert not ctx.get(dut.done)
            await ctx.tick()
        self.compare(ctx, fields)

    def compare(self, ctx, fields):
        a, b, out = (self.slots[fields[name]] for name in ("scale_a", "scale_b", "scale_out"))
        assert ctx.get(self.dut.done)
        assert ctx.get(self.dut.base) == (
            fields["exponent"] + a + (-b if fields["subtract_b"] else b)), fields
        assert ctx.get(self.dut.base_out) == fields["exponent_out"] - out, fields

    def run(self, control):
        simulate(self.dut, control)


@pytest.mark.parametrize("idle", [0.0, 0.5])
@pytest.mark.parametrize("size", SIZES)
def test_adds_up_exponents(size, idle):
    bench = Bench(SIZES[size])

    async def control(ctx):
        await bench.write(ctx, 0, bench.lambdas(size), idle)
        for _ in range(25):
            for _ in range(bench.rng.randrange(3)):
                await bench.resolve(ctx, bench.instruction())
            first = bench.rng.randrange(size)
            count = min(size - first, bench.rng.randint(1, 6))
            await bench.write(ctx, first, bench.lambdas(count), idle)

    bench.run(control)


@pytest.mark.parametrize("name", ["scale_a", "scale_b", "scale_out"])
def test_reads_every_slot(name):
    bench = Bench(SIZES[300])

    async def control(ctx):
        await bench.write(ctx, 0, [(7 * slot - 900) for slot in range(300)])
        for slot in range(300):
            await bench.resolve(ctx, bench.instruction(**{name: slot}))

    bench.run(control)


@pytest.mark.parametrize("ends", [-1, 1])
@pytest.mark.parametrize("subtract", [0, 1])
def test_sums_do_not_wrap(ends, subtract):
    bench = Bench(CONFIG)
    low, high = (LAMBDA.min, LAMBDA.max) if ends > 0 else (LAMBDA.max, LAMBDA.min)

    async def control(ctx):
        await bench.write(ctx, 0, [low, high])
        limit = FIELDS["exponent"].max if ends > 0 else FIELDS["exponent"].min
        await bench.resolve(ctx, bench.instruction(
            exponent=limit, exponent_out=limit, scale_a=1, scale_b=0 if subtract else 1,
            scale_out=0, subtract_b=subtract))

    bench.run(control)


def test_slots_are_zero_at_first():
    bench = Bench(CONFIG)

    async def control(ctx):
        assert ctx.get(bench.dut.done)
        for _ in range(5):
            await bench.resolve(ctx, bench.instruction())

    bench.run(control)


def test_sums_stay_until_the_next_start():
    bench = Bench(CONFIG)

    async def control(ctx):
        await bench.write(ctx, 0, bench.lambdas(24))
        fields = bench.instruction()
        await bench.resolve(ctx, fields)
        before = list(bench.slots)
        await bench.write(ctx, 0, bench.lambdas(24))
        after, bench.slots = bench.slots, before
        bench.compare(ctx, fields)
        bench.slots = after
        await bench.resolve(ctx, fields)

    bench.run(control)


def test_a_start_before_the_end_begins_anew():
    bench = Bench(CONFIG)

    async def control(ctx):
        await bench.write(ctx, 0, bench.lambdas(24))
        for starts in range(1, 8):
            await bench.resolve(ctx, bench.instruction(), starts)

    bench.run(control)


def test_wrong_bit_is_noticed():
    bench = Bench(CONFIG)

    async def control(ctx):
        await bench.write(ctx, 0, bench.lambdas(24))
        bench.slots[5] ^= 1
        await bench.resolve(ctx, bench.instruction(scale_a=1, scale_b=5, scale_out=2))

    with pytest.raises(AssertionError, match="exponent"):
        bench.run(control)
