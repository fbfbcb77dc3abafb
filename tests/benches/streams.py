"""Helpers for stream ports in Amaranth simulator testbenches.

They wait on plain ticks: ``tick().until()`` leaves a running generator behind when another
testbench fails, which hides the failure.
"""

import random


async def put(ctx, stream, payload):
    """Offer `payload` until it is accepted."""
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    ready = 0
    while not ready:
        _, _, ready = await ctx.tick().sample(stream.ready)
    ctx.set(stream.valid, 0)


async def get(ctx, stream):
    """Accept and return the next payload."""
    ctx.set(stream.ready, 1)
    valid = 0
    while not valid:
        _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
    ctx.set(stream.ready, 0)
    return payload


def source(stream, payloads, *, idle=0.0, seed=1):
    """Return a testbench that offers `payloads`, pausing with probability `idle` before each."""
    rng = random.Random(seed)

    async def testbench(ctx):
        for payload in payloads:
            while rng.random() < idle:
                await ctx.tick()
            await put(ctx, stream, payload)

    return testbench


def sink(stream, expected, convert=lambda payload: payload, *, stall=0.0, seed=2):
    """Return a testbench that compares what `stream` gives, once converted, with `expected`."""
    rng = random.Random(seed)

    async def testbench(ctx):
        for index, want in enumerate(expected):
            while rng.random() < stall:
                await ctx.tick()
            got = convert(await get(ctx, stream))
            assert got == want, f"#{index}: {got} != {want} (expected)"

    return testbench


def held(stream):
    """Return a monitor that fails if `stream` withdraws or changes an offered payload."""
    async def monitor(ctx):
        offered = None
        while True:
            _, _, valid, ready, payload = await ctx.tick().sample(
                stream.valid, stream.ready, stream.payload)
            if offered is not None:
                assert valid, f"payload {offered} withdrawn"
                assert payload == offered, f"payload {offered} replaced by {payload}"
            offered = payload if valid and not ready else None

    return monitor


async def latency(ctx, i, o, payload):
    """Return the cycles from offering one payload at `i` to seeing a result at `o`."""
    ctx.set(o.ready, 1)
    ctx.set(i.payload, payload)
    ctx.set(i.valid, 1)
    await ctx.tick()
    ctx.set(i.valid, 0)
    cycles = 1
    while not ctx.get(o.valid):
        await ctx.tick()
        cycles += 1
    return cycles
