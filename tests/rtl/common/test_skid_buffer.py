# amaranth: UnusedElaboratable=no

import random

import pytest

from rtl.common.skid_buffer import SkidBuffer
from tests.benches.simulate import simulate
from tests.benches.streams import held, sink, source


@pytest.mark.parametrize("idle", [0.0, 0.4])
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_hands_on_everything_in_order(idle, stall):
    dut = SkidBuffer(8)
    payloads = [random.Random(1).randrange(256) for _ in range(200)]
    simulate(dut, source(dut.i, payloads, idle=idle), sink(dut.o, payloads, int, stall=stall),
             monitors=[held(dut.o)])


def test_a_payload_is_there_in_the_cycle_in_which_it_came():
    dut = SkidBuffer(8)

    async def testbench(ctx):
        ctx.set(dut.o.ready, 1)
        for value in range(20):
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, value)
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (
                1, 1, value)
            await ctx.tick()

    simulate(dut, testbench)


def test_ready_does_not_see_the_other_ready():
    dut = SkidBuffer(8)

    async def testbench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, 5)
        assert ctx.get(dut.i.ready) == 1  # though nothing is taken
        await ctx.tick()
        ctx.set(dut.i.payload, 6)
        for ready in (0, 1):
            ctx.set(dut.o.ready, ready)
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.payload)) == (0, 5)
        await ctx.tick()
        assert (ctx.get(dut.i.ready), ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 1, 6)

    simulate(dut, testbench)
